"""The gate: judges a model by the limits of a policy.

What is measured has an interval. A limit is kept if the whole interval keeps it, broken if none of it does, and else
undecided: the measurement cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from octavo.analysis.evaluate import samples_needed
from octavo.analysis.tasks.task import Scores
from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.base.limits import MOST_PLANNED
from octavo.base.stats import Interval, median_interval, wider_needed
from octavo.deployment import gate_views
from octavo.deployment.targets.micro import arena as arena_of
from octavo.rewrite.equality import Raw, across
from octavo.runtime.benchmark import left_by_xnnpack
from octavo.runtime.litert import Kernels, interleaved
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import STORAGE

Verdict = Literal["kept", "broken", "undecided"]
_LISTED = 3


@dataclass(frozen=True)
class Judgement:
    """One limit, what was found, and whether the limit is kept.

    Args:
        limit: The key of the policy.
        title: What is limited, for people.
        allowed: The limit, with its unit.
        found: What was found, with its unit, and its interval if it has one.
        verdict: Whether it is kept.
        bound: The limit as the policy has it.
        value: What was found, in the same unit; None if that is no finite number.
        interval: The ends of its 95% interval; None if it is counted, not measured.
        note: What else is to be known: which ops, or what would decide an undecided limit. Empty if nothing.
    """

    limit: str
    title: str
    allowed: str
    found: str
    verdict: Verdict
    bound: float
    value: float | None
    interval: tuple[float | None, float | None] | None = None
    note: str = ""


@dataclass(frozen=True, repr=False)
class Checked:
    """A model that was judged by a policy.

    Args:
        model: The file's path.
        sha256: The SHA-256 of the file.
        undecided: What an undecided limit does: ``fail`` or ``warn``.
        judgements: The limits of the policy, in its order.
    """

    model: str
    sha256: str
    undecided: Literal["fail", "warn"]
    judgements: tuple[Judgement, ...]

    @property
    def broken(self) -> tuple[Judgement, ...]:
        """The limits that the model does not pass: those that are broken, and undecided ones that fail."""
        bad = {"broken", "undecided"} if self.undecided == "fail" else {"broken"}
        return tuple(item for item in self.judgements if item.verdict in bad)

    @property
    def passed(self) -> bool:
        """Whether the model passes."""
        return not self.broken

    def __repr__(self) -> str:
        return f"Checked({gate_views.headline(self)})"

    def _repr_html_(self) -> str:
        return gate_views.notebook(self)

    def markdown(self) -> str:
        """A table for a pull request or a job's summary."""
        return gate_views.markdown(self)

    def junit(self) -> bytes:
        """JUnit XML, in UTF-8: one test case for each limit."""
        return gate_views.junit(self)

    def to_json(self) -> dict[str, Any]:
        """A JSON value with every figure."""
        return {
            "model": self.model,
            "sha256": self.sha256,
            "passed": self.passed,
            "undecided": self.undecided,
            "limits": [asdict(item) for item in self.judgements],
        }


def drop(before: Scores, after: Scores, most: float) -> Judgement:
    """Judges how much worse a model scores than the float model, by the paired interval.

    Args:
        before: The float model's scores.
        after: The model's scores, on the same samples in the same order.
        most: The largest acceptable loss, in points or in the metric's unit.
    """
    metric, difference = after.metric, before.difference(after)
    assert difference is not None
    loss, limit = metric.loss(difference), metric.limit(most)
    verdict = _judged(loss, limit)
    return Judgement(
        limit="max_drop",
        title=f"{metric.title} lost against float",
        allowed=f"at most {most:g} {metric.points}".strip(),
        found=f"{_amount(loss, metric.percent)} {metric.points}".strip() + f" on {len(after):,} samples",
        verdict=verdict,
        bound=most,
        **_measured(_scaled(loss, metric.percent)),
        note=_would_show(samples_needed(before, after, difference, limit)) if verdict == "undecided" else "",
    )


def score(scores: Scores, worst: float) -> Judgement:
    """Judges a model's score, by its interval.

    Args:
        scores: The scores; their truth is known.
        worst: The worst acceptable score, in percent or in the metric's unit.
    """
    metric, found = scores.metric, scores.score()
    assert found is not None
    loss, limit = metric.loss(found), metric.limit(-worst if metric.higher else worst)
    verdict = _judged(loss, limit)
    needed = wider_needed(loss, len(scores), limit, metric.percent) if verdict == "undecided" else None
    return Judgement(
        limit="worst_score",
        title=metric.title,
        allowed=f"at {'least' if metric.higher else 'most'} {metric.text(metric.limit(worst))}",
        found=f"{metric.between(found)} on {len(scores):,} samples",
        verdict=verdict,
        bound=worst,
        **_measured(_scaled(found, metric.percent)),
        note=_would_show(needed) if verdict == "undecided" else "",
    )


def size(content: bytes, most: int) -> Judgement:
    """Judges the bytes of a file."""
    return _counted("max_size", "size of the file", "byte", len(content), most)


def arena(graph: Graph, most: int) -> Judgement:
    """Judges the arena that TFLite Micro needs: see `octavo.deployment.targets.micro`.

    Raises:
        ModelError: The model has more activations than the planner is given, or types that it has no size for.
    """
    if (count := sum(len(op.outputs) for op in graph.ops)) > MOST_PLANNED:
        raise ModelError(f"{graph.name} has {count:,} activations, and an arena is planned for up to {MOST_PLANNED:,}.")
    with border(f"The arena of {graph.name} cannot be planned", "Leave out `max_arena`.", ModelError):
        activations, own = arena_of(graph)
    note = f"{activations:,} of activations (planned), about {own:,} of the runtime's own (estimated)"
    return _counted("max_arena", "arena of TFLite Micro", "byte", activations + own, most, note)


def cpu_ops(graph: Graph, most: int) -> Judgement:
    """Judges how many ops XNNPACK leaves to LiteRT's own kernels."""
    _, slow = left_by_xnnpack(graph)
    return _counted("max_cpu_ops", "ops left by XNNPACK", "op", len(slow), most, _listed(slow))


def float_ops(graph: Graph, most: int) -> Judgement:
    """Judges how many ops compute in float."""
    found = [
        str(op)
        for op in graph.ops
        if op.kind not in STORAGE
        and any(graph.tensors[i].dtype.startswith("float") for i in (*op.inputs, *op.outputs) if i >= 0)
    ]
    return _counted("max_float_ops", "ops in float", "op", len(found), most, _listed(found))


def bit_equal(graph: Graph, inputs: Raw, about: str, families: Sequence[Kernels]) -> Judgement:
    """Judges whether kernel families give the same outputs, bit for bit.

    Args:
        graph: The model.
        inputs: Raw inputs.
        about: What they are.
        families: The kernel families.
    """
    first, *_ = families
    found = across(graph, inputs, families)
    steps = max(item.steps for item in found)
    apart = [f"{item.kernels} by up to {item.steps:g}" for item in found if not item.equal]
    told = "bit-equal" if found[0].distinct > 1 else "bit-equal, and the same for every sample"
    if apart:
        told = f"{first} differs from {', '.join(apart)}"
    return Judgement(
        limit="bit_equal",
        title=f"outputs of {', '.join(families)}",
        allowed="bit-equal",
        found=f"{told}; {about}",
        verdict="broken" if apart else "kept",
        bound=0,
        value=_finite(steps),
    )


def latency_ratio(graph: Graph, reference: Graph, most: float, seconds: float) -> Judgement:
    """Judges the time of a run against that of another model, timed in turn on one thread, on XNNPACK.

    Args:
        graph: The model.
        reference: The other model.
        most: The largest acceptable ratio.
        seconds: About how long both are timed.
    """
    theirs, ours = interleaved([reference.content, graph.content], seconds)
    ratio = median_interval(ours / theirs)
    verdict = _judged(ratio, most)
    return Judgement(
        limit="max_latency_ratio",
        title=f"time of a run over that of {reference.name}",
        allowed=f"at most {most:g}",
        found=f"{ratio.value:.3f} (95% interval {ratio.low:.3f} to {ratio.high:.3f}), {len(ours):,} runs of each",
        verdict=verdict,
        bound=most,
        **_measured(ratio),
        note="Timing for longer (seconds) narrows the interval." if verdict == "undecided" else "",
    )


def _judged(found: Interval, most: float) -> Verdict:
    if math.isnan(found.value):
        return "broken"
    return "kept" if found.high <= most else "broken" if found.low > most else "undecided"


def _counted(limit: str, title: str, unit: str, found: int, most: int, note: str = "") -> Judgement:
    verdict: Verdict = "kept" if found <= most else "broken"
    allowed, told = (f"{count:,} {unit if count == 1 else f'{unit}s'}" for count in (most, found))
    return Judgement(limit, title, f"at most {allowed}", told, verdict, most, found, note=note)


def _scaled(found: Interval, percent: bool) -> Interval:
    """An interval in the unit of a policy: shares in percent."""
    factor = 100 if percent else 1
    # A loss is the negative of a difference, and + 0.0 makes 0 of -0.
    return Interval(*(end * factor + 0.0 for end in (found.value, found.low, found.high)))


def _amount(found: Interval, percent: bool) -> str:
    value, low, high = (f"{end:.2f}" if percent else f"{end:.4g}" for end in vars(_scaled(found, percent)).values())
    return f"{value} (95% interval {low} to {high})"


def _measured(found: Interval) -> dict[str, Any]:
    return {"value": _finite(found.value), "interval": (_finite(found.low), _finite(found.high))}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _would_show(needed: int | None) -> str:
    if needed is None:
        return "More samples like these would not show that the limit is kept."
    return f"The samples cannot tell. About {needed:,} would, if they are like these."


def _listed(ops: Sequence[str]) -> str:
    more = f" and {len(ops) - _LISTED:,} more" if len(ops) > _LISTED else ""
    return ", ".join(ops[:_LISTED]) + more
