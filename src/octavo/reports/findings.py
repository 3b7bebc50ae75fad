"""Findings: the report's conclusions, each a sentence with the figures that support it.

Every sentence depends on a condition on the run's numbers, so two runs with different numbers get different reports.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from octavo.analysis.distributions import Activation, Weight
from octavo.analysis.evaluation import ClassScore, ClassTable
from octavo.base.affine import QParams
from octavo.base.units import milliseconds
from octavo.data.preprocess import Preprocess
from octavo.reports import deployment
from octavo.reports.facts import Facts, gap_of, score_of
from octavo.reports.finding import Finding, Tone, Topic
from octavo.reports.wording import (
    Figures,
    about,
    count,
    decibels,
    interval,
    listing,
    number,
    percent,
    points,
    size,
    tensor,
    times,
)

# A figure above its threshold gets a sentence in the report.
NOTABLE_OVERHEAD = 0.1  # bytes of an int8 file that are not weights
NOTABLE_RANGE = 0.5  # share of a range that 99.8% of the values need
NOTABLE_SPREAD = 16.0  # largest over smallest channel: four of the eight bits
NOTABLE_GAP = 0.05  # training over test accuracy, or mean over worst class
NOTABLE_RISE = 0.01  # accuracy gained in the last epoch
FEW_CALIBRATION_IMAGES = 200


def findings(facts: Facts) -> list[Finding]:
    """All findings of a run, in the order of the report."""
    makers = (
        _summary,
        _accuracy,
        _size,
        _speed,
        _quantization,
        _deployment,
        deployment.measured,
        _recommendations,
        _next,
    )
    return [finding for make in makers for finding in make(facts)]


def _summary(facts: Facts) -> Iterator[Finding]:
    yield _scored(facts) if facts.known else _agreement(facts, "summary")
    yield from _trained(facts)
    files, left = facts.size.files, len(facts.proof.kept_in_float)
    yield Finding(
        "summary",
        f"The int8 file is {times(facts.ratio)} smaller: {size(files.int8_tflite)} instead of "
        f"{size(files.float_tflite)} (both .tflite).",
        {"ratio": facts.ratio},
        _size_tone(facts),
    )
    before, after = facts.latencies
    yield Finding(
        "summary",
        f"One sample takes {milliseconds(after.median_ms)} instead of {milliseconds(before.median_ms)} on one thread "
        "of this machine.",
        {"speedup": facts.speedup},
        _speed_tone(facts),
    )
    checks = facts.proof.checks
    passed = sum(check.passed for check in checks)
    rest = f"; {count(left, 'op')} stay in float" if left else ""
    yield Finding(
        "summary",
        f"The written file was read back and passed {passed} of {count(len(checks), 'check')}{rest}."
        if facts.ranges is not None
        else f"The int8 file was made before this run. It passed {passed} of {count(len(checks), 'check')} that need "
        f"only the file{rest}.",
        {"checks": len(checks), "passed": passed, "kept_in_float": left},
        "warn" if left or passed < len(checks) else "good",
    )
    yield from _answers(facts)


def _size_tone(facts: Facts) -> Tone:
    return "good" if facts.ratio > 1 else "warn"


def _speed_tone(facts: Facts) -> Tone:
    """The mark of every finding that says whether int8 is faster; the benchmark's interval decides, if there is one."""
    if facts.timed is not None:
        return deployment.tone_of(*facts.timed)
    return "good" if facts.speedup > 1 else "warn"


def _answers(facts: Facts) -> Iterator[Finding]:
    """Whether the int8 outputs are the float model's."""
    found = facts.answered
    if found is None:
        return
    worst = found.worst
    said = "equal" if worst.sqnr is None and worst.agreement is None else decibels(worst.sqnr)
    same = "" if worst.agreement is None else f"the same answer for {percent(worst.agreement)}"
    where = "" if len(found.outputs) == 1 else f" ('{tensor(worst.output)}', the worst of {len(found.outputs)})"
    figures = {"sqnr": worst.sqnr, "agreement": worst.agreement}
    more = "".join(f" {line[0].upper()}{line[1:]}." for line in (*found.causes(), *found.chosen()))
    yield Finding(
        "summary",
        f"The outputs of int8 are {'' if found.hold else 'not '}those of the float model on "
        f"{count(found.samples, f'calibration {facts.sample}')}: "
        f"{' and '.join(part for part in (said, same) if part)}{where}.{more}",
        {name: value for name, value in figures.items() if value is not None},
        "good" if found.hold else "warn",
    )


def _scored(facts: Facts) -> Finding:
    """The scores of both models, and the verdict."""
    compared, words = facts.compared, facts.words
    before, after = facts.scores
    margin = words.amount(compared.margin)
    # A loss is below zero where higher is better, and above zero where lower is.
    limit, worse = (f"−{margin}", "below") if words.metric.higher else (margin, "above")
    better = "above" if worse == "below" else "below"
    return Finding(
        "summary",
        f"On {count(facts.evaluation.images, 'held-out sample')} the {words.metric.title} of the float model is "
        f"{words.value(before.value)} and that of the int8 model {words.value(after.value)}: a difference of "
        f"{words.change(facts.gap.value)}, paired {compared.confidence:.0%} interval {words.span(facts.gap)}. "
        + {
            "yes": f"The whole interval lies {better} {limit}, so int8 is non-inferior at that margin.",
            "no": f"The whole interval lies {worse} {limit}, so int8 is inferior at that margin.",
            "open": f"The interval contains {limit}, so non-inferiority at that margin is not shown.",
        }[facts.verdict],
        {"float": before.value, "int8": after.value, **vars(facts.gap)},
        "good" if compared.non_inferior else "warn",
    )


def _agreement(facts: Facts, topic: Topic) -> Finding:
    """How alike the answers are, for samples whose right answers are not known."""
    compared, likeness = facts.compared, facts.evaluation.likeness
    return Finding(
        topic,
        f"On {count(facts.evaluation.images, 'held-out sample')} without labels, the int8 model is compared with the "
        f"float model alone: {likeness.title} {Figures(likeness).value(compared.agreement)}. Which of the two is right "
        "is not known.",
        {"agreement": compared.agreement},
    )


def _trained(facts: Facts) -> Iterator[Finding]:
    """The gain of quantization-aware training: over post-training, and over a float model trained as long."""
    models = facts.evaluation.models
    gained, fair = facts.evaluation.pair("ptq", "int8"), facts.evaluation.pair("control", "int8")
    ptq, control = models.get("ptq"), models.get("control")
    if facts.trained is None or ptq is None or gained is None:
        return
    if not facts.known:
        yield from _trained_towards_float(facts)
        return
    words, difference = facts.words, gap_of(gained)
    loss = words.metric.loss(difference)
    yield Finding(
        "summary",
        f"Quantization-aware training changes int8's {words.metric.title} from {words.value(score_of(ptq).value)} "
        f"(post-training) to {words.value(facts.scores[1].value)}, that is by {words.change(difference.value)} "
        f"({words.span(difference)})" + ("." if loss.high < 0 or loss.low > 0 else ", which is within the noise."),
        {"ptq": score_of(ptq).value, **vars(difference)},
        "good" if loss.high < 0 else "warn" if loss.low > 0 else "plain",
    )
    without = facts.evaluation.pair("float", "ptq")
    if without is not None and facts.evaluation.trained_in_vain:
        lost = gap_of(without)
        yield Finding(
            "recommendation",
            f"Training for int8 was not needed: post-training quantization, which trains nothing, changes float's "
            f"{words.metric.title} by {words.change(lost.value)} ({words.span(lost)}), within the margin of "
            f"{words.amount(without.margin)}, and training is not shown to be better. That model is `ptq.tflite`.",
            {"ptq": score_of(ptq).value, **vars(lost)},
        )
    if fair is None or control is None:
        return
    gap, margin = gap_of(fair), words.amount(fair.margin)
    yield Finding(
        "summary",
        f"Longer training alone also changes the {words.metric.title}: the float model, trained for as many more "
        f"epochs (the control), reaches {words.value(score_of(control).value)}. The difference of int8 from it is "
        f"{words.change(gap.value)} ({words.span(gap)}); "
        + (
            f"int8 is non-inferior to it at the margin of {margin}."
            if fair.non_inferior
            else f"non-inferiority at the margin of {margin} is not shown."
        ),
        {"control": score_of(control).value, **vars(gap)},
        "good" if fair.non_inferior else "warn",
    )


def _trained_towards_float(facts: Facts) -> Iterator[Finding]:
    """The gain of quantization-aware training where the right answers are not known: how alike int8 is to float."""
    before, likeness = facts.evaluation.pair("float", "ptq"), facts.evaluation.likeness
    if before is None:
        return
    words, after = Figures(likeness), facts.compared.agreement
    yield Finding(
        "summary",
        f"Quantization-aware training changes how alike int8 is to float: {likeness.title} {words.value(after)}, and "
        f"{words.value(before.agreement)} after post-training quantization.",
        {"ptq": before.agreement, "int8": after},
    )


def _accuracy(facts: Facts) -> Iterator[Finding]:
    compared, images = facts.compared, facts.evaluation.images
    if facts.evaluation.task != "single-label":
        yield from _alike(facts)
        return
    test, shift = compared.mcnemar, compared.probability_shift
    if test is not None and test.b + test.c == 0:
        yield Finding(
            "accuracy",
            f"None of {count(images, facts.sample)} changed between right and wrong.",
            {"b": 0, "c": 0},
            "good",
        )
    elif test is not None:
        yield Finding(
            "accuracy",
            f"Quantization made {count(test.b, 'right answer')} wrong and {count(test.c, 'wrong answer')} right: "
            f"McNemar's exact p is {test.p:.2g}, "
            + ("so this can be chance." if test.p >= 0.05 else "so this is unlikely to be chance."),
            {"b": test.b, "c": test.c, "p": test.p},
            "warn" if test.p < 0.05 and test.b > test.c and not compared.non_inferior else "plain",
        )
    if shift is not None:
        yield Finding(
            "accuracy",
            f"Both models give the same class, right or wrong, for {percent(compared.agreement)} of the "
            f"{facts.sample}s; {count(facts.disagreeing, 'answer')} "
            f"{'differs' if facts.disagreeing == 1 else 'differ'}."
            f" Quantization changes a probability by {shift.mean:.4f} on average and by {shift.max:.3f} at most.",
            {"agreement": compared.agreement, "mean": shift.mean, "max": shift.max},
        )
    if facts.model is not None:
        yield Finding(
            "accuracy",
            f"{facts.model.name} was trained before this run, which cannot know on which {facts.sample}s. If it saw "
            f"test {facts.sample}s, both accuracies are too high; int8 and float are still compared on the same "
            f"{facts.sample}s.",
        )
    losers = _losers(facts)
    if losers:
        shown = listing([f"'{a.name}' ({a.correct} to {b.correct} of {a.images})" for a, b in losers[:3]])
        lost = sum(a.correct - b.correct for a, b in losers)
        yield Finding(
            "accuracy",
            f"{count(len(losers), 'class')} of {len(facts.evaluation.classes)} lost "
            f"{count(lost, 'right answer')}. The largest losses: {shown}.",
            {"classes": len(losers), "answers": lost},
        )


def _alike(facts: Facts) -> Iterator[Finding]:
    """Agreement, other figures and classes of a task that is not a classification."""
    evaluation, compared, words = facts.evaluation, facts.compared, facts.words
    if facts.known:
        likeness = evaluation.likeness
        yield Finding(
            "accuracy",
            f"Int8 against float, whatever is right: {likeness.title} {Figures(likeness).value(compared.agreement)}.",
            {"agreement": compared.agreement},
        )
    else:
        yield _agreement(facts, "accuracy")
    for metric in evaluation.others if facts.known else []:
        before, after = (model.figures[metric.name] for model in (facts.before, facts.after))
        one = Figures(metric)
        yield Finding(
            "accuracy",
            f"{metric.heading}: {one.value(before)} in float, {one.value(after)} in int8 "
            f"({one.change(after - before)}).",
            {"float": before, "int8": after},
        )
    both = [
        (name, value, facts.after.by_class[name])
        for name, value in facts.before.by_class.items()
        if name in facts.after.by_class
    ]
    lost = sorted((row for row in both if row[2] < row[1]), key=lambda row: row[2] - row[1])
    if lost:
        shown = listing([f"'{name}' ({words.value(a)} to {words.value(b)})" for name, a, b in lost[:3]])
        yield Finding(
            "accuracy",
            f"{count(len(lost), 'class')} of {len(both)} lost {words.metric.title}. The largest losses: {shown}.",
            {"classes": len(lost)},
        )


def _losers(facts: Facts) -> list[tuple[ClassScore, ClassScore]]:
    """Classes with fewer right answers in int8 than in float, the largest loss first."""
    if facts.by_class is None:
        return []
    pairs = zip(*(table.per_class for table in facts.by_class), strict=True)
    return sorted((p for p in pairs if p[1].correct < p[0].correct), key=lambda p: p[1].correct - p[0].correct)


def _size(facts: Facts) -> Iterator[Finding]:
    files = facts.size.files
    small = files.int8_tflite
    yield Finding(
        "size",
        f"Compared with the float .tflite file ({size(files.float_tflite)}), the int8 .tflite file ({size(small)}) is "
        f"{times(facts.ratio)} smaller.",
        {"float_tflite": files.float_tflite, "int8_tflite": small},
        _size_tone(facts),
    )
    whole, bare = files.keras_with_optimizer, files.keras
    if whole and bare and whole > bare:
        yield Finding(
            "size",
            f"The training checkpoint has {size(whole)}, of which {size(whole - bare)} are optimizer state that no "
            f"device needs. Compared with it, int8 would seem {times(whole / small)} smaller; compared with the "
            f".keras file without that state ({size(bare)}), {times(bare / small)}.",
            {"keras_with_optimizer": whole, "keras": bare},
        )
    elif whole or bare:
        file = whole or bare or 0
        yield Finding(
            "size",
            f"The .keras file has {size(file)}, {times(file / small)} the size of the int8 file.",
            {"keras": file},
        )
    parts = facts.size.breakdown.int8_tflite
    overhead = 1 - parts.weights / small
    if overhead > NOTABLE_OVERHEAD:
        ideal = facts.size.breakdown.float_tflite.weights / max(parts.weights, 1)
        yield Finding(
            "size",
            f"The weights alone are {times(ideal)} smaller, but {percent(overhead)} of the int8 file are not weights: "
            f"{size(parts.quantization)} are scales and zero points, {size(parts.names)} tensor names, and "
            f"{size(parts.rest)} the graph.",
            {"overhead": overhead, "weights_ratio": ideal},
        )


def _speed(facts: Facts) -> Iterator[Finding]:
    before, after = facts.latencies
    ratio, word = (facts.speedup, "faster") if facts.speedup >= 1 else (1 / facts.speedup, "slower")
    yield Finding(
        "speed",
        f"Int8 is {times(ratio)} {word} than float on this CPU: a median of {milliseconds(after.median_ms)} against "
        f"{milliseconds(before.median_ms)} for one inference on one thread, measured in turns. 90% of the int8 "
        f"runs take at most {milliseconds(after.p90_ms)}.",
        {"float_ms": before.median_ms, "int8_ms": after.median_ms},
        _speed_tone(facts),
    )


def _quantization(facts: Facts) -> Iterator[Finding]:
    proof = facts.proof
    requantized = proof.ops.get("QUANTIZE", 0)
    if requantized:
        total = sum(proof.ops.values())
        yield Finding(
            "quantization",
            f"{count(requantized, 'QUANTIZE op')} of {total} remain, between tensors of different scales.",
            {"quantize": requantized, "ops": total},
        )
    channels = sum(item.channels for item in proof.widened)
    if channels:
        yield Finding(
            "quantization",
            f"{count(channels, 'weight channel')} in {count(len(proof.widened), 'op')} had weights so small "
            "compared with their bias that the weight scale was made larger, to keep the bias inside 32 bits.",
            {"channels": channels},
            "warn",
        )
    wide, rows = _outliers(facts), facts.distributions.activations if facts.distributions else []
    if wide:
        worst = wide[0]
        yield Finding(
            "quantization",
            f"Outliers set {count(len(wide), 'activation range')} of {len(rows)}: 99.8% of the values need less "
            f"than {NOTABLE_RANGE:.0%} of the range. The worst is '{tensor(worst.name)}', where they need "
            f"{percent(worst.used)} of {number(worst.range[0])} to {number(worst.range[1])}.",
            {"tensors": len(wide), "used": worst.used},
            "warn",
        )
    elif rows:
        least = min(rows, key=lambda row: row.used)
        yield Finding(
            "quantization",
            f"No activation range is set by outliers: even the loosest of {len(rows)}, '{tensor(least.name)}', "
            f"has 99.8% of its values in {percent(least.used)} of its range.",
            {"used": least.used},
            "good",
        )


def _outliers(facts: Facts) -> list[Activation]:
    """Activations whose ranges are at least twice what the middle 99.8% of their values need, the worst first."""
    rows = facts.distributions.activations if facts.distributions else []
    return sorted((row for row in rows if row.used < NOTABLE_RANGE), key=lambda row: row.used)


def _uneven(facts: Facts) -> tuple[Weight, float] | None:
    """The depthwise kernel whose channels differ most, where they differ notably, and the factor."""
    rows = facts.distributions.weights if facts.distributions else []
    found = [(r, r.channel_max.max / r.channel_max.min) for r in rows if "DEPTHWISE" in r.op and r.channel_max.min > 0]
    worst = max(found, key=lambda pair: pair[1], default=None)
    return worst if worst is not None and worst[1] >= NOTABLE_SPREAD else None


def _deployment(facts: Facts) -> Iterator[Finding]:
    proof = facts.proof
    kinds, total, left = len(proof.ops), sum(proof.ops.values()), len(proof.kept_in_float)
    if left:
        yield Finding(
            "deployment",
            f"{count(left, 'op')} of {total} compute in float, so an integer-only accelerator cannot run the "
            'whole model. The section "Quantization method" lists them.',
            {"kept_in_float": left, "ops": total},
            "warn",
        )
    else:
        yield Finding(
            "deployment",
            f"All {count(total, 'op')} (of {count(kinds, 'kind')}), the input and the output are integers, as "
            "microcontrollers, DSPs and neural accelerators require. This run did not try such a device.",
            {"ops": total, "kinds": kinds},
            "good",
        )
    frames = 1000 / facts.latencies[1].median_ms
    yield Finding(
        "deployment",
        f"One inference takes {proof.macs / 1e6:,.1f} million multiply-accumulates. This CPU makes {frames:,.0f} "
        f"inferences per second on one thread ({facts.evaluation.kernels}).",
        {"macs": proof.macs, "images_per_second": frames},
    )


def _recommendations(facts: Facts) -> Iterator[Finding]:
    compared, proof, words = facts.compared, facts.proof, facts.words
    margin = words.amount(compared.margin)
    if not facts.known:
        yield Finding(
            "recommendation",
            "Score both models on labelled samples before int8 replaces float: agreement alone does not show what a "
            "difference costs.",
        )
    elif compared.non_inferior:
        worst = f"{words.scaled(max(facts.loss.high, 0.0)):.4g} {words.metric.points}".strip()
        yield Finding(
            "recommendation",
            f"Ship int8.tflite instead of the float model: at the worse end of the {compared.confidence:.0%} interval "
            f"it loses {worst}, which is inside the margin of {margin}.",
            {"low": facts.gap.low, "margin": compared.margin},
            "good",
        )
    else:
        worst = f"{words.scaled(facts.loss.high):.4g} {words.metric.points}".strip()
        yield Finding(
            "recommendation",
            f"Do not replace float by int8 yet if a loss of {margin} matters: the loss may be as large as "
            f"{worst}. What would reduce the gap stands below.",
            {"low": facts.gap.low, "margin": compared.margin},
            "warn",
        )
    if facts.deployed is None or not facts.deployed.families:
        yield from _elsewhere(facts)
    yield from deployment.recommended(facts)
    preprocess = facts.preprocess
    scale, zero = proof.input.scale, proof.input.zero_point
    if isinstance(preprocess, Preprocess):
        codes = ""
        if scale is not None and zero is not None:
            ends = QParams(np.array([scale]), np.array([zero])).quantize(np.array(preprocess.scale)).tolist()
            codes = f" As int8 codes, pixel 0 becomes {number(ends[0])} and pixel 255 becomes {number(ends[1])}."
        height, width = preprocess.size
        yield Finding(
            "recommendation",
            f"Preprocess images on the device in exactly this way: {preprocess.interpolation} resize to {height} × "
            f"{width}, {preprocess.channels} order, pixels scaled linearly to [{number(preprocess.scale[0])}, "
            f"{number(preprocess.scale[1])}].{codes}",
        )
    yield Finding(
        "recommendation",
        f"Check the file's SHA-256 ({proof.sha256[:16]}…) before loading it, because damaged files "
        "often still load and run.",
    )


def _elsewhere(facts: Facts) -> Iterator[Finding]:
    """What to do about speed, from the latency measured during evaluation, if no benchmark was run."""
    before, after = facts.latencies
    if facts.speedup < 1:
        yield Finding(
            "recommendation",
            f"On a CPU like this one int8 saves storage, not time ({milliseconds(after.median_ms)} against "
            f"{milliseconds(before.median_ms)}): choose it for its {size(facts.size.files.int8_tflite)}.",
            {"speedup": facts.speedup},
            "warn",
        )
    else:
        yield Finding(
            "recommendation",
            f"Measure latency on the target device: {milliseconds(after.median_ms)} was measured on this machine "
            f"({facts.manifest.machine.cpu}), and the speed-up of {times(facts.speedup)} may differ elsewhere.",
            {"speedup": facts.speedup},
        )


def _next(facts: Facts) -> Iterator[Finding]:
    if not facts.known:
        yield Finding(
            "next",
            "Give labelled samples: with them the run scores both models, and says whether int8 is as good as float.",
        )
        return
    images, gap, words = facts.evaluation.images, facts.gap, facts.words
    half = (gap.high - gap.low) / 2
    unit = words.metric.points
    figures = {"value": gap.value, "low": gap.low, "high": gap.high}
    if gap.low <= 0 <= gap.high:
        # An interval narrows with the root of the images. No number of them shows a difference of nearly nothing.
        needed = images * (half / abs(gap.value)) ** 2 if abs(gap.value) > 1e-6 * half else 0.0
        more = (
            f" If the true difference is {words.bare(gap.value)}, as measured, about {about(needed)} test samples are "
            "needed for an interval without zero."
            if needed > images
            else f" Four times as many could show {_digits(words.scaled(half / 2))}."
        )
        then = " The quantization steps below are worthwhile only if the gap persists." if facts.loss.value > 0 else ""
        yield Finding(
            "next",
            f"The gap of {words.change(gap.value)} is within the noise: its interval ({words.span(gap)}) contains "
            f"zero. With {count(images, 'test sample')}, only gaps above about "
            f"{_digits(words.scaled(half))} {unit}".rstrip()
            + f" can be shown.{more}{then}",
            {**figures, "images_needed": needed},
        )
    elif facts.loss.low > 0:
        yield Finding(
            "next",
            f"The gap is real: {words.change(gap.value)}, and its whole interval ({words.span(gap)}) is a loss. The "
            "steps below may close "
            f"it{'' if facts.trained else '; quantization-aware training is the strongest and the most expensive'}.",
            figures,
            "plain" if facts.compared.non_inferior else "warn",
        )
    else:
        yield Finding(
            "next",
            f"There is no gap to reduce: int8 gained {words.change(gap.value)} ({words.span(gap)}).",
            figures,
            "good",
        )
    if facts.loss.value > 0:
        yield from _quantization_steps(facts)
    yield from _training_steps(facts)


def _digits(value: float) -> str:
    """A difference without a sign, with two or more digits."""
    return f"{value:.2f}" if value >= 0.01 else f"{value:.2g}"


def _quantization_steps(facts: Facts) -> Iterator[Finding]:
    """Steps that may reduce the loss of int8, if it has one."""
    wide = _outliers(facts)
    if wide and facts.choice is None:
        yield Finding(
            "next",
            f"Another observer: {count(len(wide), 'activation range')} could be at least halved if outliers were "
            f"clipped. The worst needs only {percent(wide[0].used)} of its range for 99.8% of its values. Half the "
            "range means steps half as large.",
            {"tensors": len(wide), "used": wide[0].used},
        )
    uneven = _uneven(facts)
    if uneven is not None:
        row, factor = uneven
        yield Finding(
            "next",
            f"Cross-layer equalization: in '{tensor(row.name)}' the largest channel's weights are {factor:,.0f} times "
            f"the smallest's ({number(row.channel_max.min)} to {number(row.channel_max.max)}). Per-channel scales "
            "handle that for the weights, but all channels of the following activation share one scale.",
            {"factor": factor},
        )
    images = facts.ranges.images if facts.ranges else FEW_CALIBRATION_IMAGES
    if images < FEW_CALIBRATION_IMAGES:
        classes = len(facts.evaluation.classes)
        each = f", {number(images / classes)} per class" if classes else ""
        yield Finding(
            "next",
            f"More calibration {facts.sample}s: only {images} set the ranges{each}. A few hundred take seconds.",
            {"images": images},
        )
    losers = [(a, b) for a, b in _losers(facts) if a.correct - b.correct >= 2]
    if losers:
        a, b = losers[0]
        lost = facts.compared.mcnemar.b if facts.compared.mcnemar else a.correct - b.correct
        yield Finding(
            "next",
            f"Add calibration {facts.sample}s of '{a.name}': its right answers fell from {a.correct} to {b.correct} of "
            f"{a.images}, the largest part of the {count(lost, 'answer')} lost.",
            {"lost": a.correct - b.correct},
        )


def _training_steps(facts: Facts) -> Iterator[Finding]:
    """Steps that may improve the float model, and so the int8 model."""
    if facts.by_class is None:
        return
    accuracy = facts.scores[0]
    rows = facts.history.epochs if facts.history else []
    if rows:
        last = rows[-1]
        if last.accuracy is not None and last.accuracy - accuracy.value > NOTABLE_GAP:
            yield Finding(
                "next",
                f"More training {facts.sample}s or stronger augmentation: the float model was right on "
                f"{percent(last.accuracy)} of its training {facts.sample}s in the last epoch but on "
                f"{percent(accuracy.value)} of the test {facts.sample}s, a gap of "
                f"{points(last.accuracy - accuracy.value)} "
                f"points. Quantization changed accuracy by {points(facts.gap.value)} points.",
                {"training": last.accuracy, "test": accuracy.value},
            )
        yield from _last_epoch(facts)
    counted = [row for row in facts.by_class[0].per_class if row.images]
    worst = min(counted, key=lambda row: row.recall)
    if worst.recall < accuracy.value - NOTABLE_GAP:
        yield Finding(
            "next",
            f"Add training {facts.sample}s of '{worst.name}': the float model recognizes "
            f"{percent(worst.recall)} of its {count(worst.images, facts.sample)}, but {percent(accuracy.value)} "
            f"({interval(accuracy)}) of all {facts.sample}s.{_confusion(facts.by_class[0], worst.name)}",
            {"recall": worst.recall},
        )


def _last_epoch(facts: Facts) -> Iterator[Finding]:
    """Whether training stopped too early, by validation accuracy where there is any."""
    assert facts.history is not None
    rows = facts.history.epochs
    held = [row.val_accuracy for row in rows]
    kind = "Validation" if all(value is not None for value in held) else "Training"
    curve = [value for value in (held if kind == "Validation" else [row.accuracy for row in rows]) if value is not None]
    if len(curve) < 2:
        return
    rise = curve[-1] - curve[-2]
    if rise > NOTABLE_RISE:
        yield Finding(
            "next",
            f"More epochs: {kind.lower()} accuracy still rose by {points(rise)} points in the last of "
            f"{len(rows)}, from {percent(curve[-2])} to {percent(curve[-1])}.",
            {"rise": rise},
        )
    elif kind == "Validation" and facts.history.best_epoch is None and max(curve) - curve[-1] > NOTABLE_RISE:
        best = curve.index(max(curve))
        yield Finding(
            "next",
            f"Early stopping: validation accuracy was {percent(curve[best])} after epoch {rows[best].epoch} and "
            f"{percent(curve[-1])} at the end.",
            {"best": curve[best], "last": curve[-1]},
        )


def _confusion(table: ClassTable, name: str) -> str:
    """The class that a class is most often mistaken for, as a sentence."""
    names = [row.name for row in table.per_class]
    place = names.index(name)
    if not table.confusion:
        return ""
    row = [0 if k == place else hits for k, hits in enumerate(table.confusion[place])]
    return f" It is mistaken for '{names[row.index(max(row))]}' {count(max(row), 'time')}." if max(row) > 1 else ""
