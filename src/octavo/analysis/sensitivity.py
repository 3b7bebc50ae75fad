"""Sensitivity: the error that each op causes in int8, measured at the model's output with files that LiteRT runs.

There are two mixed-precision files per op: one in which only this op is int8, which shows the error that it causes, and
one in which only this op is float, which shows how much int8 would gain if the op stayed in float.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.analysis import sensitivity_views
from octavo.analysis.evaluate import each_run
from octavo.analysis.tasks.choose import task_for
from octavo.analysis.tasks.task import Run, Scores, Task
from octavo.base.errors import DataError
from octavo.base.formats import DEFAULT
from octavo.base.metric import Metric
from octavo.base.stats import decibels
from octavo.data.dataset import ImageSet
from octavo.quantization.observers import Images
from octavo.quantization.precision import Precision, format_of, name_of, possible
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.runtime.litert import KERNEL_NAMES, Kernels, Model
from octavo.source.tried import try_made
from octavo.tflite.graph import Graph, Op

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Measure:
    """The difference of a model's output from float's.

    Args:
        sqnr: ``10 log10(sum x^2 / sum (y - x)^2)`` in dB over all images, x the float output; None without noise.
        agreement: How alike the answers of both are, as the task measures it: for classes, the share of equal ones.
        score: The task's deciding figure, such as the accuracy; None if the right answers are not known.
    """

    sqnr: float | None
    agreement: float
    score: float | None

    @property
    def noise(self) -> float:
        """The noise as a share of the signal's power.

        Example:
            >>> Measure(20.0, 1.0, None).noise, Measure(None, 1.0, None).noise
            (0.01, 0.0)
        """
        return 0.0 if self.sqnr is None else 10.0 ** (-self.sqnr / 10)


@dataclass(frozen=True)
class OpSensitivity:
    """The error that one op causes.

    Args:
        name: Its name, as `octavo.quantization.precision` takes it: that of its first output.
        op: Its kind.
        place: Its position in the float graph.
        only: The model in which only this op is int8; None if the budget ended before.
        all_but: The int8 model in which only this op is float; None if the budget ended before.
        share: The noise with only this op in int8, divided by the sum of these noises over all measured ops.
    """

    name: str
    op: str
    place: int
    only: Measure | None
    all_but: Measure | None
    share: float | None


@dataclass(frozen=True, repr=False)
class Sensitivity:
    """The error that every op of a model causes, the costliest op first.

    Args:
        images: How many images were run.
        kernels: The kernel family, in words.
        metric: The task's deciding figure.
        likeness: What `agreement` measures.
        score: The float model's figure; None if the right answers are not known.
        int8: The model with every op in int8.
        ops: The ops by falling noise; those that were not measured come last, in the network's order.
        seconds: How long it took.
        budget: After how many seconds no new file was started; None for no limit.
    """

    images: int
    kernels: str
    metric: Metric
    likeness: Metric
    score: float | None
    int8: Measure
    ops: list[OpSensitivity]
    seconds: float
    budget: float | None

    def __repr__(self) -> str:
        sqnr = "exact" if self.int8.sqnr is None else f"SQNR {self.int8.sqnr:.1f} dB"
        costly = ", ".join(
            f"{item.op} #{item.place} {item.share:.0%}" for item in self.ops[:3] if item.share is not None
        )
        return (
            f"Sensitivity({len(self.ops)} ops on {self.images:,} images, {self.kernels}: int8 {sqnr}, "
            f"{self.likeness.title} {self.likeness.text(self.int8.agreement)}"
            f"{f'; shares of the noise: {costly}' * bool(costly)})"
        )

    def _repr_html_(self) -> str:
        return sensitivity_views.notebook(self.to_json(), repr(self))

    @property
    def unmeasured(self) -> dict[str, list[str]]:
        """The names of the ops that were not measured within the budget, for each of the two measurements."""
        return {
            "only": [item.name for item in self.ops if item.only is None],
            "all_but": [item.name for item in self.ops if item.all_but is None],
        }

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        return {**asdict(self), "unmeasured": self.unmeasured}


def sensitivity(
    graph: Graph,
    ranges: Ranges,
    images: Images,
    samples: ImageSet | None = None,
    task: Task | None = None,
    *,
    tuned: Graph | None = None,
    budget: float | None = None,
    allow_float: bool = False,
    kernels: Kernels = "xnnpack",
    progress: Callable[[int], None] = lambda done: None,
) -> Sensitivity:
    """Measures every op that has an int8 kernel, with only this op in int8 and with only this op in float.

    The files with only one op in int8 come first, in the network's order; then those with only one op in float, the
    costliest op first. So the budget is spent on the most important files.

    Args:
        graph: The float graph.
        ranges: Ranges of its activations.
        images: Preprocessed images as reals, float32, each ``(height, width, channels)``; they are all kept in memory.
            Not test images: the result is used to choose a model.
        samples: The same images with their labels or truth, if they are known.
        task: How outputs are scored; guessed from the outputs and the truth when left out.
        tuned: The same graph with the constants that tuning passes gave it for int8; float ops keep their original
            ones.
        budget: Seconds after which no new file is started; None for no limit.
        allow_float: Leave ops without an int8 form in float, instead of raising.
        kernels: The kernel family that runs the files.
        progress: Called after each file with 1, at most ``2 * len(ops) + 2`` times.

    Raises:
        DataError: There are no images.
        QuantizationError: An op has no int8 form and `allow_float` is off.
    """
    if len(images) == 0:
        raise DataError("Sensitivity needs at least one image, and got none.", "Give a few dozen training images.")
    start = time.monotonic()
    samples = _unknown(len(images)) if samples is None else samples
    task = task or task_for(None, graph, samples)
    meter = _Meter(graph, images, samples, task, kernels)
    progress(1)
    names = [name_of(graph, op) for op in graph.ops]
    ops = [op for op in graph.ops if _counts(graph, op)]

    def measure(precision: Mapping[str, Precision]) -> Measure:
        mixed = graph if tuned is None else _mixed(graph, tuned, precision)
        content = quantize(mixed, ranges, allow_float, precision).content
        if not precision:
            # Every other file has these ops with these scales, and the rest in float.
            try_made(content, graph.name, [kernels])
        made = meter.measure(Graph(content, graph.name))
        progress(1)
        return made

    def in_time() -> bool:
        return budget is None or time.monotonic() - start < budget

    int8 = measure({})
    found = {
        name_of(graph, op): OpSensitivity(name_of(graph, op), op.kind, op.index, only=None, all_but=None, share=None)
        for op in ops
    }
    for name, item in found.items():
        if in_time():
            found[name] = replace(item, only=measure({other: "float" for other in names if other != name}))
    total = sum(item.only.noise for item in found.values() if item.only is not None)
    for item in sorted(found.values(), key=_noise, reverse=True):
        share = None if item.only is None or total == 0 else item.only.noise / total
        all_but = measure({item.name: "float"}) if in_time() else None
        found[item.name] = replace(item, share=share, all_but=all_but)
    ranked = sorted(found.values(), key=_noise, reverse=True)
    seconds = time.monotonic() - start
    return Sensitivity(
        len(images),
        KERNEL_NAMES[kernels],
        task.scores.metric,
        task.scores.likeness,
        meter.score,
        int8,
        ranked,
        seconds,
        budget,
    )


def _unknown(count: int) -> ImageSet:
    """Samples of which nothing is known."""
    return ImageSet(np.zeros((count, 1), np.float32), None, (), tuple(map(str, range(count))))


def _mixed(graph: Graph, tuned: Graph, precision: Mapping[str, Precision]) -> Graph:
    """The tuned graph, with the original constants of float ops, which are not rounded and need no tuning."""
    own = {
        tensor.name: tensor.constant
        for op in graph.ops
        if not format_of(graph, op, precision).integer
        for index in op.inputs
        if index >= 0 and (tensor := graph.tensors[index]).constant is not None and tensor.dtype == "float32"
    }
    return tuned.replaced(own)


def _counts(graph: Graph, op: Op) -> bool:
    """Whether an op computes reals, and can do so in int8."""
    return DEFAULT in possible(op) and any(graph.tensors[index].dtype == "float32" for index in op.outputs)


def _noise(item: OpSensitivity) -> float:
    return -1.0 if item.only is None else item.only.noise


class _Meter:
    """The images, encoded once for each kind of input, and the float graph's answers for them."""

    def __init__(self, graph: Graph, images: Images, samples: ImageSet, task: Task, kernels: Kernels) -> None:
        self._images = [image if isinstance(image, tuple) else (image,) for image in images]
        self._encoded: dict[Any, list[tuple[Array, ...]]] = {}
        self._kernels, self._samples, self._task = kernels, samples, task
        self._real, self._scores = self._run(graph)
        self._signal = float(np.sum(self._real**2))
        self.score = self._figure(self._scores)

    def measure(self, graph: Graph) -> Measure:
        made, scores = self._run(graph)
        noise = float(np.sum((made - self._real) ** 2))
        return Measure(
            sqnr=decibels(self._signal, noise),
            agreement=scores.alike(self._scores),
            score=self._figure(scores),
        )

    def _figure(self, scores: Scores) -> float | None:
        return scores.value(scores.metric) if scores.known else None

    def _run(self, graph: Graph) -> tuple[Array, Scores]:
        """The task's signal for every image, float64 ``(images, values)``, and the scores of the answers."""
        model = Model(graph, self._kernels)
        key = tuple(port.qparams for port in model.inputs)
        if key not in self._encoded:
            self._encoded[key] = [
                tuple(port.encode(value) for port, value in zip(model.inputs, image, strict=True))
                for image in self._images
            ]
        outputs: dict[int, Array] = {}
        answers: dict[int, Array] = {}

        def keep(place: int, run: Run) -> None:
            outputs[place] = self._task.signal(graph, run).astype(np.float64)
            answers[place] = self._task.answer(graph, run)

        each_run(model, self._encoded[key], lambda place: self._images[place][0], keep)
        made, read = (np.stack([found[place] for place in range(len(found))]) for found in (outputs, answers))
        return made, self._task.score(graph, read, self._samples, KERNEL_NAMES[self._kernels])
