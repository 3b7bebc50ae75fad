"""Opens files of this machine, and those behind a URL, which fsspec reads. It is imported where there is a URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from octavo.base.address import Address
from octavo.base.backend import load
from octavo.base.border import border, cause
from octavo.base.errors import DataError
from octavo.data.streamed import HELD


def open_file(address: Address) -> IO[bytes]:
    """Opens a file for reading, from any place where its storage can do that.

    Raises:
        DataError: It cannot be opened.
    """
    with _explained(address):
        if isinstance(address, Path):
            return address.open("rb")
        system, path = _system(address)
        return cast(IO[bytes], system.open(path, "rb"))


def size_of(address: Address) -> int:
    """The size of a file, in bytes.

    Raises:
        DataError: There is no such file.
    """
    with _explained(address):
        if isinstance(address, Path):
            return address.stat().st_size
        system, path = _system(address)
        return int(system.size(path))


def state_of(address: Address) -> str:
    """What changes when a file is replaced, without reading it.

    Raises:
        DataError: There is no such file.
    """
    with _explained(address):
        if isinstance(address, Path):
            found = address.stat()
            return f"{found.st_size}\t{found.st_mtime_ns}"
        system, path = _system(address)
        return str(system.ukey(path))


def below(url: str) -> list[str]:
    """The URLs of all files of a folder, sorted; that of the file itself, if it is one.

    Raises:
        DataError: There is nothing, or it cannot be listed, as over HTTP.
    """
    with _explained(url):
        system, path = _system(url)
        found = sorted(system.find(path))
        # Those of fsspec have no protocol, and those of a chain none of its links.
        chain, _, _ = url.rpartition("::")
        named = [system.unstrip_protocol(one) for one in found]
    if not named:
        raise DataError(f"There is nothing at '{url}'.", "Check the address of the images.")
    return [f"{chain}::{one}" if chain else one for one in named]


def ranges(address: Address, starts: Sequence[int], ends: Sequence[int]) -> Iterator[bytes | str]:
    """The bytes of a file from each start to each end; the reason, as text, for some that cannot be read.

    Of a URL, a few of them are asked for at once, if its storage can do that.

    Raises:
        DataError: The file cannot be opened.
    """
    if isinstance(address, Path):
        with open_file(address) as stream:
            for start, end in zip(starts, ends, strict=True):
                try:
                    stream.seek(start)
                    content: bytes | str = stream.read(end - start)
                except OSError as error:
                    content = cause(error)
                yield content
        return
    with _explained(address):
        system, path = _system(address)
    for first in range(0, len(starts), HELD):
        few = slice(first, first + HELD)
        with _explained(address):
            found = system.cat_ranges([path] * len(starts[few]), starts[few], ends[few], on_error="return")
        for start, end, one in zip(starts[few], ends[few], found, strict=True):
            if not isinstance(one, Exception) and len(one) > end - start:
                raise DataError(
                    f"Of '{address}' only the whole file can be had, and no part of it.",
                    "Use a server that answers requests for ranges, or download the shards.",
                )
            yield cause(one) if isinstance(one, Exception) else one


def _system(url: str) -> tuple[Any, str]:
    system, path = load("fsspec").core.url_to_fs(url)
    return system, path


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    if isinstance(address, Path):
        todo = "Check that it exists, and that you may read it."
    else:
        todo = "Check the address, what its storage needs to know you, and that fsspec's package for it is installed."
    with border(f"'{address}' cannot be read", todo, DataError):
        yield
