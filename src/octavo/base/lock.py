"""Locks on files and folders. The system releases them when a process ends, however it ends."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

if sys.platform != "win32":
    import fcntl


class Lock:
    """Tries once to lock a file or a folder against other processes.

    A lock is advisory: it stops only those who ask for it. It leaves no file behind.

    Args:
        path: A file or folder that exists.

    Raises:
        OSError: There is no such file or folder, or it cannot be opened.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with Lock(folder) as first, Lock(folder) as second:
        ...     first.held, second.taken
        (True, True)
        >>> with Lock(folder) as again:
        ...     again.held
        True
    """

    def __init__(self, path: Path) -> None:
        # Where the system has no such locks, or the file system of the path, both stay false.
        self.held = self.taken = False
        self._handle: int | None = None
        if sys.platform == "win32":
            return
        # NFS locks a file only for those who can write to it.
        mode = os.O_RDWR if path.is_file() and os.access(path, os.W_OK) else os.O_RDONLY
        self._handle = os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except OSError as error:
            self.taken = error.errno in (errno.EAGAIN, errno.EACCES)

    def release(self) -> None:
        """Gives the lock back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
