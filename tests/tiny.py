"""A classifier small enough for every test: it tells which colour channel of an image is brightest.

Its weights are written by hand, so its answers are known without Octavo.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.tflite.graph import Graph

CLASSES = ("blue", "green", "red")
SIZE = 8


@functools.cache
def tiny_tflite(softmax: bool = True) -> bytes:
    """The classifier as a float .tflite file: 1x1 convolution, average pooling, dense, softmax."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    mix = tf.constant(np.eye(3, 6, dtype=np.float32)[None, None] + rng.normal(0, 0.02, (1, 1, 3, 6)).astype("f4"))
    # Outputs in the order of CLASSES: blue is channel 2, red channel 0.
    dense = np.zeros((6, 3), np.float32)
    dense[[2, 1, 0], [0, 1, 2]] = 6.0

    @tf.function(input_signature=[tf.TensorSpec([1, SIZE, SIZE, 3], tf.float32)])
    def classify(image):  # type: ignore[no-untyped-def]
        features = tf.nn.relu6(tf.nn.conv2d(image, mix, 1, "SAME") + 0.1)
        logits = tf.matmul(tf.reduce_mean(features, axis=[1, 2]), dense)
        return tf.nn.softmax(logits) if softmax else logits

    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()]).convert())


@functools.cache
def tiny_int8(softmax: bool = True, scale: tuple[float, float] = (-1.0, 1.0)) -> Graph:
    """The classifier quantized by Octavo, calibrated on pixels scaled to `scale`."""
    images = Preprocess((SIZE, SIZE), scale=scale).normalize(pictures(30)[0])
    # Black and white are seen, as in any real set of photographs.
    images[0, 0, 0], images[0, 0, 1] = scale
    graph = Graph(tiny_tflite(softmax))
    return Graph(quantize(graph, calibrate(graph, images)).content)


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images and labels: noise with one brighter channel, sometimes only just."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 130, (count, SIZE, SIZE, 3))
    lift = rng.integers(2, 120, count)
    for place, label in enumerate(labels):
        images[place, :, :, 2 - label] += lift[place]
    return images.astype(np.uint8), labels.astype(np.int64)


def write_folder(root: Path, count: int = 12, split: str = "", seed: int = 0) -> Path:
    """An image folder ``[split/]class/NN.png``."""
    images, labels = pictures(count, seed)
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = root / split / CLASSES[label] / f"{place:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root
