"""The check is tried on pairs that differ on purpose; every test of an export tries it on equal ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tiny import tiny_tflite

from octavo.base.errors import ModelError
from octavo.runtime.litert import interpreter
from octavo.source.export_check import check_export
from octavo.tflite.graph import Graph


def _runner(graph: Graph) -> Callable[[Sequence[Any]], list[Any]]:
    made = interpreter(graph.content, "reference")

    def run(inputs: Sequence[Any]) -> list[Any]:
        for index, value in zip(graph.inputs, inputs, strict=True):
            made.set_tensor(index, value)
        made.invoke()
        return [made.get_tensor(index) for index in graph.outputs]

    return run


def test_other_kernels_pass_and_a_changed_weight_does_not() -> None:
    graph = Graph(tiny_tflite())
    check_export(graph, _runner(graph), "the network")
    weight = next(t for t in graph.tensors if t.constant is not None and t.constant.shape == (6, 1, 1, 3))
    changed = graph.replaced({weight.name: weight.constant * np.float32(1.05)})
    with pytest.raises(ModelError, match=r"the network .* do not compute the same: output '.*' differs by up to 0\."):
        check_export(graph, _runner(changed), "the network")


def test_a_network_that_amplifies_rounding_may_differ_as_much_as_it_amplifies() -> None:
    graph = Graph(tiny_tflite())
    run = _runner(graph)

    def chaotic(size: float) -> Callable[[Sequence[Any]], list[Any]]:
        """The same network, whose outputs are off by a number that depends on every bit of the input."""

        def run_it(inputs: Sequence[Any]) -> list[Any]:
            seed = int(inputs[0].view(np.uint32).astype(np.uint64).sum())
            off = np.random.default_rng(seed).uniform(-size, size, (1, 3))
            return [run(inputs)[0] + off.astype(np.float32)]

        return run_it

    check_export(graph, chaotic(0.01), "the network")
    with pytest.raises(ModelError, match="do not compute the same"):
        check_export(graph, lambda inputs: [one + np.float32(0.01) for one in run(inputs)], "the network")


def test_outputs_of_another_shape() -> None:
    graph = Graph(tiny_tflite())
    with pytest.raises(ModelError, match=r"differ in the shape of '.*': \(1, 4\) and \(1, 3\)"):
        check_export(graph, lambda inputs: [np.zeros((1, 4), np.float32)], "the network")


def test_values_that_are_not_numbers_are_passed_over() -> None:
    """A network that takes the logarithm of its input has no answer to a negative one, before and after."""
    graph = Graph(tiny_tflite())
    check_export(graph, lambda inputs: [np.full((1, 3), np.nan, np.float32)], "the network")
    weight = next(t for t in graph.tensors if t.constant is not None and t.constant.shape == (6, 1, 1, 3))
    broken = graph.replaced({weight.name: np.full_like(weight.constant, np.nan)})
    with pytest.raises(ModelError, match="differs by up to inf"):
        check_export(broken, _runner(graph), "the network")


def test_the_inputs_are_of_the_graph() -> None:
    graph = Graph(tiny_tflite())
    run, seen = _runner(graph), []

    def looking(inputs: Sequence[Any]) -> list[Any]:
        seen.extend(inputs)
        return run(inputs)

    check_export(graph, looking, "the network")
    assert {(value.shape, value.dtype.name) for value in seen} == {((1, 8, 8, 3), "float32")}
    assert min(value.min() for value in seen) < -0.9
    assert max(value.max() for value in seen) > 250
