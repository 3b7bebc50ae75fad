from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from octavo.base.errors import ModelError
from octavo.runtime.litert import Model
from octavo.source.export import to_float_tflite
from octavo.source.float32 import in_float32
from octavo.tflite.graph import Graph


def _network(policy: str) -> Any:
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.BatchNormalization(dtype=policy)])
    image = keras.Input((8, 8, 3))
    x = inner(layers.Conv2D(4, 3, padding="same", dtype=policy)(image))
    x = layers.Dense(3, dtype=policy)(layers.GlobalAveragePooling2D(dtype=policy)(x))
    return keras.Model(image, layers.Activation("softmax", dtype="float32")(x))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_other_floats_become_float32(policy: str) -> None:
    model = _network(policy)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    wanted = np.asarray(model.predict_on_batch(images))
    graph = Graph(to_float_tflite(model))
    assert {t.dtype for t in graph.tensors} <= {"float32", "int32"}
    assert np.ptp(wanted, axis=0).max() > 1e-2, "outputs that do not differ would hide every error"
    # What the model itself rounds: bfloat16 has 8 bits.
    np.testing.assert_allclose(Model(graph).predict(images), wanted, atol=1e-6 if policy == "float64" else 2e-2)
    assert model.layers[1].compute_dtype == policy.removeprefix("mixed_"), "the model itself stays as it was"


def test_float32_models_are_left_alone() -> None:
    model = _network("float32")
    assert in_float32(model) is model


def test_layers_of_ones_own_are_rebuilt() -> None:
    import keras

    class Twice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return 2 * x

    image = keras.Input((4,))
    made = in_float32(keras.Model(image, Twice(dtype="mixed_float16")(image)))
    np.testing.assert_array_equal(np.asarray(made(np.ones((1, 4), np.float32))), 2)
    assert made.layers[-1].compute_dtype == "float32"


def test_what_cannot_be_rebuilt_is_said() -> None:
    import keras

    class Sized(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, size: int, **keywords: Any) -> None:
            super().__init__(**keywords)

        def call(self, x: Any) -> Any:
            return x

        def get_config(self) -> Any:
            raise NotImplementedError("no configuration")

    image = keras.Input((4,))
    with pytest.raises(ModelError, match="computes in float16, and could not be rebuilt"):
        in_float32(keras.Model(image, Sized(3, dtype="mixed_float16")(image)))


def test_numbers_that_float32_cannot_hold() -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype="float64")])
    model.set_weights([np.full((2, 1), 1e300), np.zeros(1)])
    with np.errstate(over="ignore"), pytest.raises(ModelError, match="weights that float32 cannot hold"):
        in_float32(model)
