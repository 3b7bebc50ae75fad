"""Views of a comparison: a table for a terminal, and a picture along the network.

Both take the JSON value of `octavo.analysis.compare.Compared`, so a stored comparison looks like a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from octavo.base import notebook as page

FLOAT, INT8, QUIET, INK = "#0072B2", "#D55E00", "#8A8F98", "#24292F"
# Pictures show a tensor without error at this many dB, which no 8-bit tensor with an error reaches.
_CLEAN = 100.0


def worst(tensors: Sequence[Mapping[str, Any]], count: int = 5) -> list[Mapping[str, Any]]:
    """The tensors with the lowest SQNR of the error that their own op adds, the worst first.

    Example:
        >>> [row["op"] for row in worst([{"op": k, "added": {"sqnr": v}} for k, v in (("A", 30.0), ("B", 9.0))], 1)]
        ['B']
    """
    return sorted((row for row in tensors if row["added"]["sqnr"] is not None), key=lambda r: r["added"]["sqnr"])[
        :count
    ]


HEADS = ("op", "tensor", "SQNR", "added", "cosine", "mean LSB", "max LSB", "added LSB", "low", "high", "codes")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One tensor as a row of a table, under `HEADS`."""
    whole, own = row["accumulated"], row["added"]
    return (
        row["op"],
        short(row["before"]),
        _number(whole["sqnr"], ".1f"),
        _number(own["sqnr"], ".1f"),
        _number(whole["cosine"], ".4f"),
        _number(whole["mean_lsb"], ".2f"),
        _number(whole["largest_lsb"], ".1f"),
        _number(own["mean_lsb"], ".2f"),
        _number(row["low"], ".1%"),
        _number(row["high"], ".1%"),
        _number(row["codes"], ".0%"),
    )


def table(value: Mapping[str, Any]) -> Any:
    """The tensors as a `rich` table, in the network's order; ops that add most error are marked."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, title in enumerate(HEADS):
        made.add_column(title, justify="left" if place < 2 else "right", no_wrap=place > 0)
    marked = [id(row) for row in worst(value["tensors"])]
    for row in value["tensors"]:
        made.add_row(*cells(row), style="bold red" if id(row) in marked else None)
    return made


def notebook(value: Mapping[str, Any], title: str) -> str:
    """The picture, and the tensors whose own ops add most error, as HTML."""
    rows = [cells(row) for row in worst(value["tensors"], 10)]
    alt = "Accumulated and added SQNR of every tensor, from input to output"
    return page.table(HEADS, rows, f"{title}; the ops that add most noise", texts=2) + page.picture(picture(value), alt)


def short(name: str, most: int = 32) -> str:
    """The end of a tensor's name, which distinguishes it from others.

    Example:
        >>> short("model/block_1/conv", 8)
        '…_1/conv'
    """
    return name if len(name) <= most else "…" + name[-most + 1 :]


def draw(axes: Any, tensors: Sequence[Mapping[str, Any]]) -> None:
    """Draws accumulated and added SQNR of every tensor, from input to output.

    Args:
        axes: Matplotlib axes to draw on.
        tensors: The comparison's tensors.
    """
    whole, own = (
        [_CLEAN if row[which]["sqnr"] is None else row[which]["sqnr"] for row in tensors]
        for which in ("accumulated", "added")
    )
    places = range(len(tensors))
    axes.vlines(places, whole, own, color="#D7DBE0", lw=1.2, zorder=1)
    axes.plot(places, whole, "-", color=INT8, lw=1.8, label="accumulated up to the tensor", zorder=2)
    axes.plot(places, own, "o", color=FLOAT, ms=4.5, mec="white", mew=0.6, label="added by its op alone", zorder=3)
    for row in worst(tensors, 3):
        place = next(k for k, other in enumerate(tensors) if other is row)
        axes.plot(place, own[place], "o", ms=9, mfc="none", mec=INK, mew=1.2, zorder=4)
    axes.set(
        xlabel="tensor, from input to output", ylabel="SQNR, dB (higher is better)", xlim=(-0.8, len(tensors) - 0.2)
    )
    axes.grid(axis="y", color="#E8EBEE", lw=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(-0.01, 1.0), borderaxespad=0)


def picture(value: Mapping[str, Any]) -> bytes:
    """The picture as a PNG file."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained", facecolor="white")
    axes = figure.subplots()
    draw(axes, value["tensors"])
    axes.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
