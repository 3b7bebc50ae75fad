"""Tuning: runs the tuning passes of a recipe, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from octavo.base.artefact import Artefact, Part
from octavo.base.errors import QuantizationError
from octavo.base.progress import Progress, Silent
from octavo.quantization.excerpts import Excerpt, excerpts
from octavo.quantization.observers import Images
from octavo.quantization.quantize import check_float
from octavo.quantization.ranges import Ranges
from octavo.recipe import choices
from octavo.tflite.graph import Graph
from octavo.tuning.tuning_pass import Plan, Tuned, TuningPass

TUNING_PASSES: Mapping[str, TuningPass] = choices.Loaded(choices.PASSES)


@dataclass(frozen=True)
class Step:
    """One tuning pass that was run.

    Args:
        name: The pass's name in `TUNING_PASSES`.
        seconds: How long it took.
        tuned: Its result.
    """

    name: str
    seconds: float
    tuned: Tuned

    @property
    def record(self) -> StepRecord:
        """What is written of it."""
        made = self.tuned
        return StepRecord(
            name=self.name,
            seconds=round(self.seconds, 2),
            summary=made.summary,
            unchanged=list(made.unchanged),
            figures=dict(made.figures),
        )

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON value."""
        return self.record.model_dump(mode="json")


class StepRecord(Part):
    """What one tuning pass changed.

    Args:
        name: Its name.
        seconds: How long it took.
        summary: What was changed, in a sentence.
        unchanged: What could not be changed, each with its reason.
        figures: What was changed, by the name of a tensor.
    """

    name: str
    seconds: float
    summary: str
    unchanged: list[str]
    figures: dict[str, Any]


class TuningRecord(Artefact):
    """The tuning passes before post-training quantization.

    Args:
        steps: What every pass changed, in their order.
    """

    file = "tuning.json"
    what = "the tuning of a run"
    version = 2

    steps: list[StepRecord]


@dataclass(frozen=True)
class Tuning:
    """A tuned graph, and the passes that made it.

    Args:
        graph: The float graph.
        ranges: The ranges of its activations.
        reference: The float graph to compare int8 with, tensor by tensor: before any pass that changed the outputs.
        steps: The passes, in their order.
    """

    graph: Graph
    ranges: Ranges
    reference: Graph
    steps: tuple[Step, ...] = ()


def read_first(graph: Graph, images: Images, passes: Sequence[str]) -> Excerpt | None:
    """What the first of some tuning passes reads of the images, for calibration to keep.

    Args:
        graph: The float graph that is calibrated.
        images: The calibration images.
        passes: Names in `TUNING_PASSES`.

    Returns:
        None if there is nothing to keep.
    """
    first = TUNING_PASSES.get(passes[0]) if passes else None
    return None if first is None or first.reads is None else first.reads(graph, images)


def tune(
    graph: Graph,
    ranges: Ranges,
    images: Images,
    passes: Sequence[str],
    plan: Plan,
    progress: Progress | None = None,
    kept: Sequence[Any] = (),
) -> Tuning:
    """Runs tuning passes on a float graph, in the order given.

    Args:
        graph: A float graph.
        ranges: The ranges of its activations.
        images: Calibration images: raw inputs, float32.
        passes: Names in `TUNING_PASSES`; none leaves the graph unchanged.
        plan: Makes the table that quantization will write, such as `octavo.quantization.table.build`.
        progress: Receives progress messages.
        kept: What calibration kept of the images as `read_first` asked for it, if it did.

    Raises:
        QuantizationError: There is no such pass.
        ModelError: The graph is quantized already, or its weights hold NaN or infinity.
    """
    progress = progress or Silent()
    unknown = [name for name in passes if name not in TUNING_PASSES]
    if unknown:
        raise QuantizationError(f"There is no tuning pass '{unknown[0]}'.", f"Use {', '.join(TUNING_PASSES)}.")
    check_float(graph)
    if not passes:
        return Tuning(graph, ranges, graph)
    reference = graph = graph.unshared()
    steps = []
    for name in passes:
        start = perf_counter()
        one = TUNING_PASSES[name]
        given: Any = images
        if one.reads is not None:
            given = kept or _read(name, graph, images, one.reads(graph, images), progress)
        # The graph of the next pass is another.
        kept = ()
        made = one.run(graph, ranges, given, plan, progress)
        graph, ranges = made.graph, made.ranges
        reference = graph if made.exact else reference
        steps.append(Step(name, perf_counter() - start, made))
    return Tuning(graph, ranges, reference, tuple(steps))


def _read(name: str, graph: Graph, images: Images, wanted: Excerpt, progress: Progress) -> list[Any]:
    with progress.track(f"inputs for {name}", len(wanted.places)) as advance:
        return excerpts(graph, images, wanted, advance)
