"""What is said of deployment follows from the benchmark and from the targets' answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rundir import MakeRun

from octavo.reports.facts import read
from octavo.reports.finding import Finding
from octavo.reports.findings import findings


def _found(make_run: MakeRun, topic: str, change: Callable[[Any], None] = lambda same: None) -> list[Finding]:
    return [one for one in findings(read(make_run(deployment=change))) if one.topic == topic]


def _said(make_run: MakeRun, topic: str, change: Callable[[Any], None] = lambda same: None) -> str:
    return " ".join(finding.text for finding in _found(make_run, topic, change))


def _ratio(low: float, value: float, high: float) -> Callable[[Any], None]:
    def change(deployment: Any) -> None:
        for timing in deployment["benchmark"]["timings"][1::2]:
            timing["ratio"] = {"value": value, "low": low, "high": high}

    return change


def _target(name: str, **changes: Any) -> Callable[[Any], None]:
    def change(deployment: Any) -> None:
        next(row for row in deployment["targets"] if row["id"] == name).update(changes)

    return change


def test_speed_is_what_its_interval_shows(make_run: MakeRun) -> None:
    first = _found(make_run, "devices")[0]
    assert "On XNNPACK int8 takes 0.500 of float's time (median over 1,000 pairs of runs" in first.text
    assert "int8 is faster" in first.text and first.tone == "good"
    assert first.figures["int8_ms"] == 1.5 and first.figures["float_ms"] == 3.0
    first = _found(make_run, "devices", _ratio(0.97, 0.99, 1.01))[0]
    assert "int8 is not shown to be faster or slower" in first.text and first.tone == "plain"
    first = _found(make_run, "devices", _ratio(1.1, 1.2, 1.3))[0]
    assert "int8 is slower" in first.text and first.tone == "warn"
    said = _said(make_run, "recommendation", _ratio(1.1, 1.2, 1.3))
    assert "saves storage, not time (1.50 ms against 3.00 ms)" in said
    assert "saves storage" not in _said(make_run, "recommendation", _ratio(0.97, 0.99, 1.01))


def test_one_finding_has_one_mark(make_run: MakeRun) -> None:
    """Whether int8 is faster is said in three places."""
    for ratio, tone in (((0.4, 0.5, 0.6), "good"), ((0.97, 0.99, 1.01), "plain"), ((1.1, 1.2, 1.3), "warn")):
        facts = read(make_run(deployment=_ratio(*ratio)))
        said = [one for one in findings(facts) if one.topic in ("summary", "speed", "devices")]
        marks = {one.tone for one in said if "instead of 3.00 ms" in one.text or "on this CPU: a median" in one.text}
        assert marks | {next(one.tone for one in said if one.topic == "devices")} == {tone}


def test_latency_and_throughput_that_point_apart_are_explained(make_run: MakeRun) -> None:
    def throughput(rate: float, ratio: float) -> Callable[[Any], None]:
        def change(deployment: Any) -> None:
            _ratio(ratio * 0.98, ratio, ratio * 1.02)(deployment)
            # Float's is 500 inferences per second; int8 takes 1.5 ms.
            deployment["benchmark"]["timings"][1]["throughput"] = rate

        return change

    assert "point apart on XNNPACK" not in _said(make_run, "devices", throughput(1000, 0.5))
    assert "point apart on XNNPACK" not in _said(make_run, "devices", throughput(510, 1.2))
    said = _said(make_run, "devices", throughput(1000, 1.2))
    assert (
        "point apart on XNNPACK: alone on one thread int8 is slower, and with all cores at work it makes 2.000" in said
    )
    assert "cores share caches and memory" in said
    assert "cores may lower their clock" in _said(make_run, "devices", throughput(400, 0.5))
    assert "mostly those of calls" in _said(make_run, "devices", throughput(100, 0.5))


def test_a_busy_machine_shows_nothing(make_run: MakeRun) -> None:
    def busy(deployment: Any) -> None:
        _ratio(1.1, 1.2, 1.3)(deployment)
        # Float's fastest run takes 2.7 ms; int8's 1.35.
        deployment["benchmark"]["timings"][0]["latency"]["p90_ms"] = 8.1

    first = _found(make_run, "devices", busy)[0]
    assert "the machine was busy: a tenth of the runs took at least 3.0 times as long as the fastest" in first.text
    assert "the ratio of the fastest runs is 0.500" in first.text and first.tone == "warn"
    assert "slower" not in first.text and "saves storage" not in _said(make_run, "recommendation", busy)


def test_what_the_delegate_leaves(make_run: MakeRun) -> None:
    assert "XNNPACK leaves 1 of 4 ops of the int8 model" in _said(make_run, "devices")

    def none(deployment: Any) -> None:
        deployment["benchmark"]["timings"][1]["undelegated"] = []

    assert "XNNPACK takes all 4 ops" in _said(make_run, "devices", none)


def test_the_fastest_kernels_are_recommended(make_run: MakeRun) -> None:
    said = _said(make_run, "recommendation")
    assert "LiteRT with XNNPACK, the fastest kernels here at 1.50 ms" in said
    assert "LiteRT's built-in kernels take 4.00 ms" in said

    def slow(deployment: Any) -> None:
        deployment["benchmark"]["timings"][1]["latency"]["median_ms"] = 9.0

    said = _said(make_run, "recommendation", slow)
    assert "LiteRT with LiteRT's" not in said
    assert "LiteRT with its built-in kernels, the fastest kernels here at 4.00 ms" in said
    assert "XNNPACK takes 9.00 ms" in said


def test_memory_is_measured_and_stands_beside_the_file(make_run: MakeRun) -> None:
    said = _said(make_run, "recommendation")
    assert "reserve 5.50 MB of memory for the int8 model, more than the 1.00 MB of its file" in said
    assert "5.50× the file" in said

    def small(deployment: Any) -> None:
        deployment["benchmark"]["timings"][1]["footprint"]["memory"] = 1_100_000

    assert "about its file size of 1.00 MB" in _said(make_run, "recommendation", small)

    def unknown(deployment: Any) -> None:
        for timing in deployment["benchmark"]["timings"]:
            timing["footprint"]["memory"] = None

    assert "reserve" not in _said(make_run, "recommendation", unknown)


def test_microcontrollers(make_run: MakeRun) -> None:
    said = _said(make_run, "recommendation")
    # 106,496 planned and 68,504 estimated are 175,000.
    assert "choose one with 175 kB of free RAM and 1.00 MB of free flash. 106 kB are the planned arena" in said
    no = {"answer": False, "about": "it has no SIN", "facts": {}}
    said = _said(make_run, "recommendation", _target("tflite-micro", takes=no, runs=None, costs=None))
    assert "Microcontrollers: this model does not run on TFLite Micro: it has no SIN." in said


def test_an_edge_tpu_is_never_promised(make_run: MakeRun) -> None:
    assert "Edge TPU: try to compile it; only the compiler can tell whether it runs" in _said(
        make_run, "recommendation"
    )
    assert "400 kB of constants, 5% of the about 8 MB" in _said(make_run, "recommendation")
    no = {"answer": False, "about": "it wants 8-bit models", "facts": {}}
    said = _said(make_run, "recommendation", _target("edge-tpu", takes=no, runs=None, costs=None))
    assert "Edge TPU: this model does not run on it; it wants 8-bit models." in said and "try to compile" not in said


def test_an_ethos_is_recommended_by_what_vela_maps(make_run: MakeRun) -> None:
    def mapped(npu: int, cpu: int) -> Callable[[Any], None]:
        takes = {"answer": True, "about": "Vela maps", "facts": {"npu": npu, "cpu": cpu, "reasons": []}}
        costs = {"answer": False, "about": "", "facts": {"cycles": 10, "estimated_ms": 12.98, "sram": 1_510_000}}
        return _target("ethos-u55-128", takes=takes, runs={"answer": False, "about": "not run"}, costs=costs)

    said = _said(make_run, "recommendation", mapped(93, 0))
    assert "suited. Vela maps 93 of 93 ops (as Vela counts) to the accelerator" in said
    assert "estimates 12.98 ms per inference and 1.51 MB of SRAM" in said
    assert "suited in part. Vela maps 60 of 93 ops" in _said(make_run, "recommendation", mapped(60, 33))
    assert "Arm" not in _said(make_run, "recommendation").partition("There is no recommendation")[0]


def test_openvino_is_recommended_only_where_it_is_faster(make_run: MakeRun) -> None:
    assert "Try OpenVINO on a CPU like this one: 1.25 ms" in _said(make_run, "recommendation")
    slow = {"answer": True, "about": "", "facts": {"median_ms": 1.75, "p90_ms": 2.0, "min_ms": 1.5, "runs": 20}}
    assert "OpenVINO on" not in _said(make_run, "recommendation", _target("openvino-cpu", costs=slow))


def test_what_could_not_be_asked_is_named(make_run: MakeRun) -> None:
    said = _said(make_run, "recommendation")
    assert "There is no recommendation for 2 targets that could not be checked here: Browser, <b> and Arm ethos" in said

    def all_known(deployment: Any) -> None:
        deployment["targets"] = [row for row in deployment["targets"] if row["takes"]["answer"] is not None]

    assert "There is no recommendation" not in _said(make_run, "recommendation", all_known)


def test_kernels_that_could_not_run_the_model_are_named(make_run: MakeRun) -> None:
    def failed(deployment: Any) -> None:
        del deployment["benchmark"]["timings"][2:]
        deployment["not_timed"] = [{"kernels": "builtin", "about": "LiteRT refuses the model: x."}]

    said = _said(make_run, "devices", failed)
    assert "LiteRT's built-in kernels: not timed. LiteRT refuses the model: x." in said
    assert "built-in kernels take" not in _said(make_run, "recommendation", failed)


def test_without_a_benchmark_evaluations_latency_is_said(make_run: MakeRun) -> None:
    def nothing(deployment: Any) -> None:
        deployment["benchmark"] = None
        deployment["not_timed"] = [{"kernels": "xnnpack", "about": "no."}]

    said = _said(make_run, "recommendation", nothing)
    assert (
        "Measure latency on the target device: 1.00 ms was measured on this machine" in said
        and "Microcontrollers" in said
    )
