"""Runs a graph op by op over images, each time from the last tensor on which all later values depend.

A pass that changes ops one after the other needs the inputs of each op. If it ran the whole graph for each of them, its
time would grow with the square of the number of ops.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.quantization.observers import Images
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Tensor, drop_unused_buffers

Array = npt.NDArray[Any]


class OpByOp:
    """Images, or the values of a later tensor for each of them, from which ops further on are run.

    Args:
        images: Raw inputs of the graph.
    """

    def __init__(self, images: Images) -> None:
        self._values: Images | list[Array] = images
        self._start: Tensor | None = None

    def __len__(self) -> int:
        """The number of images."""
        return len(self._values)

    def start(self, graph: Graph, tensor: Tensor | None) -> None:
        """Starts from a tensor from now on. Only the values of this one are kept.

        Args:
            graph: The graph. No op before the tensor may change from now on.
            tensor: One that `starts_of` found, at or after the present start; None for the graph's inputs.
        """
        if tensor is None or (self._start is not None and self._start.index == tensor.index):
            return
        values: list[Array] = [np.empty(0)] * len(self)

        def keep(place: int, outputs: list[Array]) -> None:
            values[place] = outputs[0][0].copy()

        self.each(graph, tensor, keep)
        self._values, self._start = values, tensor

    def each(self, graph: Graph, tensor: Tensor, look: Callable[[int, list[Array]], None]) -> None:
        """Computes a tensor for every image.

        Args:
            graph: The graph.
            tensor: A tensor at or after the start.
            look: Called with an image's place and the tensor's value, as by `octavo.runtime.litert.Model.each`.
        """
        if self._start is not None and self._start.index == tensor.index:
            for place, value in enumerate(self._values):
                look(place, [value[None]])
        else:
            Model(_between(graph, self._start, tensor)).each(self._values, look)


def starts_of(graph: Graph) -> dict[int, Tensor | None]:
    """For each op, by its index, the last tensor before it on which all later values depend alone.

    It is None where there is none. A tensor counts only if it has no more values than the inputs: keeping it takes no
    more memory than the images.
    """
    sizes = {t.index: prod(abs(n) for n in t.shape) for t in graph.tensors}
    most = sum(sizes[index] for index in graph.inputs)
    last = {index: op.index for op in graph.ops for index in op.inputs} | dict.fromkeys(graph.outputs, len(graph.ops))
    found: dict[int, Tensor | None] = {}
    live, narrow = set(graph.inputs), None
    for op in graph.ops:
        live = {index for index in live if last.get(index, -1) >= op.index}
        if len(live) == 1 and not graph.variables:
            tensor = graph.tensors[next(iter(live))]
            plain = tensor.dtype == "float32" and tensor.index not in graph.inputs and tensor.shape[:1] in ((1,), (-1,))
            narrow = tensor if plain and sizes[tensor.index] <= most else narrow
        found[op.index] = narrow
        live.update(op.outputs)
    return found


def _between(graph: Graph, start: Tensor | None, end: Tensor) -> Graph:
    """The ops that compute a tensor from the start, or from the inputs."""
    model = graph.copied()
    subgraph = model.subgraphs[0]
    needed, kept = {end.index}, []
    for op, raw in zip(reversed(graph.ops), reversed(subgraph.operators), strict=True):
        if needed.intersection(op.outputs) and (start is None or start.index not in op.outputs):
            kept.append(raw)
            needed.update(op.inputs)
    subgraph.operators = kept[::-1]
    subgraph.inputs = list(graph.inputs) if start is None else [start.index]
    subgraph.outputs = [end.index]
    model.signatureDefs = None
    # Without the constants of all other ops, the graph is quickly packed.
    for index, raw in enumerate(subgraph.tensors):
        if index not in needed:
            raw.buffer = 0
    drop_unused_buffers(model)
    return Graph.of(model, graph.name)
