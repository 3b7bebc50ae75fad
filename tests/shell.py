"""The command line, run as a user does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def octavo(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a user does."""
    command = [sys.executable, "-m", "octavo.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=120)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one message of a refusal."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr
