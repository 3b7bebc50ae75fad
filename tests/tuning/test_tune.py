from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from smallnet import batch, small_tflite

import octavo.tuning.adaround
from octavo.base.errors import QuantizationError
from octavo.quantization.calibrate import calibrate, survey
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.quantization.table import build
from octavo.runtime import litert as runtime
from octavo.tflite.graph import Graph
from octavo.tuning.tune import TUNING_PASSES, read_first, tune

IMAGES = batch()


ORDERS = [
    *permutations(name for name in TUNING_PASSES if name != "adaround"),
    tuple(TUNING_PASSES)[::-1],
    tuple(TUNING_PASSES),
]


@pytest.mark.parametrize("passes", ORDERS, ids="-".join)
def test_acts_compose_in_any_order(passes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(octavo.tuning.adaround, "_STEPS", 20)
    graph = Graph(small_tflite())
    tuned = tune(graph, calibrate(graph, IMAGES), IMAGES, passes, build)
    assert [step.name for step in tuned.steps] == list(passes)
    assert prove(quantize(tuned.graph, tuned.ranges)).kept_in_float == []
    assert [step.to_json()["summary"] for step in tuned.steps]


@pytest.mark.parametrize("workers", [1, 3])
def test_neither_order_nor_workers_change_a_bit(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(small_tflite(stretch=True))

    def made(images: np.ndarray) -> bytes:
        tuned = tune(graph, calibrate(graph, images), images, tuple(TUNING_PASSES), build)
        return quantize(tuned.graph, tuned.ranges).content

    monkeypatch.setattr(octavo.tuning.adaround, "_STEPS", 20)
    wanted = made(IMAGES)
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: workers)
    assert made(IMAGES[::-1]) == wanted
    assert made(IMAGES[np.random.default_rng(0).permutation(len(IMAGES))]) == wanted


def test_what_int8_is_compared_with() -> None:
    graph = Graph(small_tflite(stretch=True))
    ranges = calibrate(graph, IMAGES)
    assert tune(graph, ranges, IMAGES, (), build).reference is graph
    both = tune(graph, ranges, IMAGES, ("equalize", "bias"), build)
    assert both.reference is both.steps[0].tuned.graph
    assert both.graph is both.steps[1].tuned.graph


def test_an_unknown_act() -> None:
    graph = Graph(small_tflite())
    with pytest.raises(QuantizationError, match="no tuning pass 'adaquant'") as caught:
        tune(graph, calibrate(graph, IMAGES), IMAGES, ("bias", "adaquant"), build)
    assert f"Use {', '.join(TUNING_PASSES)}" in str(caught.value)


def test_what_calibration_kept_takes_the_place_of_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(small_tflite(stretch=True))
    seen = survey(graph, IMAGES, excerpt=read_first(graph, IMAGES, ("compensate", "bias")))
    wanted = tune(graph, seen.ranges, IMAGES, ("compensate",), build)
    with monkeypatch.context() as patched:
        patched.setattr(runtime, "interpreter", None)  # nothing runs
        made = tune(graph, seen.ranges, IMAGES, ("compensate",), build, kept=seen.excerpts)
    assert made.graph.content == wanted.graph.content != graph.content
    assert made.steps[0].tuned.figures == wanted.steps[0].tuned.figures
    # The second time, the graph is another.
    twice = ("compensate", "compensate")
    again = tune(graph, seen.ranges, IMAGES, twice, build, kept=seen.excerpts)
    assert again.graph.content == tune(graph, seen.ranges, IMAGES, twice, build).graph.content


def test_a_pass_that_does_not_know_beforehand_has_nothing_kept() -> None:
    graph = Graph(small_tflite())
    assert all(read_first(graph, IMAGES, passes) is None for passes in ((), ("equalize", "compensate"), ("adaround",)))
