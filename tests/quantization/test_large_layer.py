"""A large layer: the table, its codes and the proof take little memory beside its float weights."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from handmade import File, values

from octavo.base.affine import QParams
from octavo.base.errors import ProofError
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import build
from octavo.tflite.graph import Graph, serialize

SIDE = 1024
RANGES = Ranges("minmax", 1, {"x": (-1.0, 1.0), "out": (-9.0, 9.0)})


@pytest.fixture(scope="module")
def layer() -> Graph:
    file = File()
    x, out = file.tensor("x", (1, SIDE)), file.tensor("out", (1, SIDE))
    file.dense(x, file.constant("weight", values(SIDE, SIDE)), out)
    return file.ports([x], [out]).graph()


def _peak(work: Callable[[], object]) -> float:
    """The peak of the memory that some work takes, in float forms of the layer's weights."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (4 * SIDE * SIDE)


def test_a_large_layer_takes_little_memory_beside_its_weights(layer: Graph) -> None:
    weight = next(tensor.constant for tensor in layer.tensors if tensor.name == "weight")
    assert weight is not None
    params = build(layer, RANGES).stored["weight"]
    made = quantize(layer, RANGES)
    # At once, in float64, these took 4, 4 and 6.
    assert _peak(lambda: build(layer, RANGES)) < 0.5
    assert _peak(lambda: params.quantize(weight)) < 0.75
    assert _peak(lambda: prove(made)) < 1.5


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_all_parts_of_a_large_tensor_have_the_codes_of_the_float64_formula(axis: int | None) -> None:
    real = values(128, SIDE, seed=1)
    largest = np.abs(real).max(axis=None if axis is None else 1 - axis)
    params = QParams.symmetric(np.atleast_1d(largest) * 0.9, axis)
    scale = params.scale.astype(np.float64).reshape([-1 if at == axis else 1 for at in range(2)])
    ratio = real.astype(np.float64) / scale
    wanted = np.clip(np.sign(ratio) * np.floor(np.abs(ratio) + 0.5), -127, 127)
    for form in (real, np.asfortranarray(real), real.astype(np.float64)):
        assert np.array_equal(params.quantize(form), wanted)


def test_the_proof_sees_a_wrong_code_at_the_end_of_a_large_layer(layer: Graph) -> None:
    made = quantize(layer, RANGES)
    graph = Graph(made.content)
    model = graph.copied()
    raw = model.subgraphs[0].tensors[graph.ops[0].inputs[1]]
    codes = np.frombuffer(bytes(model.buffers[raw.buffer].data), np.int8).copy()
    codes[-1] += 2 if codes[-1] < 0 else -2
    model.buffers[raw.buffer].data = codes.view(np.uint8)
    with pytest.raises(ProofError, match="within half a step"):
        prove(replace(made, content=serialize(model)))
