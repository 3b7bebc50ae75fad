"""The house: imports point down, no two rooms import each other, the core needs no TensorFlow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from octavo.recipe import choices

SRC = Path(__file__).parent.parent / "src" / "octavo"

# From the ground up; docs/architecture.md says what lives in each room.
FLOORS: list[set[str]] = [
    {"base"},
    {"recipe", "tflite"},
    {"runtime"},
    {"data"},
    {"source", "quantization", "rewrite"},
    {"tuning", "simulate"},
    {"training", "analysis"},
    {"deployment"},
    {"reports"},
    {"runs"},
    {"api"},
    {"cli", "__main__"},
]
# A tuning pass takes a graph and gives a graph: it knows of no other pass, so that any order of them is one.
PASSES = {choice.where.partition(":")[0].split(".")[1] for choice in choices.PASSES.values()}
HEAVY = {"tensorflow", "keras"}
# Their classes are Keras models. Others import them in the functions that need them, as they would import Keras.
KERAS_FILES = {"simulate", "training.quant_model"}


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(SRC).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _is_keras(parts: tuple[str, ...]) -> bool:
    return any(".".join(parts[:count]) in KERAS_FILES for count in (1, 2))


def _floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


@cache
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
            # What is imported from a package may be a module of it.
            found += [(f"{node.module}.{alias.name}", id(node) not in inner) for alias in node.names]
    return found


def _octavo(path: Path) -> list[tuple[tuple[str, ...], bool]]:
    """What a file imports of Octavo, by the names of rooms and files below `octavo`."""
    return [
        (tuple(name.split(".")[1:]), at_import)
        for name, at_import in _imports(path)
        if name.startswith("octavo.") and not name.split(".")[1].startswith("__")
    ]


FILES = [path for path in sorted(SRC.rglob("*.py")) if path != SRC / "__init__.py"]


def test_every_room_has_a_floor_and_the_top_is_small() -> None:
    assert {_parts(path)[0] for path in FILES} == set().union(*FLOORS)
    assert len([entry for entry in SRC.iterdir() if entry.name != "__pycache__"]) <= 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_point_down(path: Path) -> None:
    room = _parts(path)[0]
    for other, _ in _octavo(path):
        assert _floor(other[0]) <= _floor(room), f"{room} imports {'.'.join(other)}, which is above it"
    if room == "tuning" and path.stem in PASSES:
        others = {other[1] for other, _ in _octavo(path) if other[0] == "tuning"}
        assert not others & PASSES, f"the tuning passes {path.stem} and {others & PASSES} must not know each other"


def test_no_rooms_import_each_other() -> None:
    """Also where floors allow it, and also by way of a third room or of an import inside of a function."""
    knows: defaultdict[str, set[str]] = defaultdict(set)
    for path in FILES:
        room = _parts(path)[0]
        knows[room] |= {other[0] for other, _ in _octavo(path)} - {room}
    order = list(TopologicalSorter(knows).static_order())
    assert set(order) >= set(knows)


def test_a_circle_of_rooms_would_be_found() -> None:
    from graphlib import CycleError

    with pytest.raises(CycleError):
        list(TopologicalSorter({"runs": {"api"}, "api": {"reports"}, "reports": {"runs"}}).static_order())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_tensorflow_and_keras_are_imported_by_no_file(path: Path) -> None:
    """They come through octavo.base.backend, when a function needs them; CIFAR's download asks Keras by itself."""
    eager = {name.split(".")[0] for name, at_import in _imports(path) if at_import} & HEAVY
    rooms = {".".join(other) for other, at_import in _octavo(path) if at_import and _is_keras(other)}
    if _is_keras(_parts(path)):
        assert eager <= {"keras"}
    else:
        assert not eager and not rooms


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
from octavo.base.errors import MissingDependencyError
try:
    octavo.run('digits', {str(tmp_path / "run")!r})
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("13 ")
    assert "pip install -e '.[train]'" in done.stdout
