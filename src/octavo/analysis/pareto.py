"""Accuracy against size and latency of several models: reading them, their Pareto front, and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from octavo.analysis.evaluation import Evaluation
from octavo.analysis.target_search import SearchRecord
from octavo.base import notebook
from octavo.base.errors import OctavoError


@dataclass(frozen=True, repr=False)
class Tried(Sequence[Mapping[str, Any]]):
    """Several models that were tried, one row each.

    Args:
        rows: ``name``, ``kind``, ``accuracy`` (a share), ``bytes``, ``median_ms``, and under ``front``, for bytes
            and milliseconds, whether no model of the same or lower cost is more accurate.
    """

    rows: tuple[dict[str, Any], ...]

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
            f"{row['name']} {row['accuracy']:.2%}, {row['bytes']:,} bytes, {row['median_ms']:.2f} ms"
            for row in best[:5]
        ]
        more = [f"{len(best) - 5} more"] if len(best) > 5 else []
        return f"Tried({len(self)} models; nothing beats {'; '.join([*named, *more])})"

    def _repr_html_(self) -> str:
        alt = "Accuracy against bytes, and against milliseconds, of every model that was tried"
        return notebook.picture(picture(self.rows), alt) + notebook.table(
            ("model", "best for", "accuracy", "bytes", "ms"),
            [
                (
                    *(row["name"], ", ".join(cost for cost, best in row["front"].items() if best)),
                    *(f"{row['accuracy']:.2%}", f"{row['bytes']:,}", f"{row['median_ms']:.2f}"),
                )
                for row in self.rows
            ],
            f"{len(self)} models; best for: nothing of no more of it is more accurate",
            texts=2,
        )

    def to_json(self) -> list[dict[str, Any]]:
        """A JSON value."""
        return list(self.rows)


def points(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The models of search records and run directories, each with accuracy, bytes and median latency.

    Raises:
        OctavoError: A path is neither a search record nor a run directory.
    """
    found: list[dict[str, Any]] = []
    for path in paths:
        found += _of_run(path) if path.is_dir() else _of_search(path)
    return found


def _of_search(path: Path) -> list[dict[str, Any]]:
    found = SearchRecord.read(path)
    rows = [{"name": "float", **found.before.model_dump(), "kind": "float"}]
    for trial in found.trials:
        rows.append(
            {
                "name": trial.way,
                "accuracy": trial.accuracy.value,
                "bytes": trial.bytes,
                "median_ms": trial.median_ms,
                "kind": "int8",
            }
        )
    return rows


def _of_run(path: Path) -> list[dict[str, Any]]:
    if not (path / Evaluation.file).is_file():
        raise OctavoError(
            f"'{path}' is not the directory of a finished run: it has no {Evaluation.file}.", SearchRecord.remedy
        )
    rows = []
    for name, model in Evaluation.read(path / Evaluation.file).models.items():
        if not (path / model.file).is_file():
            raise OctavoError(
                f"'{path}' has no file '{model.file}', which its {Evaluation.file} names.", SearchRecord.remedy
            )
        rows.append(
            {
                "name": f"{path.name}: {name}",
                "accuracy": model.accuracy.value,
                "bytes": (path / model.file).stat().st_size,
                "median_ms": model.latency.median_ms,
                "kind": "float" if name in ("float", "control") else "int8",
            }
        )
    return rows


def front(rows: Sequence[Mapping[str, Any]], cost: str) -> list[Mapping[str, Any]]:
    """The Pareto front: rows for which no row of the same or lower cost is more accurate, from the cheapest on.

    Example:
        >>> rows = [{"accuracy": 0.8, "bytes": 2}, {"accuracy": 0.7, "bytes": 3}, {"accuracy": 0.6, "bytes": 1}]
        >>> [row["accuracy"] for row in front(rows, "bytes")]
        [0.6, 0.8]
    """
    best, kept = -1.0, list[Mapping[str, Any]]()
    for row in sorted(rows, key=lambda row: (row[cost], -row["accuracy"])):
        if row["accuracy"] > best:
            best = row["accuracy"]
            kept.append(row)
    return kept


# The axis label of each cost, and its unit.
COSTS = {
    "median_ms": ("one image on one thread, ms", 1.0),
    "bytes": ("file, MB", 1e6),
    "arena": ("arena of TFLite Micro, MB", 1e6),
}


def picture(rows: Sequence[Mapping[str, Any]], costs: Sequence[str] = ("bytes", "median_ms")) -> bytes:
    """Accuracy against costs as a PNG file, one panel for each; models that are not on the front are grey.

    Args:
        rows: The models: ``name``, ``kind``, ``accuracy`` and every cost.
        costs: Names in `COSTS`.
    """
    import io

    from matplotlib.figure import Figure

    from octavo.analysis.compare_views import FLOAT, INK, INT8, QUIET

    figure = Figure(figsize=(5.5 * len(costs), 4.8), layout="constrained", facecolor="white")
    for axes, cost in zip(figure.subplots(1, len(costs), sharey=True, squeeze=False)[0], costs, strict=True):
        label, unit = COSTS[cost]
        best = front(rows, cost)
        for row in rows:
            colour = QUIET if row not in best else FLOAT if row["kind"] == "float" else INT8
            axes.plot(row[cost] / unit, row["accuracy"] * 100, "o", color=colour, ms=7, mec="white", mew=0.8)
        axes.step(
            [row[cost] / unit for row in best], [row["accuracy"] * 100 for row in best], where="post", color=QUIET, lw=1
        )
        for row in best:
            place = (row[cost] / unit, row["accuracy"] * 100)
            # On the side of the point that has room for the text.
            right = row[cost] > 0.6 * max(other[cost] for other in rows)
            axes.annotate(
                row["name"],
                place,
                (-6 if right else 6, 6),
                textcoords="offset points",
                fontsize=8,
                color=INK,
                ha="right" if right else "left",
            )
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.grid(color="#E8EBEE", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy, %")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()
