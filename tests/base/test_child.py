from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import tiny_int8, tiny_tflite, write_folder

from octavo.base import child
from octavo.data.preprocess import Preprocess
from octavo.source.sidecar import Sidecar

PACKAGES = (
    *("ai_edge_litert", "ethosu", "flatbuffers", "h5py", "jinja2", "keras", "litert_quantizer", "matplotlib", "numpy"),
    *("openvino", "PIL", "pydantic", "rich", "scipy", "sklearn", "tensorflow", "threadpoolctl", "typer", "yaml"),
    *("sitecustomize", "usercustomize"),
)


def _plant(folder: Path) -> Path:
    """A folder full of modules that leave a mark when imported; returns the mark."""
    mark = folder / "imported"
    code = f"open({str(mark)!r}, 'a').write(__name__ + '\\n')\n"
    for name in {*sys.stdlib_module_names, *PACKAGES}:
        (folder / f"{name}.py").write_text(code)
    for name in ("__init__", "__main__", "cli", "child", "runtime", "profiler", "footprint"):
        (folder / "octavo").mkdir(exist_ok=True)
        (folder / "octavo" / f"{name}.py").write_text(code)
    return mark


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A stranger's folder: models and photographs, beside modules named as those that Octavo imports."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "float.tflite").write_bytes(tiny_tflite())
    (folder / "int8.tflite").write_bytes(tiny_int8().content)
    Sidecar(Preprocess((8, 8)), ("blue", "green", "red")).write(folder / "int8.tflite")
    write_folder(folder / "photos", 30, "train")
    write_folder(folder / "photos", 18, "test")
    yield folder, _plant(folder)


DATA = ("--data", "photos")
SMALL = (
    *("--set", "train.epochs=1", "--set", "qat.epochs=1", "--set", "data.train=64", "--set", "data.test=64"),
    *("--set", "data.validation=16", "--set", "deployment.seconds=0.1", "--set", "qat.control=false"),
)
# In an order in which a later command finds what an earlier one wrote.
COMMANDS = {
    "inspect": ("inspect", "float.tflite"),
    "quantize": ("quantize", "float.tflite", *DATA, "-o", "made.tflite", "--images", "12"),
    "search": ("quantize", "float.tflite", *DATA, "-o", "sought.tflite", "--max-drop", "50", "--no-train"),
    "evaluate": ("evaluate", "int8.tflite", *DATA),
    "compare": ("compare", "float.tflite", "int8.tflite", *DATA, "--images", "9", "--out", "seen"),
    "sensitivity": ("sensitivity", "float.tflite", *DATA, "--images", "9", "--calibration", "12", "--out", "seen"),
    "calibrate": ("calibrate", "float.tflite", *DATA, "--sizes", "1,5", "--draws", "2", "-o", "study"),
    "pareto": ("pareto", "sought.tflite.search.json", "-o", "pareto.png"),
    "slim": ("slim", "int8.tflite", "-o", "slim.tflite"),
    "benchmark": ("benchmark", "float.tflite", "int8.tflite", "--seconds", "0.2", "--profile"),
    "targets": ("targets", "int8.tflite", "--images", "2"),
    "deploy": ("deploy", "int8.tflite", "--out", "folder"),
    "recipes": ("recipes",),
    "help": ("--help",),
    "run": ("run", "digits", "--out", "run", *SMALL),
    "report": ("report", "run"),
    "qat": ("qat", "float.tflite", *DATA, "-o", "trained.tflite", "--epochs", "1", "--learning-rate", "1e-4"),
}


# All others are tried by `make nightly`: they start the same child processes, and none of their own.
QUICK = {"inspect", "quantize", "compare", "deploy", "help"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in COMMANDS]
)
def test_no_command_imports_from_the_current_folder(hostile: tuple[Path, Path], name: str) -> None:
    folder, mark = hostile
    command = [str(Path(sys.executable).with_name("octavo")), *COMMANDS[name]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not mark.exists(), mark.read_text()


def _module(name: str) -> list[str]:
    return child.module_command(name, "no-such-model.tflite", "xnnpack", "1")


@pytest.mark.parametrize(
    "command",
    [
        _module("octavo.source.tried"),
        _module("octavo.runtime.footprint"),
        _module("octavo.runtime.profiler"),
        child.code_command("import json, numpy, sys; sys.exit(len(sys.argv))", "one"),
    ],
    ids=["trial", "footprint", "profiler", "code"],
)
def test_children_ignore_pythonpath_and_the_users_site(tmp_path: Path, command: list[str]) -> None:
    mark = _plant(tmp_path)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / "base" / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (site / "usercustomize.py").write_text(f"open({str(mark)!r}, 'a').write('user site')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONUSERBASE": str(tmp_path / "base")}
    said = {"input": "no-such-model.tflite\n", "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, **said)
    assert done.returncode in (1, 2), done.stderr
    assert not mark.exists(), mark.read_text()


def test_a_child_finds_its_package_where_its_own_file_lies(tmp_path: Path) -> None:
    """Also where no isolated Python would look, as in a checkout that PYTHONPATH names."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "child.py").write_bytes(Path(child.__file__).read_bytes())
    (package / "told.py").write_text("import sys\nprint(__name__, *sys.argv[1:])\n")
    command = [sys.executable, "-I", str(package / "child.py"), "package.told", "1", "b"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["__main__", "1", "b"]


def test_python_m_octavo_leaves_the_current_folder_out(tmp_path: Path) -> None:
    mark = tmp_path / "imported"
    (tmp_path / "numpy.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    (tmp_path / "m.tflite").write_bytes(tiny_tflite())
    command = [sys.executable, "-m", "octavo", "inspect", "m.tflite"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
