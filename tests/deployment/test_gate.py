"""The gate: limits are judged by intervals from published tables, by LiteRT itself, and by models made by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from handmade import File, values
from shell import octavo, refused

import octavo as api
from octavo.analysis.tasks.regression import RegressionScores
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.base.errors import DataError, ModelError, OctavoError
from octavo.deployment import gate
from octavo.deployment.gate import Checked
from octavo.recipe.policy import Policy
from octavo.rewrite.equality import samples
from octavo.runtime.litert import inputs_of
from octavo.tflite.graph import Graph


def of(hits: np.ndarray) -> SingleLabelScores:
    """A classifier that is right where `hits` says so."""
    return SingleLabelScores(np.zeros(len(hits), int), np.eye(2)[1 - hits.astype(int)], ("a", "b"), "by hand")


# Tango 1998: 21 pairs, 7 right before only and 1 right after only, have a difference of -0.286 (-0.517 to -0.026).
BEFORE = of(np.array([1] * 7 + [0] + [1] * 13))
AFTER = of(np.array([0] * 7 + [1] + [1] * 13))


@pytest.mark.parametrize(("most", "verdict"), [(2.5, "broken"), (2.7, "undecided"), (51, "undecided"), (52, "kept")])
def test_a_drop_is_judged_by_its_paired_interval(most: float, verdict: str) -> None:
    found = gate.drop(BEFORE, AFTER, most)
    assert found.verdict == verdict
    assert found.interval is not None and found.value == pytest.approx(28.57, abs=0.01)
    assert found.interval == pytest.approx((2.6, 51.7), abs=0.1)
    assert found.found == "28.57 (95% interval 2.60 to 51.72) points on 21 samples"
    assert bool(found.note) == (verdict == "undecided")


def test_what_would_decide_is_said() -> None:
    same = of(np.ones(30))
    assert "About 381 would" in gate.drop(same, same, 1).note  # Tango's interval at no change is z² / (z² + n)
    assert gate.drop(same, same, 1).value == 0 and "-0.00" not in gate.drop(same, same, 1).found
    assert "would not show" in gate.drop(BEFORE, AFTER, 28).note


# Newcombe 1998, table I: 81 of 263 has Wilson's interval 0.2553 to 0.3662.
@pytest.mark.parametrize(
    ("worst", "verdict"), [(25.5, "kept"), (25.6, "undecided"), (36.6, "undecided"), (37, "broken")]
)
def test_a_score_is_judged_by_its_interval(worst: float, verdict: str) -> None:
    found = gate.score(of(np.arange(263) < 81), worst)
    assert (found.verdict, found.allowed) == (verdict, f"at least {worst:.2f}%")
    assert found.interval == pytest.approx((25.53, 36.62), abs=0.01)


def test_a_lower_error_is_better() -> None:
    truth = np.zeros((200, 1))
    scores = RegressionScores(truth, np.tile([[0.9], [1.1]], (100, 1)), "by hand")
    worse = RegressionScores(truth, scores.numbers + 1, "by hand")
    assert [gate.score(scores, worst).verdict for worst in (0.9, 1.0, 1.1)] == ["broken", "undecided", "kept"]
    assert gate.score(scores, 1.1).allowed == "at most 1.1"
    assert [gate.drop(scores, worse, most).verdict for most in (0.9, 1.1)] == ["broken", "kept"]
    assert gate.drop(worse, scores, 0.1).verdict == "kept"
    one = RegressionScores(truth[:1], truth[:1], "by hand")
    assert gate.score(one, 1).verdict == "undecided" and gate.score(one, 1).interval == (None, None)


@pytest.mark.filterwarnings("ignore:The BCa confidence interval cannot")
def test_a_score_that_is_no_number_is_broken() -> None:
    truth = np.zeros((9, 1))
    found = gate.score(RegressionScores(truth, truth * np.nan, "by hand"), 1)
    assert (found.verdict, found.value) == ("broken", None)


def mixed() -> Graph:
    """A dense op in float between an op without float and two that only change the type."""
    file = File()
    x, y = file.tensor("x", (1, 4)), file.tensor("y", (1, 3))
    file.dense(x, file.constant("w", values(3, 4)), y)
    whole, out = file.tensor("whole", (1, 3), "int32"), file.tensor("out", (1, 3), "int32")
    file.op("CAST", [y], [whole], "Cast", inDataType=0, outDataType=2)
    file.op("MAXIMUM", [whole, whole], [out], "MaximumMinimum")
    return file.ports([x], [out]).graph()


def test_counts_name_the_ops() -> None:
    graph = mixed()
    found = gate.float_ops(graph, 1)
    assert (found.verdict, found.value, found.note) == ("broken", 2, "FULLY_CONNECTED #0, CAST #1")
    assert gate.float_ops(graph, 2).verdict == "kept"
    left = gate.cpu_ops(graph, 0)
    assert (left.verdict, left.value, left.note) == ("broken", 2, "CAST #1, MAXIMUM #2")
    assert gate.size(graph.content, len(graph.content)).verdict == "kept"
    assert gate.size(graph.content, len(graph.content) - 1).verdict == "broken"


def test_the_arena_is_planned() -> None:
    graph = mixed()
    found = gate.arena(graph, 10_000)
    # At most two of these small tensors, of 16 bytes with alignment, live at a time.
    assert found.note.startswith("32 of activations (planned), about ")
    own = int(found.note.split("about ")[1].split(" ")[0].replace(",", ""))
    assert found.value == 32 + own and gate.arena(graph, 32).verdict == "broken"


def test_too_many_activations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MOST_PLANNED", 2)
    with pytest.raises(ModelError, match="has 3 activations, and an arena is planned for up to 2"):
        gate.arena(mixed(), 1)


def litert(content: bytes, inputs: Any, kind: str) -> np.ndarray:
    """What LiteRT itself gives with a kernel family; shares no code with Octavo."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made = Interpreter(model_content=content, experimental_op_resolver_type=getattr(OpResolverType, kind))
    made.allocate_tensors()
    found = []
    for (item,) in inputs:
        made.set_tensor(made.get_input_details()[0]["index"], item[None])
        made.invoke()
        found.append(made.get_tensor(made.get_output_details()[0]["index"]).ravel())
    return np.array(found, np.float64)


def test_families_are_compared_bit_for_bit() -> None:
    """Sums of 256 floats: XNNPACK adds them in another order than the reference kernels do."""
    file = File()
    x, y = file.tensor("x", (1, 256)), file.tensor("y", (1, 8))
    file.dense(x, file.constant("w", values(8, 256)), y)
    graph = file.ports([x], [y]).graph()
    raw = samples(inputs_of(graph), 16)
    wanted = np.abs(litert(graph.content, raw, "AUTO") - litert(graph.content, raw, "BUILTIN_REF")).max()
    assert wanted > 0
    found = gate.bit_equal(graph, raw, "16 samples", ["xnnpack", "reference"])
    assert (found.verdict, found.value) == ("broken", wanted)
    assert found.found.startswith("xnnpack differs from reference by up to ")
    moved = File()
    x, y = moved.tensor("x", (1, 6)), moved.tensor("y", (2, 3))
    moved.op("RESHAPE", [x, moved.constant("to", np.array([2, 3], np.int32))], [y], "Reshape")
    graph = moved.ports([x], [y]).graph()
    found = gate.bit_equal(graph, samples(inputs_of(graph), 4), "4 samples", ["xnnpack", "builtin", "reference"])
    assert (found.verdict, found.value, found.found) == ("kept", 0, "bit-equal; 4 samples")


def test_the_latency_is_a_ratio_of_two_models_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.array([[2.0] * 20, [1.0] * 10 + [3.0] * 10])
    monkeypatch.setattr(gate, "interleaved", lambda contents, seconds: times)
    graph = mixed()
    verdicts = [gate.latency_ratio(graph, graph, most, 1).verdict for most in (0.4, 1.0, 1.5)]
    # The ratios are 0.5 and 1.5, ten times each, and so is their interval.
    assert verdicts == ["broken", "undecided", "kept"]
    assert gate.latency_ratio(graph, graph, 1, 1).interval == (0.5, 1.5)


def judged(undecided: Any = "fail", model: str = "m.tflite") -> Checked:
    same = of(np.ones(30))
    return Checked(model, "0" * 64, undecided, (gate.drop(same, same, 1), gate.size(b"123", 2), gate.size(b"1", 2)))


def test_an_undecided_limit_fails_or_warns() -> None:
    assert [item.verdict for item in judged().judgements] == ["undecided", "broken", "kept"]
    assert [item.limit for item in judged().broken] == ["max_drop", "max_size"]
    assert [item.limit for item in judged("warn").broken] == ["max_size"]
    assert repr(judged()) == "Checked('m.tflite' fails 2 of 3 limits: max_drop, max_size)"
    passing = Checked("m.tflite", "", "warn", judged().judgements[:1])
    assert passing.passed and repr(passing) == "Checked('m.tflite' passes: 1 limit, of which 1 cannot be decided)"
    assert judged()._repr_html_().count("<tr>") == 4


@pytest.mark.parametrize(("undecided", "failures", "skipped"), [("fail", 2, 0), ("warn", 1, 1)])
def test_junit_counts_what_fails(undecided: str, failures: int, skipped: int) -> None:
    root = ElementTree.fromstring(judged(undecided).junit())
    suite = root[0]
    for element in (root, suite):
        assert [element.get(key) for key in ("tests", "failures", "errors", "skipped")] == [
            "3", str(failures), "0", str(skipped)
        ]  # fmt: skip
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases][1] == "max_size: size of the file"
    assert sum(case.find("failure") is not None for case in cases) == failures
    assert sum(case.find("skipped") is not None for case in cases) == skipped
    failure = cases[1].find("failure")
    assert failure is not None and failure.get("message") == "3 bytes; allowed: at most 2 bytes"


def test_a_hostile_name_stays_text() -> None:
    made = judged(model='a|b\n<img src=x>\x00\ud800"`*')
    assert ElementTree.fromstring(made.junit())[0].get("name", "").startswith("a|b")
    line = made.markdown().splitlines()[1]
    assert line.startswith("### ❌ 'a\\|b \\<img src=x\\>") and len(made.markdown().splitlines()) == 12


@pytest.fixture(scope="module")
def folder(example_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gate")
    for name in ("float.tflite", "float.tflite.json", "int8.tflite", "int8.tflite.json"):
        shutil.copy(example_files / name, made)
    (made / "photos").symlink_to(example_files / "photos")
    return made


def test_the_shell_has_an_exit_code_for_each_end(folder: Path, tmp_path: Path) -> None:
    keeps = folder / "keeps.yaml"
    keeps.write_text(
        "max_drop: 15\nworst_score: 85\nmax_size: 10000\nmax_arena: 20000\nmax_cpu_ops: 0\nmax_float_ops: 0\n"
        "bit_equal: [xnnpack, builtin, reference]\nmax_latency_ratio: 1000\n"
    )
    words = ("check", folder / "int8.tflite", "--policy", keeps, "--float", folder / "float.tflite")
    files = ("--junit", tmp_path / "c.xml", "--markdown", tmp_path / "c.md")
    done = octavo(*words, "--data", folder / "photos", "--seconds", 0.05, *files)
    assert done.returncode == 0, done
    assert done.stdout.count("  kept") == 8 and "int8.tflite' passes: 8 limits" in done.stdout
    assert len(ElementTree.parse(tmp_path / "c.xml").findall(".//testcase")) == 8
    assert (tmp_path / "c.md").read_text("utf-8").count("✅ kept") == 8
    # The same names: files of an earlier check are replaced, and no others.
    breaks = folder / "breaks.yaml"
    breaks.write_text("max_size: 100\n")
    done = octavo("check", folder / "int8.tflite", "--policy", breaks, *files)
    assert done.returncode == 1 and "BROKEN" in done.stdout and done.stderr == ""
    assert len(ElementTree.parse(tmp_path / "c.xml").findall(".//failure")) == 1
    (tmp_path / "c.xml").write_text("<testsuites/>")
    assert "no check wrote it" in refused(octavo("check", folder / "int8.tflite", "--policy", breaks, *files))
    assert octavo("check", folder / "int8.tflite", "--policy", breaks, *files, "--force", "--json").returncode == 1


def test_a_limit_that_cannot_be_measured_is_a_mistake(folder: Path) -> None:
    model, photos = folder / "int8.tflite", folder / "photos"
    for policy, message in (
        (Policy(max_drop=1), "max_drop is measured on labelled samples. Set `data`"),
        (Policy(worst_score=1), "worst_score is measured on labelled samples"),
        (Policy(max_latency_ratio=1), "Set `reference` to it, or `float_model`"),
    ):
        with pytest.raises(OctavoError, match=message):
            api.check(model, policy)
    with pytest.raises(OctavoError, match="Set `float_model` to it"):
        api.check(model, Policy(max_drop=1), photos)
    with pytest.raises(ModelError, match=r"is not a \.tflite file"):
        api.check(folder / "float.tflite.json", Policy(max_size=1))
    policy = folder / "drop.yaml"
    policy.write_text("max_drop: 1\n")
    done = octavo("check", model, "--policy", policy, "--data", photos)
    assert "made from. Set --float to it." in refused(done)


def test_classes_in_another_order_are_refused(folder: Path, tmp_path: Path) -> None:
    from octavo.source.sidecar import Sidecar, write_model

    known = Sidecar(api.Preprocess((8, 8)), ("red", "green", "blue"))
    write_model(tmp_path / "other.tflite", (folder / "float.tflite").read_bytes(), known)
    with pytest.raises(DataError, match="differ, or are in another order"):
        api.check(folder / "int8.tflite", Policy(max_drop=1), folder / "photos", float_model=tmp_path / "other.tflite")


def test_a_model_without_a_sidecar_is_read_as_its_float_model(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "int8.tflite", tmp_path)
    made = api.check(
        tmp_path / "int8.tflite", Policy(max_drop=15), folder / "photos", float_model=folder / "float.tflite"
    )
    assert made.passed and made.judgements[0].value == 0
