"""The report's pictures, as SVG text. Colours are Okabe and Ito's, which colour-blind people can tell apart."""

from __future__ import annotations

import io
import re
from typing import Any

from octavo.report.facts import Facts

FLOAT, INT8, QUIET, WARN = "#0072B2", "#D55E00", "#8a8f98", "#CC79A7"


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Any, title: str) -> str:
    """A figure as inline SVG: no fonts to fetch, no date, and nothing but its title for screen readers."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # Ids are unique within one figure only, and the page holds several.
    mark = re.sub(r"\W", "", title)[:24]
    text = re.sub(r'id="([^"]+)"', rf'id="{mark}-\1"', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\1{mark}-", text)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{label}" ', text, count=1)


def _clean(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def accuracy(facts: Facts) -> str:
    """Accuracies of float and int8 with their intervals."""
    figure, axes = _figure(6.2, 1.9)
    for place, (name, model, colour) in enumerate(
        [("int8", facts.int8_model, INT8), ("float", facts.float_model, FLOAT)]
    ):
        share = model["accuracy"]
        spread = [[(share["value"] - share["low"]) * 100], [(share["high"] - share["value"]) * 100]]
        axes.errorbar(share["value"] * 100, place, xerr=spread, fmt="o", ms=9, capsize=5, color=colour, lw=2)
        axes.annotate(
            f"{share['value']:.2%}", (share["value"] * 100, place), (0, 10), textcoords="offset points", ha="center"
        )
        axes.text(-0.01, place, name, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.set(ylim=(-0.6, 1.8), yticks=[], xlabel="accuracy, %, with 95% intervals")
    axes.spines["left"].set_visible(False)
    _clean(axes)
    return _svg(figure, "Accuracy of float and int8 with 95% intervals")


def difference(facts: Facts) -> str:
    """The paired difference with its interval, against 0 and the margin."""
    figure, axes = _figure(6.2, 1.5)
    change, margin = facts.comparison["difference"], facts.comparison["margin"] * 100
    value, low, high = (change[key] * 100 for key in ("value", "low", "high"))
    axes.axvspan(-margin, max(high, margin) * 1.1, color=FLOAT, alpha=0.08, lw=0)
    axes.axvline(0, color=QUIET, lw=1)
    axes.axvline(-margin, color=WARN, lw=1.5, ls="--")
    axes.annotate(f"margin −{margin:g}", (-margin, 0.62), (3, 0), textcoords="offset points", fontsize=9)
    axes.errorbar(value, 0, xerr=[[value - low], [high - value]], fmt="o", ms=9, capsize=5, color=INT8, lw=2)
    axes.set(ylim=(-0.8, 1), yticks=[], xlabel="int8 minus float, points of accuracy, paired 95% interval")
    axes.spines["left"].set_visible(False)
    _clean(axes)
    return _svg(figure, "Paired difference of int8 and float against the margin")


def size(facts: Facts) -> str:
    """Bytes of every file, the two .tflite files by what they hold."""
    figure, axes = _figure(6.2, 2.4)
    rows: list[tuple[str, dict[str, float]]] = []
    for name, label in (("keras_with_optimizer", ".keras with optimizer"), ("keras", ".keras")):
        if facts.bytes.get(name):
            rows.append((label, {"all": facts.bytes[name]}))
    rows.append(("float .tflite", facts.size["breakdown"]["float_tflite"]))
    rows.append(("int8 .tflite", facts.size["breakdown"]["int8_tflite"]))
    colours = {"all": QUIET, "weights": FLOAT, "quantization": INT8, "names": WARN, "rest": "#F0E442"}
    seen: set[str] = set()
    for place, (_, parts) in enumerate(reversed(rows)):
        left = 0.0
        for part, count in parts.items():
            key = part if part not in seen and part != "all" else None
            axes.barh(place, count / 1e6, left=left, color=colours[part], height=0.6, label=key)
            seen.add(part)
            left += count / 1e6
        axes.annotate(f"{left:.2f}", (left, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set(yticks=range(len(rows)), yticklabels=[label for label, _ in reversed(rows)], xlabel="MB (million bytes)")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    _clean(axes)
    return _svg(figure, "Sizes of the files")


def training(facts: Facts) -> str | None:
    """Loss and accuracy over the epochs."""
    if facts.history is None or not facts.history["epochs"]:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = facts.history["epochs"]
    figure = Figure(figsize=(6.6, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for axes, key, scale, label in ((left, "loss", 1, "loss"), (right, "accuracy", 100, "accuracy, %")):
        axes.plot(epochs, [row[key] * scale for row in rows], "o-", color=FLOAT, ms=4, label="training")
        held = [row[f"val_{key}"] for row in rows]
        if all(value is not None for value in held):
            axes.plot(epochs, [value * scale for value in held], "s--", color=INT8, ms=4, label="validation")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _clean(axes)
    left.legend(frameon=False, fontsize=9)
    return _svg(figure, "Training curves")


def confusion(facts: Facts) -> str | None:
    """Both confusion matrices, as shares of the true class; None for more classes than a picture can show."""
    from matplotlib.figure import Figure

    classes = facts.evaluation["classes"]
    if len(classes) > 30:
        return None
    figure = Figure(figsize=(7.4, 3.7 if len(classes) <= 12 else 4.4), layout="constrained")
    for axes, (name, model) in zip(
        figure.subplots(1, 2), [("float", facts.float_model), ("int8", facts.int8_model)], strict=True
    ):
        matrix = model["confusion"]
        shares = [[value / max(sum(row), 1) for value in row] for row in matrix]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(classes) <= 12:
            for i, row in enumerate(matrix):
                for j, value in enumerate(row):
                    if value:
                        colour = "white" if shares[i][j] > 0.5 else "#333"
                        axes.text(j, i, value, ha="center", va="center", fontsize=7, color=colour)
        short = [_short(text) for text in classes]
        axes.set_xticks(range(len(classes)), short, rotation=90, fontsize=8)
        axes.set_yticks(range(len(classes)), short if name == "float" else [], fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("predicted", fontsize=9)
    figure.axes[0].set_ylabel("true", fontsize=9)
    return _svg(figure, "Confusion matrices of float and int8")


def activations(facts: Facts) -> str | None:
    """Along the network: each activation's range, and where its values lie in it."""
    rows = (facts.distributions or {}).get("activations", [])
    if not rows:
        return None
    figure, axes = _figure(7.4, 3.2)
    places = range(len(rows))

    def share(row: Any, value: float) -> float:
        low, high = row["range"]
        return float((value - low) / (high - low) * 100) if high > low else 0.0

    for key, other, colour, width, label in (
        ("0", "1", "#c9d6e2", 1.0, "all values"),
        ("0.001", "0.999", FLOAT, 0.7, "middle 99.8%"),
        ("0.25", "0.75", INT8, 0.7, "middle half"),
    ):
        low = [share(row, row["quantiles"][key]) for row in rows]
        high = [share(row, row["quantiles"][other]) for row in rows]
        axes.bar(
            places, [b - a for a, b in zip(low, high, strict=True)], bottom=low, color=colour, width=width, label=label
        )
    axes.set(xlabel="tensor, from input to output", ylabel="% of the int8 range", xlim=(-0.8, len(rows) - 0.2))
    axes.set_ylim(-3, 118)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center")
    _clean(axes)
    return _svg(figure, "Activations within their int8 ranges, along the network")


def weights(facts: Facts) -> str | None:
    """Along the network: the spread of channel maxima; and the codes that all weights use."""
    from matplotlib.figure import Figure

    rows = (facts.distributions or {}).get("weights", [])
    if not rows:
        return None
    figure = Figure(figsize=(7.4, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for place, row in enumerate(rows):
        channel = row["channel_max"]
        colour = INT8 if row["op"] == "DEPTHWISE_CONV_2D" else FLOAT
        left.plot([place, place], [channel["min"], channel["max"]], color=colour, lw=2, solid_capstyle="butt")
        left.plot(place, channel["median"], "o", color=colour, ms=3)
    for colour, label in ((FLOAT, "convolution, dense"), (INT8, "depthwise")):
        left.plot([], [], color=colour, lw=2, label=label)
    left.set(yscale="log", xlabel="op, from input to output", ylabel="largest weight of a channel")
    left.legend(frameon=False, fontsize=8)
    edges = rows[0]["histogram"]["edges"]
    counts = [sum(row["histogram"]["counts"][k] for row in rows) for k in range(len(edges) - 1)]
    right.bar(edges[:-1], counts, width=edges[1] - edges[0], align="edge", color=FLOAT)
    right.set(xlabel="int8 code", ylabel="weights", yscale="log")
    for axes in (left, right):
        _clean(axes)
    return _svg(figure, "Weights against their ranges")


def _short(text: str) -> str:
    return text if len(text) <= 12 else text[:11] + "…"
