"""Batch-norm statistics re-estimated on the target domain (AdaBN, Li et al. 2016, arXiv 1603.04779)."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo.base.backend import load
from octavo.base.progress import Advance


def reestimate(model: Any, batches: Any, advance: Advance = lambda done: None) -> None:
    """Sets every batch norm's mean and variance to those of the images, for the current weights.

    Every batch is normalized by its own statistics, as in training; over the batches the means are averaged and
    the variances pooled: the mean of the variances plus the variance of the means.

    Args:
        model: The network, changed in place.
        batches: Un-augmented training batches.
        advance: Called after each batch with 1.
    """
    keras, tensorflow = load("keras"), load("tensorflow")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [(layer.momentum, layer.trainable) for layer in norms]
    for layer in norms:
        # Without momentum the stored statistics are those of the last batch, so they can be read from there.
        layer.momentum, layer.trainable = 0.0, True

    @tensorflow.function  # type: ignore[untyped-decorator]
    def forward(images: Any) -> Any:
        return model(images, training=True)

    means: list[list[Any]] = [[] for _ in norms]
    variances: list[list[Any]] = [[] for _ in norms]
    weights = []
    for step in range(len(batches)):
        images, _ = batches[step]
        forward(tensorflow.constant(images))
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
