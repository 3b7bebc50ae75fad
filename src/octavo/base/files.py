"""Atomic writing of files: every artefact is written under a temporary name and then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from octavo.base.errors import OctavoError


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
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG  # What will be made there.
    except OSError as error:
        raise OctavoError(f"'{path}' cannot be written: {error.strerror or error}.", "Choose another path.") from error
    if stat.S_ISDIR(mode):
        raise OctavoError(f"'{path}' is a folder, but a file is to be written.", "Choose the path of a file.")
    if stat.S_ISLNK(mode):
        raise OctavoError(
            f"'{path}' is a link, which would be replaced by a file.", f"Choose its target, '{path.readlink()}'."
        )
    if not stat.S_ISREG(mode):
        raise OctavoError(f"'{path}' is not a regular file, and would be replaced by one.", "Choose another path.")
    check_folder(path.parent)


def check_folder(path: Path) -> None:
    """Checks before long work that its results can be written into a folder.

    Args:
        path: The folder; it need not exist yet.

    Raises:
        OctavoError: It, or the nearest folder above it that exists, is not a folder or cannot be written to.
    """
    nearest = next(parent for parent in (path, *path.absolute().parents) if os.path.lexists(parent))
    if not nearest.is_dir():
        raise OctavoError(f"Could not write into '{path}': '{nearest}' is not a folder.", "Choose another path.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OctavoError(
            f"Could not write into '{path}': '{nearest}' cannot be written to.",
            "Check its permissions, or choose another path.",
        )


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
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept, because Keras and others choose the format by it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes private files; artefacts get the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        # An error about another file inside the block is passed on unchanged.
        raise OctavoError(
            f"Could not write '{path}': {error.strerror or error}.",
            "Check the folder's permissions and the free disk space. No file was left half written.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
