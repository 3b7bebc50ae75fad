"""Calibration: images through the float graph, ranges out. One pass, any order, all cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.errors import DataError, ModelError
from octavo.graph import Graph
from octavo.ranges import OBSERVERS, Ranges
from octavo.runtime import Model

Progress = Callable[[int], None]


def calibrate(
    graph: Graph,
    images: Sequence[npt.NDArray[Any] | tuple[npt.NDArray[Any], ...]] | npt.NDArray[np.float32],
    observer: str = "minmax",
    progress: Progress = lambda done: None,
) -> Ranges:
    """Finds the range of every activation over the calibration images.

    The activations are exposed as outputs of a copy of the graph, so that the runtime's own fast kernels
    compute them; nothing is kept of an image but what the observer's state holds.

    Args:
        graph: A float graph.
        images: Preprocessed calibration images, float32, each ``(height, width, channels)``; or, for a graph of
            several inputs, tuples of what they take.
        observer: A name in `octavo.ranges.OBSERVERS`.
        progress: Called after each image with 1.

    Raises:
        DataError: There are no images.
        ModelError: The graph computes NaN or infinity.
    """
    if len(images) == 0:
        raise DataError("Calibration needs at least one image, and got none.", "Give 100 or so, from the training set.")
    rules = OBSERVERS[observer]
    tensors = graph.activations
    # One state list per thread: no lock in the loop, and merging makes the order immaterial.
    local: dict[int, list[Any]] = {}

    def look(place: int, outputs: list[npt.NDArray[Any]]) -> None:
        states = local.setdefault(threading.get_ident(), [rules.init() for _ in tensors])
        for index, values in enumerate(outputs):
            states[index] = rules.update(states[index], values)
        progress(1)

    Model(graph.exposed(tensors)).each(images, look)
    merged = [rules.init() for _ in tensors]
    for states in local.values():
        merged = [rules.merge(a, b) for a, b in zip(merged, states, strict=True)]
    found = {tensor.name: rules.finish(state) for tensor, state in zip(tensors, merged, strict=True)}
    broken = [name for name, bounds in found.items() if not np.all(np.isfinite(bounds))]
    if broken:
        raise ModelError(
            f"{graph.name} computes NaN or infinity in {len(broken)} of {len(found)} tensors.",
            "Check its weights and that the images are preprocessed as it was trained. First tensors concerned:",
            details=broken[:5],
        )
    return Ranges(observer, len(images), found)
