"""Tensors computed op by op against those of the whole graph, bit for bit."""

from __future__ import annotations

import numpy as np
from smallnet import batch, small_tflite

from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Tensor
from octavo.tuning.op_by_op import OpByOp, starts_of

IMAGES = batch(6)


def _values(run: OpByOp, graph: Graph, tensor: Tensor) -> np.ndarray:
    found: list[np.ndarray] = [np.empty(0)] * len(run)

    def keep(place: int, outputs: list[np.ndarray]) -> None:
        found[place] = outputs[0].copy()

    run.each(graph, tensor, keep)
    return np.concatenate(found)


def test_every_input_is_that_of_the_whole_graph() -> None:
    graph = Graph(small_tflite()).unshared()
    starts, run = starts_of(graph), OpByOp(IMAGES)
    for op in graph.ops:
        tensor = graph.tensors[op.inputs[0]]
        run.start(graph, starts[op.index])
        np.testing.assert_array_equal(_values(run, graph, tensor), Model(graph.exposed([tensor])).run(IMAGES))


def test_what_changed_after_the_start_counts() -> None:
    graph = Graph(small_tflite()).unshared()
    last, run = graph.ops[-1], OpByOp(IMAGES)
    run.start(graph, starts_of(graph)[last.index])
    weights = graph.tensors[last.inputs[1]]
    assert weights.constant is not None
    changed = graph.replaced({weights.name: weights.constant * 2})
    found = _values(run, changed, graph.tensors[last.outputs[0]])
    np.testing.assert_array_equal(found, Model(changed).run(IMAGES))
    assert not np.array_equal(found, Model(graph).run(IMAGES))


def test_inside_a_residual_block_it_starts_before_the_block() -> None:
    """Its ADD needs the tensor before the block, so nothing inside the block is all that later ops need."""
    graph = Graph(small_tflite()).unshared()
    (add,) = (op for op in graph.ops if op.kind == "ADD")
    starts = starts_of(graph)
    inside = [op for op in graph.ops if op.kind == "CONV_2D" and op.index < add.index][-1]
    start, after = starts[inside.index], starts[add.index + 1]
    assert start is not None and start.index in add.inputs
    assert after is not None and after.index == add.outputs[0]
    assert starts[0] is None
