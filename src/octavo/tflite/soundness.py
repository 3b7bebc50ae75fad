"""Soundness: whether every tensor that a graph reads is there. LiteRT runs some files in which one is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from octavo.base.errors import ModelError
from octavo.base.limits import MOST_AXES, model_bytes


def check(subgraph: Any, stored: Sequence[bool], size: int, name: str) -> None:
    """Refuses a graph that reads a tensor which nothing provides, or whose tensors are larger than its file allows.

    A tensor is provided by the inputs, by a constant, or by an op before the one that reads it. Variables, which ops
    change in place, and tensors without elements need not be.

    Args:
        subgraph: The schema's ``SubGraphT``.
        stored: For each tensor, whether the file holds its values.
        size: Bytes of the file.
        name: The name of the model in error messages.

    Raises:
        ModelError: The graph is not sound.
    """
    tensors = subgraph.tensors

    def refuse(what: str) -> None:
        raise ModelError(f"{name} is damaged: {what}.", "Copy or export it again.")

    def called(index: int) -> str:
        raw = tensors[index].name
        return f"'{raw.decode('utf-8', 'replace')}'" if raw else f"number {index}"

    for index, raw in enumerate(tensors):
        if "\ufffd" in (raw.name or b"").decode("utf-8", "replace"):
            refuse(f"the name of its tensor {index} is not UTF-8")
        shape = () if raw.shape is None else tuple(int(n) for n in raw.shape)
        if len(shape) > MOST_AXES:
            refuse(f"its tensor {called(index)} has {len(shape)} axes, and LiteRT knows up to {MOST_AXES}")
        # In 4 bytes per value, since Octavo computes on reals.
        if 4 * math.prod(max(n, 1) for n in shape) > model_bytes(size):
            refuse(f"its tensor {called(index)} claims the shape {shape}, and the whole file has {size:,} bytes")
    ports = {"inputs": subgraph.inputs, "outputs": subgraph.outputs}
    for what, indices in ports.items():
        if indices is None or len(indices) == 0:
            refuse(f"it has no {what}")
        for index in indices:
            if not 0 <= index < len(tensors):
                refuse(f"its {what} name tensor {index}, and there are {len(tensors)}")
    ready = np.array(stored, bool)
    for index, raw in enumerate(tensors):
        ready[index] |= bool(raw.isVariable) or (raw.shape is not None and 0 in raw.shape)
    ready[[int(index) for index in subgraph.inputs]] = True
    for place, op in enumerate(subgraph.operators or ()):
        for index in () if op.inputs is None else op.inputs:
            if not -1 <= index < len(tensors):
                refuse(f"its op {place} reads tensor {index}, and there are {len(tensors)}")
            if index >= 0 and not ready[index]:
                refuse(f"its op {place} reads the tensor {called(index)}, which nothing before it computes")
        for index in () if op.outputs is None else op.outputs:
            if not 0 <= index < len(tensors):
                refuse(f"its op {place} writes tensor {index}, and there are {len(tensors)}")
            ready[index] = True
    for index in subgraph.outputs:
        if not ready[index]:
            refuse(f"its output {called(index)} is computed by no op")
