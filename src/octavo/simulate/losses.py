"""Losses that fit a graph's outputs: probabilities, as after Softmax or Logistic, or logits.

The loss depends on the logits. If the graph ends in probabilities, Keras on TensorFlow computes the loss from the input
of the last op. Other backends compute it from the probabilities, clipped away from 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from octavo.base.errors import ModelError

Tensor = Any

# The last ops whose inputs are the logits of a classifier.
PROBABILITIES = ("SOFTMAX", "LOGISTIC")

_CLASSES = {
    "binary_crossentropy": "BinaryCrossentropy",
    "binary_focal_crossentropy": "BinaryFocalCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
    "categorical_focal_crossentropy": "CategoricalFocalCrossentropy",
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
}


def fitting(loss: Any, ends: Sequence[str]) -> Any:
    """Adapts a loss (or a list or dict of losses) to the graph's outputs.

    A loss given by its name is set to logits or probabilities as the graph needs; a loss object is only checked.

    Args:
        loss: The argument of `compile`.
        ends: For each output the op that makes it.

    Raises:
        ModelError: A loss was made for logits and its output is a probability, or the other way round.
    """
    if isinstance(loss, Mapping):
        # Keras knows the outputs of a graph by their order; with one kind of end for all, names do not matter.
        return {name: fitting(one, ends) for name, one in loss.items()}
    if isinstance(loss, list | tuple):
        return [fitting(one, [end]) for one, end in zip(loss, ends, strict=False)]
    probable = {end in PROBABILITIES for end in ends}
    if len(probable) != 1:
        return loss
    logits = not probable.pop()
    if isinstance(loss, str):
        known = _CLASSES.get(loss, loss)
        return getattr(keras.losses, known)(from_logits=logits) if known in _CLASSES.values() else loss
    if isinstance(loss, keras.losses.Loss):
        _check(loss, logits, ends[0])
    return loss


def _check(loss: Any, logits: bool, end: str) -> None:
    made_for = loss.get_config().get("from_logits")
    if made_for is None or made_for == logits:
        return
    name = type(loss).__name__
    raise ModelError(
        f"{name}(from_logits={made_for}) was given, but the graph ends in {end}: its outputs are "
        f"{'logits' if logits else 'probabilities'}.",
        f"Use {name}(from_logits={logits}), or the loss's name, which adapts.",
    )


def distillation(taught: Tensor, made: Tensor, end: str, classes: bool = True) -> Tensor:
    """The distance of a student's output from its teacher's, for each example.

    The cross-entropy to the teacher's probabilities (Hinton et al. 2015, arXiv 1503.02531, at temperature 1, where
    its gradient is that of the Kullback-Leibler divergence); the squared error if the outputs are not a classifier's.

    Args:
        taught: The teacher's output, ``(batch, ...)``.
        made: The student's, likewise.
        end: The op that makes both.
        classes: Whether a vector from another op than those of `PROBABILITIES` is a classifier's logits.

    Returns:
        ``(batch,)``.
    """
    taught = ops.stop_gradient(taught)
    if end == "SOFTMAX":
        each = keras.losses.categorical_crossentropy(taught, made)
    elif end == "LOGISTIC":
        each = keras.losses.binary_crossentropy(taught, made)
    elif classes and len(made.shape) == 2 and made.shape[-1] > 1:
        each = keras.losses.categorical_crossentropy(ops.softmax(taught), made, from_logits=True)
    else:
        each = ops.mean(ops.square(taught - made), axis=-1)
    return ops.mean(ops.reshape(each, (ops.shape(made)[0], -1)), axis=-1)
