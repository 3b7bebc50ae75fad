"""The entry point of the command line: exit codes, and one message for a user's mistake."""

from __future__ import annotations

import errno
import io
import sys

from octavo.base.errors import OctavoError
from octavo.cli.commands import app

_INTERRUPTED = "Interrupted; nothing is half written. Give the same command again: runs and training go on."


def main() -> None:
    """Runs the command line. A user's mistake causes one message and exit code 2, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A sign that the encoding of the terminal lacks is shown as its code.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except OctavoError as error:
        sys.exit(_refuse(str(error)))
    except SystemExit as end:
        if end.code == 130:
            sys.stderr.write(f"{_INTERRUPTED}\n")
        raise
    except OSError as error:
        where = f" ('{error.filename}')" if error.filename else ""
        if error.errno in (errno.EMFILE, errno.ENFILE):
            sys.exit(_refuse(f"{error.strerror}{where}. Raise the limit, as in `ulimit -n 1024`."))
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            sys.exit(
                _refuse(f"{error.strerror}{where}. Free some space or choose another place; nothing is half written.")
            )
        raise
    except Exception as error:
        if not _is_interruption(error):
            raise
        sys.stderr.write(f"{_INTERRUPTED}\n")
        sys.exit(130)


def _is_interruption(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error: TensorFlow wraps exceptions of its callbacks in errors of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _refuse(text: str) -> int:
    sys.stderr.write(f"octavo: {text}\n")
    return 2
