"""The calibration study as lines of text, and as a curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from octavo.base import notebook as page
from octavo.base.metric import Metric


def lines(value: Mapping[str, Any]) -> list[str]:
    """The study as text, one line per size.

    Args:
        value: The JSON value of a `Study`.
    """
    metric, likeness = Metric(**value["metric"]), Metric(**value["likeness"])
    made = [f"float   {metric.title} {metric.text(value['score'])} on {value['validation']} images"]
    for gap in value["gaps"]:
        points = [point for point in value["points"] if point["images"] == gap["images"]]
        scores = [point["score"] for point in points]
        levels = [point["sqnr"] for point in points if point["sqnr"] is not None]
        made.append(
            f"{gap['images']:>6}  {metric.text(float(np.mean(scores)))} "
            f"({metric.text(min(scores))} to {metric.text(max(scores))})  "
            f"{metric.change(gap['value'])} against the largest size "
            f"({metric.number(gap['low'])} to {metric.number(gap['high'])})  "
            f"{likeness.title} {likeness.text(float(np.mean([point['agreement'] for point in points])))}  "
            f"{f'{np.mean(levels):.1f} dB' if levels else 'exact'}"
        )
    most, margin = value["gaps"][-1]["images"], f"{value['margin'] * 100:g} points"
    if value["enough"] == most:
        made.append(f"enough  {most}, or more: fewer lose accuracy, or only this number was tried")
    elif value["enough"] is not None:
        made.append(f"enough  {value['enough']}: the fewest that are shown to lose less than {margin} against {most}")
    else:
        needed = "" if value["needed"] is None else f" About {value['needed']:,} would, if answers change as often."
        made.append(
            f"enough  cannot be told: {value['validation']} images do not show a difference of {margin} (see the "
            f"intervals).{needed}"
        )
    return made


def notebook(value: Mapping[str, Any], title: str) -> str:
    """The curve, and the lines of text below it, as HTML."""
    from html import escape

    alt = "Score and error of int8 against the number of calibration images"
    text = escape("\n".join((title, *lines(value))))
    return page.picture(picture(value), alt) + f"<pre>{text}</pre>"


def picture(value: Mapping[str, Any]) -> bytes:
    """Score and error against the number of calibration images, as a PNG file; each dot is one draw.

    Args:
        value: The JSON value of a `Study`.
    """
    import io

    from matplotlib.figure import Figure

    from octavo.analysis.compare_views import FLOAT, INK, INT8, QUIET

    metric = Metric(**value["metric"])
    shown = 100 if metric.percent else 1
    sizes = [gap["images"] for gap in value["gaps"]]
    figure = Figure(figsize=(11, 4.4), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    for axes, key, factor, label in (
        (left, "score", shown, ", ".join(part for part in (f"int8 {metric.title}", metric.unit) if part)),
        (right, "sqnr", 1, "SQNR of the output, dB (higher is better)"),
    ):
        every = [point for point in value["points"] if point[key] is not None]
        axes.plot([p["images"] for p in every], [p[key] * factor for p in every], "o", color=INT8, ms=4, alpha=0.45)
        means = [np.mean([p[key] * factor for p in every if p["images"] == size]) for size in sizes]
        axes.plot(sizes, means, color=INT8, lw=2, label=f"mean of {len({p['draw'] for p in every})} draws")
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
        axes.minorticks_off()
        axes.set(xlabel="calibration images", ylabel=label)
        axes.grid(axis="y", color="#E8EBEE", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    left.axhline(value["score"] * shown, color=FLOAT, lw=1.4, ls="--", label="float")
    for axes in (left, right):
        if value["enough"] is not None:
            axes.axvline(value["enough"], color=QUIET, lw=1, ls=":", zorder=1)
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    if value["enough"] is not None:
        left.annotate(
            "enough",
            (value["enough"], 0.03),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
        )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()
