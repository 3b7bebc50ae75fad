"""What an exception of another package stands for: Ctrl-C, or that no more files may be opened."""

from __future__ import annotations

import errno
import os


def is_interruption(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error: TensorFlow wraps exceptions of its callbacks in errors of its own.

    Example:
        >>> is_interruption(RuntimeError("Unknown: KeyboardInterrupt: ")), is_interruption(RuntimeError("another"))
        (True, False)
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def has_too_many_files(error: BaseException) -> bool:
    """Whether the process, or the system, had no room for another open file. A module that cannot be opened says so.

    Example:
        >>> has_too_many_files(OSError(errno.EMFILE, "")), has_too_many_files(ImportError("no such module"))
        (True, False)
    """
    if isinstance(error, OSError):
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return isinstance(error, ImportError) and os.strerror(errno.EMFILE) in str(error)
