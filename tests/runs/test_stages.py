"""A whole run, small: what it leaves behind, what a second one redoes, how it resumes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny import write_folder

import octavo
from octavo.base.files import sha256
from octavo.base.progress import Silent
from octavo.base.units import milliseconds
from octavo.data.dataset import OctavoWarning
from octavo.recipe.schema import load_recipe
from octavo.runs import stages
from octavo.runs.artefacts import ARTEFACTS
from octavo.source import sidecar
from octavo.tflite.graph import Graph

_BOTH = [
    "train.epochs=1",
    "data.train=96",
    "data.validation=0",
    "data.test=40",
    "calibrate.images=20",
    "preprocess.size=32",
    "deployment.seconds=0.2",
    "quantize.method=ptq",
]
SMALL = ["model={architecture: 'kerasnet:network'}", *_BOTH]
MOBILENET = ["model.output_stride=32", "model.parameters=400000", *_BOTH]
# Targets are asked in the run that tests share; asking them takes longer than all else.
NO_TARGETS = "deployment.targets=false"


class Listening(Silent):
    """Progress that remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def unchanged(self) -> set[str]:
        return {line.split(":")[0] for line in self.lines if line.endswith(": unchanged")}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    octavo.run(load_recipe("digits", SMALL), out)
    return out


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of MobileNetV2, which takes much longer."""
    out = tmp_path_factory.mktemp("runs") / "mobilenet"
    octavo.run(load_recipe("digits", [*MOBILENET, NO_TARGETS]), out)
    return out


def test_every_artefact_is_there_and_belongs_together(done: Path) -> None:
    for name in (
        "recipe.yaml",
        "data.json",
        "history.json",
        "ranges.json",
        "proof.json",
        "size.json",
        "evaluation.json",
        "deployment.json",
    ):
        assert (done / name).is_file()
    for name in ("model.keras", "float.tflite", "int8.tflite"):
        belongs = sidecar.read(done / name)
        assert belongs is not None
        assert belongs.classes == tuple("0123456789")
        assert belongs.preprocess.size == (32, 32)
    assert not [path for path in done.iterdir() if path.name.startswith(".") and path.is_file()]
    assert {path.name for path in done.iterdir() if path.is_file()} <= set(stages.FILES)
    _is_read_as_written(done)
    manifest = json.loads((done / "manifest.json").read_text())
    assert list(manifest["stages"]) == ["data", "train", "export", "calibrate", "quantize", "evaluate", "deployment"]
    int8 = Graph.read(done / "int8.tflite")
    assert {int8.tensors[i].dtype for i in (*int8.inputs, *int8.outputs)} == {"int8"}


def _is_read_as_written(run: Path) -> None:
    for kind in ARTEFACTS:
        if (run / kind.file).is_file():
            assert kind.read(run / kind.file).to_json() == json.loads((run / kind.file).read_text("utf-8"))


def test_evaluation_agrees_with_the_saved_predictions(done: Path) -> None:
    value = json.loads((done / "evaluation.json").read_text())
    kept = np.load(done / "predictions.npz")
    for name in ("float", "int8"):
        right = kept[name].argmax(axis=1) == kept["labels"]
        assert value["models"][name]["score"]["value"] == pytest.approx(right.mean())
    agree = (kept["float"].argmax(axis=1) == kept["int8"].argmax(axis=1)).mean()
    assert value["comparison"]["agreement"] == pytest.approx(agree)


def test_test_images_never_calibrate_or_train(done: Path) -> None:
    from octavo.runs.stages import calibration_of, splits_of

    splits = splits_of(load_recipe("digits", SMALL))
    held = set(splits.test.ids)
    assert not held & set(splits.train.ids)
    assert set(calibration_of(load_recipe("digits", SMALL), splits).ids) <= set(splits.train.ids)


def test_the_same_run_again_redoes_nothing(done: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in done.glob("*.tflite")}
    listening = Listening()
    octavo.run(load_recipe("digits", SMALL), done, listening)
    assert listening.unchanged() == {"data", "train", "export", "calibrate", "quantize", "evaluate", "deployment"}
    assert {path.name: path.stat().st_mtime_ns for path in done.glob("*.tflite")} == before


def test_only_what_changed_and_what_follows_is_redone(done: Path) -> None:
    listening = Listening()
    octavo.run(load_recipe("digits", [*SMALL, "evaluate.margin=0.1"]), done, listening)
    assert listening.unchanged() == {"data", "train", "export", "calibrate", "quantize", "deployment"}
    (done / "int8.tflite").write_bytes(b"damaged")
    listening = Listening()
    octavo.run(load_recipe("digits", [*SMALL, "evaluate.margin=0.1"]), done, listening)
    assert listening.unchanged() == {"data", "train", "export", "calibrate", "evaluate", "deployment"}


def test_deployment_is_measured_of_the_runs_own_models(done: Path) -> None:
    value = json.loads((done / "deployment.json").read_text())
    assert value["sha256"] == {name: sha256(done / name) for name in ("float.tflite", "int8.tflite")}
    timed = [(row["model"], row["kernels"]) for row in value["benchmark"]["timings"]]
    assert timed == [(f"{model}.tflite", kernels) for kernels in ("xnnpack", "builtin") for model in ("float", "int8")]
    assert value["images"] == stages.TRIED
    report = (done / "report.md").read_text()
    assert milliseconds(value["benchmark"]["timings"][1]["latency"]["median_ms"]) in report
    assert str(done) not in (done / "deployment.json").read_text()


@pytest.mark.slow
def test_a_run_from_before_deployment_gets_it_and_redoes_nothing_else(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "digits"
    shutil.copytree(done, out)
    (out / "deployment.json").unlink()
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["stages"]["deployment"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    listening = Listening()
    # Other tests may have run it with other settings since.
    octavo.run(load_recipe(str(out / "recipe.yaml"), [NO_TARGETS]), out, listening)
    assert listening.unchanged() == {"data", "train", "export", "calibrate", "quantize", "evaluate"}
    assert json.loads((out / "deployment.json").read_text())["targets"] is None


@pytest.mark.slow
def test_keras_models_are_quantized_as_their_float_graph_is(mobilenet: Path, tmp_path: Path) -> None:
    images = write_folder(tmp_path / "photos", 20)
    # The folder's classes are colours, the models' are digits.
    with pytest.warns(OctavoWarning, match="their labels are not used"):
        first = octavo.quantize_file(mobilenet / "model.keras", images, tmp_path / "a.tflite", images=12)
    with pytest.warns(OctavoWarning, match="their labels are not used"):
        second = octavo.quantize_file(mobilenet / "float.tflite", images, tmp_path / "b.tflite", images=12)
    assert first.quantized.content == second.quantized.content
    # A float file has no observer.
    made, given = sidecar.read(tmp_path / "a.tflite"), sidecar.read(mobilenet / "float.tflite")
    assert made is not None and replace(made, observer=None) == given


@pytest.mark.slow
def test_a_network_is_pruned_before_it_is_trained(mobilenet: Path) -> None:
    import keras

    assert 390_000 < keras.models.load_model(mobilenet / "model.keras").count_params() <= 400_000
    said = "MobileNetV2, width 0.35, output stride 32, pruned to at most 400,000 parameters"
    assert said in (mobilenet / "report.md").read_text("utf-8")


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    chosen = [*MOBILENET, NO_TARGETS, "train.epochs=3", "train.batch=8"]
    settings = [part for item in chosen for part in ("--set", item)]
    command = [sys.executable, "-m", "octavo.cli", "run", "digits", "--out", str(tmp_path), *settings]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Shells start what they put into the background with Ctrl-C ignored, and its children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    state = tmp_path / ".train" / "epoch.npz"
    end = time.monotonic() + 240
    while not state.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "model.keras").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert again.returncode == 0, again.stderr
    assert "data: unchanged" in again.stderr
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["resumed"] == 1
    assert [row["epoch"] for row in history["epochs"]] == [1, 2, 3]
    assert "report.html" in again.stdout


@pytest.mark.slow
def test_a_run_with_training_keeps_what_it_is_compared_with(mobilenet: Path, tmp_path: Path) -> None:
    out = tmp_path / "digits"
    shutil.copytree(mobilenet, out)
    listening = Listening()
    trained = [*MOBILENET[:-1], NO_TARGETS, "quantize.method=qat", "qat.epochs=1", "qat.batch=48", "qat.distill=0"]
    octavo.run(load_recipe("digits", trained), out, listening)
    assert listening.unchanged() >= {"train", "export", "calibrate"}
    # Post-training quantization of the same float graph with the same ranges: the file that was there before.
    assert (out / "ptq.tflite").read_bytes() == (mobilenet / "int8.tflite").read_bytes()
    assert (out / "int8.tflite").read_bytes() != (mobilenet / "int8.tflite").read_bytes()
    assert sidecar.read(out / "control.tflite") == sidecar.read(out / "int8.tflite")
    _is_read_as_written(out)
    value = json.loads((out / "evaluation.json").read_text())
    kept = np.load(out / "predictions.npz")
    assert list(value["models"]) == ["float", "int8", "ptq", "control"]
    for pair in value["pairs"]:
        right = [kept[pair[side]].argmax(axis=1) == kept["labels"] for side in ("before", "after")]
        assert pair["difference"]["value"] == pytest.approx(right[1].mean() - right[0].mean())
    assert {(pair["before"], pair["after"]) for pair in value["pairs"]} == {
        ("float", "ptq"),
        ("float", "control"),
        ("ptq", "int8"),
        ("control", "int8"),
    }
    assert "quantization-aware training" in (out / "report.md").read_text()
    again = Listening()
    octavo.run(load_recipe("digits", trained), out, again)
    assert again.unchanged() == {
        "data",
        "train",
        "export",
        "calibrate",
        "quantize",
        "ptq",
        "control",
        "evaluate",
        "deployment",
    }
    # Back without training: the report forgets it.
    octavo.run(load_recipe("digits", [*MOBILENET, NO_TARGETS]), out)
    assert (out / "int8.tflite").read_bytes() == (mobilenet / "int8.tflite").read_bytes()
    assert "quantization-aware training," not in (out / "report.md").read_text()
