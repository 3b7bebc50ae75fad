"""Output check: are the int8 model's outputs those of the float model?

The proof shows that a file holds the table's numbers. But the table can be wrong for the network: one constant or one
mask can widen a range so much that the outputs are noise. So both models run on the same samples, and every output is
compared. An output that is a concatenation is compared part by part, because the error of a part with large values
hides a part with small values. Decoded boxes are compared by what they cover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from octavo.analysis.box_outputs import places_of
from octavo.analysis.compare import compare
from octavo.analysis.tasks.detection import Detection
from octavo.analysis.tasks.task import Run
from octavo.base.artefact import Artefact
from octavo.base.evenly import evenly
from octavo.base.stats import decibels
from octavo.quantization.observers import Images
from octavo.rewrite.split_outputs import parts_of
from octavo.runtime.litert import Model, inputs_of, outputs_of, stacked
from octavo.tflite.graph import WHOLE, Graph

Array = npt.NDArray[Any]

# An output below this SQNR counts as wrong (docs/coverage.md, models that others made).
LEAST_SQNR = 10.0
# An output of numbers below this SQNR may gain clearly by other ranges (the same page). Classes lose little there.
CLEAR_SQNR = 25.0
# Whole numbers, such as classes, have no SQNR. An output with a smaller share of equal ones counts as wrong.
LEAST_AGREEMENT = 0.8
# The most samples that are run.
SAMPLES = 32
# An op whose own added error is below this SQNR is the first one to check.
_ADDED = 20.0
# An op whose tensor's error is at most this many dB above the error that the op adds: it adds at least half.
_HALF = 3.0
# Outputs of the float model below this SQNR, with noise of one code on its inputs, count as unstable
# (docs/coverage.md, models that others made).
_STEADY = 20.0
# Parts of one output whose magnitudes differ by this factor leave the smaller one too few of the 256 codes.
_FAR = 8.0


@dataclass(frozen=True)
class OutputAnswer:
    """How far one output, or one part of it, is from the float model's.

    Args:
        output: The output's name.
        part: Which part of a concatenation, such as ``0:4 of axis 2``; None for a whole output.
        sqnr: ``10 log10(sum x^2 / sum (y - x)^2)`` in dB over all samples, x the float output; None if equal, and for
            whole numbers.
        agreement: The share of samples for which both give the same class, or of whole numbers that are equal; None for
            all other outputs.
        largest: The largest magnitude of the float output.
        frozen: Whether int8 gives the same output for all samples and float does not; never for class probabilities.
    """

    output: str
    part: str | None
    sqnr: float | None
    agreement: float | None
    largest: float
    frozen: bool

    @property
    def holds(self) -> bool:
        """Whether it is close enough to the float model's output."""
        if self.sqnr is None:
            return not self.frozen and (self.agreement is None or self.agreement >= LEAST_AGREEMENT)
        return not self.frozen and self.sqnr >= LEAST_SQNR

    @property
    def is_clear(self) -> bool:
        """Whether it is so close that other ranges need not be tried."""
        return self.holds and (self.sqnr is None or self.agreement is not None or self.sqnr >= CLEAR_SQNR)

    @property
    def quality(self) -> tuple[bool, float, float]:
        """What orders outputs from worse to better: whether it holds, SQNR in dB, and agreement."""
        sqnr, agreement = np.inf if self.sqnr is None else self.sqnr, 1.0 if self.agreement is None else self.agreement
        return self.holds, sqnr, agreement

    @property
    def name(self) -> str:
        """Its name for people."""
        return f"'{self.output}'" if self.part is None else f"'{self.output}' [{self.part}]"

    def figures(self, where: str = "") -> str:
        """How far it is from the float model's, for people.

        Args:
            where: Text after the first figure, such as the output's name.
        """
        whole = self.sqnr is None and self.agreement not in (None, 1.0)
        sqnr = "whole numbers" if whole else "equal" if self.sqnr is None else f"{self.sqnr:.1f} dB"
        same = "the same" if whole else "same class"
        return f"{sqnr}{where}" + ("" if self.agreement is None else f", {same} for {self.agreement:.0%}")


@dataclass(frozen=True)
class ObserverChoice:
    """The choice of an observer, made because an output with the first one was not very close to the float model's.

    Args:
        chosen: The observer of the int8 model; the first one if no other is better.
        first: The observer that was used first.
        before: The worst output with the first observer.
        tried: The worst output's SQNR in dB with each observer, by its name: without tuning passes, and on calibration
            samples that do not set the ranges, if there are enough. None for whole numbers.
    """

    chosen: str
    first: str
    before: OutputAnswer
    tried: Mapping[str, float | None]


@dataclass(frozen=True)
class Answers:
    """The comparison of all outputs.

    Args:
        samples: How many samples both models ran.
        outputs: Every output, and every part of one that is a concatenation.
        tensor: The first tensor whose op adds much of the error, and the op; None if the outputs are right, or no op
            adds much more than others.
        choice: Which observer was chosen because of the answers. None if there was nothing to choose.
        shaken: The float model's worst output against itself, with noise of at most one code of the int8 model on every
            input value; None if the outputs are right, or no input takes reals.
    """

    samples: int
    outputs: tuple[OutputAnswer, ...]
    tensor: tuple[str, str] | None = None
    choice: ObserverChoice | None = None
    shaken: OutputAnswer | None = None

    @property
    def hold(self) -> bool:
        """Whether every output is close enough to the float model's."""
        return all(item.holds for item in self.outputs)

    @property
    def worst(self) -> OutputAnswer:
        """The output, or part, that is farthest from the float model's."""
        return min(self.outputs, key=lambda item: item.quality)

    @property
    def quality(self) -> tuple[bool, float, float]:
        """What orders int8 models from worse to better: that of the worst output."""
        return self.worst.quality

    @property
    def of_ranges(self) -> bool:
        """Whether outputs are wrong that other ranges may mend: not the small parts of a concatenation."""
        return any(not item.holds and not self._beside_larger(item) for item in self.outputs)

    @property
    def is_clear(self) -> bool:
        """Whether no other ranges need be tried: all outputs are very close, or small parts of a concatenation."""
        return all(item.is_clear or self._beside_larger(item) for item in self.outputs)

    def _beside_larger(self, item: OutputAnswer) -> bool:
        """Whether a part of a concatenation is small beside another, with which it shares its scale."""
        parts = [other.largest for other in self.outputs if other.output == item.output and other.part is not None]
        return item.part is not None and max(parts) > _FAR * item.largest

    def describe(self) -> list[str]:
        """The findings, and what to try if outputs are wrong; one sentence each."""
        worst = self.worst
        where = "" if len(self.outputs) == 1 else f" at {worst.name}, the worst of {len(self.outputs)}"
        found = f"{worst.figures(where)}; {self.samples} calibration samples"
        if self.hold:
            return [f"the answers match the float model's: {found}", *self.chosen()]
        lines = [f"the answers do NOT match the float model's (below {LEAST_SQNR:g} dB, or constant): {found}"]
        lines += self.chosen()
        far = any(self._beside_larger(item) for item in self.outputs if not item.holds)
        if self.of_ranges:
            lines += self.causes()
        if far:
            lines.append(
                "parts of one output have very different ranges and share one scale: make them separate outputs "
                "(`split_outputs`), or keep the concatenation in float (`precision`)"
            )
        if not self.of_ranges:
            return lines
        if self.tensor is None:
            lines.append("16 bits for activations keep more: `precision` int16x8 for all ops ('*')")
        elif self.tensor[0] in ("SOFTMAX", "LOGISTIC"):
            lines.append(
                "its int8 kernel gives probabilities in steps of 1/256, and those of these samples are smaller: output "
                f"the logits instead (`octavo slim --logits`), or set `precision` int16x8 for '{self.tensor[1]}'"
            )
        else:
            observer = "another `observer`, or " if self.choice is None else ""
            lines.append(
                f"check that calibration samples are like the training data; then try {observer}"
                f"`precision` int16x8 or float for '{self.tensor[1]}'; `octavo sensitivity` ranks all ops"
            )
        return lines

    def causes(self) -> list[str]:
        """Where the error comes from, if outputs are wrong; one sentence each."""
        lines = []
        if self.shaken is not None and self.shaken.sqnr is not None and self.shaken.sqnr < _STEADY:
            lines.append(
                "the float model itself is unstable on these samples, which may be unlike those it was trained on: "
                f"noise of at most one int8 step on its inputs changes its own answers ({self.shaken.figures()})"
            )
        if self.tensor is not None:
            kind, tensor = self.tensor
            lines.append(f"most error is first added by {kind} '{tensor}'")
        elif any(not item.holds and not item.frozen for item in self.outputs):
            lines.append("no single op adds most of the error: it grows from op to op")
        return lines

    def chosen(self) -> list[str]:
        """Which observer was chosen, and why, in a sentence."""
        if self.choice is None:
            return []
        chosen, first = self.choice.chosen, self.choice.first
        if chosen == first:
            return [f"no other observer gives clearly better answers than {first}; all were tried"]
        return [
            f"observer {chosen} was chosen: it gives {self.worst.figures()}, and {first} {self.choice.before.figures()}"
        ]

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        tensor = None if self.tensor is None else {"op": self.tensor[0], "name": self.tensor[1]}
        outputs = [asdict(item) | {"holds": item.holds} for item in self.outputs]
        choice, shaken = (None if item is None else asdict(item) for item in (self.choice, self.shaken))
        return {
            "samples": self.samples,
            "hold": self.hold,
            "outputs": outputs,
            "tensor": tensor,
            "choice": choice,
            "shaken": shaken,
        }


class AnswersRecord(Artefact):
    """The comparison of the int8 and the float outputs on calibration images.

    Args:
        samples: How many images both models ran.
        hold: Whether every output is close enough to the float model's.
        least_sqnr: The SQNR in dB below which an output counts as wrong.
        outputs: Every output, and every part of one that is a concatenation.
        tensor: The first tensor whose op adds much of the error, after the op; null if the outputs are right, or no op
            adds much more than others.
        choice: The observers that were tried since an output was not very close, and the chosen one; null if none were.
        shaken: The float model's worst output against itself, with noise of at most one code of the int8 model on every
            input value; null if the outputs are right, or no input takes reals.
    """

    file = "answers.json"
    what = "the comparison of a run's int8 and float outputs"
    version = 3

    samples: int
    hold: bool
    least_sqnr: float
    outputs: Annotated[list[OutputAnswer], Field(min_length=1)]
    tensor: tuple[str, str] | None
    choice: ObserverChoice | None = None
    shaken: OutputAnswer | None = None

    @classmethod
    def of(cls, found: Answers) -> AnswersRecord:
        """The stored form of a comparison."""
        return cls(
            samples=found.samples,
            hold=found.hold,
            least_sqnr=LEAST_SQNR,
            outputs=list(found.outputs),
            tensor=found.tensor,
            choice=found.choice,
            shaken=found.shaken,
        )

    @property
    def answers(self) -> Answers:
        """The same data as `Answers`."""
        return Answers(self.samples, tuple(self.outputs), self.tensor, self.choice, self.shaken)


def sampled(count: int) -> list[int]:
    """The places of the samples that `answers` runs: at most `SAMPLES`, spread evenly."""
    return [int(place) for place in evenly(count, SAMPLES)]


def answers(
    before: Graph, after: Graph, samples: Images, known: Mapping[int, Sequence[Array]] | None = None
) -> Answers:
    """Compares all outputs of two forms of one model, and names the first tensor with much error if they differ.

    Args:
        before: The float model.
        after: The int8 model.
        samples: Inputs of the float model, as reals without the batch axis; tuples if it has several inputs. At most
            `SAMPLES` of them, spread evenly, are run.
        known: The float model's raw outputs for these, by the sample's place, if it has run already.

    Raises:
        ModelError: LiteRT refuses a model, or they are not two forms of one.
    """
    return traced(before, after, samples, compared(before, after, samples, known))


def compared(
    before: Graph, after: Graph, samples: Images, known: Mapping[int, Sequence[Array]] | None = None
) -> Answers:
    """Compares all outputs of two forms of one model, and looks for no cause.

    Args:
        before: As for `answers`.
        after: As for `answers`.
        samples: As for `answers`.
        known: As for `answers`.

    Raises:
        ModelError: As for `answers`.
    """
    places = sampled(len(samples))
    chosen = [samples[place] for place in places]
    wanted = (
        _outputs(before, chosen) if known is None else stacked(outputs_of(before), [known[place] for place in places])
    )
    return Answers(len(chosen), _answers(before, wanted, _outputs(after, chosen)))


def _answers(before: Graph, wanted: Sequence[Array], given: Sequence[Array]) -> tuple[OutputAnswer, ...]:
    """The figures of all outputs, and of their parts.

    Args:
        before: The float model.
        wanted: Its outputs, stacked over the samples.
        given: Those that are compared with them.
    """
    names = [port.label for port in outputs_of(before)]
    found: list[OutputAnswer] = []
    boxes: tuple[int, ...] = ()
    if places_of(before) is not None:
        boxes = Detection().read(before)
        found.append(_answer("boxes", None, *(_covered(before, outputs) for outputs in (wanted, given))))
    for place, (index, name, real, int8) in enumerate(zip(before.outputs, names, wanted, given, strict=True)):
        if place not in boxes:
            found += _of_output(before, index, name, real, int8)
    return tuple(found)


def traced(before: Graph, after: Graph, samples: Images, found: Answers) -> Answers:
    """Adds to a comparison where the error comes from, if outputs differ.

    Args:
        before: As for `answers`.
        after: As for `answers`.
        samples: As for `answers`; a few of them are run again.
        found: The comparison.
    """
    if found.hold:
        return found
    chosen = [samples[place] for place in sampled(len(samples))]
    return replace(found, tensor=_first(before, after, chosen[:8]), shaken=_shaken(before, after, chosen))


def _shaken(before: Graph, after: Graph, samples: Sequence[Array | tuple[Array, ...]]) -> OutputAnswer | None:
    """The float model's worst output against itself, with noise of at most one int8 code on its inputs."""
    random = np.random.default_rng(0)
    steps = [0.0 if port.qparams is None else float(port.qparams.scale[0]) for port in inputs_of(after)]
    given = [item if isinstance(item, tuple) else (item,) for item in samples]
    noisy = [
        tuple(
            values + random.uniform(-step, step, values.shape).astype(values.dtype)
            if values.dtype.kind == "f"
            else values
            for values, step in zip(item, steps, strict=True)
        )
        for item in given
    ]
    if all(np.array_equal(one, other) for one, other in zip(given[0], noisy[0], strict=True)):
        return None
    return Answers(len(given), _answers(before, _outputs(before, given), _outputs(before, noisy))).worst


def _covered(graph: Graph, outputs: Sequence[Array]) -> Array:
    """What the boxes of each sample cover: they come in the order of their scores, of which two may swap."""
    runs = (Run([output[place] for output in outputs], lambda: np.zeros(0)) for place in range(len(outputs[0])))
    return np.stack([Detection().signal(graph, run) for run in runs])


def _of_output(graph: Graph, index: int, name: str, real: Array, int8: Array) -> list[OutputAnswer]:
    """The figures of one output: one entry, or one for each part of a concatenation."""
    parts = _parts(graph, index)
    if parts:
        return [
            _answer(
                name, f"{low}:{high} of axis {axis}", *(np.take(one, range(low, high), axis) for one in (real, int8))
            )
            for axis, low, high in parts
        ]
    if graph.tensors[index].dtype in WHOLE:
        return [_same(name, real, int8)]
    return [_answer(name, None, real, int8, classes=_classes(graph, index))]


def _answer(name: str, part: str | None, real: Array, int8: Array, *, classes: bool = False) -> OutputAnswer:
    """One output's figures; the first axis is that of the samples."""
    real, int8 = real.astype(np.float64), int8.astype(np.float64)
    noise, signal = float(np.square(int8 - real).sum()), float(np.square(real).sum())
    sqnr = decibels(max(signal, 1e-300), noise)
    agreement = None
    if classes:
        agreement = float((real.reshape(len(real), -1).argmax(1) == int8.reshape(len(int8), -1).argmax(1)).mean())
    # For samples with high confidence, probabilities can be equal in every code, so classes are compared instead.
    frozen = not classes and _frozen(real, int8)
    return OutputAnswer(name, part, sqnr, agreement, float(np.abs(real).max(initial=0.0)), frozen)


def _same(name: str, whole: Array, other: Array) -> OutputAnswer:
    """An output of whole numbers, of which one is not near another."""
    agreement, largest = float((whole == other).mean()), float(np.abs(whole).max(initial=0))
    return OutputAnswer(name, None, None, agreement, largest, _frozen(whole, other))


def _frozen(real: Array, int8: Array) -> bool:
    """Whether int8 gives the same output for all samples and float does not."""
    return bool(np.all(int8 == int8[0]) and not np.all(real == real[0]))


def _outputs(graph: Graph, samples: Sequence[Array | tuple[Array, ...]]) -> list[Array]:
    """The reals of every output, stacked over the samples."""
    model = Model(graph)
    encoded = [
        tuple(
            port.encode(values)
            for port, values in zip(model.inputs, item if isinstance(item, tuple) else (item,), strict=True)
        )
        for item in samples
    ]
    return model.run_all(encoded)


def _classes(graph: Graph, index: int) -> bool:
    """Whether an output holds the probabilities of classes, one row for a sample."""
    op = graph.producers.get(index)
    return op is not None and op.kind == "SOFTMAX" and len(graph.tensors[index].shape) == 2


def _parts(graph: Graph, index: int) -> list[tuple[int, int, int]]:
    """Axis and bounds of each part of an output that is a concatenation; empty if it is not."""
    found = parts_of(graph, index)
    if found is None:
        return []
    ends = np.cumsum(found.sizes).tolist()
    return [(found.axis, low, high) for low, high in zip([0, *ends], ends, strict=False)]


def _first(before: Graph, after: Graph, samples: Images) -> tuple[str, str] | None:
    """The first tensor whose op adds much error, and at least half of what the tensor has; None if there is none."""
    for row in compare(before, after, samples).tensors:
        added, has = row.added.sqnr, row.accumulated.sqnr
        if added is not None and added < _ADDED and (has is None or added <= has + _HALF):
            return row.op, row.before.split(";")[0]
    return None
