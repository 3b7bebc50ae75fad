"""`octavo init`: writes a recipe, asks on a terminal alone, and replaces nothing unasked."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from shell import octavo, refused
from tiny import write_folder

from octavo.recipe.schema import load_recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, which is not read, and images."""
    (tmp_path / "mine.tflite").write_bytes(b"\0")
    write_folder(tmp_path / "photos", 6)
    return tmp_path


def test_options_become_a_recipe_which_is_not_replaced(folder: Path) -> None:
    given = ("init", "mine.tflite", "--data", "photos", "--scale", "0", "255", "--method", "qat")
    said = octavo(*given, cwd=folder)
    assert said.returncode == 0 and "octavo run mine.yaml" in said.stdout
    made = load_recipe(folder / "mine.yaml")
    assert (made.name, made.preprocess.scale, made.quantize.method) == ("mine", (0.0, 255.0), "qat")
    assert (made.model.path, made.data.path) == (Path("mine.tflite"), Path("photos"))
    (folder / "mine.yaml").write_text("mine")
    assert "--force" in refused(octavo(*given, cwd=folder))
    assert (folder / "mine.yaml").read_text() == "mine"
    assert octavo(*given, "--force", cwd=folder).returncode == 0
    assert load_recipe(folder / "mine.yaml") == made


def test_what_is_missing_is_an_error_without_a_terminal(folder: Path) -> None:
    assert "--data" in refused(octavo("init", "mine.tflite", cwd=folder))
    assert "no model 'other.tflite'" in refused(octavo("init", "other.tflite", "--data", "photos", cwd=folder))
    assert "no file or folder 'none'" in refused(octavo("init", "mine.tflite", "--data", "none", cwd=folder))
    assert not list(folder.glob("*.yaml"))


def test_a_terminal_is_asked(folder: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"mine.tflite\nphotos\ny\n")
        command = [sys.executable, "-m", "octavo.cli", "init", "-o", "asked.yaml"]
        done = subprocess.run(
            command, stdin=theirs, capture_output=True, text=True, cwd=folder, timeout=60, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0, done.stderr
    made = load_recipe(folder / "asked.yaml")
    assert (made.model.path, made.data.path, made.quantize.method) == (Path("mine.tflite"), Path("photos"), "qat")
