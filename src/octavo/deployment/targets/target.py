"""What every target answers: can it take this model, did it run, and what will it cost?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from octavo.rewrite.equality import Raw
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Trial:
    """What targets are tried with.

    Args:
        path: The model's file.
        graph: The same, read.
        inputs: Raw inputs, ``(N, height, width, channels)``; tuples of them where the model has several.
        classes: What LiteRT with XNNPACK answers for each, ``(N,)``.
        labels: True classes, ``(N,)``, where images are labelled.
    """

    path: Path
    graph: Graph
    inputs: Raw
    classes: Array
    labels: Array | None

    def fed(self, place: int) -> tuple[Array, ...]:
        """What one run takes, an array with its batch axis for each input; beyond the last the first comes again."""
        item = self.inputs[place % len(self.inputs)]
        return tuple(values[None] for values in (item if isinstance(item, tuple) else (item,)))


@dataclass(frozen=True)
class Answer:
    """One of the three answers.

    Args:
        answer: Yes, no, or None where it can not be told here.
        about: One sentence: what was found, or what is missing and how to get it.
        facts: The figures behind it.
    """

    answer: bool | None
    about: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """One target's three answers; the later two are None where it can not take the model, or that is unknown.

    Args:
        id: The target, for programs: it never changes.
        target: The target, for people.
        takes: Whether it can take the model, judged without running it.
        runs: Whether it ran here, and whether it answered as LiteRT does.
        costs: Time and memory; `answer` is true where they were measured, false where they are estimated.
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

    def takes(self, trial: Trial) -> Answer:
        """Whether it can take the model, judged without running it."""

    def runs(self, trial: Trial) -> Answer:
        """Whether it ran here, and whether it answered as LiteRT does."""

    def costs(self, trial: Trial) -> Answer:
        """Time and memory; `answer` says whether they were measured (yes) or estimated (no)."""


def agreement(trial: Trial, classes: Array) -> tuple[str, dict[str, Any]]:
    """How often a target's classes are XNNPACK's, and right."""
    same, count = int((classes == trial.classes).sum()), len(classes)
    facts: dict[str, Any] = {"images": count, "agree": same, "distinct": len(np.unique(trial.classes))}
    text = f"same class as XNNPACK on {same} of {count} images"
    if trial.labels is not None:
        facts["correct"] = int((classes == trial.labels).sum())
        text += f", right on {facts['correct']}"
    return text, facts
