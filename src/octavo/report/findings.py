"""Findings: sentences that follow from the run's own figures, each with the figure it follows from.

A sentence stands here only behind a condition on a number, so two runs with different numbers read differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from octavo.report.facts import Facts

Topic = Literal["accuracy", "size", "speed", "quantization", "deployment", "next"]


@dataclass(frozen=True)
class Finding:
    """One sentence about the run.

    Args:
        topic: Which part of the report it belongs to.
        text: The sentence, with its figures.
    """

    topic: Topic
    text: str


def findings(facts: Facts) -> list[Finding]:
    """All that a run's figures say, in the order of the report."""
    makers = (_accuracy, _size, _speed, _quantization, _deployment, _next)
    return [finding for make in makers for finding in make(facts)]


def percent(share: float) -> str:
    """A share as people read it.

    Example:
        >>> percent(0.9731)
        '97.31%'
    """
    return f"{share:.2%}"


def points(share: float) -> str:
    """A difference of shares, in percentage points with its sign.

    Example:
        >>> points(-0.003)
        '−0.30'
    """
    return f"{share * 100:+.2f}".replace("-", "−")


def megabytes(count: float) -> str:
    """Bytes as megabytes of a million.

    Example:
        >>> megabytes(2_726_944)
        '2.73 MB'
    """
    return f"{count / 1e6:.2f} MB"


def _accuracy(facts: Facts) -> Iterator[Finding]:
    compared, images = facts.comparison, facts.evaluation["images"]
    difference = compared["difference"]
    span = f"{points(difference['low'])} to {points(difference['high'])}"
    margin = compared["margin"] * 100
    verdict = (
        f"The whole interval lies above −{margin:g}, so int8 is non-inferior at the margin of {margin:g} points."
        if compared["non_inferior"]
        else f"The interval reaches below −{margin:g}, so non-inferiority at {margin:g} points is not shown."
    )
    yield Finding(
        "accuracy",
        f"On the same {images:,} held-out images int8 differs from float by {points(difference['value'])} "
        f"points, with a "
        f"paired 95% interval of {span}. {verdict}",
    )
    b, c, p = (compared["mcnemar"][key] for key in "bcp")
    if b + c == 0:
        yield Finding("accuracy", "Not one image changed between right and wrong.")
    else:
        yield Finding(
            "accuracy",
            f"Quantization turned {b} right answers wrong and {c} wrong ones right (McNemar's exact p = "
            f"{p:.2g}); the two "
            f"models agree on {percent(compared['agreement'])} of the images.",
        )
    worst = _class_changes(facts)
    if worst and worst[0][1] < 0:
        name, change, count = worst[0]
        yield Finding(
            "accuracy", f"The class that lost most is '{name}': {points(change)} points of recall on {count} images."
        )


def _class_changes(facts: Facts) -> list[tuple[str, float, int]]:
    """Each class's change of recall, the largest loss first."""
    pairs = zip(facts.float_model["per_class"], facts.int8_model["per_class"], strict=True)
    changes = [(a["class"], b["recall"] - a["recall"], a["images"]) for a, b in pairs if a["images"]]
    return sorted(changes, key=lambda row: row[1])


def _size(facts: Facts) -> Iterator[Finding]:
    sizes = facts.bytes
    before, after = sizes["float_tflite"], sizes["int8_tflite"]
    yield Finding(
        "size",
        f"The int8 file takes {megabytes(after)}: {before / after:.2f} times less than the float .tflite "
        f"({megabytes(before)}).",
    )
    if sizes.get("keras_with_optimizer"):
        whole, bare = sizes["keras_with_optimizer"], sizes["keras"]
        yield Finding(
            "size",
            f"Against the .keras file with its optimizer's state ({megabytes(whole)}) the ratio is "
            f"{whole / after:.2f}, and "
            f"against the one without ({megabytes(bare)}) {bare / after:.2f}: most of what is often called "
            f"compression "
            "is training state left behind."
            if whole / before > before / after
            else f"The .keras file takes {megabytes(whole)} with its optimizer's state and {megabytes(bare)} without: "
            f"{whole / after:.2f} and {bare / after:.2f} times the int8 file.",
        )
    parts = facts.size["breakdown"]["int8_tflite"]
    overhead = 1 - parts["weights"] / after
    if overhead > 0.1:
        yield Finding(
            "size",
            f"{percent(overhead)} of the int8 file is not weights: {megabytes(parts['quantization'])} of scales "
            f"and zero "
            f"points, {megabytes(parts['names'])} of names, {megabytes(parts['rest'])} of graph.",
        )


def _speed(facts: Facts) -> Iterator[Finding]:
    before, after = facts.float_model["latency_ms"]["median"], facts.int8_model["latency_ms"]["median"]
    word = "faster" if after < before else "slower"
    ratio = before / after if after < before else after / before
    yield Finding(
        "speed",
        f"One image takes {after:.2f} ms in int8 and {before:.2f} ms in float (medians on one thread of this "
        f"machine, "
        f"measured in turns): int8 is {ratio:.2f} times {word}.",
    )


def _quantization(facts: Facts) -> Iterator[Finding]:
    proof = facts.proof
    left = proof["float_left"]
    if left:
        yield Finding("quantization", f"{len(left)} ops stay in float, as was allowed; they are listed below.")
    requantized = proof["ops"].get("QUANTIZE", 0)
    if requantized:
        yield Finding("quantization", f"{requantized} QUANTIZE ops remain between tensors of different scales.")
    channels = sum(item["channels"] for item in proof["widened"])
    if channels:
        yield Finding(
            "quantization",
            f"{channels} weight channels in {len(proof['widened'])} ops have weights so small beside their bias "
            f"that their "
            "scale was widened, to keep the bias inside 32 bits.",
        )
    for row in _outliers(facts)[:1]:
        yield Finding(
            "quantization",
            f"The range of '{_short(row)}' is the one most dominated by outliers: 99.8% of its values lie within "
            f"{percent(_inner(row))} of it.",
        )


def _short(row: dict[str, object]) -> str:
    """A tensor's name without the chain of names that the converter fused into it."""
    return str(row["name"]).split(";")[0]


def _inner(row: dict[str, object]) -> float:
    """The share of a range that the middle 99.8% of its values use."""
    quantiles, bounds = row["quantiles"], row["range"]
    assert isinstance(quantiles, dict)
    assert isinstance(bounds, list)
    low, high = min(quantiles["0.001"], 0.0), max(quantiles["0.999"], 0.0)
    return float((high - low) / (bounds[1] - bounds[0]))


def _outliers(facts: Facts) -> list[dict[str, object]]:
    """Activations whose ranges are at least twice as wide as the middle 99.8% of their values, the worst first."""
    rows = [row for row in (facts.distributions or {}).get("activations", []) if row["range"][1] > row["range"][0]]
    return sorted((row for row in rows if _inner(row) < 0.5), key=_inner)


def _deployment(facts: Facts) -> Iterator[Finding]:
    proof, after = facts.proof, facts.bytes["int8_tflite"]
    if not proof["float_left"]:
        yield Finding(
            "deployment",
            "Input, output and every op are 8-bit integers, which is what integer-only targets "
            "(microcontrollers, DSPs, "
            "Edge TPU) ask for first; whether one of them takes every op has not been tried in this run.",
        )
    frames = 1000 / facts.int8_model["latency_ms"]["median"]
    yield Finding(
        "deployment",
        f"On a CPU, run it with the LiteRT runtime and its default XNNPACK kernels: {frames:,.0f} images a "
        f"second on one "
        f"thread here, {proof['macs'] / 1e6:,.1f} million multiply-accumulates each. A phone or an embedded "
        f"board has "
        "other cores: time it there.",
    )
    yield Finding(
        "deployment",
        f"Storage and download need {megabytes(after)}. Preprocess images as preprocess describes "
        f"({facts.recipe['preprocess']['size']} pixels, {facts.recipe['preprocess']['interpolation']}), and "
        f"check the "
        f"file's SHA-256 ({proof['sha256'][:16]}…): most random damage still loads and runs.",
    )


def _next(facts: Facts) -> Iterator[Finding]:
    compared, images = facts.comparison, facts.evaluation["images"]
    difference = compared["difference"]
    if difference["low"] <= 0 <= difference["high"]:
        changed = compared["mcnemar"]["b"] + compared["mcnemar"]["c"]
        # The interval's half width is about 1.96 * sqrt(changed) / images, and shrinks with the root of the images.
        half = max(1.96 * sqrt(max(changed, 1)) / images, 1e-9)
        needed = images * (half / 0.002) ** 2
        more = (
            f" Telling a change of 0.2 points apart from chance would take about {_round(needed)} test images."
            if needed > images
            else ""
        )
        yield Finding(
            "next",
            f"The gap between float and int8 is within the noise of {images:,} test images: {_span(difference)}.{more}",
        )
    elif difference["high"] < 0:
        yield Finding(
            "next",
            f"Quantization costs accuracy here ({_span(difference)}). Candidates, in order of cost: another "
            f"observer, bias "
            "correction, more calibration images, quantization-aware training.",
        )
        count = facts.ranges["images"]
        if count < 200:
            yield Finding(
                "next", f"Calibration saw {count} images; a few hundred cost seconds and may settle the ranges."
            )
    rows = _outliers(facts)
    if rows:
        yield Finding(
            "next",
            f"{len(rows)} activation ranges are at least twice as wide as 99.8% of their values need: an "
            f"observer that "
            "clips outliers would give those tensors finer steps.",
        )
    yield from _training(facts)


def _training(facts: Facts) -> Iterator[Finding]:
    if facts.history is None or not facts.history["epochs"]:
        return
    rows = facts.history["epochs"]
    last, accuracy = rows[-1], facts.float_model["accuracy"]
    gap = last["accuracy"] - accuracy["value"]
    if gap > 0.05:
        yield Finding(
            "next",
            f"The float model was right on {percent(last['accuracy'])} of its training images in the last epoch "
            f"and on "
            f"{percent(accuracy['value'])} of the test images: more training images or stronger augmentation "
            f"have more to "
            "give than quantization has to take.",
        )
    if len(rows) > 1 and last["accuracy"] - rows[-2]["accuracy"] > 0.01:
        yield Finding(
            "next",
            f"Training accuracy still rose by {points(last['accuracy'] - rows[-2]['accuracy'])} points in the "
            f"last epoch: "
            "more epochs may help.",
        )
    worst = sorted(facts.float_model["per_class"], key=lambda row: row["recall"])[0]
    if worst["recall"] < accuracy["value"] - 0.05:
        yield Finding(
            "next",
            f"The float model is weakest on '{worst['class']}' ({percent(worst['recall'])} of {worst['images']} "
            f"images): "
            "images of that class are worth most.",
        )


def _span(difference: dict[str, float]) -> str:
    return f"{points(difference['value'])} points, {points(difference['low'])} to {points(difference['high'])}"


def _round(count: float) -> str:
    digits = max(len(str(int(count))) - 2, 0)
    return f"{round(count, -digits):,.0f}"
