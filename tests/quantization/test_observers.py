from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from handmade import File
from smallnet import batch, small_tflite
from tiny import pictures, tiny_tflite

from octavo.base.errors import QuantizationError
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.minmax import MINMAX, Extremes
from octavo.quantization.observer import Observer, together
from octavo.quantization.observers import OBSERVERS, run_observers
from octavo.quantization.percentile import percentile
from octavo.runtime import litert as runtime
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import clips

_CLASSIFIER = (("x", (1, 1, 1, 50)), ("scores", (1, 1, 1, 50)), ("row", (1, 50)), ("p", (1, 50)))

RNG = np.random.default_rng(0)
SAMPLES = {
    "normal": RNG.normal(0, 1, 5000),
    "relu": np.maximum(RNG.normal(0, 1, 5000), 0),
    "laplace": RNG.laplace(0.5, 1, 5000),
    "outliers": np.append(RNG.normal(0, 1, 5000), [60.0, -35.0, 41.0]),
    "uniform": RNG.uniform(-1, 3, 5000),
    "negative": -RNG.gamma(2, 1, 5000),
}


def observed(name: str, values: np.ndarray) -> tuple[float, float]:
    rules = OBSERVERS[name]
    return rules.finish(rules.update(rules.init(), values.astype(np.float32)))


def real_error(values: np.ndarray, low: float, high: float, power: int) -> float:
    """The mean error of rounding to 256 codes, value by value, in float64."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    zero = np.round(-low / step)
    codes = np.clip(np.round(values / step) + zero, 0, 255)
    return float(np.mean(np.abs((codes - zero) * step - values) ** power))


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize(("name", "power"), [("mse", 2), ("mae", 1)])
def test_error_is_nearly_the_least_of_all_ranges(name: str, power: int, sample: str) -> None:
    """Against every pair of 60 low and 60 high ends, the values themselves quantized in float64."""
    values = SAMPLES[sample].astype(np.float64)
    shares = np.geomspace(1 / 60, 1, 60)
    lows = min(values.min(), 0) * shares if values.min() < 0 else [0.0]
    highs = max(values.max(), 0) * shares if values.max() > 0 else [0.0]
    least = min(real_error(values, low, high, power) for low, high in itertools.product(lows[::3], highs[::3]))
    low, high = observed(name, values)
    assert real_error(values, low, high, power) <= 1.03 * least
    if sample == "uniform":
        assert (low, high) == pytest.approx((values.min(), values.max()), rel=0.05)
    if sample == "outliers" and power == 1:
        assert high < 10 and low > -10


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("kept", [0.9, 0.99, 0.9999])
def test_percentile_is_numpys_to_two_bins(sample: str, kept: float) -> None:
    values = SAMPLES[sample].astype(np.float32)
    rules = percentile(kept)
    low, high = rules.finish(rules.update(rules.init(), values))
    bin_ = float(np.abs(values).max()) / 1024
    share = (1 - kept) / 2
    wanted = np.quantile(values.astype(np.float64), [share, 1 - share], method="inverted_cdf")
    assert low == pytest.approx(min(wanted[0], 0), abs=2 * bin_)
    assert high == pytest.approx(max(wanted[1], 0), abs=2 * bin_)
    # No more than that share lies outside of either end.
    assert np.mean(values < low) <= share and np.mean(values > high) <= share


def migacz(values: np.ndarray) -> float:
    """TensorRT's threshold with 256 levels, of every eighth: the published steps as plain loops."""
    width = 2.0 ** (int(np.floor(np.log2(values.max()))) + 1) / 2048
    bins = np.zeros(int(values.max() / width) + 1)
    for value in values:
        bins[int(value / width)] += 1
    bins[0] = bins[1]
    best, threshold = np.inf, len(bins)
    for i in range(len(bins), 255, -8):
        reference = bins[:i].copy()
        reference[i - 1] += bins[i:].sum()
        expanded = np.zeros(i)
        for level in range(256):
            start, stop = level * i // 256, (level + 1) * i // 256
            filled = [k for k in range(start, stop) if bins[k] > 0]
            for k in filled:
                expanded[k] = bins[start:stop].sum() / len(filled)
        p, q = reference / reference.sum(), expanded / expanded.sum()
        if any(p[k] > 0 and q[k] == 0 for k in range(i)):
            continue
        divergence = sum(p[k] * np.log(p[k] / q[k]) for k in range(i) if p[k] > 0)
        if divergence < best:
            best, threshold = divergence, i
    return threshold * width


@pytest.mark.parametrize("sample", ["relu", "gamma"])
def test_entropy_is_migaczs_threshold(sample: str) -> None:
    values = SAMPLES["relu"] if sample == "relu" else np.append(np.random.default_rng(1).gamma(2, 1, 4000), [33.0])
    values = values.astype(np.float32)
    low, high = observed("entropy", values)
    assert low == 0 and high == pytest.approx(min(migacz(values), values.max()), rel=1e-9)
    mirrored = observed("entropy", -values)
    # The groups of bins are cut from the other end there, and the least of a jagged curve moves a little.
    assert mirrored[1] == 0 and -mirrored[0] == pytest.approx(high, rel=0.2)


def test_entropy_shares_the_codes_between_both_signs() -> None:
    low, high = observed("entropy", SAMPLES["outliers"])
    assert -35 <= low < -3 and 3 < high < 60
    assert observed("entropy", SAMPLES["uniform"]) == pytest.approx((-1, 3), rel=0.02)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("values", [[0.0], [2.5], [-1.0, -1.0], [1e-42], [3.0, 0.0, 3.0]])
def test_few_values_are_never_widened(name: str, values: list[float]) -> None:
    low, high = observed(name, np.float32(values))
    values = np.float32(values)
    assert min(values.min(), 0) <= low <= high <= max(values.max(), 0)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_reach_the_range(name: str, bad: float) -> None:
    assert not np.all(np.isfinite(observed(name, np.float32([0.5, bad, 1.0]))))


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_neither_order_nor_workers_change_a_range(name: str, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(tiny_tflite())
    images = Preprocess((8, 8)).apply(pictures(40)[0])
    wanted = calibrate(graph, images, name)
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: workers)
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(images))
        assert calibrate(graph, images[order], name) == wanted


@pytest.mark.parametrize("name", OBSERVERS)
def test_inputs_keep_all_their_pixels(name: str) -> None:
    graph = Graph(tiny_tflite())
    images = Preprocess((8, 8)).apply(pictures(40)[0])
    found = calibrate(graph, images, name)
    assert found.observer == name
    assert found.of[graph.tensors[graph.inputs[0]].name] == (images.min(), images.max())


@pytest.mark.parametrize("name", OBSERVERS)
def test_the_scores_of_classes_are_not_clipped(name: str) -> None:
    made = File()
    x, scores, row, out = (made.tensor(label, shape) for label, shape in _CLASSIFIER)
    made.dense(x, made.constant("w", np.eye(50, dtype=np.float32)), scores)
    made.op(
        "RESHAPE", [scores, made.constant("shape", np.array([1, 50], np.int32))], [row], "Reshape", newShape=[1, 50]
    )
    made.op("SOFTMAX", [row], [out], "Softmax", beta=1.0)
    graph = made.ports([x], [out]).graph()
    values = np.random.default_rng(0).normal(size=(200, 1, 1, 50)).astype(np.float32)
    values[0, ..., 4] = 12
    found = calibrate(graph, list(values), name)
    assert found.of["scores"] == found.of["row"] == (values.min(), 12)
    if name == "mae":
        # Elsewhere it clips the one large value.
        assert calibrate(made.ports([x], [row]).graph(), list(values), name).of["scores"][1] < 6


def test_unknown_observer() -> None:
    with pytest.raises(QuantizationError, match=f"Use one of {', '.join(OBSERVERS)}"):
        calibrate(Graph(tiny_tflite()), Preprocess((8, 8)).apply(pictures(4)[0]), "median")


def test_what_has_reached_both_ends_of_its_clip_is_not_looked_at_again() -> None:
    graph = Graph(small_tflite(cap=True))
    # Several for each core, since each looks on its own.
    images = np.tile(8 * batch(24), (10, 1, 1, 1))
    clipped = [op for op in graph.ops if clips(op) == (0.0, 6.0)]
    tensors = [graph.tensors[op.outputs[0]] for op in clipped]
    assert tensors
    looks = [0] * len(tensors)

    def counting(place: int) -> Observer:
        def update(state: Extremes, values: np.ndarray) -> Extremes:
            looks[place] += 1
            return rule.update(state, values)

        rule = OBSERVERS["minmax"]
        return replace(rule, update=update)

    states = run_observers(graph, tensors, images, [counting(place) for place in range(len(tensors))])
    seen: list[list[np.ndarray]] = [[] for _ in tensors]

    def look(place: int, outputs: list[np.ndarray]) -> None:
        for values, kept in zip(outputs, seen, strict=True):
            kept.append(values.copy())

    runtime.Model(graph.exposed(tensors), workers=1).each(images, look)
    ranges = [state.range for state in states]
    assert ranges == [(float(np.min(values)), float(np.max(values))) for values in seen]
    assert (0.0, 6.0) in ranges
    # Of those that reach both ends, as soon as that.
    assert min(looks) < len(images)


def test_min_max_knows_how_far_its_range_depends_on_two_images() -> None:
    """Against sorted minima and maxima of all images."""
    images = [RNG.normal(0, scale, 50).astype(np.float32) for scale in [1.0] * 30 + [9.0, 7.0]]
    state = MINMAX.init()
    halves = [MINMAX.init(), MINMAX.init()]
    for place, values in enumerate(images):
        state = MINMAX.update(state, values)
        halves[place % 2] = MINMAX.update(halves[place % 2], values)
    lows, highs = np.sort([values.min() for values in images]), np.sort([values.max() for values in images])
    assert state == MINMAX.merge(*halves) and MINMAX.finish(state) == (lows[0], highs[-1])
    assert state.dependence == pytest.approx((highs[-3] - lows[2]) / (highs[-1] - lows[0]), rel=1e-6)
    assert state.dependence < 0.5
    broken = MINMAX.update(state, np.array([0.0, np.nan], np.float32))
    assert not np.any(np.isfinite(MINMAX.finish(broken))) and MINMAX.init().dependence == 1.0


def test_observers_at_once_find_what_each_finds_alone() -> None:
    rules = [OBSERVERS["percentile"], MINMAX, OBSERVERS["mse"]]
    joined = together(rules)
    states, halves = [rule.init() for rule in rules], [joined.init(), joined.init()]
    for place, values in enumerate(SAMPLES.values()):
        states = [rule.update(state, values.astype(np.float32)) for rule, state in zip(rules, states, strict=True)]
        halves[place % 2] = joined.update(halves[place % 2], values.astype(np.float32))
    made = joined.merge(*halves)
    assert [rule.finish(state) for rule, state in zip(rules, made, strict=True)] == [
        rule.finish(state) for rule, state in zip(rules, states, strict=True)
    ]
    assert joined.finish(made) == rules[0].finish(states[0])
    # The histograms of two observers are one.
    assert made[0] is made[2]


def test_a_percentile_beside_a_far_outlier_keeps_both_signs() -> None:
    """Values below a bin's width lie in the bin of 0, which ends one width from 0 on either side."""
    values = np.append(RNG.normal(0, 0.5, 50_000), 1e4).astype(np.float32)
    low, high = OBSERVERS["percentile"].finish(OBSERVERS["percentile"].update(OBSERVERS["percentile"].init(), values))
    assert low == values.min() and values[:-1].max() <= high < 10
