"""What commands write, and where: looked at before the work, and one at a time."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from shell import octavo, refused
from tiny import CLASSES, tiny_int8, tiny_tflite

import octavo as api
from octavo.base.errors import OctavoError
from octavo.base.lock import Lock
from octavo.data.preprocess import Preprocess
from octavo.source.sidecar import Sidecar, write_model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such files and locks on Windows")
FORMER = Path(__file__).parents[1] / "former" / "run"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a float and an int8 model."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_model(folder / "float.tflite", tiny_tflite(), Sidecar(Preprocess((8, 8)), CLASSES))
    write_model(folder / "int8.tflite", tiny_int8().content, Sidecar(Preprocess((8, 8)), CLASSES))
    return folder


def test_two_runs_in_one_directory(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "digits"
    out.mkdir(parents=True)
    (tmp_path / "link").symlink_to(out)
    with Lock(out) as lock:
        assert lock.held
        for name in ("runs/digits", "link"):
            said = refused(octavo("run", "digits", "--out", name, cwd=tmp_path))
            assert f"Another run is at work in '{name}'. Wait until it has ended, or set --out to another" in said
    assert list(out.iterdir()) == []


def test_what_stands_where_a_result_goes_is_found_before_the_work(tmp_path: Path, models: Path) -> None:
    """The images do not exist: the output was looked at first."""
    none, out, model = tmp_path / "none", tmp_path / "out", models / "float.tflite"
    out.mkdir()
    for name in ("compare.png", "sensitivity.json", "study.png"):
        os.mkfifo(out / name)
    for command in (("compare", model, model), ("sensitivity", model), ("calibrate", model)):
        assert "not a regular file" in refused(octavo(*command, "--data", none, "-o", out))
    for name in ("evaluation.json", "int8.tflite", "model.keras.json", "report.html"):
        run = tmp_path / name / "run"
        run.mkdir(parents=True)
        (run / name).symlink_to(none)
        with pytest.raises(OctavoError, match="is a link"):
            api.run("digits", run)
        assert [path.name for path in run.iterdir()] == [name]
    (tmp_path / "sweep" / "sweep.png").mkdir(parents=True)
    with pytest.raises(OctavoError, match="is a folder"):
        api.sweep("digits", ["preprocess.size=32,48"], tmp_path / "sweep")
    (models / "new.tflite.search.json").symlink_to(none)
    with pytest.raises(OctavoError, match="is a link"):
        api.search(model, none, models / "new.tflite", api.Goal(drop=1.0))
    (models / ".other.tflite.training").write_text("a file")
    with pytest.raises(OctavoError, match="not a folder"):
        api.qat(model, none, models / "other.tflite")


def test_a_deployed_folder_is_made_where_nothing_is(tmp_path: Path, models: Path) -> None:
    model = models / "int8.tflite"
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "taken.zip").mkdir()
    cases = {
        "dangling": "is a link",
        "pipe": "not a folder",
        "taken": "is a folder",
        "x" * 300: "too long",
        ".": "is there",
    }
    for name, said in cases.items():
        assert said in refused(octavo("deploy", model, "--out", name, "--zip", cwd=tmp_path))
    assert (tmp_path / "dangling").is_symlink() and not (tmp_path / "taken").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_report_deletes_no_pictures_beyond_a_link(tmp_path: Path) -> None:
    run, album = tmp_path / "run", tmp_path / "album"
    shutil.copytree(FORMER, run)
    album.mkdir()
    (album / "own.svg").write_text("the user's")
    shutil.rmtree(run / "report_files", ignore_errors=True)
    (run / "report_files").symlink_to(album)
    assert "report_files' is a link" in refused(octavo("report", run))
    assert [path.name for path in album.iterdir()] == ["own.svg"]
    (run / "report_files").unlink()
    (run / "report.html").unlink(missing_ok=True)
    os.mkfifo(run / "report.html")
    assert "not a regular file" in refused(octavo("report", run))
