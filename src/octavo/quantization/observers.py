"""Runs observers, chosen by name, over images, in one pass. `octavo.quantization.observer` defines them.

`minmax` keeps every value inside the range. The others clip outliers for a finer step, and differ in how they weigh
the clipping error against the rounding error. `octavo.recipe.choices` lists them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.errors import ModelError, QuantizationError
from octavo.data.pass_over import Samples, pass_over
from octavo.quantization.minmax import MINMAX, Extremes
from octavo.quantization.observer import Observer
from octavo.quantization.ranges import Range, Ranges
from octavo.recipe import choices
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Tensor
from octavo.tflite.op_table import clips
from octavo.tflite.reduced import is_reducible, reduced

Array = npt.NDArray[Any]
Progress = Callable[[int], None]
Images = Samples

# Ops that a classifier's scores may pass through on their way to SOFTMAX. They keep the scale.
_MOVES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")

OBSERVERS: Mapping[str, Observer] = choices.Loaded(choices.OBSERVERS)


def run_observers(
    graph: Graph,
    tensors: Sequence[Tensor],
    images: Images,
    rules: Sequence[Observer],
    progress: Progress = lambda done: None,
) -> list[Any]:
    """Runs an observer for each tensor over the images, and returns their states: see `observed`."""
    return observed(graph, tensors, images, rules, progress)[0]


def observed(
    graph: Graph,
    tensors: Sequence[Tensor],
    images: Images,
    rules: Sequence[Observer],
    progress: Progress = lambda done: None,
    note: Callable[[int, list[Array]], Any] = lambda place, values: None,
    noted: Sequence[int] | None = None,
) -> tuple[list[Any], list[Any]]:
    """Runs an observer for each tensor over the images, in one pass, and notes something of each image.

    The runtime finds the extremes of tensors that min-max observes. The others become outputs of a copy of the graph,
    so that the runtime's own fast kernels compute them. Only the states and the notes are kept of an image. A tensor
    that an activation function clips is skipped once enough images have reached both of its bounds.

    Args:
        graph: A float graph.
        tensors: The activations to observe.
        images: Raw inputs, float32, each ``(height, width, channels)``.
        rules: The observer of each tensor.
        progress: Called with the number of images done.
        note: Called with the place of each image and the values of the tensors `noted`, as `Model.each` does.
        noted: The indices of tensors; one can be named twice. The graph's own outputs by default.

    Returns:
        The state of each observer, and the note of each image.
    """
    noted = graph.outputs if noted is None else noted
    inside = [at for at, rule in enumerate(rules) if rule is MINMAX and is_reducible(graph, tensors[at])]
    try:
        found = _seen(graph, tensors, images, rules, inside, progress, note, noted)
        # The runtime's extremes of NaN are of no use.
        again = None if found.finite else lambda done: None
    except ModelError:
        # Where a tensor has another rank than its file says, the runtime takes the graph, but not a reduction of it.
        again = progress
    if again is not None:
        found = _seen(graph, tensors, images, rules, [], again, note, noted)
    return found.states, found.notes


@dataclass(frozen=True)
class _Seen:
    """What was seen of some images: the states, the notes, and whether all sums were finite."""

    states: list[Any]
    notes: list[Any]
    finite: bool


def _seen(
    graph: Graph,
    tensors: Sequence[Tensor],
    images: Images,
    rules: Sequence[Observer],
    inside: Sequence[int],
    progress: Progress,
    note: Callable[[int, list[Array]], Any],
    noted: Sequence[int],
) -> _Seen:
    """One pass over the images, in which the runtime finds the extremes of the tensors at the places `inside`."""
    outside = sorted(set(range(len(tensors))) - set(inside))
    exposed = list(dict.fromkeys((*(tensors[at].index for at in outside), *noted)))
    others = [graph.tensors[index] for index in exposed]
    made = reduced(graph, [tensors[at] for at in inside], others) if inside else graph.exposed(others)
    first = len(made.outputs) - len(exposed)
    makers = [graph.producers.get(tensors[at].index) for at in outside]
    bounds = [(-np.inf, np.inf) if maker is None else clips(maker) for maker in makers]
    # Several rules may watch one tensor: ops that read the same input.
    watched = [
        _Watched(at, first + exposed.index(tensors[at].index), within)
        for at, within in zip(outside, bounds, strict=True)
    ]
    exits = [first + exposed.index(index) for index in noted]
    work = partial(_observe, rules, inside, watched, exits, note)
    found: _Seen = pass_over(made, images, work, partial(_joined, rules), progress)
    return found


@dataclass(frozen=True)
class _Watched:
    """A tensor whose values are looked at: its rule's place, its place among the outputs, and its clips."""

    rule: int
    output: int
    within: Range


def _observe(
    rules: Sequence[Observer],
    inside: Sequence[int],
    watched: Sequence[_Watched],
    exits: Sequence[int],
    note: Callable[[int, list[Array]], Any],
    model: Model,
    images: Images,
    first: int,
    progress: Progress,
) -> _Seen:
    # One list of states for each thread: the loop needs no lock, and the order of merging does not matter.
    local: dict[int, list[Any]] = {}
    notes: list[Any] = [None] * len(images)
    reductions = np.zeros((3, len(images), len(inside)), np.float32)

    def observe_image(place: int, outputs: list[Array]) -> None:
        states = local.setdefault(threading.get_ident(), [rule.init() for rule in rules])
        if inside:
            reductions[:, place] = outputs[:3]
        for item in watched:
            rule, state = rules[item.rule], states[item.rule]
            if not rule.settled(state, item.within):
                states[item.rule] = rule.update(state, outputs[item.output])
        notes[place] = note(first + place, [outputs[at] for at in exits])
        progress(1)

    model.each(images, observe_image)
    merged = [rule.init() for rule in rules]
    for states in local.values():
        merged = [rule.merge(a, b) for rule, a, b in zip(rules, merged, states, strict=True)]
    lows, highs, sums = reductions
    for place, found in zip(inside, Extremes.of(lows, highs), strict=True):
        merged[place] = found
    return _Seen(merged, notes, bool(np.all(np.isfinite(sums))))


def _joined(rules: Sequence[Observer], one: _Seen, other: _Seen) -> _Seen:
    """The states of both, merged, and the notes of both."""
    states = [rule.merge(a, b) for rule, a, b in zip(rules, one.states, other.states, strict=True)]
    return _Seen(states, [*one.notes, *other.notes], one.finite and other.finite)


def rules_for(graph: Graph, tensors: Sequence[Tensor], observer: str) -> list[Observer]:
    """The observer of each tensor: min-max for images and for the scores of classes, the named one for all others.

    Pixels have 256 values within known bounds, and 256 codes represent them all: clipping them would only add error.
    Other inputs, such as those of sensors, have outliers, as activations do. The largest score is the answer: where it
    is clipped, several classes share it.

    Raises:
        QuantizationError: There is no such observer.
    """
    if observer not in OBSERVERS:
        raise QuantizationError(f"There is no observer '{observer}'.", f"Use one of {', '.join(OBSERVERS)}.")
    whole = _scores(graph) | {index for index in graph.inputs if graph.tensors[index].is_image}
    return [MINMAX if tensor.index in whole else OBSERVERS[observer] for tensor in tensors]


def _scores(graph: Graph) -> set[int]:
    """The tensors that hold the scores of classes: those that become an output of probabilities, one row a sample."""
    found: set[int] = set()
    for index in graph.outputs:
        op = graph.producers.get(index)
        if op is None or op.kind != "SOFTMAX" or len(graph.tensors[index].shape) != 2:
            continue
        while op is not None and op.kind in ("SOFTMAX", *_MOVES) and op.inputs[0] not in found:
            found.add(op.inputs[0])
            op = graph.producers.get(op.inputs[0])
    return found


def observe(graph: Graph, images: Images, observer: str = "minmax", progress: Progress = lambda done: None) -> Ranges:
    """Finds the range of every activation over the images; NaN or infinite if a value was.

    Args:
        graph: A float graph.
        images: Raw inputs, float32, each ``(height, width, channels)``.
        observer: A name in `OBSERVERS`.
        progress: Called with 1 after each image.

    Raises:
        QuantizationError: There is no such observer.
    """
    tensors = graph.activations
    rules = rules_for(graph, tensors, observer)
    states = run_observers(graph, tensors, images, rules, progress)
    found = {tensor.name: rule.finish(state) for tensor, rule, state in zip(tensors, rules, states, strict=True)}
    return Ranges(observer, len(images), found)
