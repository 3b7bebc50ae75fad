"""Export: a Keras model becomes the float `.tflite` graph that everything else works on."""

from __future__ import annotations

from typing import Any

from octavo.backend import load
from octavo.errors import ModelError
from octavo.quiet import quiet


def to_float_tflite(model: Any) -> bytes:
    """Converts a Keras classifier of images to a float `.tflite` with a fixed batch of 1.

    A batch left open would put shape arithmetic around every reshape of the graph.

    Args:
        model: A built `keras.Model` with one input.

    Raises:
        ModelError: The model has several inputs or an open size, or TensorFlow cannot convert it.
    """
    tensorflow = load("tensorflow")
    shape, dtype = _input(model)
    if any(size is None for size in shape):
        raise ModelError(
            f"The Keras model's input is {('any', *shape)}, with open sizes; an edge model needs a fixed one.",
            "Build it with an input shape such as (224, 224, 3).",
        )
    signature = [tensorflow.TensorSpec([1, *shape], dtype, name="image")]
    function = tensorflow.function(lambda image: model(image, training=False), input_signature=signature)
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


def _input(model: Any) -> tuple[tuple[int | None, ...], str]:
    """Shape without batch, and type, of a model's one input."""
    inputs = getattr(model, "inputs", None)
    if inputs is not None and len(inputs) == 1:
        return tuple(inputs[0].shape[1:]), str(inputs[0].dtype)
    if inputs is None and (built := model.get_build_config()) and "input_shape" in built:
        # A subclassed model keeps only the shape that it was first called on.
        return tuple(built["input_shape"][1:]), "float32"
    raise ModelError(
        f"The Keras model has {len(inputs) if inputs else 'no known'} inputs; a classifier of images has one.",
        "Call it once on an image before saving, or export the image input alone.",
    )
