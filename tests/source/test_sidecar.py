from __future__ import annotations

import json
from pathlib import Path

import pytest

from octavo.base.errors import ModelError
from octavo.data.preprocess import Preprocess
from octavo.source import sidecar
from octavo.source.sidecar import Sidecar


def test_round_trip(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"model")
    written = Sidecar(Preprocess((8, 9), "lanczos", (0.0, 1.0), "bgr"), ("a", "b"))
    written.write(model)
    assert sidecar.read(model) == written
    # The hash is a published one: printf model | sha256sum.
    assert json.loads((tmp_path / "model.tflite.json").read_text())["sha256"].startswith("9372c470eeadd5ec")


def test_none_without_a_file(tmp_path: Path) -> None:
    assert sidecar.read(tmp_path / "model.tflite") is None


def test_a_changed_model_is_noticed(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"model")
    Sidecar(Preprocess((8, 8))).write(model)
    model.write_bytes(b"Model")
    with pytest.raises(ModelError, match="SHA-256 differ"):
        sidecar.read(model)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": "", "classes": 3, "preprocess": {}}'])
def test_a_file_that_is_no_sidecar(tmp_path: Path, text: str) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"model")
    sidecar.path_of(model).write_text(text)
    with pytest.raises(ModelError, match="is not a model's sidecar"):
        sidecar.read(model)
