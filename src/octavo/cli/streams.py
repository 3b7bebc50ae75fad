"""Standard output and error that may be closed, full, or a pipe that nobody reads any more.

What cannot be written is dropped, and the command goes on to its end: `octavo quantize … | head -1` writes its model.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO


class _Dropping(io.FileIO):
    """A stream whose writes never fail."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = self.failure or error
            return memoryview(data).nbytes


@contextlib.contextmanager
def dropping() -> Iterator[Callable[[], OSError | None]]:
    """Replaces standard output and error by streams whose writes never fail, while the block runs.

    Yields:
        A function that tells why standard output could not be written, if so. A stream that was closed from the start,
        or a reader who left, is no failure: nobody wants the output.
    """
    if os.name != "posix" or sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        yield lambda: None
        return
    _open_closed()
    before = sys.stdout, sys.stderr
    output, raw = _stream(1, sys.stdout)
    sys.stdout, (sys.stderr, _) = output, _stream(2, sys.stderr)

    def lost() -> OSError | None:
        output.flush()
        return None if raw.failure is None or raw.failure.errno == errno.EPIPE else raw.failure

    try:
        yield lost
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Opens closed standard streams to nowhere.

    Otherwise the next file to be opened, such as a model, would get a standard stream's number, and what native code
    prints would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, so this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _stream(number: int, before: TextIO | None) -> tuple[TextIO, _Dropping]:
    """A text stream to a standard stream's number, with the encoding that it had."""
    raw = _Dropping(number, "w", closefd=False)
    errors = number == 2
    made = io.TextIOWrapper(
        # Errors go without a buffer: Ctrl-C in the middle of its flush would leave the text there, to be written again.
        raw if errors else io.BufferedWriter(raw),
        encoding="utf-8" if before is None else before.encoding,
        # Names of files may hold what the encoding does not.
        errors="backslashreplace",
        line_buffering=errors or raw.isatty(),
        write_through=errors,
    )
    return made, raw
