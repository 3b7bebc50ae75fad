from __future__ import annotations

import numpy as np
import pytest
from handmade import File
from smallnet import batch, small_tflite

from octavo.base.errors import ModelError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.observers import OBSERVERS, run_observers
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tflite.reduced import is_reducible, reduced


def _outputs(graph: Graph, images: np.ndarray) -> list[np.ndarray]:
    """Every output, stacked over the images."""
    found: dict[int, list[np.ndarray]] = {}
    Model(graph).each(images, lambda place, made: found.__setitem__(place, [values.copy() for values in made]))
    return [np.stack(made) for made in zip(*(found[place] for place in range(len(images))), strict=True)]


def test_reductions_are_those_of_the_values() -> None:
    """Against NumPy, on the values that the runtime gives of every tensor."""
    graph = Graph(small_tflite(cap=True))
    tensors = [tensor for tensor in graph.activations if is_reducible(graph, tensor)]
    assert tensors == list(graph.activations)
    outputs = [graph.tensors[index] for index in graph.outputs]
    images = batch(6)
    wanted = Model(graph.exposed(tensors)).run_all(images)
    lows, highs, sums, *given = _outputs(reduced(graph, tensors, outputs), images)
    for place, values in enumerate(wanted):
        rows = values.reshape(len(images), -1)
        np.testing.assert_array_equal(lows[:, place], rows.min(axis=1))
        np.testing.assert_array_equal(highs[:, place], rows.max(axis=1))
        np.testing.assert_allclose(sums[:, place], rows.sum(axis=1, dtype=np.float64), rtol=1e-4, atol=1e-3)
    for made, known in zip(given, Model(graph).run_all(images), strict=True):
        np.testing.assert_array_equal(made[:, 0], known)


def test_what_cannot_be_reduced() -> None:
    file = File()
    whole, scalar, opened, empty = (
        file.tensor("whole", (1, 4), "int32"),
        file.tensor("scalar", ()),
        file.tensor("opened", (-1, 4)),
        file.tensor("empty", (1, 0)),
    )
    graph = file.ports([whole, scalar, opened, empty], [whole]).graph()
    assert not any(is_reducible(graph, tensor) for tensor in graph.tensors)


@pytest.mark.parametrize("size", [1, 3, 8, 37, 200])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_sum_shows_one_value_that_is_not_finite_wherever_it_is(size: int, odd: float) -> None:
    file = File()
    x, out = file.tensor("x", (1, size)), file.tensor("out", (1, size))
    file.op("LOGISTIC", [x], [out])
    graph = file.ports([x], [out]).graph()
    rows = np.full((size, size), 0.5, np.float32)
    np.fill_diagonal(rows, odd)
    sums = _outputs(reduced(graph, [graph.tensors[x]], []), rows)[2]
    assert sums.shape == (size, 1) and not np.any(np.isfinite(sums))


def test_nan_that_the_next_op_hides_is_found() -> None:
    file = File()
    x, root, out = (file.tensor(name, (1, 40)) for name in ("x", "root", "out"))
    file.op("SQRT", [x], [root])
    file.op("RELU", [root], [out])
    graph = file.ports([x], [out]).graph()
    images = np.ones((3, 40), np.float32)
    assert calibrate(graph, images).of["root"] == (1.0, 1.0)
    images[1, 17] = -1.0
    with pytest.raises(ModelError, match=r"(?s)NaN or infinity.*root"):
        calibrate(graph, images)


def test_values_too_large_for_their_sum_have_their_ranges() -> None:
    file = File()
    x, out = file.tensor("x", (1, 4)), file.tensor("out", (1, 4))
    file.op("ADD", [x, file.constant("mask", np.full((1, 4), -3e38, np.float32))], [out], "Add")
    graph = file.ports([x], [out]).graph()
    images = np.float32([[1e37, 2e37, 3e37, 4e37], [0, 0, 0, -1e37]])
    states = run_observers(graph, graph.activations, images, [OBSERVERS["minmax"]] * 2)
    assert [state.range for state in states] == [
        (np.float32(-1e37), np.float32(4e37)),
        (np.float32(-3e38) + np.float32(-1e37), np.float32(-3e38) + np.float32(4e37)),
    ]
