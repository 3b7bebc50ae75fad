"""The report's pictures, as SVG text. Colours are Okabe and Ito's, which colour-blind people can tell apart."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

from octavo.analysis.compare_views import draw, short, worst
from octavo.analysis.distributions import Histogram
from octavo.analysis.pareto import COSTS, front
from octavo.base.metric import Metric
from octavo.base.stats import Interval
from octavo.base.units import milliseconds
from octavo.deployment.targets.target import Verdict
from octavo.reports.deployment import FAMILIES
from octavo.reports.facts import Facts
from octavo.reports.wording import Figures, percent, ratio, size, tensor, times
from octavo.runtime.litert import Latency
from octavo.training.history import Epoch

FLOAT, INT8, QUIET, WARN = "#0072B2", "#D55E00", "#8A8F98", "#CC79A7"
PARTS = {"weights": "#009E73", "quantization": "#E69F00", "names": "#CC79A7", "rest": "#56B4E9"}
INK = "#24292F"
# Inches: of pictures that stand side by side, of one on a phone, and of the rest.
HALF, SLIM, WIDE = 4.9, 6.0, 7.6
# More classes than this leave no room for names, or for numbers, in a matrix.
MOST_NAMES, MOST_NUMBERS = 30, 12


@dataclass(frozen=True)
class Plot:
    """A picture.

    Args:
        svg: The picture, one `<svg>` element.
        alt: What it shows, for people who cannot see it.
        caption: How to read it.
    """

    svg: str
    alt: str
    caption: str


def plots(facts: Facts) -> dict[str, Plot]:
    """All pictures of the report for which the run has figures, by name."""
    makers = (accuracy, difference, sizes, training, latency, memory, confusion, error, activations, weights)
    made = {make.__name__: make(facts) for make in makers}
    return {name: plot for name, plot in made.items() if plot is not None}


def accuracy(facts: Facts) -> Plot | None:
    """The scores of float and int8 with their intervals."""
    if not facts.known:
        return None
    figure, axes = _figure(HALF, 2.0)
    words, (before, after) = facts.words, facts.scores
    models: list[tuple[str, Interval, str]] = [("int8", after, INT8), ("float", before, FLOAT)]
    for place, (_, share, colour) in enumerate(models):
        _bar(axes, _scaled(words, share), place, colour, words.value(share.value))
    label = f"{words.metric.axis}, {facts.compared.confidence:.0%} interval"
    axes.set(ylim=(-0.55, 1.75), yticks=[0, 1], xlabel=label)
    axes.set_yticklabels([name for name, *_ in models], fontsize=10.5)
    _clean(axes, left=False)
    said = "; ".join(
        f"{name} {words.value(share.value)}, interval {words.interval(share)}" for name, share, _ in reversed(models)
    )
    kind = "Wilson" if facts.evaluation.task == "single-label" else "bootstrap"
    return drawn(
        "accuracy",
        figure,
        f"{words.metric.heading}: {said}.",
        f"Each {words.metric.title} with its {kind} interval. Overlapping intervals say little here: both models "
        "saw the same samples, so the paired difference is the better comparison.",
    )


def difference(facts: Facts) -> Plot | None:
    """The paired difference with its interval, against zero and the margin."""
    if not facts.known:
        return None
    figure, axes = _figure(HALF, 2.0)
    words, change = facts.words, _scaled(facts.words, facts.gap)
    margin = words.scaled(facts.compared.margin)
    sign = 1 if words.metric.higher else -1
    ends = sorted((-margin * sign, sign * max(sign * change.high, sign * change.low, margin * 0.5) * 1.15))
    axes.axvspan(*ends, color="#009E73", alpha=0.10, lw=0)
    axes.axvline(0, color=QUIET, lw=1)
    axes.axvline(-margin * sign, color=INK, lw=1.4, ls="--")
    minus = "−" if sign > 0 else ""
    axes.annotate(
        f"margin {minus}{margin:g}",
        (-margin * sign, 0.72),
        (5 * sign, 0),
        textcoords="offset points",
        fontsize=9,
        color=INK,
        va="center",
        ha="left" if sign > 0 else "right",
    )
    _bar(axes, change, 0, INT8, words.bare(facts.gap.value))
    worst = min(change.low, -margin) if sign > 0 else max(change.high, margin)
    limits = sorted((worst * 1.12, ends[1] if sign > 0 else ends[0]))
    unit = f", points of {words.metric.title}" if words.metric.percent else f", {words.metric.title}"
    axes.set(ylim=(-0.6, 1), yticks=[], xlabel=f"int8 minus float{unit}", xlim=limits)
    _clean(axes, left=False)
    return drawn(
        "difference",
        figure,
        f"Paired difference of int8 and float: {words.change(facts.gap.value)}, interval {words.span(facts.gap)}; "
        f"margin {minus}{margin:g}.",
        f"Int8 minus float on the same samples, with the paired {facts.compared.confidence:.0%} interval. Int8 is "
        "non-inferior if the whole interval lies in the green area.",
    )


def _scaled(words: Figures, found: Interval) -> Interval:
    """An interval as it is drawn."""
    return Interval(*(words.scaled(value) for value in (found.value, found.low, found.high)))


def sizes(facts: Facts) -> Plot:
    """Size of every file, and the parts of the `.tflite` files."""
    files, held = facts.size.files, facts.size.breakdown
    rows: list[tuple[str, dict[str, int]]] = []
    if facts.model is not None:
        rows.append((_short(facts.model.name), {"": facts.model.bytes}))
    if files.keras_with_optimizer:
        rows.append((".keras, optimizer state", {"": files.keras_with_optimizer}))
    if files.keras:
        rows.append((".keras", {"": files.keras}))
    rows.append(("float .tflite", vars(held.float_tflite)))
    rows.append(("int8 .tflite", vars(held.int8_tflite)))
    figure, axes = _figure(SLIM, 0.95 + 0.4 * len(rows))
    most = max(sum(parts.values()) for _, parts in rows)
    unit, name = _unit(most)
    for place, (_, parts) in enumerate(reversed(rows)):
        left = 0
        for part, number in parts.items():
            axes.barh(place, number / unit, left=left / unit, color=PARTS.get(part, "#B8BEC6"), height=0.62, lw=0)
            left += number
        _beside(axes, size(left), left / unit, place)
    for part, colour in PARTS.items():
        axes.barh(0, 0, color=colour, label=part)
    _literal(axes.set_yticks(range(len(rows)), [label for label, _ in reversed(rows)]), axes.get_yticklabels())
    axes.set(xlabel=name, xlim=(0, most / unit * 1.14))
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(-0.01, 1.0), borderaxespad=0)
    _clean(axes)
    said = "; ".join(f"{label} {size(sum(parts.values()))}" for label, parts in rows)
    return drawn(
        "sizes",
        figure,
        f"Sizes: {said}.",
        "The sizes, and the parts of the .tflite files. No device needs the grey files."
        if len(rows) > 2
        else "The parts of the .tflite files.",
    )


def training(facts: Facts) -> Plot | None:
    """Loss and score over the epochs: of float, and then of int8 and the control, which begin with it."""
    curves = _curves(facts)
    if not curves:
        return None
    figure, (left, right) = _figure(WIDE, 2.9, 1, 2)
    metric, held = facts.evaluation.metric, False
    scale = 100 if metric.percent else 1
    for curve in curves:
        epochs = [curve.start + row.epoch for row in curve.rows]
        losses = [row.loss for row in curve.rows], [row.val_loss for row in curve.rows]
        # Other tasks than single-label are scored on the validation samples only.
        scores = [row.accuracy for row in curve.rows], [row.val_score for row in curve.rows]
        for axes, (seen, checked), factor in ((left, losses, 1), (right, scores, scale)):
            # A curve without values has its entry in the legend all the same.
            axes.plot(epochs, _times(seen, factor), "o-", color=curve.colour, ms=4, lw=curve.width, label=curve.name)
            if None not in checked:
                held = True
                axes.plot(epochs, _times(checked, factor), "s--", color=curve.colour, ms=4, lw=1.4, mfc="white")
    for axes, title in ((left, "loss"), (right, metric.axis)):
        axes.set(xlabel="epoch")
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        _whole(axes)
        axes.grid(axis="y", color="#E8EBEE", lw=0.8)
        axes.set_axisbelow(True)
        _clean(axes)
    if facts.history and facts.evaluation.task == "single-label":
        right.axhline(facts.scores[0].value * 100, color=QUIET, lw=1.2, ls=":", label="float, test")
    _, labels = right.get_legend_handles_labels()
    right.legend(frameon=False, fontsize=9, loc="best", ncols=1 if len(labels) < 4 else 2)
    said = "; ".join(
        f"{curve.name} after {len(curve.rows)} epochs: loss {curve.rows[-1].loss:.3f}{_trained_to(curve.rows[-1])}"
        for curve in curves
    )
    lines = [
        f"Loss and {metric.title} by epoch, on the training samples"
        + (" and, dashed, on the validation samples." if held else ".")
    ]
    if facts.trained is not None:
        both = "Int8 (quantization-aware training) and the control begin" if facts.controlled else "Int8 begins"
        lines.append(f"{both} with the trained float model.")
    lines.append(
        "Training figures are averages over the epoch, on augmented samples and while the weights change, so they can "
        "be worse than those of validation."
    )
    return drawn("training", figure, f"Training curves. {said}.", " ".join(lines))


def _times(values: Sequence[float | None], factor: float) -> list[float]:
    return [math.nan if value is None else value * factor for value in values]


def _trained_to(row: Epoch) -> str:
    return "" if row.accuracy is None else f", training accuracy {percent(row.accuracy)}"


@dataclass(frozen=True)
class _Curve:
    """The epochs of one training, drawn from `start` on."""

    name: str
    colour: str
    width: float
    start: int
    rows: Sequence[Epoch]


def _curves(facts: Facts) -> list[_Curve]:
    """The trainings of a run: first the float model's; then, side by side, those that begin with it."""
    first = facts.history.epochs if facts.history else []
    made = [_Curve("float", FLOAT, 1.8, 0, first)]
    # The control is wide, so that it shows where int8 lies on it.
    for record, name, colour, width in (
        (facts.controlled, "float, control", PARTS["weights"], 4.0),
        (facts.trained, "int8", INT8, 1.8),
    ):
        if record is not None:
            made.append(_Curve(name, colour, width, len(first), record.epochs))
    return [curve for curve in made if curve.rows]


def latency(facts: Facts) -> Plot | None:
    """Milliseconds of float and int8 on each kernel family, and of int8 on every other target that ran."""
    found = facts.deployed
    if found is None or not found.families:
        return None
    rows: list[tuple[str, str, Latency, str]] = []
    said = []
    for family, pair in found.pairs.items():
        name = _family(family)
        rows.append((f"{name}, float", FLOAT, pair[0].latency, ""))
        rows.append((f"{name}, int8", INT8, pair[1].latency, f", {times(pair[1].ratio.value)}"))
        said.append(f"{name} int8 over float {ratio(pair[1].ratio)}")
    for target in found.targets or []:
        # LiteRT's are the benchmark's.
        if not target.id.startswith("litert-") and (time := _measured(target)) is not None:
            rows.append((f"{target.target}, int8", INT8, time, ""))
    figure, axes = _figure(HALF, 0.9 + 0.36 * len(rows))
    ends = [max(time.p90_ms, time.median_ms) for _, _, time, _ in rows]
    for place, ((_, colour, time, note), end) in enumerate(zip(reversed(rows), reversed(ends), strict=True)):
        axes.barh(place, time.median_ms, color=colour, height=0.62, lw=0)
        axes.plot([time.min_ms, time.p90_ms], [place, place], color=INK, lw=1.2)
        _beside(axes, milliseconds(time.median_ms) + note, end, place)
    axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    axes.set(xlabel="ms per inference, one thread", xlim=(0, max(ends) * 1.55))
    # Few, since the numbers of a small model have many digits.
    axes.locator_params(axis="x", nbins=4)
    _clean(axes)
    return drawn(
        "latency",
        figure,
        f"Latency: {'; '.join(f'{name} {milliseconds(time.median_ms)}' for name, _, time, _ in rows)}. "
        f"{'; '.join(said)}.",
        "Median time of one inference; the line goes from the fastest run to the 90th percentile. The factor is "
        "the time of int8 divided by that of float, the median over pairs of runs.",
    )


def _measured(target: Verdict) -> Latency | None:
    """The latency that a target measured; None where it measured none."""
    keys = {field.name for field in fields(Latency)}
    if target.costs is None or not target.costs.answer or not keys <= target.costs.facts.keys():
        return None
    return Latency(**{key: target.costs.facts[key] for key in keys})


def memory(facts: Facts) -> Plot | None:
    """Bytes that the model needs: its files, memory on this machine, and the arena on a microcontroller."""
    found = facts.deployed
    if found is None or not found.families:
        return None
    rows = [
        ("file, float", FLOAT, facts.size.files.float_tflite),
        ("file, int8", INT8, facts.size.files.int8_tflite),
    ]
    for family, pair in found.pairs.items():
        for name, colour, item in zip(("float", "int8"), (FLOAT, INT8), pair, strict=True):
            if item.footprint.memory is not None:
                rows.append((f"{_family(family)}, {name}", colour, item.footprint.memory))
    micro = found.target("tflite-micro")
    planned = micro.costs.facts.get("activations") if micro is not None and micro.costs is not None else None
    if planned is not None:
        rows.append(("arena, planned, int8", PARTS["weights"], int(planned)))
    figure, axes = _figure(HALF, 0.9 + 0.36 * len(rows))
    most = max(bytes_ for *_, bytes_ in rows)
    unit, name = _unit(most)
    for place, (_, colour, bytes_) in enumerate(reversed(rows)):
        axes.barh(place, bytes_ / unit, color=colour, height=0.62, lw=0)
        _beside(axes, size(bytes_), bytes_ / unit, place)
    axes.set_yticks(range(len(rows)), [label for label, *_ in reversed(rows)])
    axes.set(xlabel=name, xlim=(0, most / unit * 1.24))
    _clean(axes)
    return drawn(
        "memory",
        figure,
        f"Memory: {'; '.join(f'{label} {size(bytes_)}' for label, _, bytes_ in rows)}.",
        "The file sizes, and the measured peak memory beyond LiteRT itself"
        + ("; for a microcontroller, the arena that TFLite Micro would plan for activations." if planned else "."),
    )


def confusion(facts: Facts) -> Plot | None:
    """Float's confusion matrix, and how int8 changes it; None for tasks without one."""
    if facts.by_class is None or not facts.by_class[0].confusion:
        return None
    classes, (before, after) = facts.evaluation.classes, (table.confusion for table in facts.by_class)
    count = len(classes)
    change = [[b - a for a, b in zip(*rows, strict=True)] for rows in zip(before, after, strict=True)]
    shares = [[value / max(sum(row), 1) for value in row] for row in before]
    # A change of one image stays pale where no cell changes by more.
    most = max(4, *(abs(value) for row in change for value in row))
    figure, (left, right) = _figure(WIDE, 4.3, 1, 2)
    left.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    right.imshow(change, cmap="PuOr_r", vmin=-most, vmax=most)
    for axes, title in ((left, f"float: {facts.sample}s"), (right, f"int8 minus float: {facts.sample}s")):
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.set_xlabel("predicted class", fontsize=9)
        axes.tick_params(length=0)
        axes.spines[:].set_color("#D7DBE0")
        names = [_short(text) for text in classes] if count <= MOST_NAMES else []
        place = range(len(names))
        _literal(axes.set_xticks(place, names, rotation=90, fontsize=8.5), axes.get_xticklabels())
        _literal(
            axes.set_yticks(place, names if axes is left else [""] * len(names), fontsize=8.5), axes.get_yticklabels()
        )
    left.set_ylabel("true class", fontsize=9)
    if count <= MOST_NUMBERS:
        for i in range(count):
            for j in range(count):
                colour = "white" if shares[i][j] > 0.5 else INK
                if before[i][j]:
                    left.text(j, i, before[i][j], ha="center", va="center", fontsize=7.5, color=colour)
                if change[i][j]:
                    text = f"{change[i][j]:+d}".replace("-", "−")
                    colour = "white" if abs(change[i][j]) > 0.6 * most else INK
                    right.text(j, i, text, ha="center", va="center", fontsize=7.5, color=colour)
    moved = sum(value for row in change for value in row if value > 0)
    return drawn(
        "confusion",
        figure,
        f"Confusion matrices of {count} classes: float has {sum(row[k] for k, row in enumerate(before))} "
        f"{facts.sample}s on the diagonal, int8 {sum(row[k] for k, row in enumerate(after))}; a net {moved} "
        f"{facts.sample}s are in another cell.",
        "Left: the classes that float predicts (columns) for each true class (rows); more colour is a larger share "
        f"of the class. Right: the change in int8; orange cells gained {facts.sample}s, violet cells lost "
        f"{facts.sample}s.",
    )


def error(facts: Facts) -> Plot | None:
    """The accumulated error of each tensor along the network, and the error that its op alone adds."""
    if facts.compare is None or not facts.compare.tensors:
        return None
    rows = facts.compare.to_json()["tensors"]
    figure, axes = _figure(WIDE, 3.2)
    draw(axes, rows)
    _whole(axes)
    _clean(axes)
    named = "; ".join(
        f"{row['op']} {short('/'.join(tensor(row['before']).split('/')[-2:]))} {row['added']['sqnr']:.1f} dB"
        for row in worst(rows, 3)
    )
    return drawn(
        "error",
        figure,
        f"Error along {len(rows)} tensors. The ops that add most: {named or 'none'}.",
        f"SQNR (signal-to-quantization-noise ratio) of each int8 tensor against float, over {facts.compare.images} "
        f"validation {facts.sample}s (training {facts.sample}s if there are none); higher is better, and 6 dB "
        "are about one bit. The line is the accumulated error. A dot is the error that the op alone adds if it gets "
        f"float's values as inputs. Rings mark the ops that add most: {named or 'none'}.",
    )


def activations(facts: Facts) -> Plot | None:
    """The values of each activation within its int8 range, along the network."""
    rows = facts.distributions.activations if facts.distributions else []
    if not rows:
        return None
    figure, axes = _figure(WIDE, 3.2)
    ends = [row.range for row in rows]

    def within(key: str) -> list[float]:
        values = [row.quantiles[key] for row in rows]
        return [
            min(max((v - low) / (high - low), 0.0), 1.0) * 100 if high > low else 0.0
            for v, (low, high) in zip(values, ends, strict=True)
        ]

    _bands(axes, [(within("0"), within("1")), (within("0.001"), within("0.999")), (within("0.25"), within("0.75"))])
    axes.set(xlabel="tensor, from input to output", ylabel="% of its int8 range", ylim=(-2, 102))
    _whole(axes)
    loosest = min(rows, key=lambda row: row.used)
    return drawn(
        "activations",
        figure,
        f"Values of {len(rows)} activations within their ranges. In the widest range for its values, 99.8% of the "
        f"values lie in {percent(loosest.used)} of the range.",
        f"Each activation's values within its int8 range, over {facts.distributions.images} "  # type: ignore[union-attr]
        f"calibration {facts.sample}s. A short bar of the middle half in a tall one means that outliers set the range.",
    )


def weights(facts: Facts) -> Plot | None:
    """The int8 codes of each op's weights along the network, and how much the channels' largest weights differ."""
    rows = facts.distributions.weights if facts.distributions else []
    if not rows:
        return None
    figure, (upper, lower) = _figure(WIDE, 4.4, 2, 1, sharex=True)
    marks = [_quantiles(row.histogram, (0.05, 0.25, 0.75, 0.95)) for row in rows]
    _bands(
        upper,
        [
            ([-127.0] * len(rows), [127.0] * len(rows)),
            ([mark[0] for mark in marks], [mark[3] for mark in marks]),
            ([mark[1] for mark in marks], [mark[2] for mark in marks]),
        ],
        ("all codes", "middle 90%", "middle half"),
    )
    upper.set(ylabel="int8 code", yticks=[-127, 0, 127])
    for kinds, colour, label in ((False, FLOAT, "convolution, dense"), (True, INT8, "depthwise")):
        chosen = [(k, row.channel_max) for k, row in enumerate(rows) if ("DEPTHWISE" in row.op) is kinds]
        if chosen:
            places = [k for k, _ in chosen]
            lower.vlines(
                places, [m.min for _, m in chosen], [m.max for _, m in chosen], color=colour, lw=2.5, label=label
            )
            lower.plot(places, [m.median for _, m in chosen], "o", color=colour, ms=4, mec="white", mew=0.6)
    lower.set(yscale="log", xlabel="op, from input to output", ylabel="largest weight")
    _whole(lower)
    lower.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(-0.01, 1.0), borderaxespad=0)
    _clean(lower)
    widest = max((row.channel_max.max / row.channel_max.min for row in rows if row.channel_max.min > 0), default=1.0)
    return drawn(
        "weights",
        figure,
        f"Weights of {len(rows)} ops: their int8 codes, and the largest weight of each channel, which differs by a "
        f"factor of at most {widest:.0f} within one op.",
        "Above: the int8 codes of each op's weights. Below: the largest weight of each output channel; a line goes "
        "from the smallest to the largest channel of an op, and the dot is the median. Because of tall lines every "
        "channel has its own scale.",
    )


def fronts(rows: Sequence[Mapping[str, Any]], metric: Metric, costs: Sequence[str]) -> Plot:
    """Scores against costs of models of several runs, with the Pareto front; a panel for each cost.

    Args:
        rows: The models: ``name``, ``kind``, ``score`` and every cost.
        metric: The metric of the scores.
        costs: Names in `octavo.analysis.pareto.COSTS`.
    """
    figure, panels = _figure(WIDE, 3.6, 1, len(costs), sharey=True, squeeze=False)
    said, words = [], Figures(metric)
    for axes, cost in zip(panels[0], costs, strict=True):
        label, unit = COSTS[cost]
        best = front(rows, cost, metric.higher)
        axes.step(
            [row[cost] / unit for row in best],
            [words.scaled(row["score"]) for row in best],
            where="post",
            color=QUIET,
            lw=1,
        )
        for row in rows:
            colour = FLOAT if row["kind"] == "float" else INT8
            place, on = (row[cost] / unit, words.scaled(row["score"])), row in best
            axes.plot(*place, "o", ms=8 if on else 5, mec="white", mew=0.8, color=colour, alpha=1 if on else 0.5)
            if on:
                right = row[cost] > 0.5 * max(other[cost] for other in rows)
                note = axes.annotate(
                    _short(row["name"].replace(": int8", "")),
                    place,
                    (-6 if right else 6, 7),
                    textcoords="offset points",
                    fontsize=8.5,
                    color=INK,
                    ha="right" if right else "left",
                )
                note.set_parse_math(False)
        axes.set(xlabel=label)
        axes.set_xlim(left=0)
        axes.margins(y=0.25)
        axes.grid(color="#E8EBEE", lw=0.8)
        axes.set_axisbelow(True)
        _clean(axes)
        said.append(f"on the front of {label.split(',')[0]}: {', '.join(row['name'] for row in best)}")
    panels[0][0].set_ylabel(metric.axis, fontsize=9.5)
    return drawn(
        "fronts",
        figure,
        f"{metric.heading} of {len(rows)} models against their costs; {'; '.join(said)}.",
        "Every model of the runs, float in blue and int8 in orange. On the line no other model is cheaper and as "
        "good; names are those of the runs.",
    )


def _figure(width: float, height: float, *grid: int, **options: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Compressed: matrices keep their aspect, and the space that this leaves is cut away.
    layout = ConstrainedLayoutEngine(compress=True, wspace=0.07)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    # One ground for the whole picture, which a page leaves out for that of its own.
    return figure, figure.subplots(*grid, subplot_kw={"facecolor": "none"}, **options)


def _bar(axes: Any, share: Interval, place: float, colour: str, text: str) -> None:
    """A value with its interval, and the value in words above it."""
    value, low, high = share.value, share.low, share.high
    spread = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
    axes.errorbar(value, place, xerr=spread, fmt="o", ms=9, capsize=5, color=colour, lw=2.2, mec="white", mew=1)
    axes.annotate(text, (value, place), (0, 9), textcoords="offset points", ha="center", color=colour, weight="bold")


def _bands(
    axes: Any,
    bands: Sequence[tuple[Sequence[float], Sequence[float]]],
    labels: Sequence[str] = ("all values", "middle 99.8%", "middle half"),
) -> None:
    """One column per tensor: all, most, and half of its values, from pale to dark."""
    for (low, high), colour, label in zip(bands, ("#D5E3EE", "#56B4E9", FLOAT), labels, strict=True):
        heights = [b - a for a, b in zip(low, high, strict=True)]
        axes.bar(range(len(heights)), heights, bottom=low, color=colour, width=0.86, lw=0, label=label)
    axes.set_xlim(-0.8, len(bands[0][0]) - 0.2)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(-0.01, 1.0), borderaxespad=0)
    _clean(axes)


def _quantiles(histogram: Histogram, shares: Sequence[float]) -> list[float]:
    """Quantiles from a histogram, each at the middle of its bin."""
    running = list(accumulate(histogram.counts))
    middles = [(a + b) / 2 for a, b in zip(histogram.edges, histogram.edges[1:], strict=False)]
    places = [next(k for k, done in enumerate(running) if done >= share * running[-1]) for share in shares]
    return [middles[k] for k in places]


def _unit(most: float) -> tuple[float, str]:
    """The unit of an axis that goes up to so many bytes: its size in bytes and its name."""
    return (1e6, "MB") if most >= 1e6 else (1e3, "kB")


def _beside(axes: Any, text: str, end: float, place: float) -> None:
    """Writes a bar's value behind its end."""
    axes.annotate(text, (end, place), (5, 0), textcoords="offset points", va="center", fontsize=9.5)


def _family(name: str) -> str:
    return FAMILIES[name].removeprefix("LiteRT's ")


def _clean(axes: Any, left: bool = True) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines["left"].set_visible(left)
    axes.spines[["left", "bottom"]].set_color("#9AA1A9")
    axes.tick_params(labelsize=9.5, color="#9AA1A9", length=3 if left else 0, labelcolor=INK)
    axes.tick_params(axis="x", length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=9.5, color=INK)


def _whole(axes: Any) -> None:
    """Marks whole numbers only, since the axis counts tensors or ops."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _literal(_: Any, labels: Sequence[Any]) -> None:
    """Shows class names as plain text, so that a dollar sign does not start a formula."""
    for label in labels:
        label.set_parse_math(False)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 14 else text[:13] + "…"


def drawn(name: str, figure: Any, alt: str, caption: str) -> Plot:
    """A figure as inline SVG: no fonts to fetch, no date, ids that no other picture of the page has.

    Args:
        name: The picture's name, which begins its ids.
        figure: A figure of matplotlib.
        alt: What it shows, for people who cannot see it.
        caption: How to read it.
    """
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "octavo"}), warnings.catch_warnings():
        # Class names may be in any script; the browser has the fonts that matplotlib's measuring lacks.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font", category=UserWarning)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(<[^<>]*\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)
    return Plot(text, alt, caption)
