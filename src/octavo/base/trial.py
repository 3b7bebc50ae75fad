"""Trials: a stranger's model is handled in a child process first, with limits of memory and time.

A damaged model can crash LiteRT or TensorFlow, take all memory, or run for ever. In a child process it ends the child.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from octavo.base import child
from octavo.base.errors import ModelError


def survived(command: list[str], name: str, seconds: float, what: str = "LiteRT") -> subprocess.CompletedProcess[str]:
    """Runs a command that handles a stranger's model, and reports its death as an error of that model.

    Args:
        command: Its exit code is 0 if it did its work, and 2 if it refused the model in words.
        name: The model's name in errors.
        seconds: After which it is killed, on an idle machine; where processes wait for cores, after as much longer.
        what: The package that may crash on it.

    Raises:
        ModelError: It crashed, ran out of memory or took too long.
    """
    try:
        done = child.run(command, seconds * _crowding())
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{name} was given up after {error.timeout:.0f} seconds in a child process: a file of its size should take "
            "less.",
            "It may be damaged: copy or export it again.",
        ) from error
    if done.returncode in (0, 2):
        return done
    if "MemoryError" in done.stderr or "bad_alloc" in done.stderr:
        raise ModelError(
            f"{name} needs more memory than a file of its size should: what it declares is too large.",
            "It may be damaged: copy or export it again.",
        )
    if "Traceback (most recent call last)" in done.stderr:
        # Python ended in order, so the file did not crash it.
        raise ModelError(
            f"{name} could not be tried out in a child process: {done.stderr.strip().splitlines()[-1]}",
            "If a package is missing: a child process imports only what is installed for this Python itself, such as "
            "in its virtual environment; it reads neither PYTHONPATH nor packages of `pip install --user`.",
        )
    raise ModelError(
        f"{what} crashed on {name} ({child.end_of(done.returncode)}): the file is damaged.", "Copy or export it again."
    )


def confine(memory: int) -> None:
    """Limits how much more memory this process can take. To be called after imports, before a file is read.

    It counts private memory that can be written, so that an allocation fails before any page of it is used. Systems
    other than Linux have no such limit.

    Args:
        memory: Bytes above those that the process has now.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return
    import resource

    line = next(line for line in status.read_text().splitlines() if line.startswith("VmData:"))
    wanted = int(line.split()[1]) * 1024 + memory
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most < 0 else min(wanted, most), most))
    # A crash here is expected, and a core file of it is of no use to anyone.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _crowding() -> float:
    """How many processes share a core, at least 1: the load of the last minute. Windows does not say it."""
    if not hasattr(os, "getloadavg"):
        return 1.0
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
