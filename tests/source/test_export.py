from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from octavo.base.errors import ModelError
from octavo.recipe.schema import ModelRecipe
from octavo.runtime.litert import Model
from octavo.source.export import to_float_tflite
from octavo.tflite.graph import Graph
from octavo.training.baseline import build


def test_exported_graph_equals_keras() -> None:
    import keras

    model = build(ModelRecipe(alpha=0.35, output_stride=8), (32, 32, 3), 4, 0)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Fresh batch norms change nothing and shrink what passes: these do neither.
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma + rng.normal(0, 0.2, gamma.shape), beta + 0.1, mean + 0.05, variance * 0.12])
    images = rng.uniform(-1, 1, (5, 32, 32, 3)).astype(np.float32)
    graph = Graph(to_float_tflite(model))
    wanted = np.asarray(model.predict_on_batch(images))
    np.testing.assert_allclose(Model(graph).predict(images), wanted, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 1e-3, "outputs that do not differ would hide every error"
    assert graph.tensors[graph.inputs[0]].shape == (1, 32, 32, 3)
    # Batch norms are folded into the convolutions: nothing but convolutions, additions, mean, dense, softmax.
    assert {op.kind for op in graph.ops} <= {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "PAD",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
    }


def test_nested_models_export() -> None:
    import keras

    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()])
    model = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2)])
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    found = Model(Graph(to_float_tflite(model))).predict(images)
    np.testing.assert_allclose(found, np.asarray(model.predict_on_batch(images)), atol=1e-5)


def test_subclassed_models_export_once_they_know_their_input() -> None:
    import keras

    class Small(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.dense = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)

        def call(self, images: Any) -> Any:
            return self.dense(self.pool(images))

    model = Small()
    with pytest.raises(ModelError, match="input is not known"):
        to_float_tflite(model)
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    wanted = np.asarray(model(images))
    np.testing.assert_allclose(Model(Graph(to_float_tflite(model))).predict(images), wanted, atol=1e-5)


def test_export_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    import keras

    image = keras.Input((8, 8, 3))
    to_float_tflite(keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)))
    assert capfd.readouterr() == ("", "")


def test_open_sizes_are_refused() -> None:
    import keras

    image = keras.Input((None, None, 3))
    with pytest.raises(ModelError, match="open sizes"):
        to_float_tflite(keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)))


def test_several_inputs_and_outputs_keep_their_order() -> None:
    import keras

    layers = keras.layers
    image, vector = keras.Input((4, 4, 3), name="zebra"), keras.Input((5,), name="ant")
    one, two = layers.Dense(2)(layers.Flatten()(image)), layers.Dense(3)(vector)
    graph = Graph(to_float_tflite(keras.Model([image, vector], [two, one])))
    assert [graph.tensors[i].shape for i in graph.inputs] == [(1, 4, 4, 3), (1, 5)]
    assert [graph.tensors[i].shape for i in graph.outputs] == [(1, 3), (1, 2)]
    assert [graph.tensors[i].name for i in graph.inputs] == ["zebra", "ant"]
