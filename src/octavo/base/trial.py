"""Trials: a stranger's model is handled in a child process first, with limits of memory and time.

A damaged model can crash LiteRT or TensorFlow, take all memory, or run for ever. In a child process it ends the child.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from threading import Event, Timer
from typing import Self

from octavo.base import child
from octavo.base.errors import ModelError

# The seconds in which a child process that closed its standard output should end.
_LAST_WORDS = 10


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
        raise _late(name, error.timeout) from error
    if done.returncode in (0, 2):
        return done
    raise _dead(name, done.returncode, done.stderr, what)


class Attendant:
    """A child process that handles one stranger's model after another, for as long as its block lasts.

    It starts at once, so that its imports overlap with the work of this process. Its death is an error of the model
    that it handles; then another one handles the next.

    Args:
        command: It answers lines with lines: see `octavo.base.child.answer_all`.
        what: The package that may crash.
    """

    def __init__(self, command: list[str], what: str = "LiteRT") -> None:
        self._command = command
        self._what = what
        self._process: subprocess.Popen[str] | None = None
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Ends the process."""
        self._end()

    def ask(self, line: str, name: str, seconds: float) -> str:
        """Its answer to a line about a stranger's model.

        Args:
            line: The question.
            name: The model's name in errors.
            seconds: As for `survived`.

        Raises:
            ModelError: As for `survived`.
        """
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        late, limit = Event(), seconds * _crowding()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = Timer(limit, give_up)
        timer.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            # It ended before it read the question.
            answer = ""
        finally:
            timer.cancel()
            timer.join()
        if answer.endswith("\n") and not late.is_set():
            return answer[:-1]
        with contextlib.suppress(subprocess.TimeoutExpired):
            # What it says at its end comes after its last answer.
            process.wait(_LAST_WORDS)
        code, said = self._end()
        raise _late(name, limit) if late.is_set() else _dead(name, code, said, self._what)

    def _start(self) -> subprocess.Popen[str]:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_end`
        self._process = child.start(self._command, self._errors)
        return self._process

    def _end(self) -> tuple[int, str]:
        """Kills the process if there is one; gives its exit code, and what it wrote to standard error."""
        process, self._process = self._process, None
        if process is None:
            return 0, ""
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # of a line that it did not read
                pipe.close()
        self._errors.seek(0)
        with self._errors:
            return code, self._errors.read().decode("utf-8", "replace")


def _late(name: str, seconds: float) -> ModelError:
    return ModelError(
        f"{name} was given up after {seconds:.0f} seconds in a child process: a file of its size should take less.",
        "It may be damaged: copy or export it again.",
    )


def _dead(name: str, code: int, said: str, what: str) -> ModelError:
    """The error for a child process that ended before its work was done."""
    if "MemoryError" in said or "bad_alloc" in said:
        return ModelError(
            f"{name} needs more memory than a file of its size should: what it declares is too large.",
            "It may be damaged: copy or export it again.",
        )
    if "Traceback (most recent call last)" in said:
        # Python ended in order, so the file did not crash it.
        return ModelError(
            f"{name} could not be tried out in a child process: {said.strip().splitlines()[-1]}",
            "If a package is missing: a child process imports only what is installed for this Python itself, such as "
            "in its virtual environment; it reads neither PYTHONPATH nor packages of `pip install --user`.",
        )
    return ModelError(
        f"{what} crashed on {name} ({child.end_of(code)}): the file is damaged.", "Copy or export it again."
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
