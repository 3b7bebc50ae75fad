"""Sparse constants written place by place, in plain Python, after the schema's text."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from handmade import File

FORMATS = ("dense", "csr")


def sparsify(
    values: np.ndarray, order: list[int], formats: list[str], blocks: dict[int, int] | None = None
) -> tuple[np.ndarray, Any]:
    """A sparse constant written place by place, in plain Python: the values that are kept, and the parameters.

    Args:
        values: The dense array.
        order: Dimensions as they are walked; blocks are numbered from ``values.ndim`` on.
        formats: ``dense`` or ``csr`` for each walked dimension.
        blocks: For each dimension that is cut into blocks, their size.
    """
    blocks = blocks or {}
    cut = list(blocks)
    sizes = [n // blocks.get(axis, 1) for axis, n in enumerate(values.shape)] + [blocks[axis] for axis in cut]

    def at(coordinates: dict[int, int]) -> float:
        place = [
            coordinates[axis] * blocks.get(axis, 1)
            + (coordinates[values.ndim + cut.index(axis)] if axis in blocks else 0)
            for axis in range(values.ndim)
        ]
        return float(values[tuple(place)])

    def holds(known: dict[int, int]) -> bool:
        free = [axis for axis in range(len(sizes)) if axis not in known]
        spans = (range(sizes[axis]) for axis in free)
        return any(at(known | dict(zip(free, rest, strict=True))) for rest in itertools.product(*spans))

    rows: list[dict[int, int]] = [{}]
    levels = []
    for axis, kind in zip(order, formats, strict=True):
        level = schema.DimensionMetadataT()
        made: list[dict[int, int]] = []
        segments, indices = [0], []
        for known in rows:
            for step in range(sizes[axis]):
                if kind == "dense" or holds(known | {axis: step}):
                    made.append(known | {axis: step})
                    indices.append(step)
            segments.append(len(indices))
        level.format = FORMATS.index(kind)
        if kind == "dense":
            level.denseSize = sizes[axis]
        else:
            level.arraySegmentsType, level.arraySegments = schema.SparseIndexVector.Int32Vector, schema.Int32VectorT()
            level.arrayIndicesType, level.arrayIndices = schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT()
            level.arraySegments.values, level.arrayIndices.values = segments, indices
        levels.append(level)
        rows = made
    found = schema.SparsityParametersT()
    found.traversalOrder, found.blockMap, found.dimMetadata = order, cut or None, levels
    return np.array([at(known) for known in rows], values.dtype), found


def holey(*shape: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(0, 1, shape) * (random.uniform(0, 1, shape) < 0.3)).astype(np.float32)


CASES = {
    "rows": ((5, 6), [0, 1], ["dense", "csr"], {}),
    "columns first": ((5, 6), [1, 0], ["dense", "csr"], {}),
    "both sparse": ((5, 6), [0, 1], ["csr", "csr"], {}),
    "blocks": ((6, 8), [0, 1, 2, 3], ["dense", "csr", "dense", "dense"], {0: 2, 1: 4}),
    "blocks of one dimension": ((6, 8), [0, 1, 2], ["dense", "csr", "dense"], {1: 4}),
    "convolution": ((4, 1, 1, 7), [0, 1, 2, 3], ["dense", "dense", "dense", "csr"], {}),
}


def sparse_file(case: str, dtype: Any = np.float32) -> tuple[File, np.ndarray]:
    """A file of one DENSIFY, whose answer LiteRT adds to an input."""
    shape, order, formats, blocks = CASES[case]
    whole = holey(*shape).astype(dtype)
    kept, parameters = sparsify(whole, order, formats, blocks)
    file = File()
    stored = file.constant("stored", kept)
    file.at.tensors[stored].shape, file.at.tensors[stored].sparsity = list(shape), parameters
    made = file.tensor("dense", shape, np.dtype(dtype).name)
    file.op("DENSIFY", [stored], [made], "Densify")
    given, out = file.tensor("x", shape), file.tensor("y", shape)
    source = made
    if dtype != np.float32:
        source = file.tensor("float", shape)
        file.op("DEQUANTIZE", [made], [source], "Dequantize")
    file.op("ADD", [given, source], [out], "Add")
    return file.ports([given], [out]), whole
