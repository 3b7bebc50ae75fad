from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from octavo.base.errors import ModelError, OctavoError
from octavo.data.preprocess import Preprocess
from octavo.source import sidecar
from octavo.source.sidecar import Sidecar, write_model

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals, limits and links on Windows")


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
    write_model(model, b"model", Sidecar(Preprocess((8, 8))))
    write_model(model, b"Model", Sidecar(Preprocess((9, 9))))
    assert sidecar.read(model) == Sidecar(Preprocess((9, 9)))
    write_model(model, b"modem", None)
    assert sidecar.read(model) is None and not sidecar.path_of(model).exists()
    write_model(model, b"modem", None)


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
    assert value["schema"] == 5
    for key in value["preprocess"]:
        less = {name: item for name, item in value["preprocess"].items() if name != key}
        sidecar.path_of(model).write_text(json.dumps(value | {"preprocess": less}), "utf-8")
        with pytest.raises(ModelError, match=f"(?s)is not a model's sidecar.*{key}"):
            sidecar.read(model)
    sidecar.path_of(model).write_text(json.dumps(value | {"schema": 6}), "utf-8")
    with pytest.raises(ModelError, match="has schema 6"):
        sidecar.read(model)


# Writes pairs, and is killed before or after a rename: given are a model, the rename's number, and which of the two.
_KILLED = """
import os, pathlib, signal, sys
from octavo.source.sidecar import Sidecar, write_model
rename = os.replace
for model, number, when in zip(*[iter(sys.argv[1:])] * 3, strict=True):
    count = 0
    def replace(*paths):
        global count
        count += 1
        if count == int(number) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*paths)
        if count == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
    child = os.fork()
    if child == 0:
        os.replace = replace
        write_model(pathlib.Path(model), b"new", Sidecar(None, ("new",)))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


def found(model: Path) -> tuple[bytes | None, tuple[str, ...] | None]:
    """Model and class names as a reader finds them."""
    if not model.is_file():
        return None, None
    content = model.read_bytes()
    belongs = sidecar.read(model, content)
    return content, None if belongs is None else belongs.classes


@needs_posix
@pytest.mark.parametrize("before", ["a pair", "a model alone", "nothing"])
def test_a_kill_at_any_rename_leaves_the_old_pair_or_the_new_one(tmp_path: Path, before: str) -> None:
    points = [(number, when) for number in ("1", "2", "3") for when in ("before", "after")]
    models = [tmp_path / f"{number}-{when}" / "model.tflite" for number, when in points]
    for model in models:
        model.parent.mkdir()
        if before != "nothing":
            model.write_bytes(b"old")
        if before == "a pair":
            Sidecar(None, ("old",)).write(model)
    old = found(models[0])
    given = [word for model, point in zip(models, points, strict=True) for word in (str(model), *point)]
    subprocess.run([sys.executable, "-W", "ignore", "-c", _KILLED, *given], check=True)
    seen = [found(model) for model in models]
    for model, pair in zip(models, seen, strict=True):
        assert pair in (old, (b"new", ("new",)))
        # The next writer ends what the other began, also if it fails itself, and clears what was left.
        with pytest.raises(RuntimeError), sidecar.replacing_model(model, None):
            raise RuntimeError
        assert found(model) == pair
        sidecar.write_model(model, b"third", Sidecar(None, ("third",)))
        assert found(model) == (b"third", ("third",))
        assert sorted(path.name for path in model.parent.iterdir()) == ["model.tflite", "model.tflite.json"]
    # The three renames are all that there are: of the new sidecar to where it waits, of the model, of the sidecar.
    assert seen == [old] * 3 + [(b"new", ("new",))] * 3


@needs_posix
def test_a_full_disk_at_either_file_leaves_the_old_pair(tmp_path: Path) -> None:
    """A limit of a file's size stands for the full disk: the model, or the sidecar alone, is above it."""
    code = (
        "import pathlib, resource, signal, sys\nfrom octavo.source.sidecar import Sidecar, write_model\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "write_model(pathlib.Path(sys.argv[1]), b'x' * int(sys.argv[2]), Sidecar(None, ('y' * int(sys.argv[3]),)))"
    )
    model = tmp_path / "model.tflite"
    model.write_bytes(b"old")
    Sidecar(None, ("old",)).write(model)
    for sizes in (("9000", "10"), ("10", "9000")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(model), *sizes], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1 and "OctavoError: Could not write" in done.stderr and "too large" in done.stderr
        assert found(model) == (b"old", ("old",))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.tflite", "model.tflite.json"]


def test_a_model_without_a_sidecar_takes_the_old_ones_place(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    sidecar.write_model(model, b"old", Sidecar(None, ("old",)))
    sidecar.write_model(model, b"new", None)
    assert found(model) == (b"new", None)
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


@needs_posix
def test_what_stands_where_the_sidecar_goes_is_found_before_the_work(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"old")
    (tmp_path / "target").write_text("the user's")
    sidecar.path_of(model).symlink_to(tmp_path / "target")
    with pytest.raises(OctavoError, match="is a link"), sidecar.replacing_model(model, Sidecar(None)) as temporary:
        temporary.write_bytes(b"new")
    assert model.read_bytes() == b"old" and (tmp_path / "target").read_text() == "the user's"
    with pytest.raises(OctavoError, match="too long"):
        sidecar.check_model(tmp_path / ("x" * 248 + ".tflite"))
