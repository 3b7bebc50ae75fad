from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
from smallnet import batch, small_tflite, sqnr

from octavo.base.progress import Silent
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.quantization.table import build
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tuning.adaround import Reconstruction, _pull, adaround, learn
from octavo.tuning.tuning_pass import Tuned

IMAGES = batch(64)
OPEN = (-np.inf, np.inf)
FOUR_BITS = {"*": "int4"}


def _task(seed: int, groups: int, outputs: int, caps: tuple[float, float]) -> tuple[Reconstruction, np.ndarray]:
    """Correlated inputs, as features are, and weights whose largest is on a code."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(5, 2)) @ rng.normal(size=(2, 5)) + 0.2 * np.eye(5)
    rows = (rng.normal(size=(groups, 600, 5)) @ mix).astype(np.float32)
    wanted = np.concatenate([rng.uniform(-6, 6, (groups, outputs, 4)), np.full((groups, outputs, 1), 7.0)], axis=2)
    offset = rng.normal(size=(groups, 1, outputs)).astype(np.float32)
    outs = np.clip(rows @ wanted.transpose(0, 2, 1) + offset, *caps).astype(np.float32)
    return Reconstruction(rows, outs, offset, caps), wanted


def _error(task: Reconstruction, codes: np.ndarray) -> np.ndarray:
    """Equation 25 in float64, written apart: mean squares of every output."""
    outs = np.einsum("gpk,gok->gpo", task.inputs.astype(np.float64), codes) + task.offset
    return np.asarray(((np.clip(outs, *task.caps) - task.wanted) ** 2).mean(axis=1))


@pytest.mark.parametrize("caps", [OPEN, (0.0, np.inf), (0.0, 6.0)])
def test_what_is_learned_is_better_than_nearest_and_often_the_best_of_all(caps: tuple[float, float]) -> None:
    """Against every way to round up or down, tried one by one in float64."""
    sums = np.zeros(3)
    for seed in range(4):
        task, wanted = _task(seed, 1, 12, caps)
        nearest = np.rint(wanted)
        learned = learn(task, wanted, nearest, np.ones((1, 12, 1)), 7)
        assert np.all((learned == np.floor(wanted)) | (learned == np.ceil(wanted)))
        tried = [_error(task, np.floor(wanted) + np.array([*up, 0])) for up in product((0, 1), repeat=4)]
        found, best, before = _error(task, learned), np.min(tried, axis=0), _error(task, nearest)
        assert np.all(found <= before * (1 + 1e-6))
        sums += found.sum(), before.sum(), (found <= best * 1.001).sum()
    assert sums[0] < 0.8 * sums[1]
    assert sums[2] >= 0.25 * 48


def test_the_slope_is_the_derivative() -> None:
    task, wanted = _task(1, 1, 2, (0.0, 6.0))
    weights = wanted + 0.3
    slope = task.slope(weights.astype(np.float32), slice(None))
    for k in range(5):
        step = np.zeros_like(weights)
        step[..., k] = 1e-5
        change = (_error(task, weights + step) - _error(task, weights - step)) / 2e-5
        assert np.allclose(slope[..., k], change, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("done", [0.2, 0.5, 1.0])
def test_the_pull_is_the_penaltys_derivative(done: float) -> None:
    """Equation 24: ``1 - |2h - 1| ** beta``, beta falling from 20 to 2."""
    beta = 20 - 18 * (done - 0.2) / 0.8
    soft = np.linspace(0.03, 0.97, 11)
    change = (np.abs(2 * (soft + 1e-6) - 1) ** beta - np.abs(2 * (soft - 1e-6) - 1) ** beta) / 2e-6
    assert np.allclose(_pull(soft, done), change, rtol=1e-4, atol=1e-6)
    assert not _pull(soft, 0.1).any()


def test_channels_are_learned_apart() -> None:
    task, wanted = _task(5, 3, 1, OPEN)
    together = learn(task, wanted, np.rint(wanted), np.ones((3, 1, 1)), 7)
    for place in range(3):
        part = slice(place, place + 1)
        alone = Reconstruction(task.inputs[part], task.wanted[part], task.offset[part], OPEN)
        mine = wanted[part]
        assert np.array_equal(together[part], learn(alone, mine, np.rint(mine), np.ones((1, 1, 1)), 7))


def test_where_the_activation_clips_all_nothing_moves() -> None:
    task, wanted = _task(2, 1, 3, OPEN)
    clipped = Reconstruction(task.inputs, np.zeros_like(task.wanted), task.offset - 1e6, (0.0, 6.0))
    assert np.array_equal(learn(clipped, wanted, np.rint(wanted), np.ones((1, 3, 1)), 7), np.rint(wanted))


def test_where_nearest_makes_no_error_nothing_moves() -> None:
    """In float32 the square of a slope by no error at all would be infinite."""
    task, wanted = _task(3, 1, 3, OPEN)
    nearest = np.rint(wanted)
    outs = task.inputs @ nearest.transpose(0, 2, 1).astype(np.float32) + task.offset
    exact = Reconstruction(task.inputs, outs, task.offset, task.caps)
    assert np.array_equal(learn(exact, wanted, nearest, np.ones((1, 3, 1)), 7), nearest)


@pytest.fixture(scope="module")
def small() -> Graph:
    return Graph(small_tflite()).unshared()


@pytest.fixture(scope="module")
def tuned(small: Graph) -> Tuned:
    return _adaround(small, FOUR_BITS)


def _adaround(graph: Graph, precision: dict[str, str]) -> Tuned:
    return adaround(graph, calibrate(graph, IMAGES), IMAGES, partial(build, precision=precision), Silent())


def test_the_runtime_computes_nearer_to_float(small: Graph, tuned: Tuned) -> None:
    """4-bit weights on LiteRT against the float graph on LiteRT, on images that taught nothing."""
    others = batch(seed=5)
    wanted = Model(small).run(others)

    def error(made: Graph) -> float:
        return sqnr(wanted, Model(Graph(quantize(made, tuned.ranges, precision=FOUR_BITS).content)).predict(others))

    assert error(tuned.graph) > error(small) + 3
    assert all(entry["error_left"] <= 1 for entry in tuned.figures.values())
    assert sum(entry["moved"] for entry in tuned.figures.values()) > 10


def test_quantization_finds_the_codes_again(small: Graph, tuned: Tuned) -> None:
    scales = build(small, tuned.ranges, precision=FOUR_BITS)
    again = build(tuned.graph, tuned.ranges, precision=FOUR_BITS)
    written = {t.name: t for t in Graph(quantize(tuned.graph, tuned.ranges, precision=FOUR_BITS).content).tensors}
    for name in tuned.figures:
        before = next(t for t in small.tensors if t.name == name).constant
        after = next(t for t in tuned.graph.tensors if t.name == name).constant
        assert before is not None and after is not None
        assert np.allclose(scales.stored[name].scale, again.stored[name].scale, rtol=1e-6)
        assert np.array_equal(written[name].constant, scales.stored[name].quantize(after))
        # By less than a step from the weight, or from the largest real of its channel's codes.
        axis = tuple(size if size == scales.stored[name].scale.size else 1 for size in before.shape)
        step, largest = (v.reshape(axis) for v in (scales.stored[name].scale, scales.stored[name].maximum))
        assert np.all(np.abs(after - before.clip(-largest, largest)) <= step * (1 + 1e-5))


def test_scales_are_chosen_for_4_bits_only(small: Graph, tuned: Tuned) -> None:
    """With 7 codes a side some channel's largest weight is clipped; with 127 the largest weight sets the scale."""
    largest = build(small, calibrate(small, IMAGES), precision=FOUR_BITS).stored
    assert set(tuned.ranges.weights) == set(tuned.figures)
    shares = [np.divide(found, largest[name].maximum) for name, found in tuned.ranges.weights.items()]
    assert 0.29 < np.concatenate(shares).min() < 0.95
    assert np.concatenate(shares).max() <= 1 + 1e-6


def test_int8_weights_after_4_bits_are_rounded_to_nearest(small: Graph) -> None:
    """They add next to nothing to the error that the 4 bits before them caused; without 4 bits they are learned."""
    mixed, all_int8 = _adaround(small, {"CONV_2D #0": "int4"}), _adaround(small, {})
    first, *others = (entry["moved"] for entry in mixed.figures.values())
    assert first > 0
    assert not any(others)
    assert "the weights of 1 ops (for 5 more, rounding adds next to nothing" in mixed.summary
    assert any(entry["moved"] for entry in all_int8.figures.values())
    assert not all_int8.ranges.weights
