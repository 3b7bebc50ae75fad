"""Sparse constants: expands the stored values of a sparse constant into its dense array.

The format is that of the schema's ``SparsityParameters``. It traverses dimensions, and blocks of them, in a given
order. Each dimension is dense, or lists the indices of its stored entries in compressed rows (CSR).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_CSR = 1


def dense(values: Array, shape: Sequence[int], sparsity: Any) -> Array:
    """The dense array of a sparse constant.

    Args:
        values: The stored values, in the order of traversal.
        shape: The shape of the dense array.
        sparsity: The schema's ``SparsityParametersT``.

    Raises:
        ValueError: The parameters do not fit the values or the shape.
    """
    order = [int(axis) for axis in sparsity.traversalOrder]
    blocks = [int(axis) for axis in sparsity.blockMap] if sparsity.blockMap is not None else []
    if sorted(order) != list(range(len(shape) + len(blocks))) or len(sparsity.dimMetadata) != len(order):
        raise ValueError("the order of a sparse constant's dimensions does not fit its shape")
    # One entry for each position so far: its row, and its coordinate in each traversed dimension.
    rows = np.zeros(1, np.int64)
    walked: list[Array] = []
    for level in sparsity.dimMetadata:
        if level.format == _CSR:
            segments, indices = (
                np.asarray(part.values, np.int64) for part in (level.arraySegments, level.arrayIndices)
            )
            counts = segments[rows + 1] - segments[rows]
            _bounded(counts, shape)
            starts = np.repeat(segments[rows] - np.cumsum(counts) + counts, counts)
            rows = starts + np.arange(counts.sum())
            step = indices[rows]
        else:
            counts = np.full(len(rows), level.denseSize)
            _bounded(counts, shape)
            step = np.tile(np.arange(level.denseSize), len(rows))
            rows = np.repeat(rows, level.denseSize) * level.denseSize + step
        if step.size and step.min() < 0:
            raise ValueError("a sparse constant has a negative index")
        walked = [*(np.repeat(places, counts) for places in walked), step]
    if len(rows) != len(values):
        raise ValueError(f"a sparse constant holds {len(values)} values for {len(rows)} indices")
    places = [np.zeros(len(rows), np.int64) for _ in shape]
    for axis, step, level in sorted(zip(order, walked, sparsity.dimMetadata, strict=True), key=lambda item: item[0]):
        if axis < len(shape):
            places[axis] = step
        else:
            # The coordinate within a block refines that of the dimension that it divides; blocks are always dense.
            whole = blocks[axis - len(shape)]
            places[whole] = places[whole] * level.denseSize + step
    made = np.zeros(tuple(shape), values.dtype)
    made[tuple(places)] = values
    return made


def _bounded(counts: Array, shape: Sequence[int]) -> None:
    """Refuses a level with more positions than the array has, before memory is allocated for them."""
    if counts.size and (counts.min() < 0 or counts.sum() > math.prod(shape)):
        raise ValueError("a sparse constant has an index outside its shape")
