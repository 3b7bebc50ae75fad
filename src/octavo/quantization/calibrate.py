"""Calibration: runs images through the float graph, in one pass, and finds the range of each tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.errors import DataError
from octavo.quantization.addends import widened
from octavo.quantization.minmax import MINMAX, Extremes
from octavo.quantization.observer import together
from octavo.quantization.observers import Images, Progress, observed, rules_for, run_observers
from octavo.quantization.ranges import Ranges
from octavo.quantization.saturation import saturate
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Survey:
    """What one pass of the calibration images through the float graph shows.

    Args:
        images: How many images there were.
        ranges: The range of every activation.
        extremes: The most extreme values of every activation that is computed, by its name.
        classes: For each image, the place of the largest value of the first output; -1 if that is empty or has a
            NaN or infinity.
        outputs: The raw outputs of the images that were to be kept, by the image's place, without the batch axis.
    """

    images: int
    ranges: Ranges
    extremes: Mapping[str, Extremes] = field(repr=False)
    classes: npt.NDArray[np.int64] = field(repr=False)
    outputs: Mapping[int, list[Array]] = field(repr=False)


def survey(
    graph: Graph,
    images: Images,
    observer: str = "minmax",
    progress: Progress = lambda done: None,
    kept: Collection[int] = (),
) -> Survey:
    """Runs the calibration images through the float graph once, for all that quantization needs of it.

    Args:
        graph: A float graph.
        images: As for `calibrate`.
        observer: As for `calibrate`.
        progress: Called with 1 after each image.
        kept: The places of the images whose outputs are kept.

    Raises:
        DataError: There are no images.
        ModelError: The graph computes NaN or infinity.
        QuantizationError: There is no such observer.
    """
    if len(images) == 0:
        raise DataError("Calibration needs at least one image, and got none.", "Give about 100, from the training set.")
    tensors, wanted = graph.activations, frozenset(kept)
    rules = rules_for(graph, tensors, observer)
    # Min-max tells the extremes too; other observers need it beside them.
    joined = [rule if rule is MINMAX else together([rule, MINMAX]) for rule in rules]
    states, notes = observed(graph, tensors, images, joined, progress, partial(_note, wanted))
    found = {tensor.name: rule.finish(state) for tensor, rule, state in zip(tensors, joined, states, strict=True)}
    extremes = {
        tensor.name: state if rule is MINMAX else state[1]
        for tensor, rule, state in zip(tensors, rules, states, strict=True)
        if tensor.index not in graph.inputs
    }
    ranges = _ranges(graph, Ranges(observer, len(images), found), images)
    outputs = {place: outputs for place, (_, outputs) in enumerate(notes) if outputs is not None}
    return Survey(len(images), ranges, extremes, np.array([largest for largest, _ in notes]), outputs)


def _note(wanted: Collection[int], place: int, made: list[Array]) -> tuple[int, list[Array] | None]:
    """The place of the largest value of an image's first output, as in `Survey`; and its outputs, if they are kept."""
    finite = made[0].size and np.all(np.isfinite(made[0]))
    return int(made[0].argmax()) if finite else -1, [one[0].copy() for one in made] if place in wanted else None


def calibrate(
    graph: Graph,
    images: Images,
    observer: str = "minmax",
    progress: Progress = lambda done: None,
) -> Ranges:
    """Finds the range of every activation over the calibration images.

    Args:
        graph: A float graph.
        images: Preprocessed calibration images, float32, each ``(height, width, channels)``. For a graph with several
            inputs, each item is a tuple with one array for each input.
        observer: A name in `octavo.quantization.observers.OBSERVERS`.
        progress: Called with 1 after each image.

    Raises:
        DataError: There are no images.
        ModelError: The graph computes NaN or infinity.
        QuantizationError: There is no such observer.
    """
    return survey(graph, images, observer, progress).ranges


def calibrations(
    graph: Graph,
    images: Images,
    observers: Sequence[str],
    progress: Progress = lambda done: None,
) -> dict[str, Ranges]:
    """Finds the ranges of several observers, in one pass.

    Args:
        graph: As for `calibrate`.
        images: As for `calibrate`.
        observers: Names in `octavo.quantization.observers.OBSERVERS`.
        progress: Called with 1 after each image.

    Returns:
        What `calibrate` returns for each, by its name.
    """
    tensors = graph.activations
    rules = {name: rules_for(graph, tensors, name) for name in observers}
    states = run_observers(graph, tensors, images, [*map(together, zip(*rules.values(), strict=True))], progress)
    made = {}
    for place, (name, of) in enumerate(rules.items()):
        found = {t.name: rule.finish(state[place]) for t, rule, state in zip(tensors, of, states, strict=True)}
        made[name] = _ranges(graph, Ranges(name, len(images), found), images)
    return made


def _ranges(graph: Graph, found: Ranges, images: Images) -> Ranges:
    """What observers found, limited and widened by the rules that hold for all of them."""
    return widened(graph, saturate(graph, found, images).finite(graph.name))
