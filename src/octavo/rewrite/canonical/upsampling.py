"""Makes an upsampling that is written as RESHAPE and TILE one RESIZE_NEAREST_NEIGHBOR.

Keras' UpSampling2D is exported so. The values are the same, in int8 too: it is one op instead of five, faster, and
microcontrollers have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_tensor, operator, set_constant
from octavo.tflite.graph import Graph, Op

IntArray = npt.NDArray[np.int64]

# Ops that repeat values.
_REPEATS = {"TILE", "BROADCAST_TO"}
# The largest upsampled image, in values, that is looked at; one of 2,000 × 2,000 pixels and 3 channels has 12 million.
_LARGEST = 1 << 25


@dataclass(frozen=True)
class _Upsampling:
    """An upsampling as the ops that stand for it.

    Args:
        ops: The ops, in execution order. Nothing else reads what they give, but the result of the last one.
        size: The height and width of the result.
    """

    ops: tuple[Op, ...]
    size: tuple[int, int]


def upsampling(graph: Graph) -> Change | None:
    """Makes every upsampling by repetition one op. A rewrite of the canonical form."""
    found: dict[int, _Upsampling] = {}
    taken: set[int] = set()
    for op in graph.ops:
        if op.kind in _REPEATS and op.index not in taken and (made := _upsampling(graph, op)) is not None:
            found[made.ops[-1].index] = made
            taken |= {one.index for one in made.ops}
    if not found:
        return None
    model = graph.copied()
    subgraph = model.subgraphs[0]
    operators = []
    for op, raw in zip(graph.ops, subgraph.operators, strict=True):
        if op.index not in taken:
            operators.append(raw)
        elif op.index in found:
            whole = found[op.index]
            size = add_tensor(model, f"{graph.tensors[op.outputs[0]].name};size", "int32", (2,))
            set_constant(model, size, np.array(whole.size, np.int32))
            inputs = [whole.ops[0].inputs[0], size]
            options = schema.ResizeNearestNeighborOptionsT()
            operators.append(operator(model, "RESIZE_NEAREST_NEIGHBOR", inputs, [op.outputs[0]], options))
    subgraph.operators = operators
    sweep(model)
    kinds = " and ".join(dict.fromkeys(op.kind for made in found.values() for op in made.ops))
    return Change(
        Graph.of(model, graph.name),
        (f"{len(found)} RESIZE_NEAREST_NEIGHBOR took the place of {kinds}, which repeated values.",),
    )


def has_upsampling(graph: Graph) -> bool:
    """Whether a graph may have an upsampling by repetition."""
    kinds = {op.kind for op in graph.ops}
    return "RESHAPE" in kinds and bool(kinds & _REPEATS)


def _upsampling(graph: Graph, op: Op) -> _Upsampling | None:
    """The upsampling that begins with this repetition, or with the RESHAPE before it."""
    first = graph.producers.get(op.inputs[0])
    if prod(graph.tensors[op.outputs[0]].shape) > _LARGEST:
        return None
    chain = [op] if first is None or first.kind != "RESHAPE" or not _alone(graph, first) else [first, op]
    longest = None
    while True:
        if (size := _size(graph, chain)) is not None:
            longest = _Upsampling(tuple(chain), size)
        last = chain[-1]
        if not _alone(graph, last):
            return longest
        following = graph.consumers[last.outputs[0]][0]
        if following.kind not in {"RESHAPE", *_REPEATS} or following.inputs[0] != last.outputs[0]:
            return longest
        if following.index < last.index or prod(graph.tensors[following.outputs[0]].shape) > _LARGEST:
            return longest
        chain.append(following)


def _alone(graph: Graph, op: Op) -> bool:
    """Whether one op reads the result of another, and nothing else does."""
    return len(graph.consumers.get(op.outputs[0], ())) == 1 and op.outputs[0] not in graph.outputs


def _size(graph: Graph, chain: list[Op]) -> tuple[int, int] | None:
    """The height and width of the result, if the ops together repeat each pixel of an image; else None."""
    source, result = graph.tensors[chain[0].inputs[0]], graph.tensors[chain[-1].outputs[0]]
    if len(source.shape) != 4 or len(result.shape) != 4 or source.dtype != "float32" or source.shape[0] != 1:
        return None
    (_, height, width, channels), (batch, *size, depth) = source.shape, result.shape
    if min(*source.shape, *size) < 1 or (batch, depth) != (1, channels):
        return None
    if size[0] % height or size[1] % width or [height, width] == size:
        return None
    rows, columns = _read(height, size[0]), _read(width, size[1])
    if rows is None or columns is None:
        return None
    values: IntArray | None = np.arange(height * width * channels).reshape(source.shape)
    assert values is not None
    wanted = values[:, rows][:, :, columns]
    for op in chain:
        values = None if values is None else _moved(graph, op, values)
    return (size[0], size[1]) if values is not None and np.array_equal(values, wanted) else None


def _moved(graph: Graph, op: Op, values: IntArray) -> IntArray | None:
    """What an op of a chain makes of values; None if that depends on an input, or is not what the file says."""
    shape = graph.tensors[op.outputs[0]].shape
    if op.kind == "RESHAPE":
        return values.reshape(shape) if prod(shape) == values.size else None
    second = graph.tensors[op.inputs[1]].constant
    if second is None or len(shape) != values.ndim:
        return None
    times = [new // old for new, old in zip(shape, values.shape, strict=True)]
    if op.kind == "TILE":
        return np.tile(values, times) if second.ravel().tolist() == times else None
    fits = all(new == old or old == 1 for new, old in zip(shape, values.shape, strict=True))
    return np.broadcast_to(values, shape) if fits else None


def _read(old: int, new: int) -> IntArray | None:
    """The pixel that LiteRT reads for each of the result, along one axis; None where that is not its repetition."""
    found = np.minimum(np.floor(np.arange(new, dtype=np.float32) * np.float32(old / new)), old - 1).astype(np.int64)
    return found if np.array_equal(found, np.arange(new) // (new // old)) else None
