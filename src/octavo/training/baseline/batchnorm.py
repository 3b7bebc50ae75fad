"""Batch-norm statistics re-estimated on the target domain (AdaBN, Li et al. 2016, arXiv 1603.04779)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from octavo.base.backend import load
from octavo.base.progress import Advance
from octavo.training.team import ALONE, Team


def reestimate(model: Any, batches: Any, advance: Advance = lambda done: None, team: Team = ALONE) -> None:
    """Sets every batch norm's mean and variance to those of the images, for the current weights.

    Every batch is normalized by its own statistics, as in training; over the batches the means are averaged and
    the variances pooled: the mean of the variances plus the variance of the means.

    Args:
        model: The network, changed in place.
        batches: Un-augmented training batches.
        advance: Called after each batch with 1.
        team: Who trains; each process gives its rows of each batch, and the statistics are those of all of them.
    """
    keras = load("keras")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [(layer.momentum, layer.trainable) for layer in norms]
    for layer in norms:
        # Without momentum the stored statistics are those of the last batch, so they can be read from there.
        layer.momentum, layer.trainable = 0.0, True

    forward = _jax(model, team) if keras.backend.backend() == "jax" else _tensorflow(model)
    means: list[list[Any]] = [[] for _ in norms]
    variances: list[list[Any]] = [[] for _ in norms]
    weights = []
    for step in range(len(batches)):
        images, _ = batches[step]
        forward(images)
        weights.append(len(images))
        for place, layer in enumerate(norms):
            means[place].append(np.array(layer.moving_mean.numpy()))
            variances[place].append(np.array(layer.moving_variance.numpy()))
        advance(1)
    for place, layer in enumerate(norms):
        mean = np.average(means[place], axis=0, weights=weights)
        spread = np.average((np.array(means[place]) - mean) ** 2, axis=0, weights=weights)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(np.average(variances[place], axis=0, weights=weights) + spread)
        layer.momentum, layer.trainable = before[place]


def _tensorflow(model: Any) -> Callable[[Any], Any]:
    """The network as in training, for a batch."""
    tensorflow = load("tensorflow")

    @tensorflow.function  # type: ignore[untyped-decorator]
    def forward(images: Any) -> Any:
        return model(images, training=True)

    return lambda images: forward(tensorflow.constant(images))


def _jax(model: Any, team: Team) -> Callable[[Any], Any]:
    """The same on JAX, where a function gives the new statistics, and does not set them."""
    compiled = load("jax").jit(lambda *given: model.stateless_call(*given, training=True)[1])

    def forward(images: Any) -> None:
        trained, others = (
            [v.value for v in part] for part in (model.trainable_variables, model.non_trainable_variables)
        )
        made = compiled(trained, others, team.batch(images))
        for variable, value in zip(model.non_trainable_variables, made, strict=True):
            variable.assign(value)

    return forward
