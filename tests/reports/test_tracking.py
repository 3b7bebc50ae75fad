"""Logging: a finished run is logged once, whole, and where its packages are missing this is said before the work."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rundir import MakeRun, trained
from shell import octavo, refused

from octavo.base.errors import MissingDependencyError, OctavoError
from octavo.base.progress import Silent
from octavo.cli.options import trackers
from octavo.quantization.proof import Proof
from octavo.recipe.schema import load_recipe
from octavo.reports.facts import read
from octavo.reports.tracking.log import check, log
from octavo.reports.tracking.record import Record, of_run, of_training
from octavo.training.history import History


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def record(make_run: MakeRun) -> Record:
    """The record of a run with three trainings."""

    def by_training(recipe: Any) -> None:
        recipe["quantize"], recipe["qat"] = {"method": "qat"}, {}

    folder = make_run(recipe=by_training, evaluation=trained)
    return of_run(folder, read(folder))


def test_a_record_has_parameters_curves_results_and_files(record: Record) -> None:
    assert record.parameters["train.epochs"] == 8 and record.parameters["preprocess.scale"] == "-1.0, 1.0"
    assert not any(name.startswith("log") for name in record.parameters)
    assert ("control", "loss", 1, 0.6) in record.points and ("int8", "accuracy", 2, 0.95) in record.points
    # There are no validation images, so there is no such curve.
    assert {figure for _, figure, _, _ in record.points} == {"loss", "accuracy", "learning_rate", "seconds"}
    results = record.results
    assert results["float/accuracy"] == 0.9 and results["ptq/accuracy"] == 0.8 and results["size/ratio"] == 2.0
    assert results["int8_minus_float/low"] < results["int8_minus_float/value"] < 0
    assert results["latency/int8_ms"] == 1.5 and results["int8_minus_float/non_inferior"] == 0
    assert "| Model size | 2.00 MB | 1.00 MB | 2.00× smaller |" in record.table
    assert "| float, control | 95.00%" in record.table
    assert "recipe.yaml" in {path.name for path in record.files} and all(path.is_file() for path in record.files)


def test_the_key_follows_results_and_not_where_they_are_logged(make_run: MakeRun) -> None:
    def logged(recipe: Any) -> None:
        recipe["log"] = ["mlflow"]

    def again(manifest: Any) -> None:
        manifest["stages"]["evaluate"]["outputs"]["a.json"] = "f" * 64

    keys = [of_run(folder := make_run(**changes), read(folder)).key for changes in ({}, {"recipe": logged})]
    changed = make_run(manifest=again)
    assert len({*keys, of_run(changed, read(changed)).key}) == 2 and keys[0] == keys[1]


def test_a_recipe_names_one_tracker_or_several() -> None:
    assert load_recipe("digits").log == ()
    assert load_recipe("digits", ["log=mlflow"]).log == ("mlflow",)
    assert load_recipe("digits", ["log=[tensorboard, mlflow]"]).log == ("tensorboard", "mlflow")
    with pytest.raises(OctavoError, match=r"'log\.0': input should be 'tensorboard' or 'mlflow', not 'wandb'"):
        load_recipe("digits", ["log=wandb"])
    assert trackers(None) == []
    with pytest.raises(OctavoError, match="`log` should be a list of tensorboard and mlflow, and has 'wandb'"):
        trackers("wandb, mlflow")
    with pytest.raises(OctavoError, match="and has 'mlflow'"):
        check("mlflow")


def test_a_missing_package_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingDependencyError, match=r"for logging with MLflow.*pip install -e '\.\[mlflow\]'"):
        check(["mlflow"])
    done = octavo("run", "digits", "--log", "mlflow", "--out", tmp_path / "run")
    refused(done)
    assert "pip install -e '.[mlflow]'" in done.stderr and not (tmp_path / "run").exists()


def test_a_tracker_that_fails_is_one_message(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(record: Record) -> str:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr("octavo.reports.tracking.mlflow.write", refuse)
    with pytest.raises(
        OctavoError, match=r"'digits' could not be logged with MLflow \(.*nobody answers\)\. Try again\."
    ):
        log(record, ["mlflow"], Silent(), "Try again.")


def test_a_training_without_a_run_is_a_record_too(record: Record, tmp_path: Path) -> None:
    folder = record.folder.parent
    history = History(epochs=[{"epoch": 1, "loss": 0.5, "val_loss": None}], best_epoch=1)
    given = {"model": Path("a.keras"), "images": None, "qat": {"epochs": 1}}
    made = of_training(tmp_path / "a.tflite", given, history, Proof.read(folder / Proof.file))
    assert made.parameters == {"model": "a.keras", "qat.epochs": 1}
    assert made.points == [("int8", "loss", 1, 0.5)] and made.results["size/int8_bytes"] == 1_000_000
    assert made.folder == tmp_path / "a.tflite.tensorboard" and "2 of 2 checks passed" in made.table


def _events(folder: Path) -> Iterator[Any]:
    """Every event in the files of one folder: each record is its length, a checksum, itself and a checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def _values(folder: Path) -> dict[tuple[str, int], Any]:
    return {(value.tag, event.step): value for event in _events(folder) for value in event.summary.value}


def test_tensorboard_reads_what_was_logged(record: Record) -> None:
    pytest.importorskip("tensorboardX", reason="the extra `tensorboard` is not installed")
    told = Told()
    log(record, ["tensorboard"], told, "")
    folder = record.folder
    assert told.lines == [f"log: TensorBoard, {folder}"]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"float", "control", "int8"}
    assert _values(folder / "control")["loss", 2].simple_value == pytest.approx(0.3)
    root = _values(folder)
    assert root["float/accuracy", 0].simple_value == pytest.approx(0.9)
    assert b"2.00 MB" in root["results/text_summary", 0].tensor.string_val[0]
    content = root["_hparams_/session_start_info", 0].metadata.plugin_data.content
    assert b"train.epochs" in content


def test_tensorboard_logs_once_and_replaces_only_its_own(record: Record) -> None:
    pytest.importorskip("tensorboardX", reason="the extra `tensorboard` is not installed")
    log(record, ["tensorboard"], Silent(), "")
    other = record.folder / "events.out.tfevents.1.mine"
    other.write_bytes(b"")
    first, told = sorted(record.folder.rglob("events.*")), Told()
    log(record, ["tensorboard"], told, "")
    assert told.lines == ["log: TensorBoard, unchanged"] and sorted(record.folder.rglob("events.*")) == first
    log(replace(record, key="changed"), ["tensorboard"], told, "")
    kept = set(record.folder.rglob("events.*"))
    assert kept & set(first) == {other} and len(kept) == len(first)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's use of SQLAlchemy.
def test_mlflow_logs_once(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    from mlflow import MlflowClient

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    told = Told()
    for _ in range(2):
        log(record, ["mlflow"], told, "")
    assert told.lines[0].endswith(f"in {store}") and told.lines[1] == "log: MLflow, unchanged"
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("octavo")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["train.epochs"] == "8"
    assert run.data.metrics["int8_minus_float/value"] == record.results["int8_minus_float/value"]
    curve = client.get_metric_history(run.info.run_id, "control/loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.6), (2, 0.3)]
    assert {"results.md", "recipe.yaml"} <= {file.path for file in client.list_artifacts(run.info.run_id)}
    log(replace(record, key="changed"), ["mlflow"], told, "")
    assert len(client.search_runs([experiment.experiment_id])) == 2
