from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from handmade import File
from scipy.stats import binom
from shell import octavo, refused
from tiny import tiny_int8, tiny_tflite

from octavo.base.errors import ModelError
from octavo.base.stats import median_interval
from octavo.rewrite.raw_pixels import unsigned
from octavo.runtime.benchmark import Event, benchmark, costs, undelegated, yardstick
from octavo.runtime.footprint import footprint
from octavo.runtime.litert import interleaved, interpreter
from octavo.runtime.profiler import _medians, profile
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import macs


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("models")
    (root / "float.tflite").write_bytes(tiny_tflite())
    (root / "int8.tflite").write_bytes(tiny_int8().content)
    return root / "float.tflite", root / "int8.tflite"


@pytest.mark.parametrize("count", [6, 7, 25, 200])
def test_the_median_lies_in_its_interval_as_often_as_claimed(count: int) -> None:
    """The coverage of two order statistics is a binomial sum: at least 95%, and one rank further in it is not."""
    interval = median_interval(np.arange(count))
    outside = int(interval.low)
    assert interval.high == count - 1 - outside
    assert 1 - 2 * binom.cdf(outside, count, 0.5) >= 0.95 > 1 - 2 * binom.cdf(outside + 1, count, 0.5)
    assert interval.value == np.median(np.arange(count))


def test_rounds_are_pairs() -> None:
    times = interleaved([tiny_tflite(), tiny_int8().content], seconds=0.01)
    assert times.shape[0] == 2 and times.shape[1] >= 5 and np.all(times > 0)


def test_benchmark_tells_everything(files: tuple[Path, Path]) -> None:
    models = [(path, Graph.read(path)) for path in files]
    made = benchmark(models, threads=(1, 2), seconds=0.02)
    assert [(t.kernels, t.threads, Path(t.model).name) for t in made.timings] == [
        ("xnnpack", threads, name) for threads in (1, 2) for name in ("float.tflite", "int8.tflite")
    ]
    first, second = made.timings[:2]
    assert (first.ratio.value, first.ratio.low, first.ratio.high) == (1.0, 1.0, 1.0)
    assert second.ratio.low <= second.ratio.value <= second.ratio.high
    for timing in made.timings:
        assert 0 < timing.latency.min_ms <= timing.latency.median_ms <= timing.latency.p90_ms
        assert (timing.throughput is None) == (timing.threads == 2)
        assert timing.footprint.load_ms > 0
    assert made.files[str(files[1])].bytes == files[1].stat().st_size
    json.dumps(made.to_json(), allow_nan=False)


def test_memory_grows_with_the_weights(tmp_path: Path) -> None:
    small, large = tmp_path / "small.tflite", tmp_path / "large.tflite"
    small.write_bytes(yardstick(4, 16).content)
    large.write_bytes(yardstick(4, 2048).content)
    one, other = (footprint(path, processes=1).memory for path in (small, large))
    if one is None or other is None:
        pytest.skip("this system does not tell a process its memory")
    # 4 MB of weights are read, and packed once more by the delegate.
    assert other - one > 4_000_000


def test_the_yardstick_is_one_convolution() -> None:
    graph = yardstick(4, 8)
    assert macs(graph) == 4 * 4 * 8 * 8
    made = interpreter(graph.content)
    entry, leave = made.get_input_details()[0], made.get_output_details()[0]
    codes = np.random.default_rng(1).integers(-128, 128, entry["shape"], dtype=np.int8)
    made.set_tensor(entry["index"], codes)
    made.invoke()
    # In float64, from the file's own numbers.
    image, weight, out = (graph.tensors[i] for i in (graph.inputs[0], 1, graph.outputs[0]))
    assert weight.constant is not None and image.qparams and weight.qparams and out.qparams
    real = image.qparams.dequantize(codes).astype(np.float64) @ weight.qparams.dequantize(weight.constant)[:, 0, 0].T
    assert np.abs(made.get_tensor(leave["index"]).astype(int) - out.qparams.quantize(real)).max() <= 1
    assert undelegated(graph) == []


def test_the_delegate_leaves_a_quantize_of_bytes() -> None:
    graph = unsigned(yardstick(4, 8))
    assert [op.kind for op in undelegated(graph)] == ["QUANTIZE"]
    assert [op.kind for op in undelegated(graph, "reference")] == ["QUANTIZE", "CONV_2D"]


@pytest.mark.usefixtures("started_children")
def test_a_profile_names_the_files_ops(files: tuple[Path, Path]) -> None:
    graph = Graph.read(files[1])
    found = costs(graph, profile(files[1], runs=3))
    assert sum(cost.share for cost in found) == pytest.approx(1.0) or all(c.microseconds == 0 for c in found)
    named = {cost.op: cost.macs for cost in found if cost.op}
    assert [name.split()[0] for name in named] == ["CONV_2D", "FULLY_CONNECTED"]
    assert list(named.values()) == [8 * 8 * 6 * 3, 6 * 3]
    # SOFTMAX of int8 is the built-in kernels'.
    assert [cost.name for cost in found if not cost.delegated] == [op.kind for op in undelegated(graph)]


def test_a_profile_that_does_not_fit_names_no_op() -> None:
    graph = yardstick(4, 8)
    (cost,) = costs(graph, [Event("Convolution (NHWC, QC8) IGEMM", True, 4.0)])
    assert (cost.op, cost.macs, cost.share) == ("CONV_2D #0", 1024, 1.0)
    assert cost.gmacs == pytest.approx(1024 / 4e-6 / 1e9)
    for events in ([], ["Convolution (NHWC, QC8) DWConv"], ["Convolution A", "Convolution B"]):
        assert all(cost.op is None for cost in costs(graph, [Event(name, True, 4.0) for name in events]))


def test_events_that_change_between_runs_are_refused() -> None:
    assert _medians([[("a", 2, 1)], [("a", 2, 4)], [("a", 2, 3)]]) == [("a", False, 3.0)]
    with pytest.raises(RuntimeError, match="not the same"):
        _medians([[("a", 2, 1)], [("b", 2, 1)]])


def test_no_profile_of_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "wrong.tflite").write_bytes(b"words")
    with pytest.raises(ModelError, match="could not profile"):
        profile(tmp_path / "wrong.tflite", runs=1)


@pytest.mark.slow
def test_the_command(files: tuple[Path, Path], tmp_path: Path) -> None:
    done = octavo("benchmark", *files, "--seconds", 0.05, "--profile", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert len(value["timings"]) == 2 and set(value["profiles"]) == set(map(str, files))
    assert value["peak_int8_gmacs"] > 0
    done = octavo("benchmark", files[1], "--seconds", 0.05, "--profile")
    assert done.returncode == 0, done.stderr
    assert "95% interval" in done.stdout and "CONV_2D #0" in done.stdout
    assert "There is no file" in refused(octavo("benchmark", tmp_path / "none.tflite"))
    for option, value in (("--threads", "1,x"), ("--kernels", "fast"), ("--seconds", "0")):
        assert option in refused(octavo("benchmark", files[0], option, value))


def test_indices_are_timed_with_indices(tmp_path: Path) -> None:
    """A lookup refuses what lies outside of its table, so inputs of whole numbers are not random bytes."""
    file = File()
    words, rows = file.tensor("words", (1, 4), "int32"), file.tensor("rows", (1, 4, 3))
    table = file.constant("table", np.ones((2, 3), np.float32))
    file.op("GATHER", [table, words], [rows], "Gather", axis=0)
    path = tmp_path / "words.tflite"
    path.write_bytes(file.ports([words], [rows]).bytes())
    made = benchmark([(path, Graph.read(path))], seconds=0.02, profiled=True)
    assert made.timings[0].latency.runs > 0 and footprint(path).load_ms > 0
    assert "GATHER" in made.profiles[str(path)][0].name
