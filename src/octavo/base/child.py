"""Child processes that import nothing from the current folder, PYTHONPATH or the user's site.

A downloaded model may lie next to a file called `numpy.py`, and the user may work in that folder. ``python -m``
and ``python -c`` put the current folder first on `sys.path`; isolated mode (``python -I``) does not, and it ignores
PYTHONPATH, PYTHONSTARTUP and the user's site too.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


def module_command(name: str, *arguments: object) -> list[str]:
    """The command line that runs a module of Octavo as a program.

    The child searches modules where an isolated Python does, and last in the folder from which Octavo itself was
    imported.

    Args:
        name: The module, such as ``octavo.runtime.litert``.
        arguments: Given to it as text.
    """
    return [sys.executable, "-I", str(Path(__file__).resolve()), name, *map(str, arguments)]


def code_command(code: str, *arguments: object) -> list[str]:
    """The command line that runs Python code with an isolated Python.

    Args:
        code: Octavo's own code; never the content of a file.
        arguments: Given to it as text, in ``sys.argv[1:]``.
    """
    return [sys.executable, "-I", "-c", code, *map(str, arguments)]


def run(command: list[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, and keeps what it prints.

    Args:
        command: As `module_command` and `code_command` make it.
        seconds: After which it is killed.

    Raises:
        subprocess.TimeoutExpired: It was killed.
    """
    # What native code prints need not be UTF-8.
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=seconds)


def start(command: list[str], errors: BinaryIO) -> subprocess.Popen[str]:
    """Starts a command that answers each line on its standard input with a line on its standard output.

    Args:
        command: As `module_command` makes it, of a module that calls `answer_all`.
        errors: A file that gets its standard error.
    """
    # NumPy's library of linear algebra starts a thread for each core, which is a fifth of the time to import NumPy.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment)


def answer_all(answer: Callable[[str], str]) -> None:
    """Answers each line on standard input with a line on standard output, as long as the parent process is there.

    Args:
        answer: From a line to a line.
    """
    # What native code prints on standard output is no answer.
    with open(os.dup(1), "w") as answers:  # noqa: PTH123
        os.dup2(2, 1)
        for line in _lines():
            answers.write(answer(line) + "\n")
            answers.flush()


def _lines() -> Iterator[str]:
    """The lines of standard input; Ctrl-C, which the system gives to the parent process too, is their end."""
    with contextlib.suppress(KeyboardInterrupt):
        yield from sys.stdin


def end_of(code: int) -> str:
    """How a child process ended, for people, from its exit code."""
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"exit code {code}"


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
