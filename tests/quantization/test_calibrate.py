from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import pictures, tiny_tflite

import octavo
from octavo.analysis.answers import SAMPLES
from octavo.base.errors import DataError, ModelError
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate, survey
from octavo.quantization.excerpts import Excerpt, excerpts
from octavo.quantization.ranges import Ranges
from octavo.runtime import litert as runtime
from octavo.tflite.graph import Graph

IMAGES = Preprocess((8, 8)).apply(pictures(40)[0])


def test_ranges_are_those_of_an_independent_route() -> None:
    """Minimum and maximum over all tensors that the built-in kernels keep."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    graph = Graph(tiny_tflite())
    made = Interpreter(
        model_content=tiny_tflite(),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    made.allocate_tensors()
    seen: dict[str, list[float]] = {t.name: [] for t in graph.activations}
    for image in IMAGES:
        made.set_tensor(graph.inputs[0], image[None])
        made.invoke()
        for tensor in graph.activations:
            values = made.get_tensor(tensor.index)
            seen[tensor.name] += [float(values.min()), float(values.max())]
    found = calibrate(graph, IMAGES)
    assert found.images == 40
    assert set(found.of) == set(seen)
    for name, (low, high) in found.of.items():
        assert (low, high) == pytest.approx((min(seen[name]), max(seen[name])), abs=1e-5)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_neither_order_nor_workers_change_a_range(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(tiny_tflite())
    wanted = calibrate(graph, IMAGES)
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: workers)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(IMAGES))
        assert calibrate(graph, IMAGES[order]) == wanted


def test_progress_counts_images() -> None:
    seen: list[int] = []
    calibrate(Graph(tiny_tflite()), IMAGES, progress=seen.append)
    assert sum(seen) == 40


def test_no_images() -> None:
    with pytest.raises(DataError, match="at least one image"):
        calibrate(Graph(tiny_tflite()), IMAGES[:0])


def test_nan_in_the_weights_is_found() -> None:
    graph = Graph(tiny_tflite())
    weight = next(t for t in graph.tensors if t.constant is not None and t.dtype == "float32" and t.constant.size > 6)
    assert weight.constant is not None
    broken = weight.constant.copy()
    broken.flat[0] = np.nan
    with pytest.raises(ModelError, match="computes NaN or infinity"):
        calibrate(graph.replaced({weight.name: broken}), IMAGES)


def test_ranges_round_trip_through_json() -> None:
    found = calibrate(Graph(tiny_tflite()), IMAGES)
    assert Ranges.from_json(found.to_json()) == found


@pytest.mark.parametrize("observer", ["minmax", "mse"])
@pytest.mark.parametrize("count", [0, 5, 40])
def test_an_excerpt_changes_nothing_else_and_is_that_of_a_pass_of_its_own(observer: str, count: int) -> None:
    graph = Graph(tiny_tflite())
    places = np.random.default_rng(count).permutation(40)[:count].tolist()
    inner = [op.inputs[0] for op in graph.ops]
    # One tensor twice, the input of the graph, and one of its outputs.
    wanted = Excerpt(places, [*inner, inner[1], *graph.outputs], lambda values: [one.copy() for one in values])
    kept = [0, 3, 39, *places[:2]]
    seen, alone = survey(graph, IMAGES, observer, kept=kept, excerpt=wanted), survey(graph, IMAGES, observer, kept=kept)
    assert (seen.ranges, seen.extremes, seen.images) == (alone.ranges, alone.extremes, alone.images)
    assert np.array_equal(seen.classes, alone.classes)
    assert seen.outputs.keys() == alone.outputs.keys() == set(kept)
    for place in kept:
        assert np.array_equal(seen.outputs[place], alone.outputs[place])
    own = excerpts(graph, IMAGES, wanted)
    assert len(seen.excerpts) == len(own) == count and not alone.excerpts
    for at, place in enumerate(places):
        assert np.array_equal(seen.excerpts[at][0][0], IMAGES[place])
        for one, other in zip(seen.excerpts[at], own[at], strict=True):
            assert np.array_equal(one, other)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The type of the first input of every model that runs, and how many images it runs."""
    found: list[tuple[str, int]] = []
    each = runtime.Model.each

    def noted(self: runtime.Model, batch: Any, look: Any) -> None:
        found.append((self.inputs[0].dtype, len(batch)))
        each(self, batch, look)

    monkeypatch.setattr(runtime.Model, "each", noted)
    return found


def test_the_images_of_an_excerpt_run_once(runs: list[tuple[str, int]]) -> None:
    graph = Graph(tiny_tflite())
    survey(graph, IMAGES, excerpt=Excerpt([7, 2], [graph.ops[-1].inputs[0]], lambda values: 0))
    assert runs == [("float32", 2), ("float32", 38)]


def test_a_whole_call_runs_the_float_model_once_for_each_image(tmp_path: Path, runs: list[tuple[str, int]]) -> None:
    (tmp_path / "float.tflite").write_bytes(tiny_tflite())
    np.savez(tmp_path / "images.npz", x_train=IMAGES)
    made = octavo.quantize(tmp_path / "float.tflite", tmp_path / "images.npz", tmp_path / "made.tflite", images=40)
    assert [step.name for step in made.steps] == ["compensate"]
    assert sum(count for dtype, count in runs if dtype == "float32") == 40
    assert sum(count for dtype, count in runs if dtype == "int8") == SAMPLES
