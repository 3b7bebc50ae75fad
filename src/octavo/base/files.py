"""Atomic writing of files: every artefact is written under a temporary name and then renamed.

A writer that is killed leaves its temporary file behind. The next writer in that folder deletes it: writers hold a lock
on their temporary files, which the system releases when a process ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from octavo.base.errors import OctavoError
from octavo.base.lock import Lock

_PREFIX = ".octavo-"
_LONGEST_SUFFIX = 16
# The names of temporary files: the prefix, what `tempfile` adds to it, and the suffix.
_TEMPORARY = re.compile(r"\.octavo-[a-z0-9_]{8}(\.[^.]*)?")


def check_file(path: Path) -> None:
    """Checks before long work that its result can be written to a path.

    A file is written by renaming a temporary one, which would replace a device, a pipe or a link by a regular file. So
    these are refused, and links to regular files too: give the path of the link's target instead.

    Args:
        path: The file to write; its folder need not exist yet.

    Raises:
        OctavoError: The path is a folder, a device, a pipe, a socket or a link; its name is too long; or the folder
            cannot be written to.

    Example:
        >>> check_file(Path("/dev/null"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        octavo.base.errors.OctavoError: '/dev/null' is not a regular file, and would be replaced by one. ...
    """
    check_folder(path.parent)
    mode = _mode_of(_nearest(path.parent) / path.name, path)
    if stat.S_ISDIR(mode):
        raise OctavoError(f"'{path}' is a folder, but a file is to be written.", "Choose the path of a file.")
    if stat.S_ISLNK(mode):
        raise OctavoError(
            f"'{path}' is a link, which would be replaced by a file.", f"Choose its target, '{path.readlink()}'."
        )
    if not stat.S_ISREG(mode):
        raise OctavoError(f"'{path}' is not a regular file, and would be replaced by one.", "Choose another path.")


def check_folder(path: Path) -> None:
    """Checks before long work that its results can be written into a folder.

    Args:
        path: The folder; it need not exist yet.

    Raises:
        OctavoError: It, or the nearest folder above it that exists, is not a folder or cannot be written to.
    """
    nearest = _nearest(path)
    if not nearest.is_dir():
        raise OctavoError(f"Could not write into '{path}': '{nearest}' is not a folder.", "Choose another path.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OctavoError(
            f"Could not write into '{path}': '{nearest}' cannot be written to.",
            "Check its permissions, or choose another path.",
        )
    for name in path.absolute().parts[len(nearest.parts) :]:
        _mode_of(nearest / name, path)


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    whole = path.absolute()
    return next(parent for parent in (whole, *whole.parents) if os.path.lexists(parent))


def _mode_of(place: Path, path: Path) -> int:
    """The kind of file at a place; that of a regular file if nothing is there yet.

    Args:
        place: A name in a folder that exists.
        path: The path that is to be written, for the message.

    Raises:
        OctavoError: The system does not take the name: it is too long.
    """
    try:
        return place.lstat().st_mode
    except FileNotFoundError:
        return stat.S_IFREG
    except OSError as error:
        raise OctavoError(f"'{path}' cannot be written: {error.strerror or error}.", "Choose another path.") from error


def check_results(folder: Path, names: Sequence[str]) -> None:
    """Checks before long work that its results can be written into a folder, each under its name.

    Args:
        folder: The folder; it need not exist yet.
        names: The names of the files.

    Raises:
        OctavoError: As for `check_file` and `check_folder`.
    """
    check_folder(folder)
    for name in names:
        check_file(folder / name)


def check_new_folder(path: Path) -> None:
    """Checks before long work that a folder can be made.

    Args:
        path: The folder to make, or an empty one.

    Raises:
        OctavoError: There is something else, or its name is too long, or the folder above cannot be written to.
    """
    if path.name in ("", ".."):
        raise OctavoError(f"A folder is to be made, and '{path}' is one that is there.", "Give the name of a new one.")
    check_folder(path.parent)
    _mode_of(_nearest(path.parent) / path.name, path)
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        kind = "a link" if path.is_symlink() else "not a folder"
        raise OctavoError(f"'{path}' exists already and is {kind}.", "Choose another folder.")
    check_folder(path)
    if any(path.iterdir()):
        raise OctavoError(f"'{path}' exists already and is not empty.", "Choose another folder, or remove it.")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` when the block ends without an error.

    An interrupted or failed block leaves `path` as it was before, and no other file.

    Args:
        path: The file to write. Its folder is made if it is missing.

    Raises:
        OctavoError: The path is not that of a regular file, the folder cannot be written to, or the disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with replacing(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    check_file(path)
    with _failures(path), _temporary(path, _new_file) as temporary:
        yield temporary
        # Some file systems report only here that they are full.
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        # Temporary files are private; artefacts get the permissions of any other new file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


@contextlib.contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; renames it to `path` when the block ends without an error.

    An interrupted or failed block leaves no folder.

    Args:
        path: The folder to make. An empty one may be there.

    Raises:
        OctavoError: The path is taken, the folder above cannot be written to, or the disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "made"
        >>> with making_folder(target) as temporary:
        ...     _ = (temporary / "a.txt").write_text("whole")
        >>> [entry.name for entry in target.iterdir()]
        ['a.txt']
    """
    check_new_folder(path)
    with _failures(path), _temporary(path, _new_folder) as temporary:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.rmdir()
        temporary.rename(path)


@contextlib.contextmanager
def _failures(path: Path) -> Iterator[None]:
    """One clear error for what the system refuses."""
    try:
        yield
    except OSError as error:
        raise OctavoError(
            f"Could not write '{path}': {error.strerror or error}.",
            "Check the folder's permissions and the free disk space. No file was left half written.",
        ) from error


@contextlib.contextmanager
def _temporary(path: Path, make: Callable[[Path], str]) -> Iterator[Path]:
    """A locked temporary file or folder beside `path`; deleted at the end, unless it was renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path.parent)
    temporary, lock = _locked(path, make)
    with lock:
        try:
            yield temporary
        finally:
            _delete(temporary)


def _new_file(path: Path) -> str:
    # The suffix is kept, because Keras and others choose the format by it.
    suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PREFIX, suffix=suffix)
    os.close(handle)
    return name


def _new_folder(path: Path) -> str:
    return tempfile.mkdtemp(dir=path.parent, prefix=_PREFIX)


def _locked(path: Path, make: Callable[[Path], str]) -> tuple[Path, Lock]:
    while True:
        temporary = Path(make(path))
        # Until it is locked, another writer may take it for that of a killed one, and delete it.
        with contextlib.suppress(FileNotFoundError):
            lock = Lock(temporary)
            if not lock.taken and temporary.exists():
                return temporary, lock
            lock.release()


def _clear(folder: Path) -> None:
    """Deletes the temporary files and folders of killed writers: those that nobody has locked."""
    for entry in folder.iterdir():
        if _TEMPORARY.fullmatch(entry.name):
            with contextlib.suppress(OSError), Lock(entry) as lock:
                if lock.held:
                    _delete(entry)


def _delete(temporary: Path) -> None:
    if temporary.is_dir() and not temporary.is_symlink():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes `content` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "empty"
        >>> _ = file.write_bytes(b"")
        >>> sha256(file)[:16]
        'e3b0c44298fc1c14'
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
