from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rundir import evaluation
from tiny import tiny_tflite, write_folder

import octavo.tuning.adaround
from octavo.analysis.pareto import front, picture, points
from octavo.analysis.target_search import FloatRecord, Goal, SearchRecord, TrialRecord
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.api.search import search as search_file
from octavo.base.errors import DataError, OctavoError, QuantizationError
from octavo.base.stats import Interval
from octavo.runtime.litert import Latency
from octavo.tflite.graph import Graph


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "float.tflite"
    path.write_bytes(tiny_tflite())
    return path


def test_the_model_its_sidecar_and_the_record_are_written(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.tflite"
    photos = write_folder(tmp_path / "photos", 60)
    found = search_file(model, photos, out, Goal(drop=20.0), images=20, validation=20, train=False)
    assert found.chosen is not None and out.read_bytes() == found.chosen.content
    assert all(t.dtype != "float32" for t in Graph(out.read_bytes()).tensors)
    assert Path(f"{out}.json").is_file()
    record = json.loads(Path(f"{out}.search.json").read_text("utf-8"))
    assert record["chosen"] == "minmax" and record["images"] == 20


def test_an_unmet_wish_writes_the_record_alone_and_says_what_came_nearest(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(octavo.tuning.adaround, "_STEPS", 20)
    out = tmp_path / "int8.tflite"
    photos = write_folder(tmp_path / "photos", 60)
    with pytest.raises(QuantizationError, match="at most 10 bytes, on 20 validation images") as caught:
        search_file(model, photos, out, Goal(size=10), images=20, validation=20, train=False)
    assert "smallest: " in str(caught.value)
    assert not out.exists() and Path(f"{out}.search.json").is_file()


def test_images_without_labels_cannot_judge(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "photos.npz", x_train=np.zeros((30, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="needs labelled images"):
        search_file(model, tmp_path / "photos.npz", tmp_path / "int8.tflite", Goal(drop=1.0))
    with pytest.raises(QuantizationError, match="needs a target"):
        search_file(model, tmp_path / "photos.npz", tmp_path / "int8.tflite", Goal())


def test_the_front_is_what_no_other_row_beats() -> None:
    """Against the definition, row by row."""
    random = np.random.default_rng(0)
    rows = [{"score": a, "bytes": b} for a, b in random.integers(0, 20, (60, 2)).tolist()]
    kept = front(rows, "bytes")
    for row in rows:
        beaten = any(
            other["bytes"] <= row["bytes"] and other["score"] >= row["score"] and other != row for other in rows
        )
        assert (row in kept) == (not beaten)


def test_searches_and_runs_in_one_picture(tmp_path: Path) -> None:
    share = Interval(0.8, 0.7, 0.9)
    trial = TrialRecord(way="minmax", score=share, against_float=share, bytes=300, median_ms=1.0, seconds=2.0)
    record = SearchRecord(
        model="a.tflite",
        goal=Goal(drop=1.0),
        metric=SingleLabelScores.metric,
        images=20,
        before=FloatRecord(score=0.9, bytes=900, median_ms=3.0),
        trials=[trial],
        chosen=None,
        obstacles=[],
    )
    record.write(tmp_path / "a.search.json")
    run = tmp_path / "run"
    run.mkdir()
    (run / "int8.tflite").write_bytes(b"x" * 200)
    (run / "float.tflite").write_bytes(b"x" * 800)
    found = evaluation()
    for name, accuracy, time in (("float", 0.89, 4.0), ("int8", 0.85, 0.5)):
        found.models[name] = found.models[name].model_copy(
            update={
                "file": f"{name}.tflite",
                "score": Interval(accuracy, 0.7, 0.95),
                "latency": Latency(time, time, time, 9),
            }
        )
    found.write(run / found.file)
    found = points([tmp_path / "a.search.json", run])
    rows = found.rows
    sizes = [("float", 900), ("minmax", 300), ("run: float", 800), ("run: int8", 200)]
    assert [(row["name"], row["bytes"]) for row in rows] == sizes
    assert [row["name"] for row in front(rows, "median_ms")] == ["run: int8", "float"]
    assert picture(rows, found.metric).startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"float": {}, "trials": [{}]}'])
def test_what_is_no_record(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text, "utf-8")
    with pytest.raises(OctavoError, match="is not the record of a search"):
        points([path])


def test_a_folder_that_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(OctavoError, match=r"not the directory of a finished run: it has no evaluation\.json"):
        points([tmp_path])
