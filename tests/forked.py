"""Child processes of Octavo as forks of a process that has imported what they need, which takes most of their time.

Only the start of a child differs. Tests of the start itself ask for the fixture `started_children`, and commands that
run in a process of their own (`shell.started`) start their children as users' commands do.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from octavo.base import child

# The modules that run as children often, and what they import only when they run.
MODULES = (
    "octavo.source.tried",
    "octavo.runtime.footprint",
    "octavo.runtime.profiler",
    "octavo.deployment.targets.apart",
)
PACKAGES = ("ai_edge_litert.interpreter",)


class Fork:
    """A forked child that answers lines, with what `subprocess.Popen` has and Octavo uses.

    Args:
        forks: What forked it.
        pid: Its number.
        pipes: Its standard input and output, as files of the system.
    """

    def __init__(self, forks: Forks, pid: int, pipes: tempfile.TemporaryDirectory[str]) -> None:
        self._forks, self.pid, self._pipes = forks, pid, pipes
        self._code: int | None = None
        # In the order in which the child opens them.
        self.stdin, self.stdout = Path(pipes.name, "in").open("w"), Path(pipes.name, "out").open()  # noqa: SIM115

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended."""
        if self._code is None:
            self._code = self._forks.waited(self.pid, timeout)
        if self._code is None:
            raise subprocess.TimeoutExpired([], timeout or 0)
        self._pipes.cleanup()
        return self._code


class Forks:
    """`octavo.base.child.run` and `octavo.base.child.start`, by forks where it can."""

    def __init__(self) -> None:
        self._started, self._begun = child.run, child.start
        self._server: subprocess.Popen[str] | None = None
        self._lock = Lock()

    def run(self, command: list[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
        """As `octavo.base.child.run`."""
        if not self._forkable(command):
            return self._started(command, seconds)
        with tempfile.TemporaryDirectory() as folder, self._lock:
            streams = [Path(folder) / name for name in ("out", "err")]
            pid = self._ask(streams=[os.devnull, *map(str, streams)], words=command[3:])
            code = self._ask(pid=pid, seconds=seconds or 3600, kill=True)
            if code is None:
                raise subprocess.TimeoutExpired(command, seconds or 0)
            texts = [file.read_text("utf-8", "replace") for file in streams]
            return subprocess.CompletedProcess(command, code, *texts)

    def start(self, command: list[str], errors: BinaryIO) -> Fork | subprocess.Popen[str]:
        """As `octavo.base.child.start`."""
        if not self._forkable(command):
            return self._begun(command, errors)
        pipes = tempfile.TemporaryDirectory()
        streams = [Path(pipes.name, name) for name in ("in", "out")]
        for stream in streams:
            os.mkfifo(stream)
        file = f"/proc/{os.getpid()}/fd/{errors.fileno()}"
        with self._lock:
            pid = self._ask(streams=[*map(str, streams), file], words=command[3:])
        assert pid is not None
        return Fork(self, pid, pipes)

    def waited(self, pid: int, seconds: float | None) -> int | None:
        """The exit code of a fork; None if it goes on for longer than that."""
        with self._lock:
            return self._ask(pid=pid, seconds=seconds or 3600, kill=False)

    def _forkable(self, command: list[str]) -> bool:
        return command[:3] == child.module_command("")[:3] and command[3] in MODULES

    def _ask(self, **asked: Any) -> int | None:
        if self._server is None:
            command = [sys.executable, "-I", __file__, str(Path(child.__file__).parents[2])]
            self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._server.stdin is not None and self._server.stdout is not None
        try:
            self._server.stdin.write(json.dumps(asked | {"cwd": str(Path.cwd()), "environ": {**os.environ}}) + "\n")
            self._server.stdin.flush()
            code: int | None = json.loads(self._server.stdout.readline())
        except BaseException:
            # The answer to this question would be taken for that to the next one.
            self._server.kill()
            self.close()
            raise
        return code

    def close(self) -> None:
        """Ends the process that forks."""
        if self._server is not None:
            self._server.communicate()
            self._server = None


def _serve() -> None:
    """The process that forks."""
    for name in (*PACKAGES, *MODULES):
        importlib.import_module(name)
    for name in MODULES:
        # So that each fork runs it as a program, as if it were not imported yet.
        del sys.modules[name]
    for line in sys.stdin:
        asked = json.loads(line)
        if "pid" in asked:
            said = _waited(asked["pid"], asked["seconds"], asked["kill"])
        elif (said := os.fork()) == 0:
            _fork(**asked)
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


def _fork(streams: list[str], words: list[str], cwd: str, environ: dict[str, str], **_: Any) -> None:
    """The child; it does not return."""
    code = 1
    try:
        # A pipe that its writer closes has an end only for who opened it to read.
        for number, path in enumerate(streams):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), number)
        os.chdir(cwd)
        os.environ.update(environ)
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _waited(pid: int, seconds: float, kill: bool) -> int | None:
    """The exit code of a process; None if it goes on for longer than that, and perhaps is killed then."""
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            if kill:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            return None
        time.sleep(pause)
        pause = min(pause * 1.5, 0.01)


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    _serve()
