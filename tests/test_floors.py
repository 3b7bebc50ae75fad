"""The house's floors: imports point down, acts do not import one another, the core needs no TensorFlow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "octavo"

FLOORS: list[set[str]] = [
    {"errors", "child", "files", "progress", "quiet", "affine", "stats", "recipe"},
    {
        "graph",
        "sharing",
        "metadata",
        "ops",
        "precision",
        "runtime",
        "profiler",
        "footprint",
        "size",
        "data",
        "sidecar",
        "backend",
    },
    {"ranges", "histogram", "observers", "table", "act", "order", "windows", "feed", "fitting", "simulate"},
    {
        "slim",
        "fuse",
        "pixels",
        "checks",
        "calibrate",
        "equalize",
        "biases",
        "adaround",
        "compensate",
        "quantize",
        "prove",
        "train",
        "export",
        "qat",
    },
    {
        "agreement",
        "along",
        "compare",
        "convert",
        "tune",
        "evaluate",
        "inspect",
        "distributions",
        "report",
        "equal",
        "benchmark",
        "sensitivity",
        "search",
        "study",
    },
    {
        "manifest",
        "pipeline",
        "quant_model",
        "twins",
        "timing",
        "ranking",
        "reach",
        "curve",
        "sweep",
        "deploy",
        "targets",
        "devices",
        "cli",
        "__main__",
    },
]
# Rooms of one floor may know one another where the story runs through both; acts may not, but for the proof, which
# is about what quantization wrote.
ACTS = {
    "slim",
    "fuse",
    "pixels",
    "calibrate",
    "equalize",
    "biases",
    "compensate",
    "adaround",
    "quantize",
    "train",
    "export",
    "qat",
}
HEAVY = {"tensorflow", "keras"}
# Their classes are Keras models. Others import them in the functions that need them, as they would import Keras.
KERAS_ROOMS = {"simulate", "quant_model"}


def _room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def _floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Every imported module of a file, and whether it is imported when the file is."""
    tree = ast.parse(path.read_text("utf-8"))
    later = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    later += [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    inner = {id(n) for block in later for n in ast.walk(block)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in inner) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "octavo" else [node.module]
            )
            found += [(name, id(node) not in inner) for name in names]
    return found


FILES = [path for path in sorted(SRC.rglob("*.py")) if path.name != "__init__.py" or path.parent != SRC]


def test_every_room_has_a_floor() -> None:
    assert {_room(path) for path in FILES} == set().union(*FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_point_down(path: Path) -> None:
    room = _room(path)
    for name, _ in _imports(path):
        parts = name.split(".")
        if parts[0] != "octavo" or len(parts) == 1 or parts[1] == room or parts[1].startswith("__"):
            continue
        other = parts[1]
        assert _floor(other) <= _floor(room), f"{room} imports {other}, which is above it"
        assert not ({room, other} <= ACTS), f"the acts {room} and {other} must not know each other"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_tensorflow_and_keras_are_imported_by_no_file(path: Path) -> None:
    """They come through octavo.backend, when a function needs them; CIFAR's download asks Keras by itself."""
    eager = [name.split(".") for name, at_import in _imports(path) if at_import]
    heavy = {parts[0] for parts in eager} & HEAVY
    rooms = {parts[1] for parts in eager if parts[0] == "octavo" and len(parts) > 1} & KERAS_ROOMS
    assert heavy <= {"keras"} and rooms <= KERAS_ROOMS if _room(path) in KERAS_ROOMS else not heavy | rooms


def test_the_core_runs_with_tensorflow_and_keras_blocked(tmp_path: Path) -> None:
    from tiny import tiny_tflite, write_folder

    (tmp_path / "float.tflite").write_bytes(tiny_tflite())
    write_folder(tmp_path / "photos", 12)
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {{'tensorflow', 'keras', 'jax', 'torch'}}:
            raise ImportError(f'{{name}} is blocked')
sys.meta_path.insert(0, Block())
import octavo
made = octavo.quantize_file({str(tmp_path / "float.tflite")!r}, {str(tmp_path / "photos")!r},
                            {str(tmp_path / "int8.tflite")!r}, images=9)
print(len(made.proof.checks), octavo.evaluate_file(made.path, {str(tmp_path / "photos")!r}).accuracy().value)
octavo.inspect_file(made.path)
from octavo.errors import MissingDependencyError
try:
    octavo.run('digits', {str(tmp_path / "run")!r})
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("13 ")
    assert "pip install 'octavo[train]'" in done.stdout
