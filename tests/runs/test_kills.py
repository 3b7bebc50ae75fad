"""Runs that are killed in every stage: what they make in the end is what undisturbed runs make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "kills.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked, and locked as Linux can")
def test_killed_runs_equal_undisturbed_ones() -> None:
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--seed", "7", "--count", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 kills of" in done.stdout
