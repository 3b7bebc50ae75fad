"""The questions to every target: can it take this model, did the model run, and what does it cost?"""

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
    """The model and inputs for checking targets.

    Args:
        path: The model's file.
        graph: The same, read.
        inputs: Raw inputs, ``(N, height, width, channels)``; tuples of them where the model has several.
        classes: The class that LiteRT with XNNPACK gives for each, ``(N,)``.
        labels: True classes, ``(N,)``, where images are labelled.
    """

    path: Path
    graph: Graph
    inputs: Raw
    classes: Array
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

    def takes(self, trial: Trial) -> Answer:
        """Whether it can take the model, judged without running it."""

    def runs(self, trial: Trial) -> Answer:
        """Whether it ran here, and whether it answered as LiteRT does."""

    def costs(self, trial: Trial) -> Answer:
        """Time and memory; `answer` says whether they were measured (yes) or estimated (no)."""


def agreement(trial: Trial, classes: Array) -> tuple[str, dict[str, Any]]:
    """How many of a target's classes equal XNNPACK's, and how many are right."""
    same, count = int((classes == trial.classes).sum()), len(classes)
    facts: dict[str, Any] = {"images": count, "agree": same, "distinct": len(np.unique(trial.classes))}
    text = f"same class as XNNPACK on {same} of {count} images"
    if trial.labels is not None:
        facts["correct"] = int((classes == trial.labels).sum())
        text += f", right on {facts['correct']}"
    return text, facts
