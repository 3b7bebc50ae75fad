from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from smallnet import batch, small_tflite, sqnr

import octavo.compensate
from octavo.calibrate import calibrate
from octavo.compensate import Moments, compensate, round_in_turn
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


def _by_elimination(wanted: np.ndarray, metric: np.ndarray, largest: int) -> np.ndarray:
    """GPTQ's rule as its section 2 states it, one weight at a time: equations 2 and 3 with the inverse of H."""
    codes = wanted.copy()
    for row in codes:
        inverse, open_ = np.linalg.inv(metric), [int(k) for k in np.argsort(metric.diagonal(), kind="stable")[::-1]]
        held = int(np.abs(np.rint(row)).argmax())
        while open_:
            k = open_.pop(0)
            code = np.rint(row[k]) if k == held else np.clip(np.rint(row[k]), -largest, largest)
            step = (row[k] - code) / inverse[k, k]
            row[open_] -= step * inverse[k, open_]
            row[k] = code
            inverse = inverse - np.outer(inverse[:, k], inverse[k]) / inverse[k, k]
    return codes


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_published_rule(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(octavo.compensate, "_BLOCK", 3)
    rng = np.random.default_rng(seed)
    # The largest varies most and comes first, so that it is rounded alone in both.
    wanted, metric = rng.uniform(-30, 30, (6, 8)), _correlated(8, seed) + np.diag([*np.zeros(7), 50.0])
    wanted[:, 7] = 127.0
    assert np.array_equal(round_in_turn(wanted, np.rint(wanted), metric, 127), _by_elimination(wanted, metric, 127))


def test_most_channels_get_the_best_codes_of_all() -> None:
    """Against all codes within 1 of the nearest, tried one by one in float64."""
    sums = np.zeros(4)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        wanted = np.hstack([rng.uniform(-5, 5, (6, 4)), np.full((6, 1), 127.0)])
        nearest, metric = np.rint(wanted), _correlated(5, seed)
        found = _error(round_in_turn(wanted, nearest, metric, 127), wanted, metric)
        moves = np.array(list(product((-1, 0, 1), repeat=4)))
        tried = np.stack([_error(nearest + np.array([*move, 0]), wanted, metric) for move in moves])
        least = tried.min(axis=0)
        sums += found.sum(), _error(nearest, wanted, metric).sum(), least.sum(), np.count_nonzero(found <= least + 1e-9)
    assert sums[0] < 0.4 * sums[1]
    assert sums[0] < 1.5 * sums[2]
    assert sums[3] >= 24


def test_a_covariance_for_each_channel_is_that_channels_alone() -> None:
    rng = np.random.default_rng(7)
    wanted = np.hstack([rng.uniform(-9, 9, (3, 4)), np.full((3, 1), -127.0)])
    each = np.stack([_correlated(5, seed) for seed in range(3)])
    together = round_in_turn(wanted, np.rint(wanted), each, 127)
    for place in range(3):
        alone = round_in_turn(wanted[[place]], np.rint(wanted[[place]]), each[place], 127)
        assert np.array_equal(together[[place]], alone)


def test_codes_stay_inside_and_the_largest_stays() -> None:
    wanted = np.array([[126.6, 126.6, 127.0], [3.0, -127.0, 0.4]])
    codes = round_in_turn(wanted, np.rint(wanted), np.ones((3, 3)) + 0.01 * np.eye(3), 127)
    assert np.abs(codes).max() == 127
    assert np.all(np.abs(codes).max(axis=1) == 127)


def test_moments_are_those_of_float64_exactly() -> None:
    """Many rows of the largest codes: sums beyond what float32 holds."""
    rng = np.random.default_rng(0)
    met = rng.choice([-255, 255, 254, 1], (1300, 6)).astype(np.int16)
    real = met.astype(np.float64)
    moments = Moments.of(met)
    assert np.array_equal(moments.mean, real.mean(axis=0))
    exact = (met.astype(object).T @ met.astype(object)).astype(np.float64) / 1300
    assert np.array_equal(moments.covariance, exact - np.outer(moments.mean, moments.mean))
    assert np.allclose(moments.covariance, np.cov(real.T, bias=True))
    depthwise = Moments.of(np.stack([met, met[::-1]], axis=2))
    assert np.array_equal(depthwise.covariance, np.stack([moments.covariance] * 2))


def test_inputs_that_never_vary_move_nothing() -> None:
    wanted = np.array([[0.4, 0.3, 127.0]])
    metric = Moments(np.zeros(3), np.zeros((3, 3)), 100).damped
    assert np.array_equal(round_in_turn(wanted, np.rint(wanted), metric, 127), np.rint(wanted))


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
