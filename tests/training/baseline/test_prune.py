"""Pruning: which channels go, and what is left of a network's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from octavo.base.errors import RecipeError
from octavo.recipe.schema import ModelRecipe
from octavo.training.baseline import build, prune
from octavo.training.baseline.prune import bottlenecks

INNER = 32
Array = npt.NDArray[Any]


def images(count: int = 40) -> Array:
    return np.random.default_rng(7).uniform(-1, 1, (count, 16, 16, 3)).astype(np.float32)


def network(stride: int = 1, **norm: bool) -> Any:
    """A network with one inverted bottleneck, whose batch norms have seen something."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    y = layers.Conv2D(INNER, 1, name="expand")(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization(name="first")(y))
    y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name="deep")(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization(name="second")(y))
    y = layers.BatchNormalization(name="third", **norm)(layers.Conv2D(8, 1, name="project")(y))
    y = layers.Add()([x, y]) if stride == 1 else y
    made = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(y)))
    rng = np.random.default_rng(2)
    for name in ("first", "second", "third"):
        layer = made.get_layer(name)
        # So that no channel is always 0.
        bounds = {"gamma": (1.0, 2.0), "beta": (0.5, 1.5), "moving_mean": (-0.1, 0.1), "moving_variance": (0.1, 0.3)}
        layer.set_weights([rng.uniform(*bounds[w.name], w.shape).astype(np.float32) for w in layer.weights])
    return made


def answers(model: Any) -> Array:
    return np.asarray(model.predict(images(), verbose=0))


def set_kernel(model: Any, name: str, change: Any) -> None:
    kernel, *rest = model.get_layer(name).get_weights()
    model.get_layer(name).set_weights([change(kernel.copy()), *rest])


@pytest.mark.parametrize("stride", [1, 2])
def test_channels_that_give_nothing_go_and_change_nothing(stride: int) -> None:
    model, dead = network(stride), [3, 4, 17, 30]

    def silence(kernel: Array) -> Array:
        kernel[:, :, dead] = 0
        return kernel

    set_kernel(model, "project", silence)
    (block,) = bottlenecks(model)
    # Expansion with its bias, two batch norms, a 3x3 kernel, the projection.
    assert (block.channels, block.cost) == (INNER, 8 + 1 + 4 + 9 + 4 + 8)
    made = prune(model, images(), model.count_params() - len(dead) * block.cost)
    assert made.count_params() == model.count_params() - len(dead) * block.cost
    kept = np.setdiff1d(np.arange(INNER), dead)
    for name, axis in (("expand", 3), ("deep", 2), ("project", 2), ("first", 0)):
        ours, theirs = (each.get_layer(name).get_weights()[0] for each in (made, model))
        np.testing.assert_array_equal(ours, theirs.take(kept, axis))
    np.testing.assert_allclose(answers(made), answers(model), rtol=0, atol=1e-5)


def test_what_others_can_give_is_not_lost() -> None:
    """Every channel has a twin: half of them can go, and the other half gives the same."""
    model, half = network(), INNER // 2

    def twins(kernel: Array) -> Array:
        # The channel axis is the last one, or the one before it of a depthwise kernel.
        axis = next(at for at, size in enumerate(kernel.shape) if size == INNER)
        return np.concatenate([kernel.take(range(half), axis)] * 2, axis)

    for name in ("expand", "first", "deep", "second"):
        model.get_layer(name).set_weights([twins(weights) for weights in model.get_layer(name).get_weights()])
    # The twin that gives less goes first.
    set_kernel(model, "project", lambda kernel: kernel * np.repeat([1.0, 0.05], half)[:, None])
    (block,) = bottlenecks(model)
    made = prune(model, images(), model.count_params() - half * block.cost)
    assert made.get_layer("expand").kernel.shape[-1] == half
    off = answers(made) - answers(model)
    assert np.abs(off).max() < 0.02 * np.abs(answers(model)).max()


def test_the_projection_is_fitted_by_least_squares() -> None:
    """Against `numpy.linalg.lstsq` on the channels themselves, at every position."""
    import keras

    model = network()
    (block,) = bottlenecks(model)
    made = prune(model, images(), model.count_params() - 12 * block.cost)
    first = model.get_layer("expand").get_weights()[0]
    kept = [at for at in range(INNER) if np.any(np.all(first[..., [at]] == made.get_layer("expand").kernel, axis=2))]
    assert len(kept) == INNER - 12
    inner = keras.Model(model.input, model.get_layer("project").input).predict(images(), verbose=0)
    rows = inner.reshape(-1, INNER).astype(np.float64)
    rows -= rows.mean(axis=0)
    wanted = rows @ block.projection
    best = np.square(wanted - rows[:, kept] @ np.linalg.lstsq(rows[:, kept], wanted, rcond=None)[0]).mean()
    plain = np.square(wanted - rows[:, kept] @ block.projection[kept]).mean()
    ours = np.square(wanted - rows[:, kept] @ np.asarray(made.get_layer("project").kernel)[0, 0]).mean()
    # Damped, so a little above the best.
    assert best <= ours < 1.02 * best and ours < 0.9 * plain
    means = [
        keras.Model(each.input, each.get_layer("third").output).predict(images(), verbose=0).mean(axis=(0, 1, 2))
        for each in (model, made)
    ]
    np.testing.assert_allclose(*means, rtol=1e-5)


def test_a_network_becomes_as_small_as_asked_and_the_same_each_time() -> None:
    model = build(ModelRecipe(alpha=0.35), (32, 32, 3), 10, 0)
    pictures = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32)
    most = model.count_params() - 100_000
    made, again = (prune(model, pictures, most) for _ in range(2))
    assert most - 500 < made.count_params() <= most
    for one, other in zip(made.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(bottlenecks(model)) == len(bottlenecks(made)) == 16
    assert [layer.name for layer in made.layers[1:]] == [layer.name for layer in model.layers[1:]]
    # Blocks keep their outputs: nothing but the inner channels has another size.
    for layer in model.layers:
        if layer.name.endswith(("project", "Conv1", "Conv_1", "classifier")):
            assert made.get_layer(layer.name).output.shape == layer.output.shape
    assert prune(model, pictures, model.count_params()) is model


def test_channels_that_never_change_can_be_pruned() -> None:
    model = network()
    made = prune(model, np.zeros_like(images()), model.count_params() - 10 * bottlenecks(model)[0].cost)
    assert made.get_layer("expand").kernel.shape[-1] == INNER - 10
    # Whatever is left of the covariance: the borders of the image, where the kernel meets nothing.
    assert np.all(np.isfinite(answers(made)))


def test_what_cannot_be_pruned_is_said() -> None:
    model = network()
    with pytest.raises(RecipeError, match=r"pruning leaves at least [\d,]+ of the network's [\d,]+: .* out of 1 block"):
        prune(model, images(), 10)
    # Its batch norm has no offset that could take up the mean.
    plain = network(center=False)
    with pytest.raises(RecipeError, match="it has no inverted bottleneck"):
        prune(plain, images(), 10)


def test_channels_that_something_else_reads_stay() -> None:
    import keras

    model = network()
    assert len(bottlenecks(model)) == 1
    inner = keras.layers.GlobalAveragePooling2D()(model.get_layer("deep").output)
    assert bottlenecks(keras.Model(model.input, keras.layers.Concatenate()([model.output, inner]))) == []
    assert bottlenecks(keras.Model(model.input, [model.output, model.get_layer("second").output])) == []
    squared = keras.layers.Conv2D(8, 1)
    twice = squared(squared(keras.layers.Conv2D(8, 1)(model.input)))
    flat = keras.layers.Flatten()
    assert bottlenecks(keras.Model(model.input, keras.layers.Concatenate()([model.output, flat(twice)]))) == []
