"""Functions by name: from what is installed or in PYTHONPATH, never from the current folder unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from octavo.base.environment import function, source_of
from octavo.base.errors import OctavoError


def test_a_function_of_the_environment() -> None:
    assert function("json.decoder:JSONDecoder").__module__ == "json.decoder"
    assert source_of("json.decoder:JSONDecoder").name == "decoder.py"
    before = sys.path[:]
    for name, why in (
        ("nowhere_at_all:f", "no installed module 'nowhere_at_all'"),
        ("json.nowhere:f", "no installed module"),
        ("json:nothing", "no function 'nothing'"),
        ("json:__name__", "no function"),
    ):
        with pytest.raises(OctavoError, match=why):
            function(name)
    assert sys.path == before


def test_the_current_folder_is_not_searched_unless_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "lying_here.py").write_text("print('ran')\ndef build(): return 1\n")
    # `python -m` puts the current folder first, as `python -m octavo.cli` does.
    (tmp_path / "asks.py").write_text(
        "from octavo.base.environment import function\n"
        "from octavo.base.errors import OctavoError\n"
        "try:\n    print(function('lying_here:build')())\nexcept OctavoError as error:\n    print(error)\n"
    )

    def said(**more: str) -> str:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [sys.executable, "-m", "asks"]
        done = subprocess.run(command, cwd=tmp_path, env=clean | more, capture_output=True, text=True, check=True)
        return done.stdout

    assert "no installed module 'lying_here'" in said() and "ran" not in said()
    assert said(PYTHONPATH=str(tmp_path)).split() == ["ran", "1"]
