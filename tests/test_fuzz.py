"""A short fuzz campaign: no damaged file ends the user's process, in any command, or makes it take all memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "fuzz.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cases are forked, and limited as Linux can")


def _campaign(*arguments: object, seconds: float) -> str:
    command = [sys.executable, "-W", "ignore", SCRIPT, *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_few_damaged_files_of_every_kind() -> None:
    assert "| all | " in _campaign("--seed", 20, "--count", 25, seconds=600)


@pytest.mark.slow
def test_ten_thousand_damaged_files() -> None:
    assert "| all | 10,000 |" in _campaign("--seed", 21, "--count", 10_000, seconds=4 * 3600)


@pytest.mark.slow
def test_damaged_keras_files() -> None:
    pytest.importorskip("keras")
    assert "| all | 100 |" in _campaign("--seed", 22, "--count", 100, "--kinds", "keras", seconds=3600)
