from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from octavo.base.errors import OctavoError
from octavo.runs.manifest import Manifest, fingerprint


def _stage(folder: Path, inputs: dict[str, object], done: list[str]) -> bool:
    def work() -> None:
        done.append("work")
        (folder / "a.txt").write_text(str(inputs))

    return Manifest(folder, {"seed": 0}).stage("a", inputs, ["a.txt"], work)


def test_same_inputs_and_untouched_outputs_are_not_redone(tmp_path: Path) -> None:
    done: list[str] = []
    assert _stage(tmp_path, {"x": 1}, done)
    assert not _stage(tmp_path, {"x": 1}, done)
    assert done == ["work"]


def test_changed_inputs_changed_outputs_and_lost_outputs_are_redone(tmp_path: Path) -> None:
    done: list[str] = []
    _stage(tmp_path, {"x": 1}, done)
    assert _stage(tmp_path, {"x": 2}, done)
    (tmp_path / "a.txt").write_text("meddled with")
    assert _stage(tmp_path, {"x": 2}, done)
    (tmp_path / "a.txt").unlink()
    assert _stage(tmp_path, {"x": 2}, done)
    assert len(done) == 4


def test_a_failed_stage_is_not_recorded(tmp_path: Path) -> None:
    done: list[str] = []
    _stage(tmp_path, {"x": 1}, done)
    manifest = Manifest(tmp_path, {})
    with pytest.raises(RuntimeError):
        manifest.stage("a", {"x": 2}, ["a.txt"], _fail)
    assert _stage(tmp_path, {"x": 2}, done)


def _fail() -> None:
    raise RuntimeError("stopped")


def test_it_says_what_went_in_and_out(tmp_path: Path) -> None:
    _stage(tmp_path, {"x": 1}, [])
    value = json.loads((tmp_path / "manifest.json").read_text())
    assert value["seed"] == 0
    assert value["stages"]["a"]["inputs"]["x"] == 1
    assert list(value["stages"]["a"]["outputs"]) == ["a.txt"]
    assert value["versions"]["numpy"]


def test_a_file_that_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(OctavoError, match="is not the manifest of a run"):
        Manifest(tmp_path, {})


def test_fingerprint_follows_content_and_listing(tmp_path: Path) -> None:
    file = tmp_path / "a" / "one"
    file.parent.mkdir()
    file.write_text("1")
    first = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == first
    os.utime(file, (1, 1))
    second = fingerprint(tmp_path)
    assert second != first
    (tmp_path / "b").write_text("2")
    assert fingerprint(tmp_path) != second
    assert fingerprint(file) == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"  # sha256 of "1"
    assert fingerprint(None) is None
