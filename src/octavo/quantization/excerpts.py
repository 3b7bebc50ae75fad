"""Excerpts: what is kept of some tensors of some images, as a pass over the float graph computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from octavo.data.pass_over import Some
from octavo.quantization.observers import Images, Progress
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Excerpt:
    """What is to be kept of a pass over the calibration images.

    Args:
        places: The images, by their place.
        tensors: The tensors, by their index; one can be named twice.
        cut: From the values of `tensors` for an image, which are views that the next run overwrites, to what is kept.
    """

    places: Sequence[int]
    tensors: Sequence[int]
    cut: Callable[[list[Array]], Any]


def excerpts(graph: Graph, images: Images, wanted: Excerpt, progress: Progress = lambda done: None) -> list[Any]:
    """Runs the images of an excerpt through a float graph.

    Args:
        graph: The graph.
        images: All calibration images: raw inputs, float32.
        wanted: What is kept of them.
        progress: Called with 1 after each image.

    Returns:
        What is kept of each, in the order of `wanted.places`.
    """
    found: list[Any] = [None] * len(wanted.places)
    if not wanted.tensors:
        # A graph without outputs is no model.
        return [wanted.cut([]) for _ in found]

    def keep(place: int, outputs: list[Array]) -> None:
        found[place] = wanted.cut(outputs)
        progress(1)

    Model(graph.exposed([graph.tensors[index] for index in wanted.tensors])).each(Some(images, wanted.places), keep)
    return found
