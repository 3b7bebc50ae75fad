from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from handmade import File
from hypothesis import given, settings
from hypothesis import strategies as st
from oneop import inputs, one_op
from shell import octavo, refused
from tiny import CLASSES, tiny_int8, tiny_tflite, write_folder

from octavo.api.targets import targets as survey
from octavo.base.errors import OctavoError
from octavo.data.preprocess import Preprocess
from octavo.deployment.targets import ethosu
from octavo.deployment.targets.apart import Apart
from octavo.deployment.targets.arena import Placed, least, lifetimes, peak, plan
from octavo.deployment.targets.ask import ask
from octavo.deployment.targets.browser import Browser
from octavo.deployment.targets.chromium import command
from octavo.deployment.targets.edgetpu import SUPPORTED, EdgeTPU
from octavo.deployment.targets.ethosu import Compiled, EthosU, read
from octavo.deployment.targets.litert import LiteRT
from octavo.deployment.targets.micro import Micro
from octavo.deployment.targets.openvino import OpenVINO
from octavo.deployment.targets.target import Target, Trial, agreement, trial_of
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.runtime.benchmark import yardstick
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph, serialize


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "int8.tflite"
    path.write_bytes(tiny_int8().content)
    Sidecar(Preprocess((8, 8)), CLASSES).write(path)
    return path


def trial(graph: Graph) -> Trial:
    return Trial(Path("none"), graph, np.zeros((1, 1)), [np.zeros((1, 3))], 0, None)


def test_lifetimes_by_hand() -> None:
    """Convolution, pooling, dense, softmax: sizes are counted on paper, aligned to 16 bytes."""
    found = lifetimes(tiny_int8())
    assert [op.kind for op in tiny_int8().ops] == ["CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    assert [(item.size, item.first, item.last) for item in found] == [
        (192, 0, 0),
        (384, 0, 1),
        (16, 1, 2),
        (16, 2, 3),
        (16, 3, 3),
    ]
    # Image and convolution are alive together; all later ones fit where the image was.
    assert least(found) == peak(plan(found)) == 192 + 384


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=14).map(
        lambda rows: [Placed(i, 16 * size, first, first + more) for i, (size, first, more) in enumerate(rows)]
    )
)
@settings(max_examples=60, deadline=None)
def test_no_two_living_tensors_share_a_byte(tensors: list[Placed]) -> None:
    placed = plan(tensors)
    assert sorted(item.tensor for item in placed) == list(range(len(tensors)))
    # The oracle paints every byte of every moment.
    moments = max(item.last for item in placed) + 1
    painted = np.zeros((moments, peak(placed)), int)
    for item in placed:
        painted[item.first : item.last + 1, item.offset : item.offset + item.size] += 1
    assert painted.max() == 1
    assert int((painted > 0).sum(1).max()) == least(tensors) <= peak(placed)


def test_micro_counts_arena_and_flash() -> None:
    graph = yardstick(4, 8)
    answer = Micro().costs(trial(graph))
    assert answer.answer is False
    assert answer.facts["activations"] == 2 * 4 * 4 * 8
    assert answer.facts["flash"] == len(graph.content)
    assert Micro().takes(trial(graph)).answer is True


def _with(graph: Graph, **changes: object) -> Graph:
    made = graph.copied()
    for name, value in changes.items():
        setattr(made.subgraphs[0].operators[0].builtinOptions, name, value)
    return Graph(serialize(made))


def test_the_edge_tpus_rules() -> None:
    assert EdgeTPU().takes(trial(yardstick(4, 8))).answer is True
    assert EdgeTPU().takes(trial(tiny_int8())).answer is True
    assert "8-bit" in EdgeTPU().takes(trial(Graph(tiny_tflite()))).about
    uneven = _with(yardstick(4, 8), dilationWFactor=2)
    answer = EdgeTPU().takes(trial(uneven))
    assert answer.answer is False and answer.facts == {
        "first": "CONV_2D #0",
        "reason": "dilates x and y differently",
        "mapped": 0,
    }
    assert EdgeTPU().runs(trial(uneven)).answer is False


def one(kind: str) -> Graph:
    """The int8 model of one op."""
    content, shape, (low, high) = one_op(kind)
    graph = Graph(content)
    return Graph(quantize(graph, calibrate(graph, inputs(shape, 8, low, high))).content)


# For each kind that the Edge TPU limits: what breaks its limit, and what is said then.
LIMITS: dict[str, tuple[dict[str, object], str]] = {
    "AVERAGE_POOL_2D": ({"fusedActivationFunction": 1}, "has a fused activation"),
    "FULLY_CONNECTED": ({"weightsFormat": 1}, "has shuffled weights"),
    "PACK": ({"axis": 0}, "packs the batch"),
    "STRIDED_SLICE": ({"newAxisMask": 1}, "has strides other than 1, or masks"),
}


@pytest.mark.parametrize("kind", LIMITS)
def test_the_edge_tpus_limits_of_options(kind: str) -> None:
    changes, reason = LIMITS[kind]
    graph = one(kind)
    place = next(op.index for op in graph.ops if op.kind == kind)
    if kind != "STRIDED_SLICE":  # whose strides are broken already
        assert SUPPORTED[kind](graph, graph.ops[place]) == ""
    for name, value in changes.items():
        setattr(graph.ops[place].options, name, value)
    assert SUPPORTED[kind](graph, graph.ops[place]) == reason


def test_the_edge_tpus_limits_of_shapes_and_versions() -> None:
    graph = one("SPLIT")
    assert SUPPORTED["SPLIT"](graph, graph.ops[0]) == ""
    axis = graph.tensors[graph.ops[0].inputs[0]]
    batch = Graph(
        graph.replaced({axis.name: np.zeros_like(axis.constant)}).content  # type: ignore[arg-type]
    )
    assert SUPPORTED["SPLIT"](batch, batch.ops[0]) == "splits the batch"
    graph = one("TRANSPOSE_CONV")
    assert SUPPORTED["TRANSPOSE_CONV"](graph, graph.ops[0]) == ""
    newer = replace(graph.ops[0], version=4)
    assert "reads no newer than 3" in SUPPORTED["TRANSPOSE_CONV"](graph, newer)
    # One slope a channel, and slopes that differ from pixel to pixel.
    graph = one("PRELU")
    prelu = next(op for op in graph.ops if op.kind == "PRELU")
    assert SUPPORTED["PRELU"](graph, prelu) == ""
    pixels = replace(prelu, inputs=(prelu.inputs[0], graph.inputs[0]))
    assert SUPPORTED["PRELU"](graph, pixels) == "has slopes that differ within a channel"
    # A dense layer on every pixel makes an image.
    graph = one("FULLY_CONNECTED")
    image = one("ABS").tensors[0]
    wide = SimpleNamespace(tensors=[image], ops=graph.ops)
    assert "more than one dimension" in SUPPORTED["FULLY_CONNECTED"](wide, replace(graph.ops[0], outputs=(0,)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["EXP", "LOG", "SQRT"])
def test_micro_has_some_ops_in_float_only(kind: str) -> None:
    """PyPI's tflite-micro refused these files: `input->type != kTfLiteFloat32 (INT8 != FLOAT32)`."""
    answer = Micro().takes(trial(one(kind)))
    assert answer.answer is False and f"{kind} in float only" in answer.about
    assert Micro().takes(trial(Graph(one_op(kind)[0]))).answer is True


def test_micros_relu6_does_not_change_scale() -> None:
    graph = one("RELU6")
    answer = Micro().takes(trial(graph))
    assert answer.answer is False and "RELU6 #0 changes the scale" in answer.about
    same = graph.copied()
    tensors = same.subgraphs[0].tensors
    tensors[graph.outputs[0]].quantization = tensors[graph.inputs[0]].quantization
    assert Micro().takes(trial(Graph(serialize(same)))).answer is True


def test_micro_runs_where_it_is_installed_or_says_how_to_get_it(model: Path) -> None:
    (verdict,) = survey(model, images=12, targets=[Micro()])
    assert verdict.runs is not None
    if importlib.util.find_spec("tflite_micro") is None:
        assert verdict.runs.answer is False and "pip install tflite-micro" in verdict.runs.about
    else:
        assert verdict.runs.answer is True and verdict.runs.facts["bit_equal"] == 12
        assert verdict.runs.facts["distinct"] > 1


def test_an_op_that_a_target_lacks_is_named() -> None:
    graph = yardstick(4, 8)
    made = graph.copied()
    from ai_edge_litert import schema_py_generated as schema

    made.operatorCodes[0].builtinCode = made.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.LSTM
    changed = Graph(serialize(made))
    assert "no LSTM" in Micro().takes(trial(changed)).about
    answer = EdgeTPU().takes(trial(changed))
    assert "LSTM #0 is not among the ops" in answer.about and answer.facts["mapped"] == 0


def test_the_survey_claims_no_run_that_was_not(model: Path, tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", 12)
    verdicts = survey(model, photos, [LiteRT("xnnpack"), LiteRT("reference"), Micro(), EdgeTPU()], images=12)
    ran = {verdict.target: verdict.runs for verdict in verdicts}
    micro = importlib.util.find_spec("tflite_micro") is not None
    assert [answer.answer for answer in ran.values() if answer] == [True, True, micro, False]
    facts = ran["LiteRT CPU, xnnpack"]
    assert facts is not None and facts.facts["agree"] == facts.facts["images"] == 12
    assert facts.facts["correct"] >= 8 and facts.facts["distinct"] == 3


def two_outputs(path: Path, wrong: bool = False) -> Graph:
    """A dense layer of three numbers, and one of two; the second has other weights if it is wrong."""
    file, random = File(), np.random.default_rng(0)
    x, y, z = file.tensor("x", (1, 6)), file.tensor("speed", (1, 3)), file.tensor("kind", (1, 2))
    weights = [random.normal(size=(count, 6)).astype(np.float32) for count in (3, 2)]
    file.dense(x, file.constant("w", weights[0]), y)
    file.dense(x, file.constant("v", -weights[1] if wrong else weights[1]), z)
    graph = file.ports([x], [y, z]).graph()
    samples = random.normal(size=(20, 6)).astype(np.float32)
    made = Graph(quantize(graph, calibrate(graph, samples)).content)
    path.write_bytes(made.content)
    return made


def test_all_outputs_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "two.tflite"
    graph = two_outputs(path)
    codes = np.random.default_rng(1).integers(-128, 128, (10, 6)).astype(np.int8)
    asked = trial_of(path, graph, codes, None, None)
    assert [output.shape for output in asked.expected] == [(10, 3), (10, 2)]
    text, facts = agreement(asked, asked.expected)
    assert text == "all outputs are equal to XNNPACK on 10 samples"
    assert facts == {"images": 10, "sqnr": None, "outputs": {"speed": None, "kind": None}}
    other = trial_of(path, two_outputs(path, wrong=True), codes, None, None)
    text, facts = agreement(asked, other.expected)
    # The first output is equal: what it alone would not have shown.
    assert facts["outputs"]["speed"] is None and facts["sqnr"] == facts["outputs"]["kind"] == pytest.approx(-6, abs=0.3)
    assert "dB from XNNPACK's outputs at 'kind', the farthest of 2 on 10 samples" in text
    text, facts = agreement(replace(asked, classes=1), other.expected)
    assert text.startswith("same class as XNNPACK on ") and text.endswith("; 'speed' is equal to XNNPACK on 10 samples")
    assert facts["agree"] < 10
    text, _ = agreement(asked, asked.expected[:1])
    assert text == "'speed' is equal to XNNPACK on 10 samples; the first of 2 outputs alone is compared"


@pytest.mark.parametrize("target", [LiteRT("reference"), Micro(), OpenVINO()])
def test_a_target_gives_all_outputs(tmp_path: Path, target: Target) -> None:
    path = tmp_path / "two.tflite"
    graph = two_outputs(path)
    codes = np.random.default_rng(1).integers(-128, 128, (10, 6)).astype(np.int8)
    if target.lacks():
        pytest.skip(target.lacks())
    answer = target.runs(trial_of(path, graph, codes, None, None))
    assert answer.answer is True and set(answer.facts["outputs"]) == {"speed", "kind"}
    assert all(sqnr is None or sqnr > 30 for sqnr in answer.facts["outputs"].values())


# A latency that is none, so that telling it fails.
FAILING = LiteRT("xnnpack", known=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [FAILING, Apart(FAILING)])
def test_a_failure_says_its_own_name_also_in_a_child_process(tmp_path: Path, target: Target) -> None:
    path = tmp_path / "two.tflite"
    graph = two_outputs(path)
    (verdict,) = ask(trial_of(path, graph, np.zeros((2, 6), np.int8), None, None), [target])
    assert verdict.runs is not None and verdict.runs.answer is True
    assert verdict.costs is not None and verdict.costs.answer is None
    assert verdict.costs.about == "it failed (AttributeError: 'int' object has no attribute 'median_ms')"


def test_openvino_agrees_or_says_how_to_get_it(model: Path) -> None:
    (verdict,) = survey(model, images=6, targets=[OpenVINO()])
    if importlib.util.find_spec("openvino") is None:
        assert verdict.takes.answer is None and "pip install openvino" in verdict.takes.about
    else:
        assert verdict.runs is not None and verdict.runs.facts["agree"] >= 5


@pytest.mark.browser
def test_a_browser_says_the_same_bits_or_what_is_missing(model: Path) -> None:
    (verdict,) = survey(model, images=6, targets=[Browser()])
    if command() is None:
        pytest.skip("Chromium is not installed")
    assert verdict.runs is not None and verdict.costs is not None
    if verdict.runs.answer is None:
        assert "to add it, run npm pack @litertjs/core@" in verdict.runs.about
        pytest.skip(verdict.runs.about)
    assert verdict.runs.facts["bit_equal"] == 6 and verdict.runs.facts["distinct"] > 1
    assert verdict.costs.facts["median_ms"] > 0


def test_no_browser_is_no_run(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    (verdict,) = survey(model, images=2, targets=[Browser()])
    assert verdict.takes.answer is None and "Chromium is not installed" in verdict.takes.about
    assert verdict.runs is verdict.costs is None


def test_the_command(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a browser, which has its own test.
    monkeypatch.setenv("PATH", "")
    done = octavo("targets", model, "--images", 4, "--json")
    assert done.returncode == 0, done.stderr
    names = [row["target"] for row in json.loads(done.stdout)]
    assert names[:3] == [f"LiteRT CPU, {family}" for family in ("xnnpack", "builtin", "reference")]
    assert "Browser, LiteRT.js in Chromium" in names
    done = octavo("targets", model, "--images", 4)
    assert "bytes of activations (planned)" in done.stdout
    assert "There is no file" in refused(octavo("targets", tmp_path / "none.tflite"))
    assert "--images should be 1 or more" in refused(octavo("targets", model, "--images", 0))
    with pytest.raises(OctavoError, match="`images` should be 1 or more, and is 0"):
        survey(model, images=0)


def test_a_model_without_a_sidecar_can_be_told_its_scale(model: Path, tmp_path: Path) -> None:
    (model.parent / "int8.tflite.json").unlink()
    photos = write_folder(tmp_path / "photos", 12)
    right = []
    for scale in ((-1.0, 1.0), (-40.0, -30.0)):
        (verdict,) = survey(model, photos, [LiteRT("xnnpack")], images=12, scale=scale)
        assert verdict.runs is not None
        right.append(verdict.runs.facts["correct"])
    # Below the input's range every pixel is the same code.
    assert right[0] >= 8 and right[1] <= 4


# What Vela 5.2.0 printed of a float model, shortened.
VELA = """
Warning (supported operators) operator: SOFTMAX, ofm: 'Identity'
Reason: Operation has tensor with unsupported DataType Float32 (MatMul2)
Feature-map dataTypes must be one of {"INT16", "INT32", "INT64", "INT8", "UINT8"}

Warning (supported operators) operator: MEAN, ofm: 'Mean'
Reason: Operation has tensor with unsupported DataType Float32 (Relu6)

CPU operators = 4 (100.0%)
NPU operators = 0 (0.0%)
"""


def test_vela_is_read_from_what_it_prints() -> None:
    found = read(VELA, {})
    assert (found.cpu, found.npu, found.error) == (4, 0, "")
    assert found.reasons == (
        "SOFTMAX, Operation has tensor with unsupported DataType Float32 (MatMul2)",
        "MEAN, Operation has tensor with unsupported DataType Float32 (Relu6)",
    )
    assert read("Traceback\nValueError: broken", {}).error == "ValueError: broken"


# Columns of the summary that Vela 5.2.0 writes, with made-up figures.
SUMMARY = {
    "accelerator_configuration": "Ethos_U85_256",
    "system_config": "Ethos_U85_SYS_DRAM_Mid",
    "memory_mode": "Dedicated_Sram_384KB",
    "core_clock": "1000000000.0",
    "inference_time": "0.0025",
    "sram_memory_used": "376.5",
    "dram_memory_used": "4096.0",
    "on_chip_flash_memory_used": "0.0",
    "off_chip_flash_memory_used": "0.0",
    "nn_macs": "300838992",
    "cycles_total": "2500000",
}


def test_velas_summary_names_every_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethosu, "compiled", lambda path, accelerator: Compiled(0, 69, (), SUMMARY, ""))
    answer = EthosU("ethos-u85-256").costs(trial(tiny_int8()))
    assert answer.about == (
        "2,500,000 cycles, 2.50 ms at 1000 MHz, 385,536 bytes of SRAM, 4,194,304 bytes of DRAM "
        "(Vela's estimates, Ethos_U85_SYS_DRAM_Mid, Dedicated_Sram_384KB)"
    )
    assert (answer.facts["dram"], answer.facts["off_chip_flash"]) == (4 << 20, 0)


@pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u65-512", "ethos-u85-128", "ethos-u85-2048"])
def test_vela_compiles_or_is_named(model: Path, tmp_path: Path, accelerator: str) -> None:
    verdict, _ = survey(model, images=4, targets=[EthosU(accelerator), EdgeTPU()])
    if importlib.util.find_spec("ethosu") is None:
        assert verdict.takes.answer is None and "pip install ethos-u-vela" in verdict.takes.about
        return
    assert verdict.takes.answer is True and verdict.takes.facts["cpu"] == 0
    assert verdict.runs is not None and verdict.runs.answer is False
    assert verdict.costs is not None and verdict.costs.facts["cycles"] > 0
    # Its count of multiply-accumulates is at least that of the convolution and the dense layer.
    assert verdict.costs.facts["macs"] >= 8 * 8 * 6 * 3 + 6 * 3
    (tmp_path / "float.tflite").write_bytes(tiny_tflite())
    plain = trial(Graph(tiny_tflite()))
    answer = EthosU(accelerator).takes(replace(plain, path=tmp_path / "float.tflite"))
    assert answer.answer is False and "Float32" in answer.about
