"""Exports a Keras model to the float `.tflite` graph that all other rooms work on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from octavo.base.backend import load
from octavo.base.errors import ModelError
from octavo.base.quiet import quiet
from octavo.source import jax_function
from octavo.source.export_check import check_export
from octavo.source.float32 import in_float32
from octavo.source.unrolled import unrolled
from octavo.tflite.graph import Graph


def to_float_tflite(model: Any) -> bytes:
    """Converts a Keras model to a float `.tflite` with a fixed batch of 1, and compares the two on a few inputs.

    An open batch would add shape arithmetic around every reshape of the graph. A model in another float type than
    float32 is rebuilt in float32. Recurrent layers of up to 256 steps are unrolled.

    With Keras on JAX, litert-converter converts it from StableHLO, and TensorFlow is not needed.

    Args:
        model: A built `keras.Model`: functional, sequential or subclassed. It may be nested and have custom layers.

    Raises:
        ModelError: The model has an open size, it cannot be converted, or the converted model computes something else.
        MissingDependencyError: Keras runs on JAX, and the extra ``jax`` is not installed.
    """
    made = in_float32(model)
    route = jax_function.convert if load("keras").backend.backend() == "jax" else convert
    with unrolled(made):
        return route(
            lambda *given: made(_arranged(made, given), training=False),
            _inputs(made),
            f"the Keras model '{model.name}'",
        )


def convert(run: Callable[..., Any], inputs: Sequence[tuple[str, tuple[int, ...], str]], what: str) -> bytes:
    """Converts a TensorFlow function to a float `.tflite`, and compares the two on a few inputs.

    Args:
        run: The function. It is called with one TensorFlow tensor per input.
        inputs: The name, the shape without the batch, and the type of each input.
        what: The name of the model in error messages.

    Raises:
        ModelError: TensorFlow cannot convert the function, or the converted model computes something else.
    """
    tensorflow = load("tensorflow")
    signature = [tensorflow.TensorSpec([1, *shape], dtype, name=name) for name, shape, dtype in inputs]
    try:
        with quiet():
            function = tensorflow.function(run, signature).get_concrete_function()
            # The model is not passed as a second argument: the converter would then not turn variables into constants.
            content = bytes(tensorflow.lite.TFLiteConverter.from_concrete_functions([function]).convert())
    except Exception as error:  # TensorFlow's converter raises its own kind, not exported
        raise ModelError(
            f"TensorFlow could not convert {what} to .tflite: {_cause(error)}",
            "Replace ops outside of TFLite's built-in set in the network.",
        ) from error

    def again(values: Sequence[Any]) -> list[Any]:
        return [np.asarray(value) for value in tensorflow.nest.flatten(function(*map(tensorflow.constant, values)))]

    check_export(Graph(content, what), again, what)
    return content


def _cause(error: Exception) -> str:
    """The cause of an error, without the paths of TensorFlow's and Keras' source files that its text contains."""
    if ops := sorted(set(re.findall(r"^(?:Custom|Flex|TF Select) ops: (.*)$", str(error), re.MULTILINE))):
        return f"{', '.join(ops)} {'has' if len(ops) == 1 and ',' not in ops[0] else 'have'} no equivalent in .tflite."
    text = re.sub(r"\S*/\S+\.py\S*", "", str(error))
    return f"{type(error).__name__}: {' '.join(text.split())[:300]}"


def _inputs(model: Any) -> list[tuple[str, tuple[int, ...], str]]:
    """The name, the shape without the batch, and the type of each input of a model."""
    found = [(tuple(entry.shape[1:]), str(entry.dtype)) for entry in getattr(model, "inputs", None) or []]
    if not found and (built := model.get_build_config()) and "input_shape" in built:
        # A subclassed model stores only the input shape of its first call.
        found = [(tuple(built["input_shape"][1:]), "float32")]
    if not found:
        raise ModelError(
            "The shape of the Keras model's input is not known.",
            "Call it once on an image before saving.",
        )
    for shape, _ in found:
        if any(size is None for size in shape):
            raise ModelError(
                f"The Keras model's input has open sizes: {('any', *shape)}. Fixed sizes were expected.",
                "Build it with an input shape such as (224, 224, 3).",
            )
    # The converter takes inputs in the order of their names.
    names = ["image"] if len(found) == 1 else [str(entry.name) for entry in model.inputs]
    return [(name, shape, dtype) for name, (shape, dtype) in zip(names, found, strict=True)]


def _arranged(model: Any, given: Any) -> Any:
    """Inputs in the structure that the model was built with: one tensor, a list, or a dict."""
    if len(given) == 1 and not hasattr(model, "_inputs_struct"):
        return given[0]
    return load("keras").tree.pack_sequence_as(getattr(model, "_inputs_struct", list(given)), list(given))
