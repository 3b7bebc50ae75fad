"""The sensitivity of a model as a table for a terminal, and as a picture along the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octavo.analysis.compare_views import FLOAT, INK, INT8, QUIET, short
from octavo.base import notebook as page
from octavo.base.metric import Metric

# Pictures show an op without noise at this many dB, which no 8-bit output with noise reaches.
_CLEAN = 100.0


def heads(value: Mapping[str, Any]) -> tuple[str, ...]:
    """The headings of the table."""
    figures = ("agree", value["metric"]["title"])
    return ("op", "name", "alone", "share", *figures, "without", "gain", *figures)


def cells(value: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, ...]:
    """One op as a row of a table, under `heads`.

    Args:
        value: The JSON value of a `Sensitivity`.
        row: One of its ops.
    """
    only, all_but = row["only"], row["all_but"]
    gain = None
    if all_but is not None and None not in (all_but["sqnr"], value["int8"]["sqnr"]):
        gain = all_but["sqnr"] - value["int8"]["sqnr"]
    return (
        f"{row['op']} #{row['place']}",
        short(row["name"].split(";")[0], 44),
        *_figures(value, only)[:1],
        "–" if row["share"] is None else f"{row['share']:.1%}",
        *_figures(value, only)[1:],
        *_figures(value, all_but)[:1],
        "–" if gain is None else f"{gain:+.1f}",
        *_figures(value, all_but)[1:],
    )


def table(value: Mapping[str, Any], count: int | None = None) -> Any:
    """The ops as a `rich` table, the costliest first.

    Args:
        value: The JSON value of a `Sensitivity`.
        count: How many; all by default.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, title in enumerate(heads(value)):
        made.add_column(title, justify="left" if place < 2 else "right", no_wrap=place > 0)
    for row in value["ops"][:count]:
        made.add_row(*cells(value, row))
    return made


def notebook(value: Mapping[str, Any], title: str) -> str:
    """The costliest ops and the picture along the network, as HTML."""
    rows = [cells(value, row) for row in value["ops"][:10]]
    alt = "SQNR of the output with only one op in int8, and with only one op in float"
    return page.table(heads(value), rows, f"{title}; the costliest ops", texts=2) + page.picture(picture(value), alt)


def _figures(value: Mapping[str, Any], measure: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if measure is None:
        return "–", "–", "–"
    metric, likeness = Metric(**value["metric"]), Metric(**value["likeness"])
    return (
        "exact" if measure["sqnr"] is None else f"{measure['sqnr']:.1f}",
        likeness.text(measure["agreement"]),
        "–" if measure["score"] is None else metric.text(measure["score"]),
    )


def picture(value: Mapping[str, Any]) -> bytes:
    """The ops along the network as a PNG file.

    Args:
        value: The JSON value of a `Sensitivity`.
    """
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for which, colour, label in (
        ("only", FLOAT, "only this op in int8"),
        ("all_but", INT8, "only this op in float"),
    ):
        rows = [row for row in value["ops"] if row[which] is not None]
        levels = [_CLEAN if row[which]["sqnr"] is None else row[which]["sqnr"] for row in rows]
        axes.plot([row["place"] for row in rows], levels, "o", color=colour, ms=5, mec="white", mew=0.6, label=label)
    whole = value["int8"]["sqnr"]
    if whole is not None:
        axes.axhline(whole, color=QUIET, lw=1.2, ls="--", zorder=1, label="all in int8")
    for row in value["ops"][:3]:
        if row["only"] is not None and row["only"]["sqnr"] is not None:
            place = (row["place"], row["only"]["sqnr"])
            axes.annotate(
                f"{row['op']} #{row['place']}", place, (6, -3), textcoords="offset points", fontsize=7.5, color=INK
            )
    axes.set(xlabel="op, from input to output", ylabel="SQNR of the output, dB (higher is better)")
    axes.grid(axis="y", color="#E8EBEE", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(-0.01, 1.0), borderaxespad=0)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()
