from __future__ import annotations

import json
from pathlib import Path

import pytest

from octavo.base.errors import ModelError
from octavo.data.preprocess import Preprocess
from octavo.source import sidecar
from octavo.source.sidecar import Sidecar, renew


def test_round_trip(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"model")
    written = Sidecar(Preprocess((8, 9), "lanczos", (0.0, 1.0), "bgr"), ("a", "b"))
    written.write(model)
    assert sidecar.read(model) == written
    # The hash is a published one: printf model | sha256sum.
    assert json.loads((tmp_path / "model.tflite.json").read_text())["sha256"].startswith("9372c470eeadd5ec")


def test_a_model_that_takes_no_image_has_no_preprocessing(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"model")
    Sidecar(None, ("a", "b")).write(model)
    assert json.loads(sidecar.path_of(model).read_text("utf-8"))["preprocess"] is None
    assert sidecar.read(model) == Sidecar(None, ("a", "b"))


def test_a_new_file_never_keeps_the_sidecar_of_an_earlier_one(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"model")
    renew(model, Sidecar(Preprocess((8, 8))))
    model.write_bytes(b"Model")
    renew(model, Sidecar(Preprocess((9, 9))))
    assert sidecar.read(model) == Sidecar(Preprocess((9, 9)))
    model.write_bytes(b"modem")
    renew(model, None)
    assert sidecar.read(model) is None and not sidecar.path_of(model).exists()
    renew(model, None)


def test_none_without_a_file(tmp_path: Path) -> None:
    assert sidecar.read(tmp_path / "model.tflite") is None


def test_a_changed_model_is_noticed(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"model")
    Sidecar(Preprocess((8, 8))).write(model)
    model.write_bytes(b"Model")
    with pytest.raises(ModelError, match="its SHA-256 is another"):
        sidecar.read(model)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": "", "classes": 3, "preprocess": {}}'])
def test_a_file_that_is_no_sidecar(tmp_path: Path, text: str) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"model")
    sidecar.path_of(model).write_text(text)
    with pytest.raises(ModelError, match="is not a model's sidecar"):
        sidecar.read(model)


def test_no_part_of_the_preprocessing_may_be_missing_and_no_later_schema_is_guessed(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"model")
    Sidecar(Preprocess((8, 8))).write(model)
    value = json.loads(sidecar.path_of(model).read_text("utf-8"))
    assert value["schema"] == 2
    for key in value["preprocess"]:
        less = {name: item for name, item in value["preprocess"].items() if name != key}
        sidecar.path_of(model).write_text(json.dumps(value | {"preprocess": less}), "utf-8")
        with pytest.raises(ModelError, match=f"(?s)is not a model's sidecar.*{key}"):
            sidecar.read(model)
    sidecar.path_of(model).write_text(json.dumps(value | {"schema": 3}), "utf-8")
    with pytest.raises(ModelError, match="has schema 3"):
        sidecar.read(model)
