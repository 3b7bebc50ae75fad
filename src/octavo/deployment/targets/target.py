"""The questions to every target: can it take this model, did the model run, and what does it cost?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from octavo.analysis.tasks.task import classes_of
from octavo.base.units import milliseconds
from octavo.rewrite.equality import Raw
from octavo.runtime.litert import Latency, Model, outputs_of
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Trial:
    """The model and inputs for checking targets.

    Args:
        path: The model's file.
        graph: The same, read.
        inputs: Raw inputs, ``(N, height, width, channels)``; tuples of them where the model has several.
        expected: The outputs that LiteRT with XNNPACK gives for each, as reals, ``(N, numbers)``, in the model's order.
        classes: Which output tells classes apart. None if none does.
        labels: True classes, ``(N,)``, where images are labelled.
    """

    path: Path
    graph: Graph
    inputs: Raw
    expected: Sequence[Array]
    classes: int | None
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


class TargetError(Exception):
    """A target failed, in a child process that said why: the text names the error there."""


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


def trial_of(path: Path, graph: Graph, inputs: Raw, classes: int | None, labels: Array | None) -> Trial:
    """A trial, after LiteRT with XNNPACK has run its inputs.

    Args:
        path: The model's file.
        graph: The same, read.
        inputs: Raw inputs.
        classes: Which output tells classes apart; None if none does.
        labels: True classes, where images are labelled.
    """
    return Trial(path, graph, inputs, all_outputs(Model(graph), inputs), classes, labels)


def all_outputs(model: Model, inputs: Raw) -> list[Array]:
    """Every output for every raw input, as reals, ``(N, numbers)``."""
    return [output.reshape(len(output), -1) for output in model.run_all(inputs)]


def timed(found: Latency) -> Answer:
    """What a target costs whose runs on one thread were timed here."""
    about = f"{milliseconds(found.median_ms)} a run on one thread (median of {found.runs} runs)"
    return Answer(True, about, vars(found))


def agreement(trial: Trial, outputs: Sequence[Array]) -> tuple[str, dict[str, Any]]:
    """How near a target's outputs are to XNNPACK's: how many classes are equal, or else their SQNR.

    Args:
        trial: What XNNPACK gives.
        outputs: The target's outputs, as reals, ``(N, ...)``, in the model's order; or only the first of them.

    Returns:
        A sentence, and its figures: ``sqnr`` is that of the farthest output, and ``outputs`` has it by name where the
        model has several. It is None where all numbers are equal.
    """
    given = [np.asarray(output).reshape(len(output), -1) for output in outputs]
    ports = outputs_of(trial.graph)
    facts: dict[str, Any] = {"images": len(given[0])}
    nearness = {
        port.label: _sqnr(expected.astype(np.float64), output.astype(np.float64))
        for port, expected, output in zip(ports, trial.expected, given, strict=False)
    }
    texts = []
    if trial.classes is not None and trial.classes < len(given):
        texts.append(_same_classes(trial, given[trial.classes], facts))
        nearness.pop(ports[trial.classes].label)
    if nearness:
        texts.append(_farthest(nearness, facts, len(ports)))
    if len(ports) > 1:
        facts["outputs"] = nearness
    if len(given) < len(ports):
        texts.append(f"the first of {len(ports)} outputs alone is compared")
    return "; ".join(texts), facts


def _same_classes(trial: Trial, outputs: Array, facts: dict[str, Any]) -> str:
    assert trial.classes is not None
    expected, classes = (
        classes_of(trial.graph, values, trial.classes) for values in (trial.expected[trial.classes], outputs)
    )
    same = int((classes == expected).sum())
    facts |= {"agree": same, "distinct": len(np.unique(expected))}
    text = f"same class as XNNPACK on {same} of {len(classes)} images"
    if trial.labels is not None:
        facts["correct"] = int((classes == trial.labels).sum())
        text += f", right on {facts['correct']}"
    return text


def _farthest(nearness: Mapping[str, float | None], facts: dict[str, Any], outputs: int) -> str:
    """The output that is farthest from XNNPACK's."""
    name = min(nearness, key=lambda name: np.inf if (sqnr := nearness[name]) is None else sqnr)
    facts["sqnr"] = sqnr = nearness[name]
    on = f"on {facts['images']} samples"
    where = f" at '{name}', the farthest of {len(nearness)}" if len(nearness) > 1 else ""
    other = f"'{name}' is " if outputs > len(nearness) == 1 else ""
    if sqnr is None:
        return f"{other or ('all outputs are ' if where else '')}equal to XNNPACK {on}"
    return f"{other}{sqnr:.1f} dB from XNNPACK's outputs{where} {on}"


def _sqnr(expected: Array, outputs: Array) -> float | None:
    noise, signal = float(np.square(outputs - expected).sum()), float(np.square(expected).sum())
    return None if noise == 0 else 10 * float(np.log10(max(signal, 1e-300) / noise))
