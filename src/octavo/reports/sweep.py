"""The page of a sweep: its trials in a table, the Pareto front, all trials across their values, paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from octavo.analysis.pareto import picture
from octavo.base import notebook
from octavo.base.artefact import Artefact, Part
from octavo.base.files import write_bytes, write_text
from octavo.base.metric import Metric
from octavo.base.stats import Interval
from octavo.reports.plots import drawn, fronts
from octavo.reports.tables import Table
from octavo.reports.wording import Figures, count, listing, number, size
from octavo.reports.write import html, render

# The costs in the pictures of a sweep, and how they are called in its table.
COSTS = {"median_ms": "latency", "bytes": "size", "arena": "arena"}
PAGE, PICTURE = "sweep.html", "sweep.png"


class TrialRow(Part):
    """The int8 model of one trial.

    Args:
        name: The values that distinguish the trial.
        run: Its run directory.
        settings: These values by key, as text.
        choice: Its deciding figure on the images that choose between trials.
        images: How many test images evaluated it.
        score: The deciding figure on the test images.
        float_score: That of the trial's float model on them.
        difference: The score minus that of the recommended trial, paired; None for that one, and where the test images
            are not the same.
        bytes: The size of its file.
        median_ms: Median time of one image on one thread, in milliseconds, all trials in turns.
        p90_ms: 90th percentile of the same, in milliseconds.
        arena: Size of TFLite Micro's arena for activations, in bytes.
        within: Whether its costs are within the limits.
        front: Whether no other trial is faster and no worse on the images that choose.
    """

    name: str
    run: str
    settings: dict[str, str]
    choice: Interval
    images: int
    score: Interval
    float_score: float
    difference: Interval | None
    bytes: int
    median_ms: float
    p90_ms: float
    arena: int
    within: bool
    front: bool


class OtherTrial(Part):
    """A trial without a result.

    Args:
        name: The values that distinguish it.
        run: Its run directory.
        state: ``pruned``, ``failed``, ``waiting`` or ``running``.
        error: Why it failed; empty if it did not.
    """

    name: str
    run: str
    state: str
    error: str


class Sweep(Artefact):
    """The int8 models of a sweep side by side.

    Args:
        metric: The deciding figure.
        chosen_on: The images that choose between trials: ``validation``, or ``test`` where the recipe has none.
        chosen_images: How many of them.
        limits: The largest acceptable costs, by name.
        variants: One row per trial with a result.
        recommended: The run directory of the fastest trial within the limits whose figure, on the images that choose,
            lies inside the interval of the best one; None if no trial is within the limits.
        others: The trials without a result.
    """

    file = "sweep.json"
    what = "the comparison of a sweep"
    remedy = "Repeat the command that made the sweep: finished runs are not repeated."
    version = 2

    metric: Metric
    chosen_on: Literal["validation", "test"]
    chosen_images: int
    limits: dict[str, float]
    variants: list[TrialRow]
    recommended: str | None
    others: list[OtherTrial]

    @property
    def best(self) -> TrialRow | None:
        """The row of the recommended trial."""
        return next((row for row in self.variants if row.run == self.recommended), None)

    @property
    def points(self) -> list[dict[str, Any]]:
        """The trials for a picture: name, kind, score on the images that choose, and costs."""
        return [
            {"name": row.name, "kind": "int8", "score": row.choice.value} | {cost: getattr(row, cost) for cost in COSTS}
            for row in self.variants
        ]

    @property
    def shown_metric(self) -> Metric:
        """The metric, with the images that choose in its title."""
        return replace(self.metric, title=f"{self.metric.title} on {self.chosen_on} images")

    def picture(self) -> bytes:
        """The deciding figure against time, bytes and arena of every trial, as a PNG file."""
        return picture(self.points, self.shown_metric, tuple(COSTS))

    def __repr__(self) -> str:
        best, said = self.best, "none is within the limits"
        if best is not None:
            said = (
                f"recommended: {best.name}, {self.metric.text(best.score.value)} of {best.images:,} images, "
                f"{best.median_ms:.3g} ms, {best.bytes:,} bytes"
            )
        return f"Sweep({len(self.variants)} variants; {said})"

    def _repr_html_(self) -> str:
        alt = f"{self.metric.heading} against milliseconds, bytes and arena of every trial"
        return notebook.picture(self.picture(), alt) + notebook.table(
            ("trial", "nothing faster is better", self.metric.title, "ms", "bytes", "arena"),
            [
                (
                    *(row.name, "yes" if row.front else "no", self.metric.text(row.score.value)),
                    *(f"{row.median_ms:.3g}", f"{row.bytes:,}", f"{row.arena:,}"),
                )
                for row in self.variants
            ],
            repr(self),
            texts=2,
        )


def write_sweep(made: Sweep, folder: Path, parallel: Any) -> None:
    """Writes `sweep.json`, `sweep.png` and the page `sweep.html`.

    Args:
        made: The comparison.
        folder: Where to.
        parallel: A figure of all trials across their values.
    """
    # A name in the picture has room for few letters.
    short = [point | {"name": row.run} for point, row in zip(made.points, made.variants, strict=True)]
    pictures = {
        "fronts": replace(fronts(short, made.shown_metric, list(COSTS)), caption=_FRONTS),
        "parallel": drawn("parallel", parallel, *_PARALLEL),
    }
    context = {
        "sweep": made,
        "notes": list(_notes(made)),
        "tables": _tables(made),
        "pictures": pictures,
    }
    write_text(folder / PAGE, render("sweep.html.jinja", context | html(pictures)))
    write_bytes(folder / PICTURE, made.picture())
    made.write(folder / made.file)


_FRONTS = "The int8 model of every trial, by the images that choose. On the line no other one is cheaper and as good."
_PARALLEL = (
    "Every trial as a line across its values.",
    "Optuna's picture of the study: every trial is a line across its values and what the search improves, darker the "
    "better. Costs are negative nowhere; a score of which less is better has a minus sign.",
)


def _tables(made: Sweep) -> dict[str, Table]:
    words = Figures(made.metric)
    # Where the test images choose, the two scores are one.
    apart = made.chosen_on != "test"
    rows = [
        [
            f"{row.name}{' *' if row is made.best else ''}",
            row.run,
            *([words.value(row.choice.value)] if apart else []),
            f"{words.value(row.score.value)} ({words.interval(row.score)})",
            "" if row.difference is None else f"{words.bare(row.difference.value)} ({words.span(row.difference)})",
            size(row.bytes),
            f"{number(row.median_ms)} ms",
            size(row.arena),
            ", ".join([*(["front"] if row.front else []), *([] if row.within else ["over a limit"])]),
        ]
        for row in made.variants
    ]
    head = ("Trial", "Run", *(["On validation"] if apart else []), "On test", "Minus *", "Size", "Latency", "Arena", "")
    best = made.best
    star = "" if best is None else f" ({best.name})"
    chose = count(made.chosen_images, f"{made.chosen_on} image")
    caption = (
        f"{made.metric.heading} of the int8 models, on the {chose} that choose"
        f"{', and on the test images' if apart else ''} with 95% intervals. Minus *: the test score minus that of the "
        f"trial with the star{star}, paired image by image, with the 95% interval. Latency of one image on one thread, "
        "all trials in turns on one machine. Front: no other trial is faster and no worse."
    )
    others = [[row.name, row.run, row.state, row.error] for row in made.others]
    return {
        "trials": Table(rows, head, caption, numbers=True),
        "others": Table(others, ("Trial", "Run", "State", "Why"), "Trials without a result."),
    }


def _notes(made: Sweep) -> Iterator[str]:
    """What the figures show, and what they cannot."""
    words, best = Figures(made.metric), made.best
    if best is None:
        yield f"No trial is within the limits ({_limits(made.limits)})."
        return
    yield (
        f"Recommended: {best.name}. It is the fastest trial {'within the limits ' if made.limits else ''}whose "
        f"{made.metric.title} lies in the interval of the best one. On {count(best.images, 'test image')}: "
        f"{words.value(best.score.value)} ({words.interval(best.score)})."
    )
    alike = [row.name for row in made.variants if row.difference is not None and _spans(row.difference)]
    if alike:
        yield f"{listing(alike[:8])}{' and others' if len(alike) > 8 else ''}: the test images cannot tell from it."
    if made.chosen_on == "test":
        yield (
            "The recipe has no validation images, so the test images chose, and the score of what they chose is "
            "optimistic. data.validation sets some apart."
        )
    elif len(made.variants) > 1:
        yield (
            f"The validation images chose the best of {len(made.variants)}, so their score of it is optimistic; the "
            "test images chose nothing."
        )
    failed = sum(row.state == "failed" for row in made.others)
    if failed:
        yield f"{count(failed, 'trial')} failed; the table below says why. The same command tries them again."


def _spans(difference: Interval) -> bool:
    return difference.low <= 0 <= difference.high


def _limits(limits: Mapping[str, float]) -> str:
    units = {"bytes": "bytes", "median_ms": "ms", "arena": "bytes of arena"}
    return ", ".join(f"at most {value:,g} {units[name]}" for name, value in limits.items())


def recommended(rows: Sequence[Mapping[str, Any]], higher: bool = True) -> Mapping[str, Any] | None:
    """The fastest row within the limits whose `choice` lies inside the interval of the best one.

    Args:
        rows: With ``choice``, ``median_ms`` and ``within``.
        higher: Whether a higher score is better.

    Example:
        >>> rows = [{"name": "96", "choice": Interval(0.80, 0.78, 0.82), "median_ms": 1.0, "within": True},
        ...         {"name": "128", "choice": Interval(0.84, 0.82, 0.86), "median_ms": 2.0, "within": True},
        ...         {"name": "224", "choice": Interval(0.85, 0.83, 0.87), "median_ms": 3.0, "within": True}]
        >>> recommended(rows)["name"]
        '128'
    """
    sign = 1 if higher else -1
    usable = [row for row in rows if row["within"]]
    if not usable:
        return None
    top = max(usable, key=lambda row: sign * row["choice"].value)["choice"]
    worst = top.low if higher else -top.high
    return min((row for row in usable if sign * row["choice"].value >= worst), key=lambda row: row["median_ms"])
