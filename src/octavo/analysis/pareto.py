"""Scores against size and latency of several models: reading them, their Pareto front, and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from octavo.analysis.evaluation import Evaluation
from octavo.analysis.target_search import SearchRecord
from octavo.base import notebook
from octavo.base.errors import OctavoError
from octavo.base.metric import Metric

# What a picture says of its origin, so that no other file is taken for one and replaced.
_SOFTWARE = {"Software": "Octavo"}


@dataclass(frozen=True, repr=False)
class Pareto(Sequence[Mapping[str, Any]]):
    """Several models that were tried, one row each.

    Args:
        rows: ``name``, ``kind``, ``score``, ``bytes``, ``median_ms``, and under ``front``, for bytes and milliseconds,
            whether no model of the same or lower cost has a better score.
        metric: The metric of all scores.
    """

    rows: tuple[dict[str, Any], ...]
    metric: Metric

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[dict[str, Any], ...]: ...
    def __getitem__(self, place: int | slice) -> dict[str, Any] | tuple[dict[str, Any], ...]:
        return self.rows[place]

    def __repr__(self) -> str:
        best = [row for row in self.rows if any(row["front"].values())]
        named = [
            f"{row['name']} {self.metric.text(row['score'])}, {row['bytes']:,} bytes, {row['median_ms']:.2f} ms"
            for row in best[:5]
        ]
        more = [f"{len(best) - 5} more"] if len(best) > 5 else []
        return f"Pareto({len(self)} models; nothing beats {'; '.join([*named, *more])})"

    def _repr_html_(self) -> str:
        alt = f"{self.metric.title} against bytes, and against milliseconds, of every model that was tried"
        return notebook.picture(picture(self.rows, self.metric), alt) + notebook.table(
            ("model", "best for", self.metric.title, "bytes", "ms"),
            [
                (
                    *(row["name"], ", ".join(cost for cost, best in row["front"].items() if best)),
                    *(self.metric.text(row["score"]), f"{row['bytes']:,}", f"{row['median_ms']:.2f}"),
                )
                for row in self.rows
            ],
            f"{len(self)} models; best for: no model with as little of it has a better score",
            texts=2,
        )

    def to_json(self) -> list[dict[str, Any]]:
        """A JSON value."""
        return list(self.rows)


def points(paths: Sequence[Path]) -> Pareto:
    """The models of search records and run directories, each with its score, bytes and median latency.

    Raises:
        OctavoError: A path is neither a search record nor a run directory, or the models were scored differently.
    """
    rows: list[dict[str, Any]] = []
    metrics: list[Metric] = []
    for path in paths:
        metric, found = _of_run(path) if path.is_dir() else _of_search(path)
        metrics.append(metric)
        rows += found
    if len(set(metrics)) > 1:
        names = ", ".join(dict.fromkeys(metric.title for metric in metrics))
        raise OctavoError(f"The models have scores of different kinds: {names}.", "Give runs and searches of one task.")
    return Pareto(tuple(rows), metrics[0])


def _of_search(path: Path) -> tuple[Metric, list[dict[str, Any]]]:
    found = SearchRecord.read(path)
    rows = [{"name": "float", **found.before.model_dump(), "kind": "float"}]
    for trial in found.trials:
        rows.append(
            {
                "name": trial.way,
                "score": trial.score.value,
                "bytes": trial.bytes,
                "median_ms": trial.median_ms,
                "kind": "int8",
            }
        )
    return found.metric, rows


def _of_run(path: Path) -> tuple[Metric, list[dict[str, Any]]]:
    if not (path / Evaluation.file).is_file():
        raise OctavoError(
            f"'{path}' is not the directory of a finished run: it has no {Evaluation.file}.", SearchRecord.remedy
        )
    evaluation = Evaluation.read(path / Evaluation.file)
    rows = []
    for name, model in evaluation.models.items():
        if model.score is None:
            raise OctavoError(
                f"The models of '{path}' have no scores: its samples have no labels.", "Give runs on labelled samples."
            )
        if not (path / model.file).is_file():
            raise OctavoError(
                f"'{path}' has no file '{model.file}', which its {Evaluation.file} names.", SearchRecord.remedy
            )
        rows.append(
            {
                "name": f"{path.name}: {name}",
                "score": model.score.value,
                "bytes": (path / model.file).stat().st_size,
                "median_ms": model.latency.median_ms,
                "kind": "float" if name in ("float", "control") else "int8",
            }
        )
    return evaluation.metric, rows


def front(rows: Sequence[Mapping[str, Any]], cost: str, higher: bool = True) -> list[Mapping[str, Any]]:
    """The Pareto front: rows for which no row of the same or lower cost has a better score, from the cheapest on.

    Args:
        rows: With ``score`` and the cost.
        cost: The name of the cost.
        higher: Whether a higher score is better.

    Example:
        >>> rows = [{"score": 0.8, "bytes": 2}, {"score": 0.7, "bytes": 3}, {"score": 0.6, "bytes": 1}]
        >>> [row["score"] for row in front(rows, "bytes")]
        [0.6, 0.8]
    """
    sign = 1 if higher else -1
    kept: list[Mapping[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row[cost], -sign * row["score"])):
        if not kept or sign * row["score"] > sign * kept[-1]["score"]:
            kept.append(row)
    return kept


# The axis label of each cost, and its unit.
COSTS = {
    "median_ms": ("one image on one thread, ms", 1.0),
    "bytes": ("file, MB", 1e6),
    "arena": ("arena of TFLite Micro, MB", 1e6),
}


def picture(rows: Sequence[Mapping[str, Any]], metric: Metric, costs: Sequence[str] = ("bytes", "median_ms")) -> bytes:
    """Scores against costs as a PNG file, one panel for each; models that are not on the front are grey.

    Args:
        rows: The models: ``name``, ``kind``, ``score`` and every cost.
        metric: The metric of the scores.
        costs: Names in `COSTS`.
    """
    import io

    from matplotlib.figure import Figure

    from octavo.analysis.compare_views import FLOAT, INK, INT8, QUIET

    figure = Figure(figsize=(5.5 * len(costs), 4.8), layout="constrained", facecolor="white")
    shown = 100 if metric.percent else 1
    for axes, cost in zip(figure.subplots(1, len(costs), sharey=True, squeeze=False)[0], costs, strict=True):
        label, unit = COSTS[cost]
        best = front(rows, cost, metric.higher)
        for row in rows:
            colour = QUIET if row not in best else FLOAT if row["kind"] == "float" else INT8
            axes.plot(row[cost] / unit, row["score"] * shown, "o", color=colour, ms=7, mec="white", mew=0.8)
        axes.step(
            [row[cost] / unit for row in best], [row["score"] * shown for row in best], where="post", color=QUIET, lw=1
        )
        for row in best:
            place = (row[cost] / unit, row["score"] * shown)
            # On the side of the point that has room for the text.
            right = row[cost] > 0.6 * max(other[cost] for other in rows)
            note = axes.annotate(
                row["name"],
                place,
                (-6 if right else 6, 6),
                textcoords="offset points",
                fontsize=8,
                color=INK,
                ha="right" if right else "left",
            )
            note.set_parse_math(False)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.grid(color="#E8EBEE", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel(metric.axis)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata=_SOFTWARE)
    return stream.getvalue()


def is_picture(path: Path) -> bool:
    """Whether a file is a PNG that `picture` made."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as opened:
            return bool(opened.info.get("Software") == _SOFTWARE["Software"])
    except (OSError, SyntaxError, ValueError):
        return False
