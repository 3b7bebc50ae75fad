"""The memory that a microcontroller needs for activations: TFLite Micro's greedy plan.

Tensors are placed one by one, the largest first, each at the lowest offset where it overlaps no tensor that is alive at
the same time (David et al. 2021, "TensorFlow Lite Micro", section 4.4.2; Pisarchyk and Lee 2020, 2001.03288).
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from math import prod

import numpy as np

from octavo.tflite.graph import Graph

ALIGNMENT = 16


@dataclass(frozen=True)
class Placed:
    """One tensor of a plan: bytes from `offset`, alive from op `first` to op `last`."""

    tensor: int
    size: int
    first: int
    last: int
    offset: int = 0


def lifetimes(graph: Graph) -> list[Placed]:
    """Every activation with its aligned size, from the op that makes it to the last that reads it.

    Inputs live from the first op on, outputs to the last; constants stay in flash.
    """
    last = len(graph.ops) - 1
    found = []
    for index in dict.fromkeys([*graph.inputs, *(out for op in graph.ops for out in op.outputs)]):
        tensor = graph.tensors[index]
        width = 0.5 if tensor.dtype == "int4" else np.dtype(tensor.dtype).itemsize
        size = -(-int(prod(abs(n) for n in tensor.shape) * width) // ALIGNMENT) * ALIGNMENT
        made = graph.producers[index].index if index in graph.producers else 0
        read = max([made, *(op.index for op in graph.consumers.get(index, ()))])
        found.append(Placed(index, size, made, last if index in graph.outputs else read))
    return found


def plan(tensors: list[Placed]) -> list[Placed]:
    """Gives every tensor its offset, and returns them by their offsets.

    Example:
        >>> chain = [Placed(0, 64, 0, 0), Placed(1, 32, 0, 1), Placed(2, 48, 1, 2)]
        >>> [(item.tensor, item.offset) for item in plan(chain)]
        [(0, 0), (2, 0), (1, 64)]
    """
    done: list[Placed] = []
    for item in sorted(tensors, key=lambda item: -item.size):
        offset = 0
        for other in done:
            if other.first > item.last or other.last < item.first:
                continue
            if other.offset - offset >= item.size:
                break
            offset = max(offset, other.offset + other.size)
        placed = Placed(item.tensor, item.size, item.first, item.last, offset)
        insort(done, placed, key=lambda other: other.offset)
    return done


def peak(placed: list[Placed]) -> int:
    """Bytes from the start of the arena to the end of the last tensor."""
    return max((item.offset + item.size for item in placed), default=0)


def least(tensors: list[Placed]) -> int:
    """The largest sum of bytes of tensors alive at the same time, a lower bound for every plan."""
    moments = {item.first for item in tensors}
    return max((sum(t.size for t in tensors if t.first <= now <= t.last) for now in moments), default=0)
