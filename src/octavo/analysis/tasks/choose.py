"""Chooses the task of a model: by its name, or from its outputs and the truth of the samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octavo.analysis.box_outputs import places_of
from octavo.analysis.tasks.anomaly import NORMAL
from octavo.analysis.tasks.task import Task, end_of, shape_of
from octavo.base.errors import OctavoError
from octavo.base.progress import Progress
from octavo.data.boxes import COLUMNS
from octavo.data.dataset import ImageSet
from octavo.recipe.choices import TASKS, Loaded, TaskName
from octavo.runtime.litert import outputs_of
from octavo.tflite.graph import WHOLE, Graph

_TASKS: Mapping[str, type[Task]] = Loaded(TASKS)


@dataclass(frozen=True)
class Guess:
    """A task that fits a model and its data.

    Args:
        name: The task.
        because: The reason, in half a sentence.
    """

    name: TaskName
    because: str


def task_named(name: TaskName, place: int = 0) -> Task:
    """The task of a name.

    Args:
        name: The task.
        place: Which output it is about.

    Raises:
        OctavoError: There is no such task.

    Example:
        >>> task_named("regression").name
        'regression'
    """
    if name not in TASKS:
        raise OctavoError(f"There is no task '{name}'.", f"Set `task` to {', '.join(TASKS)}.")
    return _TASKS[name](place)


def task_for(
    name: TaskName | None,
    graph: Graph,
    samples: ImageSet,
    progress: Progress | None = None,
    output: str | None = None,
) -> Task:
    """The task of a model.

    Args:
        name: The task that the user or the model's sidecar names. None to guess it.
        graph: The model.
        samples: Samples with their truth, if it is known.
        progress: Told what was guessed, unless it is the usual one class per sample, and which outputs are not scored.
        output: The output that the task is about. The first if None.

    Raises:
        OctavoError: There is no such task, or no such output.
    """
    place = None if output is None else place_of(graph, output)
    if name is None:
        found = guess(graph, samples, place)
        name = found.name
        if progress is not None and name != "single-label":
            progress.say(f"Task: {name} ({TASKS[name].about}), because {found.because}. `task` sets another.")
    task = task_named(name, place or 0)
    if progress is not None and len(graph.outputs) > 1:
        _say_unread(task, graph, progress)
    return task


def place_of(graph: Graph, output: str) -> int:
    """The position of an output by its name.

    Args:
        graph: The model.
        output: The name in the signature, that of the tensor, or the latter as people say it.

    Raises:
        OctavoError: There is no such output.
    """
    ports = outputs_of(graph)
    found = [place for place, port in enumerate(ports) if output in (port.argument, port.name, port.label)]
    if not found:
        raise OctavoError(
            f"{graph.name} has no output '{output}'.",
            f"Set `output` to {' or '.join(repr(port.label) for port in ports)}.",
        )
    return found[0]


def scored(graph: Graph, output: str | None) -> int:
    """The position of the output that is scored: that of the name, or the first if there is none.

    Raises:
        OctavoError: There is no such output.
    """
    return 0 if output is None else place_of(graph, output)


def _say_unread(task: Task, graph: Graph, progress: Progress) -> None:
    """Names the outputs that are not scored."""
    ports = outputs_of(graph)
    read = task.read(graph)
    unread = [repr(port.label) for place, port in enumerate(ports) if place not in read]
    if unread:
        progress.say(
            f"Scored is the output '{ports[read[0]].label}', and not {', '.join(unread)}. `output` chooses another."
        )


def guess(graph: Graph, samples: ImageSet, place: int | None = None) -> Guess:
    """The task that fits a model's output and the truth of its samples.

    Args:
        graph: The model.
        samples: Samples; without truth, the outputs alone decide.
        place: The output that was chosen. None if none was: then it is the first, or all of them.
    """
    normal = any(name.lower() in NORMAL for name in samples.classes)
    if samples.truth is None and normal and _reconstructs(graph, place or 0):
        return Guess("anomaly", "the output has the shape of the input, and one class is normal")
    if samples.labels is not None:
        return _by_labels(graph, samples, place or 0)
    if samples.truth is not None:
        return _by_truth(graph, samples.truth, place)
    return by_outputs(graph, samples.classes, place)


def _by_labels(graph: Graph, samples: ImageSet, place: int) -> Guess:
    shape, count = shape_of(graph, place), len(samples.classes)
    numbers = math.prod(shape)
    if len(shape) >= 3 and min(shape[:2]) > 1:
        name = by_outputs(graph, place=place).name
        return Guess(name, "the model gives an answer for every pixel, and the labels are one per image")
    if numbers == 1 and count > 2 and graph.tensors[graph.outputs[place]].dtype not in WHOLE:
        return Guess("regression", f"the output is one number, and the labels are {count} different ones")
    return Guess("single-label", "every sample has one label")


def _by_truth(graph: Graph, truth: np.typing.NDArray[np.generic], place: int | None) -> Guess:
    found = places_of(graph) if _may_be_boxes(truth) else None
    if found is not None and place in (None, found.boxes, found.scores):
        return Guess("detection", "the labels and the outputs are boxes")
    shape = shape_of(graph, place or 0)
    numbers, given = math.prod(shape), math.prod(truth.shape[1:])
    whole = truth.dtype.kind in "iub"
    if whole and truth.ndim >= 3 and len(shape) >= 2 and given > 1 and (given != numbers or shape[-1] == 1):
        return Guess("segmentation", "the labels are masks")
    if given == numbers > 1 and bool(np.isin(truth, (0, 1)).all()):
        return Guess("multi-label", f"the labels are 0 or 1 for each of {numbers} outputs")
    if given == numbers:
        return Guess("regression", f"the labels are {numbers} number{'s' if numbers > 1 else ''} per sample")
    if place is None and _may_be_boxes(truth) and places_of(graph, told=True) is not None:
        return Guess("outputs", "no outputs are named boxes and scores, though their shapes would fit")
    return Guess("outputs", f"labels of {given} numbers do not fit outputs of {numbers}")


def _may_be_boxes(truth: np.typing.NDArray[np.generic]) -> bool:
    """Whether an array may hold boxes: four corners and a class in each row, and that of a crowd."""
    return truth.ndim == 3 and truth.shape[2] in (COLUMNS - 1, COLUMNS) and truth.dtype.kind == "f"


def by_outputs(graph: Graph, classes: Sequence[str] = (), place: int | None = None) -> Guess:
    """The task that fits a model's outputs, if nothing is known of the truth.

    Args:
        graph: The model.
        classes: The class names that belong to it, if they are known.
        place: The output that was chosen; None if none was.
    """
    shape = shape_of(graph, place or 0)
    numbers = math.prod(shape)
    kind = end_of(graph, place or 0)
    if place is None and places_of(graph) is not None:
        return Guess("detection", "the outputs are boxes and scores")
    if place is None and len(graph.outputs) > 1:
        return Guess("outputs", f"the model has {len(graph.outputs)} outputs, and the samples have no labels")
    if len(shape) == 3 and min(shape[:2]) > 1 and (kind in {"SOFTMAX", "ARG_MAX"}):
        return Guess("segmentation", "the outputs are classes of pixels")
    if len(shape) <= 1 and (kind == "SOFTMAX" or (numbers > 1 and numbers == len(classes))):
        return Guess("single-label", f"the outputs are {numbers} classes")
    if len(shape) <= 1 and kind == "LOGISTIC":
        if numbers == 1:
            return Guess("single-label", "the output is one probability")
        return Guess("multi-label", f"the outputs are {numbers} independent probabilities")
    return Guess("outputs", "the samples have no labels, and the outputs may mean anything")


def _reconstructs(graph: Graph, place: int) -> bool:
    """Whether an output has the shape of the one input."""
    entry = graph.tensors[graph.inputs[0]].shape
    return len(graph.inputs) == 1 and math.prod(entry) > 1 and entry == graph.tensors[graph.outputs[place]].shape
