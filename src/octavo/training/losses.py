"""Losses: how far the first output of a graph is from the targets of its task, as functions that Keras takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from octavo.analysis.tasks.segmentation import IGNORED
from octavo.analysis.tasks.task import LossName, gives_probabilities, shape_of, threshold
from octavo.base.backend import load
from octavo.tflite.graph import Graph

if TYPE_CHECKING:
    from octavo.simulate.graph_model import GraphModel

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]

# Those whose targets are shares of classes, which label smoothing can make less sure.
SMOOTHED: frozenset[LossName] = frozenset({"categorical", "binary", "pixels"})


def loss_for(name: LossName, graph: Graph, smoothing: float = 0.0) -> Loss:
    """A loss for the first output of a graph: of probabilities if it ends in a softmax or sigmoid, else of logits.

    Args:
        name: What the targets are.
        graph: The graph.
        smoothing: Label smoothing, for losses in `SMOOTHED`.

    Returns:
        A function of targets and outputs. Keras takes the mean of what it returns.
    """
    keras = load("keras")
    logits = not gives_probabilities(graph)
    made: Mapping[LossName, Loss] = {
        "categorical": partial(keras.losses.categorical_crossentropy, from_logits=logits, label_smoothing=smoothing),
        "binary": partial(keras.losses.binary_crossentropy, from_logits=logits, label_smoothing=smoothing),
        "absolute": keras.losses.mean_absolute_error,
        "squared": _squared,
        "pixels": partial(_pixels, logits=logits, smoothing=smoothing),
    }

    def loss(targets: Tensor, outputs: Tensor) -> Tensor:
        return made[name](targets, outputs)

    return loss


def _squared(targets: Tensor, outputs: Tensor) -> Tensor:
    """The squared error, also where a sample and its reconstruction have different axes."""
    keras = load("keras")
    return keras.losses.mean_squared_error(keras.ops.reshape(targets, keras.ops.shape(outputs)), outputs)


def _pixels(targets: Tensor, outputs: Tensor, logits: bool, smoothing: float) -> Tensor:
    """The mean cross-entropy of the pixels that count; targets are class numbers, ``(batch, height, width, 1)``."""
    ops = load("keras").ops
    counted = ops.cast(ops.not_equal(targets, IGNORED), "float32")
    if len(outputs.shape) == 4 and outputs.shape[-1] > 1:
        count = outputs.shape[-1]
        # The classes of pixels that do not count lie outside: their rows are 0.
        right = ops.one_hot(ops.cast(targets[..., 0], "int32"), count, dtype="float32")
        each = ops.categorical_crossentropy(right * (1 - smoothing) + smoothing / count, outputs, from_logits=logits)
        each = ops.reshape(each, ops.shape(counted))
    else:
        right = targets * counted * (1 - smoothing) + smoothing / 2
        each = ops.binary_crossentropy(ops.reshape(right, ops.shape(outputs)), outputs, from_logits=logits)
        each = ops.reshape(each, ops.shape(counted))
    return ops.sum(each * counted) / ops.maximum(ops.sum(counted), 1.0)


def accuracy_for(model: GraphModel) -> Any:
    """Keras' metric of single labels; its own takes a single output for a probability, whether it is one or a logit."""
    if math.prod(shape_of(model.source)) > 1:
        return "accuracy"
    keras = load("keras")
    middle = threshold(model.source)

    def right(labels: Any, outputs: Any) -> Any:
        same = keras.ops.equal(outputs > middle, labels > 0.5)
        return keras.ops.mean(keras.ops.cast(same, "float32"), axis=-1)

    return keras.metrics.MeanMetricWrapper(right, name="accuracy")
