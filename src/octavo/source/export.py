"""Export: a Keras model becomes the float `.tflite` graph that everything else works on."""

from __future__ import annotations

from typing import Any

from octavo.base.backend import load
from octavo.base.errors import ModelError
from octavo.base.quiet import quiet


def to_float_tflite(model: Any) -> bytes:
    """Converts a Keras model to a float `.tflite` with a fixed batch of 1.

    A batch left open would put shape arithmetic around every reshape of the graph.

    Args:
        model: A built `keras.Model`, functional, sequential or subclassed; nested and with custom layers as it likes.

    Raises:
        ModelError: The model has an open size, or TensorFlow cannot convert it.
    """
    tensorflow = load("tensorflow")
    signature = [tensorflow.TensorSpec([1, *shape], dtype, name=name) for name, shape, dtype in _inputs(model)]
    function = tensorflow.function(lambda *given: model(_arranged(model, given), training=False), signature)
    try:
        with quiet():
            # Without the model as a second argument: with it the converter keeps variables apart from constants.
            converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
            return bytes(converter.convert())
    except Exception as error:  # TensorFlow's converter raises its own kind, not exported
        text = " ".join(str(error).split())
        raise ModelError(
            f"TensorFlow could not convert the Keras model to .tflite: {text[:300]}",
            "Ops outside of TFLite's built-in set must be replaced in the network.",
        ) from error


def _inputs(model: Any) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape without batch, and type, of each of a model's inputs."""
    found = [(tuple(entry.shape[1:]), str(entry.dtype)) for entry in getattr(model, "inputs", None) or []]
    if not found and (built := model.get_build_config()) and "input_shape" in built:
        # A subclassed model keeps only the shape that it was first called on.
        found = [(tuple(built["input_shape"][1:]), "float32")]
    if not found:
        raise ModelError(
            "The Keras model has no known inputs.",
            "Call it once on an image before saving.",
        )
    for shape, _ in found:
        if any(size is None for size in shape):
            raise ModelError(
                f"The Keras model's input is {('any', *shape)}, with open sizes; an edge model needs a fixed one.",
                "Build it with an input shape such as (224, 224, 3).",
            )
    # The converter takes inputs in the order of their names.
    names = ["image"] if len(found) == 1 else [str(entry.name) for entry in model.inputs]
    return [(name, shape, dtype) for name, (shape, dtype) in zip(names, found, strict=True)]


def _arranged(model: Any, given: Any) -> Any:
    """Inputs in the structure that the model was built on: one, a list, a dict."""
    if len(given) == 1 and not hasattr(model, "_inputs_struct"):
        return given[0]
    return load("keras").tree.pack_sequence_as(getattr(model, "_inputs_struct", list(given)), list(given))
