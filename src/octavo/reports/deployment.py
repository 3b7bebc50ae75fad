"""Findings about deployment: results of the benchmark and the targets, and a recommendation for each kind of device."""

from __future__ import annotations

from collections.abc import Iterator

from octavo.base.units import milliseconds
from octavo.deployment.measured import Deployment
from octavo.deployment.targets.target import Verdict
from octavo.reports.facts import Facts
from octavo.reports.finding import Finding, Tone
from octavo.reports.wording import count, listing, ratio, size, times
from octavo.runtime.benchmark import Timing

# What a kernel family is called in a sentence.
FAMILIES = {"xnnpack": "XNNPACK", "builtin": "LiteRT's built-in kernels", "reference": "LiteRT's reference kernels"}
# Memory over file size; above it, the report warns that the two differ.
NOTABLE_MEMORY = 1.25
# Int8's throughput over float's; above it, or below its inverse, throughput is called different.
NOTABLE_GAIN = 1.05
# Cores that a model must keep at work for its throughput to be that of the model.
LEAST_AT_WORK = 0.5
# 90th percentile over minimum of the run times; above it, the machine was busy. On a machine under load, ratios and
# their intervals differed from those of the same machine when idle.
BUSY = 2.0


def measured(facts: Facts) -> Iterator[Finding]:
    """The measurements, and which are missing."""
    found = facts.deployed
    if found is None:
        return
    for family, pair in found.pairs.items():
        yield _pace(family, *pair)
        yield from _apart(family, *pair)
    for family, pair in list(found.pairs.items())[:1]:
        yield from _resources(family, *pair)
    for item in found.not_timed:
        yield Finding("devices", f"{_capital(FAMILIES[item.kernels])}: not timed. {item.about}", {}, "warn")
    if facts.timed:
        yield _delegated(facts.timed[1], sum(facts.proof.ops.values()))


def _unrest(pair: tuple[Timing, Timing]) -> float:
    """90th percentile over minimum of the run times: the larger of the two models."""
    return max(item.latency.p90_ms / item.latency.min_ms for item in pair)


def tone_of(before: Timing, after: Timing) -> Tone:
    """The mark of a comparison of times: good if int8 is faster, one to look at if it is slower, or cannot be told."""
    if _unrest((before, after)) >= BUSY:
        return "warn"
    return "good" if after.ratio.high < 1 else "warn" if after.ratio.low > 1 else "plain"


def _pace(family: str, before: Timing, after: Timing) -> Finding:
    share, unrest = after.ratio, _unrest((before, after))
    if unrest >= BUSY:
        return Finding(
            "devices",
            f"On {FAMILIES[family]} int8 took {share.value:.3f} of float's time, but the machine was busy: a tenth of "
            f"the runs took at least {unrest:.1f} times as long as the fastest. So this ratio is not reliable; the "
            f"ratio of the fastest runs is {after.latency.min_ms / before.latency.min_ms:.3f}. Delete deployment.json "
            "and run again on an idle machine.",
            {"ratio": share.value, "unrest": unrest, "fastest": after.latency.min_ms / before.latency.min_ms},
            tone_of(before, after),
        )
    word = "faster" if share.high < 1 else "slower" if share.low > 1 else "not shown to be faster or slower"
    rates = (
        f" On all cores, one at a time on each, int8 makes {after.throughput:,.0f} inferences per second and "
        f"float {before.throughput:,.0f}."
        if after.throughput and before.throughput
        else ""
    )
    pairs = f"median over {count(after.latency.runs, 'pair')} of runs, " if after.latency.runs else ""
    return Finding(
        "devices",
        f"On {FAMILIES[family]} int8 takes {share.value:.3f} of float's time ({pairs}95% interval "
        f"{share.low:.3f} to {share.high:.3f}): int8 is {word}.{rates}",
        {
            "ratio": share.value,
            "low": share.low,
            "high": share.high,
            "int8_ms": after.latency.median_ms,
            "float_ms": before.latency.median_ms,
        },
        tone_of(before, after),
    )


def _apart(family: str, before: Timing, after: Timing) -> Iterator[Finding]:
    """Why latency and throughput disagree, if they do."""
    if not before.throughput or not after.throughput or _unrest((before, after)) >= BUSY:
        return
    gain = after.throughput / before.throughput
    slower = after.ratio.low > 1 and gain > NOTABLE_GAIN
    faster = after.ratio.high < 1 and gain < 1 / NOTABLE_GAIN
    if not slower and not faster:
        return
    # How many cores the model itself kept at work; the rest of the time went to calling it.
    if after.throughput * after.latency.median_ms / 1e3 < LEAST_AT_WORK:
        why = "So small a model takes less time than the call of it: inferences per second are mostly those of calls."
    elif slower:
        why = (
            "The likely cause: cores share caches and memory, and int8 needs about a quarter of float's, so it loses "
            "less when all cores work."
        )
    else:
        why = (
            "Two threads of one core share its arithmetic units, and cores may lower their clock when all of them "
            "work. Other work on this machine can also be the cause: throughput is measured once and briefly."
        )
    yield Finding(
        "devices",
        f"Latency and throughput point apart on {FAMILIES[family]}: alone on one thread int8 is "
        f"{'slower' if slower else 'faster'}, and with all cores at work it makes {gain:.3f} times as many "
        f"inferences as float. {why} Latency counts for one camera or microphone, throughput for a server with "
        "many requests.",
        {"ratio": after.ratio.value, "throughput_ratio": gain},
    )


def _resources(family: str, before: Timing, after: Timing) -> Iterator[Finding]:
    one, two = before.footprint, after.footprint
    if one.memory is None or two.memory is None:
        return
    yield Finding(
        "devices",
        f"The int8 model loads in {milliseconds(two.load_ms)} ({FAMILIES[family]}), and its peak memory beyond LiteRT "
        f"itself is {size(two.memory)}. The float model needs {milliseconds(one.load_ms)} and {size(one.memory)}.",
        {
            "int8_load_ms": two.load_ms,
            "float_load_ms": one.load_ms,
            "int8_memory": two.memory,
            "float_memory": one.memory,
        },
    )


def _delegated(after: Timing, total: int) -> Finding:
    left = after.undelegated
    if not left:
        return Finding(
            "devices", f"XNNPACK takes all {count(total, 'op')} of the int8 model.", {"left": 0, "ops": total}, "good"
        )
    named = listing([*left[:3], *([f"{len(left) - 3} more"] if len(left) > 3 else [])])
    return Finding(
        "devices",
        f"XNNPACK leaves {len(left)} of {count(total, 'op')} of the int8 model to LiteRT's built-in kernels: {named}.",
        {"left": len(left), "ops": total},
        "plain" if len(left) == 1 else "warn",
    )


def recommended(facts: Facts) -> Iterator[Finding]:
    """Recommendations for each kind of device; none for a device about which nothing is known."""
    found = facts.deployed
    if found is None:
        return
    yield from _processors(facts, found)
    yield from _memory(facts)
    makers = {"openvino-cpu": _openvino, "tflite-micro": _micro, "edge-tpu": _edge_tpu}
    for target in found.targets or []:
        # Every configuration of an Ethos-U is a target of its own.
        make = _ethos if target.id.startswith("ethos-") else makers.get(target.id)
        if make is not None and target.takes.answer is not None:
            yield from make(facts, target)
    unknown = [item for item in found.targets or [] if item.takes.answer is None]
    if unknown:
        yield Finding(
            "recommendation",
            f"There is no recommendation for {count(len(unknown), 'target')} that could not be checked here: "
            f"{listing([item.target for item in unknown])}. The table of targets says what is missing.",
            {"unknown": len(unknown)},
        )


def _processors(facts: Facts, found: Deployment) -> Iterator[Finding]:
    """Which kernels to use on a CPU, and whether int8 is faster, by the benchmark."""
    pairs = found.pairs
    if not pairs or found.benchmark is None:
        return
    family = min(pairs, key=lambda name: pairs[name][1].latency.median_ms)
    before, after = pairs[family]
    slower = [
        f"{FAMILIES[name]} take {milliseconds(pair[1].latency.median_ms)}"
        if name != "xnnpack"
        else f"XNNPACK takes {milliseconds(pair[1].latency.median_ms)}"
        for name, pair in pairs.items()
        if name != family
    ]
    rest = f"; {listing(slower)}" if slower else ""
    machine = found.benchmark.machine
    own = FAMILIES[family].replace("LiteRT's", "its")
    yield Finding(
        "recommendation",
        f"Mobile phones, single-board computers and servers: run the model on LiteRT with {own}, the fastest "
        f"kernels here at {milliseconds(after.latency.median_ms)} per inference on one thread{rest}. Measure "
        f"again on the device: these times are from {machine.cpu} ({machine.architecture}), and the ratio of int8 to "
        f"float, {ratio(after.ratio)}, may differ elsewhere.",
        {"int8_ms": after.latency.median_ms, "ratio": after.ratio.value},
    )
    if after.ratio.low > 1 and _unrest((before, after)) < BUSY:
        yield Finding(
            "recommendation",
            f"On a CPU like this one int8 saves storage, not time ({milliseconds(after.latency.median_ms)} against "
            f"{milliseconds(before.latency.median_ms)}): choose it for its {size(facts.size.files.int8_tflite)}, or "
            "for a device without fast float arithmetic.",
            {"ratio": after.ratio.value},
            "warn",
        )


def _memory(facts: Facts) -> Iterator[Finding]:
    if facts.timed is None or (memory := facts.timed[1].footprint.memory) is None:
        return
    file = facts.size.files.int8_tflite
    more = memory / file
    compared = (
        f"more than the {size(file)} of its file" if more >= NOTABLE_MEMORY else f"about its file size of {size(file)}"
    )
    yield Finding(
        "recommendation",
        f"On a system with LiteRT, reserve {size(memory)} of memory for the int8 model, {compared}. This was the "
        f"measured peak on XNNPACK, {times(more)} the file size, beyond the runtime itself.",
        {"memory": memory, "bytes": file},
    )


def _openvino(facts: Facts, target: Verdict) -> Iterator[Finding]:
    cost = target.costs.facts.get("median_ms") if target.costs else None
    if not target.takes.answer or cost is None or facts.timed is None:
        return
    lite = facts.timed[1].latency.median_ms
    if cost < lite:
        yield Finding(
            "recommendation",
            f"Try OpenVINO on a CPU like this one: {milliseconds(cost)} per inference against "
            f"{milliseconds(lite)} with LiteRT; {target.runs.about if target.runs else ''}.",
            {"openvino_ms": cost, "litert_ms": lite},
        )


def _micro(facts: Facts, target: Verdict) -> Iterator[Finding]:
    if not target.takes.answer or target.costs is None or "activations" not in target.costs.facts:
        text = f"Microcontrollers: this model does not run on TFLite Micro: {target.takes.about}."
        yield Finding("recommendation", text, {}, "warn")
        return
    need = target.costs.facts
    arena, kept, flash = need["activations"], need["runtime_estimate"], need["flash"]
    yield Finding(
        "recommendation",
        f"Microcontrollers: choose one with {size(arena + kept)} of free RAM and {size(flash)} of free flash. "
        f"{size(arena)} are the planned arena of the activations; {size(kept)} are an estimate of TFLite Micro's other "
        "data. TFLite Micro has every op of the model. The model was not run on a device.",
        {"activations": arena, "runtime_estimate": kept, "flash": flash},
    )


def _ethos(facts: Facts, target: Verdict) -> Iterator[Finding]:
    found, cost = target.takes.facts, target.costs.facts if target.costs else {}
    if not target.takes.answer or "cycles" not in cost:
        yield Finding(
            "recommendation", f"{target.target}: this model does not run on it; {target.takes.about}.", {}, "warn"
        )
        return
    whole = found["npu"] + found["cpu"]
    yield Finding(
        "recommendation",
        f"{target.target}: {'suited' if not found['cpu'] else 'suited in part'}. Vela maps {found['npu']} of "
        f"{count(whole, 'op')} (as Vela counts) to the accelerator, and estimates "
        f"{milliseconds(cost['estimated_ms'])} per inference and {size(cost['sram'])} of SRAM. The model was not run.",
        {"npu": found["npu"], "cpu": found["cpu"], "estimated_ms": cost["estimated_ms"], "sram": cost["sram"]},
        "good" if not found["cpu"] else "plain",
    )


def _edge_tpu(facts: Facts, target: Verdict) -> Iterator[Finding]:
    if not target.takes.answer:
        yield Finding("recommendation", f"Edge TPU: this model does not run on it; {target.takes.about}.", {}, "warn")
        return
    held = target.costs.facts.get("constants") if target.costs else None
    if held is None:
        return
    yield Finding(
        "recommendation",
        f"Edge TPU: try to compile it; only the compiler can tell whether it runs; {target.takes.about}. The model has "
        f"{size(held)} of constants, {held / 8e6:.0%} of the about 8 MB that the device can hold.",
        {"constants": held},
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
