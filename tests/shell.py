"""The command line, run as a user does."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

from octavo.cli.entry import main


def octavo(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command line in this process, which has imported most of what it needs.

    What native code prints is not kept: `started` keeps it.
    """
    out, err = io.StringIO(), io.StringIO()
    words = ["octavo", *map(str, arguments)]
    code: object = 0
    with (
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", words),
        warnings.catch_warnings(),
    ):
        # As in a process of its own: a warning is no error.
        warnings.resetwarnings()
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert code is None or isinstance(code, int), code
    return subprocess.CompletedProcess(words, code or 0, out.getvalue(), err.getvalue())


def started(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own, where that is the point."""
    command = [sys.executable, "-m", "octavo.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=120)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one message of a refusal."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr
