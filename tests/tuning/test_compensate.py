from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from smallnet import batch, small_tflite, sqnr

import octavo.tuning.compensate
from octavo.base.progress import Silent
from octavo.quantization.calibrate import calibrate
from octavo.quantization.excerpts import excerpts
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import build
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tuning.compensate import Moments, Turns, _flat, _grouped, compensate, input_rows, round_in_turn
from octavo.tuning.im2col import kernels
from octavo.tuning.tuning_pass import Tuned

IMAGES = batch(64)


def _correlated(size: int, seed: int) -> np.ndarray:
    mix = np.random.default_rng(seed).normal(size=(size, 2))
    return mix @ mix.T + 0.05 * np.eye(size)


def _rounded(wanted: np.ndarray, metric: np.ndarray, largest: int = 127) -> np.ndarray:
    """One group, its largest codes held."""
    nearest = np.rint(wanted)
    held = np.abs(nearest).argmax(axis=1)[:, None] == np.arange(wanted.shape[1])
    return round_in_turn(wanted[None], nearest[None], held[None], Turns.of(metric[None]), largest)[0]


def _compensated(graph: Graph, ranges: Ranges, images: np.ndarray = IMAGES) -> Tuned:
    return compensate(graph, ranges, excerpts(graph, images, input_rows(graph, images)), build, Silent())


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
    monkeypatch.setattr(octavo.tuning.compensate, "_BLOCK", 3)
    rng = np.random.default_rng(seed)
    # The largest varies most and comes first, so that it is rounded alone in both.
    wanted, metric = rng.uniform(-30, 30, (6, 8)), _correlated(8, seed) + np.diag([*np.zeros(7), 50.0])
    wanted[:, 7] = 127.0
    assert np.array_equal(_rounded(wanted, metric), _by_elimination(wanted, metric, 127))


def test_most_channels_get_the_best_codes_of_all() -> None:
    """Against all codes within 1 of the nearest, tried one by one in float64."""
    sums = np.zeros(4)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        wanted = np.hstack([rng.uniform(-5, 5, (6, 4)), np.full((6, 1), 127.0)])
        nearest, metric = np.rint(wanted), _correlated(5, seed)
        found = _error(_rounded(wanted, metric), wanted, metric)
        moves = np.array(list(product((-1, 0, 1), repeat=4)))
        tried = np.stack([_error(nearest + np.array([*move, 0]), wanted, metric) for move in moves])
        least = tried.min(axis=0)
        sums += found.sum(), _error(nearest, wanted, metric).sum(), least.sum(), np.count_nonzero(found <= least + 1e-9)
    assert sums[0] < 0.4 * sums[1]
    assert sums[0] < 1.5 * sums[2]
    assert sums[3] >= 24


def test_groups_are_rounded_apart() -> None:
    rng = np.random.default_rng(7)
    wanted, held = rng.uniform(-9, 9, (3, 2, 5)), rng.random((3, 2, 5)) < 0.2
    each = np.stack([_correlated(5, seed) for seed in range(3)])
    together = round_in_turn(wanted, np.rint(wanted), held, Turns.of(each), 127)
    for place in range(3):
        one = slice(place, place + 1)
        alone = round_in_turn(wanted[one], np.rint(wanted[one]), held[one], Turns.of(each[one]), 127)
        assert np.array_equal(together[one], alone)
    assert np.array_equal(together[held], np.rint(wanted)[held])


def test_codes_stay_inside_and_the_largest_stays() -> None:
    wanted = np.array([[126.6, 126.6, 127.0], [3.0, -127.0, 0.4]])
    codes = _rounded(wanted, np.ones((3, 3)) + 0.01 * np.eye(3))
    assert np.abs(codes).max() == 127
    assert np.all(np.abs(codes).max(axis=1) == 127)


def test_moments_are_those_of_float64_exactly() -> None:
    """Many rows of the largest codes: sums beyond what float32 holds."""
    rng = np.random.default_rng(0)
    met = rng.choice([-255, 255, 254, 1], (1300, 6)).astype(np.int16)
    real = met.astype(np.float64)
    moments = Moments.of(np.stack([met, met[::-1, ::-1]]))
    assert np.array_equal(moments.mean, [real.mean(axis=0), real.mean(axis=0)[::-1]])
    exact = (met.astype(object).T @ met.astype(object)).astype(np.float64) / 1300
    assert np.array_equal(moments.covariance[0], exact - np.outer(moments.mean[0], moments.mean[0]))
    assert np.array_equal(moments.covariance[1], moments.covariance[0][::-1, ::-1])
    assert np.allclose(moments.covariance[0], np.cov(real.T, bias=True))


def test_inputs_that_never_vary_move_nothing() -> None:
    wanted = np.array([[0.4, 0.3, 127.0]])
    metric = Moments(np.zeros((1, 3)), np.zeros((1, 3, 3)), 100).damped
    assert np.array_equal(_rounded(wanted, metric[0]), np.rint(wanted))


def test_the_runtime_computes_nearer_to_float() -> None:
    """int8 on LiteRT against the float graph on LiteRT, on images that set nothing."""
    graph = Graph(small_tflite()).unshared()
    ranges = calibrate(graph, IMAGES)
    tuned = _compensated(graph, ranges)
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
    tuned = _compensated(graph, ranges)
    scales, again = build(graph, ranges), build(tuned.graph, ranges)
    written = {t.name: t for t in Graph(quantize(tuned.graph, ranges).content).tensors}
    for name in tuned.figures:
        weight = next(t for t in tuned.graph.tensors if t.name == name).constant
        assert weight is not None
        assert np.allclose(scales.stored[name].scale, again.stored[name].scale, rtol=1e-6)
        assert np.array_equal(written[name].constant, scales.stored[name].quantize(weight))


@pytest.mark.parametrize("together", [1, 5, 128])
def test_groups_of_inputs_hold_every_weight_once(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last group is not full; and each group's moments are those of its own inputs."""
    monkeypatch.setattr(octavo.tuning.compensate, "_TOGETHER", together)
    graph = Graph(small_tflite()).unshared()
    rng = np.random.default_rng(0)
    for op in (op for op in graph.ops if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")):
        weight = graph.tensors[op.inputs[1]].constant
        assert weight is not None
        rows = kernels(op, weight)
        groups = _grouped(op, rows)
        assert np.array_equal(_flat(op, groups, rows.shape), rows)
        assert groups.shape[2] <= max(together, 9)
        depthwise = op.kind == "DEPTHWISE_CONV_2D"
        met = rng.integers(-99, 99, (50, rows.shape[1], rows.shape[0]) if depthwise else (50, rows.shape[1]))
        # What the weights make of what they meet, by groups and all at once.
        made = (_grouped(op, met) @ groups.swapaxes(1, 2)).astype(np.float64)
        wanted = np.einsum("pko,ok->po", met, rows) if depthwise else met @ rows.T
        assert np.allclose(made[:, :, 0].T if depthwise else made.sum(axis=0), wanted)


def test_the_order_of_images_and_the_number_of_cores_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(small_tflite()).unshared()
    ranges = calibrate(graph, IMAGES)
    one = _compensated(graph, ranges).graph.content
    monkeypatch.setattr(octavo.tuning.compensate.os, "cpu_count", lambda: 1)
    assert _compensated(graph, ranges, IMAGES[::-1]).graph.content == one


def test_an_op_is_rounded_a_few_outputs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(small_tflite()).unshared()
    ranges = calibrate(graph, IMAGES)
    whole = _compensated(graph, ranges)
    sizes: list[int] = []

    def noted(wanted: np.ndarray, *others: Any) -> np.ndarray:
        sizes.append(wanted.shape[1])
        return round_in_turn(wanted, *others)

    monkeypatch.setattr(octavo.tuning.compensate, "round_in_turn", noted)
    monkeypatch.setattr(octavo.tuning.compensate, "_WEIGHTS", 1)
    monkeypatch.setattr(octavo.tuning.compensate, "_OUTPUTS", 3)
    few = _compensated(graph, ranges)
    assert max(sizes) == 3
    assert few.graph.content == whole.graph.content
    for name, figures in whole.figures.items():
        assert few.figures[name] == pytest.approx(figures)
