"""The questions to every target: can it take this model, did the model run, and what does it cost?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from octavo.analysis.tasks.task import classes_of
from octavo.base.units import milliseconds
from octavo.rewrite.equality import Raw
from octavo.runtime.litert import Latency, Model
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Trial:
    """The model and inputs for checking targets.

    Args:
        path: The model's file.
        graph: The same, read.
        inputs: Raw inputs, ``(N, height, width, channels)``; tuples of them where the model has several.
        expected: The first output that LiteRT with XNNPACK gives for each, as reals, ``(N, numbers)``.
        classified: Whether that output tells classes apart.
        labels: True classes, ``(N,)``, where images are labelled.
    """

    path: Path
    graph: Graph
    inputs: Raw
    expected: Array
    classified: bool
    labels: Array | None

    def fed(self, place: int) -> tuple[Array, ...]:
        """The inputs of one run, with batch axis; after the last image the first comes again."""
        item = self.inputs[place % len(self.inputs)]
        return tuple(values[None] for values in (item if isinstance(item, tuple) else (item,)))


@dataclass(frozen=True)
class Answer:
    """One of the three answers.

    Args:
        answer: Yes, no, or None if it cannot be determined here.
        about: One sentence: the result, or what is missing and how to get it.
        facts: The figures.
    """

    answer: bool | None
    about: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """One target's three answers; the last two are None if it cannot take the model, or if that is unknown.

    Args:
        id: The target, for programs: it never changes.
        target: The target, for people.
        takes: Whether it can take the model, judged without running it.
        runs: Whether the model ran here, and whether the outputs are LiteRT's.
        costs: Time and memory; `answer` is true if they were measured, false if they are estimated.
    """

    id: str
    target: str
    takes: Answer
    runs: Answer | None
    costs: Answer | None


class Target(Protocol):
    """A runtime or device.

    `id` is for programs and never changes; `name` is for people.
    """

    id: str
    name: str

    def lacks(self) -> str:
        """The command that installs what this machine lacks for it; empty if it lacks nothing."""

    def takes(self, trial: Trial) -> Answer:
        """Whether it can take the model, judged without running it."""

    def runs(self, trial: Trial) -> Answer:
        """Whether it ran here, and whether it answered as LiteRT does."""

    def costs(self, trial: Trial) -> Answer:
        """Time and memory; `answer` says whether they were measured (yes) or estimated (no)."""


def trial_of(path: Path, graph: Graph, inputs: Raw, classified: bool, labels: Array | None) -> Trial:
    """A trial, after LiteRT with XNNPACK has run its inputs.

    Args:
        path: The model's file.
        graph: The same, read.
        inputs: Raw inputs.
        classified: Whether its first output tells classes apart.
        labels: True classes, where images are labelled.
    """
    return Trial(path, graph, inputs, first_outputs(Model(graph), inputs), classified, labels)


def first_outputs(model: Model, inputs: Raw) -> Array:
    """The first output for every raw input, as reals, ``(N, numbers)``."""
    outputs = model.run(inputs)
    return outputs.reshape(len(outputs), -1)


def timed(found: Latency) -> Answer:
    """What a target costs whose runs on one thread were timed here."""
    about = f"{milliseconds(found.median_ms)} a run on one thread (median of {found.runs} runs)"
    return Answer(True, about, vars(found))


def agreement(trial: Trial, outputs: Array) -> tuple[str, dict[str, Any]]:
    """How near a target's outputs are to XNNPACK's: how many classes are equal, or else their SQNR.

    Args:
        trial: What XNNPACK gives.
        outputs: The target's first output, as reals, ``(N, ...)``.
    """
    outputs = np.asarray(outputs).reshape(len(outputs), -1)
    facts: dict[str, Any] = {"images": len(outputs)}
    if not trial.classified:
        return _nearness(trial.expected.astype(np.float64), outputs.astype(np.float64), facts)
    expected, classes = classes_of(trial.graph, trial.expected), classes_of(trial.graph, outputs)
    same = int((classes == expected).sum())
    facts |= {"agree": same, "distinct": len(np.unique(expected))}
    text = f"same class as XNNPACK on {same} of {len(classes)} images"
    if trial.labels is not None:
        facts["correct"] = int((classes == trial.labels).sum())
        text += f", right on {facts['correct']}"
    return text, facts


def _nearness(expected: Array, outputs: Array, facts: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    noise, signal = float(np.square(outputs - expected).sum()), float(np.square(expected).sum())
    if noise == 0:
        return f"equal to XNNPACK on {len(outputs)} samples", facts | {"sqnr": None}
    sqnr = 10 * float(np.log10(max(signal, 1e-300) / noise))
    return f"{sqnr:.1f} dB from XNNPACK's outputs on {len(outputs)} samples", facts | {"sqnr": sqnr}
