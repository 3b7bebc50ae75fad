from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from smallnet import batch, small_tflite, sqnr

from octavo.calibrate import calibrate
from octavo.compensate import compensate, descend
from octavo.graph import Graph
from octavo.progress import Silent
from octavo.quantize import quantize
from octavo.runtime import Model
from octavo.table import build

IMAGES = batch(64)


def _correlated(size: int, seed: int) -> np.ndarray:
    mix = np.random.default_rng(seed).normal(size=(size, 2))
    return mix @ mix.T + 0.05 * np.eye(size)


def _error(codes: np.ndarray, wanted: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    off = codes - wanted
    return np.einsum("oj,jk,ok->o", off, covariance, off)


@pytest.mark.parametrize("seed", range(5))
def test_no_single_move_is_better_and_few_codes_are(seed: int) -> None:
    """Against all codes within 1 of the nearest, tried one by one in float64."""
    rng = np.random.default_rng(seed)
    wanted = np.hstack([rng.uniform(-5, 5, (6, 4)), np.full((6, 1), 127.0)])
    nearest, covariance = np.rint(wanted), _correlated(5, seed)
    damped = covariance + 0.01 * np.diag(covariance).mean() * np.eye(5)
    found = _error(descend(wanted, nearest, covariance, 127), wanted, damped)
    moves = np.array(list(product((-1, 0, 1), repeat=4)))
    tried = np.stack([_error(nearest + np.array([*move, 0]), wanted, damped) for move in moves])
    assert np.all(found <= _error(nearest, wanted, damped) + 1e-12)
    assert found.sum() < 0.6 * _error(nearest, wanted, damped).sum()
    # The least of all 81 is found for most channels, and never missed by much.
    assert np.mean(found <= tried.min(axis=0) + 1e-9) >= 0.5
    for step in np.eye(5)[:4]:
        codes = descend(wanted, nearest, covariance, 127)
        assert np.all(_error(codes + step, wanted, damped) >= found - 1e-9)
        assert np.all(_error(codes - step, wanted, damped) >= found - 1e-9)


def test_a_covariance_for_each_channel_is_that_channels_alone() -> None:
    rng = np.random.default_rng(7)
    wanted = np.hstack([rng.uniform(-9, 9, (3, 4)), np.full((3, 1), -127.0)])
    each = np.stack([_correlated(5, seed) for seed in range(3)])
    together = descend(wanted, np.rint(wanted), each, 127)
    for place in range(3):
        alone = descend(wanted[[place]], np.rint(wanted[[place]]), each[place], 127)
        assert np.array_equal(together[[place]], alone)


def test_codes_stay_inside_and_the_largest_stays() -> None:
    wanted = np.array([[126.6, 126.6, 127.0], [3.0, -127.0, 0.4]])
    codes = descend(wanted, np.rint(wanted), np.ones((3, 3)), 127)
    assert np.abs(codes).max() == 127
    assert np.all(np.abs(codes).max(axis=1) == 127)


def test_inputs_that_never_vary_move_nothing() -> None:
    wanted = np.array([[0.4, 0.3, 127.0]])
    assert np.array_equal(descend(wanted, np.rint(wanted), np.zeros((3, 3)), 127), np.rint(wanted))


def test_the_runtime_computes_nearer_to_float() -> None:
    """int8 on LiteRT against the float graph on LiteRT, on images that set nothing."""
    graph = Graph(small_tflite()).unshared()
    ranges = calibrate(graph, IMAGES)
    tuned = compensate(graph, ranges, IMAGES, build, Silent())
    others = batch(seed=5)
    wanted = Model(graph).run(others)

    def error(made: Graph) -> float:
        return sqnr(wanted, Model(Graph(quantize(made, ranges).content)).predict(others))

    assert error(tuned.graph) > error(graph)
    assert all(entry["error_left"] <= 1 for entry in tuned.figures.values())
    assert sum(entry["moved"] for entry in tuned.figures.values()) > 10


def test_quantization_finds_the_codes_again() -> None:
    graph = Graph(small_tflite()).unshared()
    ranges = calibrate(graph, IMAGES)
    tuned = compensate(graph, ranges, IMAGES, build, Silent())
    scales, again = build(graph, ranges), build(tuned.graph, ranges)
    written = {t.name: t for t in Graph(quantize(tuned.graph, ranges).content).tensors}
    for name in tuned.figures:
        weight = next(t for t in tuned.graph.tensors if t.name == name).constant
        assert weight is not None
        assert np.allclose(scales.of[name].scale, again.of[name].scale, rtol=1e-6)
        assert np.array_equal(written[name].constant, scales.of[name].quantize(weight))
