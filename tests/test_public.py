"""What is public: pinned, so that a change of it is a decision."""

from __future__ import annotations

import inspect
import subprocess
import sys

import octavo
from octavo.cli.commands import app

# Semantic versioning: taking a name out of here, or changing what it takes, is a new major version.
PUBLIC = [
    *(
        "Goal",
        "Graph",
        "ImageSet",
        "Inputs",
        "OctavoError",
        "Policy",
        "Preprocess",
        "QParams",
        "QuantModel",
        "Quantization",
        "Ranges",
    ),
    "Recipe",
    *(
        "__version__",
        "benchmark",
        "calibrate",
        "check",
        "compare",
        "compare_runs",
        "deploy",
        "diff",
        "doctor",
        "evaluate",
        "from_jax",
        "from_torch",
    ),
    *(
        "init",
        "inspect",
        "load_policy",
        "load_recipe",
        "open_dataset",
        "pareto",
        "qat",
        "quantize",
        "recipes",
        "report",
        "run",
    ),
    *("search", "sensitivity", "serve"),
    *("slim", "sweep", "targets", "worker"),
]


def test_what_is_public_is_what_tab_completion_shows() -> None:
    assert dir(octavo) == sorted(octavo.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(octavo, name) is not None


def test_every_public_name_has_an_example() -> None:
    """They run with the tests, as all doctests do."""
    for name in set(PUBLIC) - {"__version__"}:
        _, _, example = (inspect.getdoc(getattr(octavo, name)) or "").partition("\nExample:\n")
        assert ">>> " in example, f"octavo.{name} has no example"


def test_every_command_has_a_function_of_its_name() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        assert callable(getattr(octavo, command.name or command.callback.__name__))


def test_functions_stay_what_they_are_after_every_room_was_imported() -> None:
    """Importing `octavo.x.y` sets `octavo.x`: no room may be called as a function is."""
    code = """
import pkgutil, octavo
names = [name for name in dir(octavo) if not name.startswith("_")]
for found in pkgutil.walk_packages(octavo.__path__, "octavo."):
    if not found.name.endswith("__main__"):
        __import__(found.name)
print([name for name in names if type(getattr(octavo, name)).__name__ == "module"])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout


def test_the_names_of_the_first_version_work() -> None:
    for name in ("quantize", "qat", "evaluate", "inspect"):
        assert getattr(octavo, f"{name}_file") is getattr(octavo, name)
    assert octavo.compare_files is octavo.compare
