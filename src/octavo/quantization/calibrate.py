"""Calibration: runs images through the float graph, in one pass, and finds the range of each tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.errors import DataError
from octavo.data.pass_over import taken
from octavo.quantization.addends import widened
from octavo.quantization.excerpts import Excerpt
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
        excerpts: What was kept of each image of the excerpt, in its order.
    """

    images: int
    ranges: Ranges
    extremes: Mapping[str, Extremes] = field(repr=False)
    classes: npt.NDArray[np.int64] = field(repr=False)
    outputs: Mapping[int, list[Array]] = field(repr=False)
    excerpts: Sequence[Any] = field(default=(), repr=False)


def survey(
    graph: Graph,
    images: Images,
    observer: str = "minmax",
    progress: Progress = lambda done: None,
    kept: Collection[int] = (),
    excerpt: Excerpt | None = None,
) -> Survey:
    """Runs the calibration images through the float graph once, for all that quantization needs of it.

    Args:
        graph: A float graph.
        images: As for `calibrate`.
        observer: As for `calibrate`.
        progress: Called with 1 after each image.
        kept: The places of the images whose outputs are kept.
        excerpt: What else is kept of some images.

    Raises:
        DataError: There are no images.
        ModelError: The graph computes NaN or infinity.
        QuantizationError: There is no such observer.
    """
    if len(images) == 0:
        raise DataError("Calibration needs at least one image, and got none.", "Give about 100, from the training set.")
    tensors, kept = graph.activations, frozenset(kept)
    read = () if excerpt is None else tuple(excerpt.places)
    rules = rules_for(graph, tensors, observer)
    # Min-max tells the extremes too; other observers need it beside them.
    joined = [rule if rule is MINMAX else together([rule, MINMAX]) for rule in rules]
    states, noted = [rule.init() for rule in joined], dict[int, _Noted]()
    # The images of the excerpt run apart: for the others, the runtime need not keep what nobody reads.
    for places in (read, sorted(set(range(len(images))) - set(read))):
        if places:
            own = excerpt if places is read else None
            wanted = frozenset(at for at, place in enumerate(places) if place in kept)
            note = partial(_note, wanted, len(graph.outputs), own)
            exits = [*graph.outputs, *(own.tensors if own is not None else ())]
            part = taken(images, places) if read else images
            more, notes = observed(graph, tensors, part, joined, progress, note, exits)
            states = [rule.merge(one, other) for rule, one, other in zip(joined, states, more, strict=True)]
            noted |= zip(places, notes, strict=True)
    found = {tensor.name: rule.finish(state) for tensor, rule, state in zip(tensors, joined, states, strict=True)}
    extremes = {
        tensor.name: state if rule is MINMAX else state[1]
        for tensor, rule, state in zip(tensors, rules, states, strict=True)
        if tensor.index not in graph.inputs
    }
    return Survey(
        len(images),
        _ranges(graph, Ranges(observer, len(images), found), images),
        extremes,
        np.array([noted[place].largest for place in range(len(images))]),
        {place: note.outputs for place, note in noted.items() if note.outputs is not None},
        [noted[place].read for place in read],
    )


@dataclass(frozen=True)
class _Noted:
    """What is kept of an image: its entry in `Survey.classes`, its outputs and its excerpt, if these are wanted."""

    largest: int
    outputs: list[Array] | None
    read: Any


def _note(kept: Collection[int], count: int, excerpt: Excerpt | None, place: int, values: list[Array]) -> _Noted:
    """Of the values of the outputs, of which there are `count`, and of the tensors of the excerpt."""
    first = values[0]
    return _Noted(
        int(first.argmax()) if first.size and np.all(np.isfinite(first)) else -1,
        [one[0].copy() for one in values[:count]] if place in kept else None,
        None if excerpt is None else excerpt.cut(values[count:]),
    )


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
