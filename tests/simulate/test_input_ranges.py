"""Which ranges are learned, and from how much: those of a graph's inputs are data, and constants have no batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from oneop import convert, inputs, weights

from octavo.quantization.calibrate import calibrate
from octavo.quantization.table import layout
from octavo.simulate import Simulation, fakequant
from octavo.simulate.grids import of_inputs
from octavo.tflite.graph import Graph

KERNEL = weights(3, 3, 4, 4)


def conv(value: Any) -> Any:
    return tf.nn.relu6(tf.nn.conv2d(value, KERNEL, 1, "SAME"))


# Networks, and the kinds of the ops whose results are the input's values.
NETWORKS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "read by a product": (conv, {"input"}),
    "moved first": (
        lambda x: conv(tf.transpose(tf.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), [0, 2, 1, 3])),
        {"input", "PAD", "TRANSPOSE"},
    ),
    "joined with what is computed": (lambda x: tf.concat([x, conv(x)], -1), set()),
    "a result moved": (lambda x: tf.reshape(conv(x), (1, -1)), {"input"}),
}


def made(function: Callable[[Any], Any]) -> Graph:
    return Graph(convert(function, (1, 8, 8, 4)))


@pytest.mark.parametrize(("function", "wanted"), NETWORKS.values(), ids=NETWORKS)
def test_the_ranges_of_inputs_are_those_of_their_values_alone(function: Any, wanted: set[str]) -> None:
    graph = made(function)
    found = layout(graph)
    tensors = {found.tensor[slot].index for group in of_inputs(graph, found) for slot in found.members[group]}
    makers = {index: graph.producers.get(index) for index in tensors}
    assert {"input" if maker is None else maker.kind for maker in makers.values()} == wanted


def gradients(model: Simulation, values: np.ndarray) -> np.ndarray:
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(3 * model(values, training=True)))
    return np.asarray(tape.gradient(loss, model.range_ends))


def test_the_range_of_an_input_is_not_learned_and_others_are() -> None:
    graph = made(conv)
    values = inputs(count=8)
    model = Simulation(graph, calibrate(graph, values))
    slots = [str(slot) for slot in model._learned]
    moved = gradients(model, values)
    for slot, row in zip(slots, moved, strict=True):
        assert np.any(row != 0) == (slot != graph.tensors[graph.inputs[0]].name)


def test_the_range_of_a_constant_learns_from_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = made(lambda x: x * weights(8, 8, 4, seed=1) + conv(x))
    values = inputs(count=8)
    model = Simulation(graph, calibrate(graph, values))
    assert any(
        graph.tensors[i].name in {str(s) for s in model._learned} and graph.tensors[i].constant is not None
        for op in graph.ops
        for i in op.inputs
    )
    found = gradients(model, values[:1])
    monkeypatch.setattr(fakequant, "EVERY", 1)
    np.testing.assert_array_equal(found, gradients(model, values[:1]))
    assert np.all(np.any(found != 0, axis=1)[1:])
