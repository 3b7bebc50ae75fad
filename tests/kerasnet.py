"""A Keras network small enough for whole runs, as a recipe names it: ``model.architecture=kerasnet:network``."""

from __future__ import annotations

from typing import Any


def network(input_shape: tuple[int, int, int], classes: int) -> Any:
    """Convolution, batch norm, depthwise convolution, mean, dense, softmax."""
    import keras

    layers = keras.layers
    image = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, strides=4, use_bias=False)(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3)(x))
    return keras.Model(image, layers.Dense(classes, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
