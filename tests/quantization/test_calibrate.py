from __future__ import annotations

import numpy as np
import pytest
from tiny import pictures, tiny_tflite

from octavo.base.errors import DataError, ModelError
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
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
