"""The entry point of the command line: exit codes, and one message for a user's mistake."""

from __future__ import annotations

import errno
import io
import os
import sys

from octavo.base.causes import has_too_many_files, is_interruption
from octavo.base.errors import OctavoError
from octavo.cli.commands import app
from octavo.cli.launch import STARTED
from octavo.cli.streams import dropping

_INTERRUPTED = "Interrupted. No file is half written. Repeat the same command: runs and training resume."
_TOO_MANY_FILES = "Too many files are open at once. Raise the limit, for example: ulimit -n 1024."


def main() -> None:
    """Runs the command line. A user's mistake causes one message and exit code 2, never a traceback."""
    code: str | int | None = 0
    with dropping() as lost:
        try:
            _run()
        except SystemExit as end:
            code = end.code
        if (error := lost()) is not None and not code:
            code = _refuse(f"Standard output could not be written: {error.strerror}. All other work is done.")
    sys.exit(code)


def _run() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A sign that the encoding of the terminal lacks is shown as its code.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except OctavoError as error:
        _refuse(str(error))
        sys.exit(error.code)
    except SystemExit as end:
        if end.code == 130:
            _say_interrupted()
        raise
    except OSError as error:
        where = f" ('{error.filename}')" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            sys.exit(
                _refuse(f"{error.strerror}{where}. Free some space or choose another place. No file is half written.")
            )
        if has_too_many_files(error):
            sys.exit(_refuse(_TOO_MANY_FILES))
        raise
    except Exception as error:
        if has_too_many_files(error):
            sys.exit(_refuse(_TOO_MANY_FILES))
        if not is_interruption(error):
            raise
        _say_interrupted()
        sys.exit(130)


def _say_interrupted() -> None:
    # Of a process of several, the one that started it says so.
    if STARTED not in os.environ:
        sys.stderr.write(f"{_INTERRUPTED}\n")


def _refuse(text: str) -> int:
    sys.stderr.write(f"octavo: {text}\n")
    return 2
