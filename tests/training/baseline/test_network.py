from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octavo.base.errors import ModelError, RecipeError
from octavo.recipe.schema import ModelRecipe, TrainRecipe
from octavo.training.baseline import build
from octavo.training.baseline.batchnorm import reestimate
from octavo.training.baseline.network import backbone_layers, block
from octavo.training.baseline.rates import multipliers

SMALL = ModelRecipe(alpha=0.35)


@cache
def plain() -> Any:
    """The network, to look at only."""
    return build(SMALL, (32, 32, 3), 10, 0)


@cache
def published() -> Any:
    """Keras' own, without its classifier."""
    import keras

    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)


def test_it_is_keras_mobilenet_v2_with_a_new_top() -> None:
    assert [layer.name for layer in backbone_layers(plain())][1:] == [layer.name for layer in published().layers][1:]
    assert plain().output_shape == (None, 10)


@pytest.mark.parametrize(("stride", "size"), [(32, 1), (16, 2), (8, 4)])
def test_output_stride_is_input_over_last_feature_map(stride: int, size: int) -> None:
    model = build(ModelRecipe(alpha=0.35, output_stride=stride), (32, 32, 3), 10, 0)  # type: ignore[arg-type]
    assert model.get_layer("out_relu").output.shape[1:3] == (size, size)
    assert [w.shape for w in model.get_weights()] == [w.shape for w in plain().get_weights()]


def test_weights_load_with_and_without_a_top(tmp_path: Path) -> None:
    import keras

    whole = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None)
    bare = published()
    bare.set_weights(whole.get_weights()[: len(bare.get_weights())])
    for name, source in (("whole", whole), ("bare", bare)):
        path = tmp_path / f"{name}.weights.h5"
        source.save_weights(path)
        made = build(ModelRecipe(alpha=0.35, weights=str(path)), (32, 32, 3), 10, 0)
        for ours, theirs in zip(made.get_weights(), bare.get_weights(), strict=False):
            np.testing.assert_array_equal(ours, theirs)


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no file"):
        build(ModelRecipe(weights=str(tmp_path / "none.weights.h5")), (32, 32, 3), 10, 0)
    text = tmp_path / "text.weights.h5"
    text.write_text("words")
    with pytest.raises(ModelError, match="does not hold the weights"):
        build(ModelRecipe(alpha=0.35, weights=str(text)), (32, 32, 3), 10, 0)
    with pytest.raises(RecipeError, match="images of at least 32 pixels"):
        build(SMALL, (31, 64, 3), 10, 0)
    with pytest.raises(RecipeError, match="3 colour channels"):
        build(ModelRecipe(weights="imagenet"), (32, 32, 1), 10, 0)


def test_layer_decay_falls_from_block_to_block() -> None:
    model = plain()
    shares = multipliers(model, TrainRecipe(backbone_rate=0.5, layer_decay=0.9))
    assert shares["Conv_1/kernel"] == pytest.approx(0.5)
    assert shares["block_16_expand/kernel"] == pytest.approx(0.5 * 0.9)
    assert shares["Conv1/kernel"] == pytest.approx(0.5 * 0.9**17)
    assert not any(path.startswith("classifier") for path in shares)
    assert [block(model.get_layer(n)) for n in ("Conv1", "expanded_conv_project", "block_3_project")] == [0, 0, 3]


def test_reestimated_statistics_are_those_of_the_images() -> None:
    """One batch norm on known inputs: its statistics must be the data's own mean and variance."""
    import keras

    rng = np.random.default_rng(0)
    data = rng.normal([1, -2, 3], [0.5, 1, 2], (64, 4, 4, 3)).astype(np.float32)

    class Batches:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, step: int) -> tuple[Any, None]:
            return data[[slice(0, 24), slice(24, 48), slice(48, 64)][step]], None

    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.BatchNormalization(name="bn")(image))
    layer = model.get_layer("bn")
    layer.trainable = False
    reestimate(model, Batches())
    np.testing.assert_allclose(layer.moving_mean.numpy(), data.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance.numpy(), data.var(axis=(0, 1, 2)), rtol=2e-3)
    assert layer.momentum == 0.99
    assert not layer.trainable
