"""Launching: a process that is to train with others does so in a child process, and tells in one message how it ended.

JAX ends a process without warning when another one of its training is lost, so no process can tell that itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from octavo.base.child import end_of
from octavo.base.errors import LostError, OctavoError
from octavo.base.place import Place, place

# An environment variable of the child process, which `octavo.cli.part` runs.
STARTED = "OCTAVO_PART"
INTERRUPTED = 130


def part(launch: str | None) -> Place:
    """The place of this process. Where it is one of several, a child process does its work, and this one ends with it.

    Args:
        launch: ``ray``: start the processes on the Ray cluster at ``RAY_ADDRESS``. None: this is one of those that a
            launcher started, or the only one.

    Raises:
        LostError: The child process ended before its work was done.
        OctavoError: The environment does not say where the processes meet.
    """
    if launch == "ray" and STARTED not in os.environ:
        from octavo.cli.ray_cluster import on_ray

        sys.exit(on_ray(sys.argv[1:]))
    here = place(os.environ)
    if here.world == 1 or STARTED in os.environ:
        return here
    sys.exit(run(sys.argv[1:], here))


def run(arguments: list[str], here: Place, **streams: Any) -> int:
    """Runs a command of Octavo as one process of several, to its end.

    Args:
        arguments: Those of the command.
        here: The place of the process.
        streams: Those of `subprocess.Popen`.

    Returns:
        Its exit code.

    Raises:
        LostError: It ended before its work was done, and said nothing.
    """
    command = [sys.executable, "-P", "-m", "octavo.cli.part", *arguments]
    environment = {**os.environ, **here.environment, STARTED: "1"}
    # It ends when its standard input does, so that it never outlives this process. In a session of its own it gets
    # Ctrl-C from this process alone, and so once.
    own: dict[str, Any] = {"stdin": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, env=environment, **own, **streams) as child, _passed_on(child):
        code = int(child.wait())
    if code in (0, OctavoError.code, INTERRUPTED, LostError.code):
        return code
    if code == -signal.SIGTERM:
        return 128 + signal.SIGTERM
    raise LostError(f"Process {here.rank} of {here.world} ended before its work was done ({end_of(code)}).")


@contextmanager
def _passed_on(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Passes signals to end on to a child process."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
