"""Losses fit what a graph ends in: checked against float64 NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from oneop import convert, weights
from scipy.special import log_softmax, softmax

from octavo.base.errors import ModelError
from octavo.simulate import FloatModel
from octavo.simulate.losses import distillation, fitting
from octavo.tflite.graph import Graph

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 3, (6, 4)).astype(np.float32)
OTHERS = RANDOM.normal(0, 3, (6, 4)).astype(np.float32)


def _number(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def test_distillation_is_the_cross_entropy_to_the_teacher() -> None:
    taught, made = softmax(OTHERS.astype(np.float64), axis=1), log_softmax(LOGITS.astype(np.float64), axis=1)
    wanted = -(taught * made).sum(axis=1)
    probabilities = [softmax(x, axis=1).astype(np.float32) for x in (OTHERS, LOGITS)]
    np.testing.assert_allclose(
        _number(distillation(*map(keras.ops.array, probabilities), "SOFTMAX")), wanted, rtol=1e-4
    )
    given = distillation(keras.ops.array(OTHERS), keras.ops.array(LOGITS), "FULLY_CONNECTED")
    np.testing.assert_allclose(_number(given), wanted, rtol=1e-5)


def test_distillation_of_sigmoids_and_of_what_is_no_classifier() -> None:
    p, q = (1 / (1 + np.exp(-x.astype(np.float64))) for x in (OTHERS, LOGITS))
    wanted = -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean(axis=1)
    made = distillation(keras.ops.array(p, "float32"), keras.ops.array(q, "float32"), "LOGISTIC")
    np.testing.assert_allclose(_number(made), wanted, rtol=1e-4)
    images = RANDOM.normal(size=(2, 3, 5, 2, 2)).astype(np.float32)
    made = distillation(keras.ops.array(images[0]), keras.ops.array(images[1]), "CONV_2D")
    np.testing.assert_allclose(_number(made), ((images[0] - images[1]) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)


def test_a_name_gets_what_the_graph_ends_in() -> None:
    for end, logits in (("SOFTMAX", False), ("LOGISTIC", False), ("FULLY_CONNECTED", True)):
        for name in ("sparse_categorical_crossentropy", "CategoricalCrossentropy", "binary_crossentropy"):
            assert fitting(name, [end]).get_config()["from_logits"] is logits
    assert fitting("mse", ["SOFTMAX"]) == "mse"
    assert fitting(None, ["SOFTMAX"]) is None
    made = fitting(["mse", "binary_crossentropy"], ["SOFTMAX", "ADD"])
    assert made[0] == "mse" and made[1].get_config()["from_logits"]


def test_an_object_for_the_other_end_is_refused() -> None:
    loss = keras.losses.SparseCategoricalCrossentropy
    assert fitting(loss(from_logits=True), ["FULLY_CONNECTED"]) is not None
    with pytest.raises(ModelError, match=r"from_logits=True\) was given, but the graph ends in SOFTMAX"):
        fitting(loss(from_logits=True), ["SOFTMAX"])
    with pytest.raises(ModelError, match="its outputs are logits"):
        fitting({"a": loss(from_logits=False)}, ["FULLY_CONNECTED"])


@pytest.mark.parametrize("ends_in_softmax", [True, False])
def test_the_loss_trained_on_is_that_of_the_logits(ends_in_softmax: bool) -> None:
    import tensorflow as tf

    # Logits so far apart that a float32 softmax rounds to 0 and 1, where a loss of probabilities has no gradient.
    kernel = weights(16, 5, scale=40.0)

    def network(x: Any) -> Any:
        made = tf.matmul(x, kernel)
        return tf.nn.softmax(made) if ends_in_softmax else made

    model = FloatModel(Graph(convert(network, (1, 16))))
    inputs, labels = RANDOM.uniform(-2, 2, (8, 16)).astype(np.float32), np.arange(8) % 5
    model.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
    before = _number(model.trainable_variables[0]).astype(np.float64)
    loss = model.train_on_batch(inputs, labels)
    logits = inputs.astype(np.float64) @ before
    wanted = -log_softmax(logits, axis=1)[np.arange(8), labels]
    np.testing.assert_allclose(float(np.ravel(loss)[0]), wanted.mean(), rtol=1e-5)
    gradient = inputs.T.astype(np.float64) @ (softmax(logits, axis=1) - np.eye(5)[labels]) / 8
    step = _number(model.trainable_variables[0]).astype(np.float64) - before
    np.testing.assert_allclose(step, -1e-3 * gradient, rtol=2e-2, atol=5e-6)
