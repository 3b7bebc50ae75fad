"""Several runs on one page: their recipes, accuracy on the same images, size and latency, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.analysis.pareto import Pareto, front, points
from octavo.base import notebook
from octavo.base.artefact import Artefact, Part
from octavo.base.errors import OctavoError
from octavo.base.files import check_folder, write_text
from octavo.base.metric import Metric
from octavo.base.stats import Interval, paired_difference
from octavo.recipe.schema import Recipe
from octavo.reports.dark import standalone
from octavo.reports.facts import Facts, read
from octavo.reports.plots import fronts
from octavo.reports.tables import Table
from octavo.reports.wording import Figures, count, listing, number, size
from octavo.reports.write import PICTURES, html, markdown, render

_COSTS = {"bytes": "size", "median_ms": "latency"}


class RunRow(Part):
    """One run.

    Args:
        name: The name of its directory.
        images: How many held-out images evaluated it.
        float_score: The deciding figure of its float model, such as the accuracy.
        score: That of its int8 model.
        difference: That of int8 minus that of the first run's int8, paired; None where other images evaluated
            it, and for the first run.
        bytes: The size of the int8 file.
        median_ms: The median time of one image on one thread in int8, in milliseconds, as that run measured it.
        front: The costs (`bytes`, `median_ms`) at which no other model of these runs is cheaper and as accurate.
        machine: The processor of the run.
    """

    name: str
    images: int
    float_score: Interval
    score: Interval
    difference: Interval | None
    bytes: int
    median_ms: float
    front: list[str]
    machine: str


class KeyDifference(Part):
    """A key in which recipes differ.

    Args:
        key: The key, dotted.
        values: Its value in every run, as text; empty where the recipe has no such key.
    """

    key: str
    values: list[str]


class RunsCompared(Artefact):
    """Several runs side by side.

    Args:
        metric: The deciding figure of every run.
        runs: One row for each run; the first is the one that others are compared with.
        recipes: The keys in which their recipes differ.
    """

    file = "compare-runs.json"
    what = "the comparison of several runs"
    remedy = "Make it again: octavo compare-runs RUN RUN."

    metric: Metric
    runs: list[RunRow]
    recipes: list[KeyDifference]

    def __repr__(self) -> str:
        rows = [f"{row.name} {self.metric.text(row.score.value)}, {row.bytes:,} bytes" for row in self.runs]
        return f"RunsCompared({len(rows)} runs: {'; '.join(rows)})"

    def _repr_html_(self) -> str:
        made = tables(self)["runs"]
        return notebook.table(made.head, [tuple(row) for row in made.rows], made.caption, texts=1)


def compare_runs(runs: Sequence[Path | str], out: Path | str) -> RunsCompared:
    """Compares finished runs, and writes `compare-runs.html`, `compare-runs.md` and `compare-runs.json`.

    Accuracies are compared pair by pair where the runs have the same test images. Latencies are those that each run
    measured; `octavo benchmark` times files side by side.

    Args:
        runs: Run directories, two or more; the others are compared with the first.
        out: The folder for the page; made if missing.

    Raises:
        OctavoError: A directory is not that of a finished run, or there is one only.

    Example:
        >>> import shutil, octavo
        >>> _ = shutil.copytree("runs/digits", "runs/again")
        >>> made = octavo.compare_runs(["runs/digits", "runs/again"], "compared")
        >>> made.runs[1].difference.value, made.recipes, Path("compared/compare-runs.html").is_file()
        (0.0, [], True)
    """
    paths, out = [Path(path).resolve() for path in runs], Path(out)
    if len(paths) < 2:
        raise OctavoError("Two runs or more are compared.", "Give their directories.")
    check_folder(out)
    facts = [read(path) for path in paths]
    tried = points(paths)
    made = _compared(paths, facts, tried)
    picture = fronts(tried.rows, tried.metric, list(_COSTS))
    shown = tables(made)
    context = {
        "compared": made,
        "tables": shown,
        "picture": picture,
        "pictures": PICTURES,
        "notes": list(_notes(made)),
    }
    write_text(out / PICTURES / "fronts.svg", standalone(picture.svg))
    write_text(out / "compare-runs.md", markdown("runs.md.jinja", context))
    write_text(out / "compare-runs.html", render("runs.html.jinja", context | html({"fronts": picture})))
    made.write(out / made.file)
    return made


def _compared(paths: Sequence[Path], facts: Sequence[Facts], tried: Pareto) -> RunsCompared:
    found = tried.rows
    best = {cost: [id(row) for row in front(found, cost, tried.metric.higher)] for cost in _COSTS}
    int8 = [row for row in found if row["name"].endswith(": int8")]
    rows: list[RunRow] = []
    for name, fact, row, difference in zip(_names(paths), facts, int8, differences(paths, facts), strict=True):
        rows.append(
            RunRow(
                name=name,
                images=fact.evaluation.images,
                float_score=fact.scores[0],
                score=fact.scores[1],
                difference=difference,
                bytes=row["bytes"],
                median_ms=row["median_ms"],
                front=[cost for cost in _COSTS if id(row) in best[cost]],
                machine=fact.manifest.machine.cpu,
            )
        )
    return RunsCompared(metric=tried.metric, runs=rows, recipes=list(_differences([fact.recipe for fact in facts])))


def _names(paths: Sequence[Path]) -> list[str]:
    """The names of directories; with that of the folder above where two have the same."""
    names = [path.name for path in paths]
    return [
        name if names.count(name) == 1 else f"{path.parent.name}/{name}"
        for path, name in zip(paths, names, strict=True)
    ]


def differences(paths: Sequence[Path], facts: Sequence[Facts], first: int = 0) -> list[Interval | None]:
    """The int8 accuracy of every run minus that of one of them, paired, with its interval.

    Args:
        paths: The run directories.
        facts: The facts of each.
        first: The position of the run that the others are compared with.

    Returns:
        One for each run; None for the one that others are compared with, and where the test images are not the same.
    """
    right = [_right(path, fact) for path, fact in zip(paths, facts, strict=True)]
    return [
        None if place == first else _difference(facts[first], right[first], fact, correct)
        for place, (fact, correct) in enumerate(zip(facts, right, strict=True))
    ]


def _right(path: Path, facts: Facts) -> npt.NDArray[np.bool_] | None:
    """Whether int8 is right about each test image; None if the run did not keep that."""
    if facts.evaluation.task != "single-label":
        return None
    try:
        with np.load(path / "predictions.npz") as kept:
            right = kept["int8"].argmax(axis=1) == kept["labels"]
    except (OSError, KeyError, ValueError):
        return None
    return np.asarray(right) if len(right) == facts.evaluation.images else None


def _difference(
    first: Facts, first_right: npt.NDArray[np.bool_] | None, other: Facts, right: npt.NDArray[np.bool_] | None
) -> Interval | None:
    """Int8 of another run minus int8 of the first; None unless both saw the same images in the same order."""
    if first_right is None or right is None or first.data.test.digest != other.data.test.digest:
        return None
    losses, gains = int((first_right & ~right).sum()), int((~first_right & right).sum())
    return paired_difference(losses, gains, len(right))


def _differences(recipes: Sequence[Recipe]) -> Iterator[KeyDifference]:
    """The keys in which recipes differ. A recipe shows only the keys that its kind of run reads."""
    whole = [dict(_flat(recipe.model_dump(mode="json"), "")) for recipe in recipes]
    own = [dict(_flat(recipe.to_json(), "")) for recipe in recipes]
    for key in whole[0]:
        if key not in ("name", "title", "log") and any(each.get(key) != whole[0][key] for each in whole):
            yield KeyDifference(key=key, values=["" if each.get(key) is None else str(each[key]) for each in own])


def _flat(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict) and key != "precision":
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def tables(made: RunsCompared) -> dict[str, Table]:
    """The tables of the page, by name."""
    rows, words = [], Figures(made.metric)
    for row in made.runs:
        change = "" if row.difference is None else f"{words.bare(row.difference.value)} ({words.span(row.difference)})"
        rows.append(
            [
                row.name,
                words.value(row.float_score.value),
                f"{words.value(row.score.value)} ({words.interval(row.score)})",
                change,
                size(row.bytes),
                f"{number(row.median_ms)} ms",
                ", ".join(_COSTS[cost] for cost in row.front),
            ]
        )
    head = ("Run", "Float", "Int8", f"Minus {made.runs[0].name}", "Size", "Latency", "Front")
    caption = (
        f"{made.metric.heading} on held-out samples with 95% intervals. Differences are int8 minus int8 with "
        "paired 95% intervals, where the test images are the same. Latency of one image on one thread, as each run "
        "measured it. "
        "Front: the costs at which no other model of these runs is cheaper and as accurate."
    )
    keys = [[item.key, *item.values] for item in made.recipes]
    named = ("Key", *(row.name for row in made.runs))
    return {
        "runs": Table(rows, head, caption, numbers=True),
        "recipes": Table(keys, named, "The keys in which the recipes differ."),
    }


def _notes(made: RunsCompared) -> Iterator[str]:
    """What the figures show, and what they cannot."""
    first, words = made.runs[0], Figures(made.metric)
    for row in made.runs[1:]:
        gap = row.difference
        if gap is None:
            continue
        said = f"{words.change(gap.value)} ({words.span(gap)})"
        if gap.low > 0 or gap.high < 0:
            yield f"{row.name} is {'more' if gap.low > 0 else 'less'} accurate than {first.name}: {said}."
        else:
            yield f"{row.name} and {first.name} cannot be told apart on {count(row.images, 'image')}: {said}."
    if apart := [row.name for row in made.runs[1:] if row.difference is None]:
        yield (
            f"{listing(apart)}: other test images than those of {first.name}, or none kept, so the scores are not "
            "paired. A difference inside their intervals says nothing."
        )
    machines = dict.fromkeys(row.machine for row in made.runs)
    if len(machines) > 1:
        yield f"The runs were made on different machines ({', '.join(machines)}): their latencies cannot be compared."
    else:
        yield "Latencies of different runs were not measured side by side: octavo benchmark does that."
