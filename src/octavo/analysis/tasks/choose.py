"""Chooses the task of a model: by its name, or from its outputs and the truth of the samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octavo.analysis.tasks.anomaly import NORMAL
from octavo.analysis.tasks.task import Task
from octavo.base.errors import OctavoError
from octavo.base.progress import Progress
from octavo.data.dataset import ImageSet
from octavo.recipe.choices import TASKS, Loaded, TaskName
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


def task_named(name: TaskName) -> Task:
    """The task of a name.

    Raises:
        OctavoError: There is no such task.

    Example:
        >>> task_named("regression").name
        'regression'
    """
    if name not in TASKS:
        raise OctavoError(f"There is no task '{name}'.", f"Set `task` to {', '.join(TASKS)}.")
    return _TASKS[name]()


def task_for(name: TaskName | None, graph: Graph, samples: ImageSet, progress: Progress | None = None) -> Task:
    """The task of a model.

    Args:
        name: The task that the user or the model's sidecar names. None to guess it.
        graph: The model.
        samples: Samples with their truth, if it is known.
        progress: Told what was guessed, unless it is the usual one class per sample.

    Raises:
        OctavoError: There is no such task.
    """
    if name is not None:
        return task_named(name)
    found = guess(graph, samples)
    if progress is not None and found.name != "single-label":
        progress.say(f"Task: {found.name} ({TASKS[found.name].about}), because {found.because}. `task` sets another.")
    return task_named(found.name)


def guess(graph: Graph, samples: ImageSet) -> Guess:
    """The task that fits a model's first output and the truth of its samples.

    Args:
        graph: The model.
        samples: Samples; without truth, the outputs alone decide.
    """
    if samples.labels is not None:
        return _by_labels(graph, samples)
    if samples.truth is not None:
        return _by_truth(graph, samples.truth)
    return by_outputs(graph, samples.classes)


def _by_labels(graph: Graph, samples: ImageSet) -> Guess:
    shape, count = _shape(graph), len(samples.classes)
    numbers = math.prod(shape)
    if _reconstructs(graph) and any(name.lower() in NORMAL for name in samples.classes):
        return Guess("anomaly", "the output has the shape of the input, and one class is normal")
    if len(shape) >= 3 and min(shape[:2]) > 1:
        name = by_outputs(graph).name
        return Guess(name, "the model gives an answer for every pixel, and the labels are one per image")
    if numbers == 1 and count > 2 and graph.tensors[graph.outputs[0]].dtype not in WHOLE:
        return Guess("regression", f"the output is one number, and the labels are {count} different ones")
    return Guess("single-label", "every sample has one label")


def _by_truth(graph: Graph, truth: np.typing.NDArray[np.generic]) -> Guess:
    shape = _shape(graph)
    numbers, given = math.prod(shape), math.prod(truth.shape[1:])
    whole = truth.dtype.kind in "iub"
    if whole and truth.ndim >= 3 and len(shape) >= 2 and given > 1 and (given != numbers or shape[-1] == 1):
        return Guess("segmentation", "the labels are masks")
    if given == numbers > 1 and bool(np.isin(truth, (0, 1)).all()):
        return Guess("multi-label", f"the labels are 0 or 1 for each of {numbers} outputs")
    if given == numbers:
        return Guess("regression", f"the labels are {numbers} number{'s' if numbers > 1 else ''} per sample")
    return Guess("outputs", f"labels of {given} numbers do not fit outputs of {numbers}")


def by_outputs(graph: Graph, classes: Sequence[str] = ()) -> Guess:
    """The task that fits a model's outputs, if nothing is known of the truth.

    Args:
        graph: The model.
        classes: The class names that belong to it, if they are known.
    """
    shape = _shape(graph)
    numbers = math.prod(shape)
    kind = _last(graph)
    if len(graph.outputs) > 1:
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


def _shape(graph: Graph) -> tuple[int, ...]:
    """The shape of the first output without the batch axis."""
    return tuple(abs(n) for n in graph.tensors[graph.outputs[0]].shape[1:])


def _reconstructs(graph: Graph) -> bool:
    """Whether the output has the shape of the one input."""
    entry = graph.tensors[graph.inputs[0]].shape
    return len(graph.inputs) == 1 and math.prod(entry) > 1 and entry == graph.tensors[graph.outputs[0]].shape


def _last(graph: Graph) -> str:
    """The kind of the op that makes the first output; ops that only move or store values are passed."""
    op = graph.producers.get(graph.outputs[0])
    while op is not None and op.kind in {"RESHAPE", "DEQUANTIZE", "QUANTIZE", "CAST"}:
        op = graph.producers.get(op.inputs[0])
    return "" if op is None else op.kind
