"""Files of a `.tar`, `.tar.gz` or `.zip`, read in memory and never extracted.

An archive may come from an untrusted source. One that holds an absolute path, a path with ``..``, a link, a device, or
more data than its size explains is refused as a whole, before any of its content is used.
"""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, cast

import numpy as np

from octavo.base.address import Address
from octavo.base.affine import IntArray
from octavo.base.border import border, cause
from octavo.base.errors import DataError
from octavo.base.limits import MOST_BYTES, MOST_MEMBER_BYTES, MOST_MEMBERS, MOST_RATIO, allowance
from octavo.data.opener import open_file, size_of


class Tar:
    """The files of a `.tar` or `.tar.gz`, indexed once in one pass.

    Args:
        path: The archive.

    Attributes:
        names: Paths of the regular files, in the archive's order.

    Raises:
        DataError: The archive is damaged, or is one of those that are refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        names: list[str] = []
        places: list[tuple[int, int]] = []
        for member in members(path):
            names.append(member.name)
            places.append((member.start, member.size))
        check_unique(path, names)
        self.names = tuple(names)
        self._places = np.array(places, np.int64).reshape(-1, 2)

    def read(self, positions: IntArray) -> Iterator[tuple[int, bytes | str]]:
        """Yields each place in `positions` and its file's content, in the archive's order: one pass forwards."""
        with _damage_explained(self.path), _metered(self.path) as stream:
            for place in np.argsort(self._places[positions, 0], kind="stable"):
                start, size = (int(number) for number in self._places[positions[place]])
                stream.seek(start)
                content = stream.read(size)
                yield int(place), content if len(content) == size else "cut off by the end of the archive"


@dataclass(frozen=True)
class Member:
    """A regular file of a `.tar`.

    Args:
        name: Its path.
        start: The place of its content in the archive.
        size: Of its content, in bytes.
        stream: The archive, which may be read from any place before the next member is asked for.
    """

    name: str
    start: int
    size: int
    stream: Metered


def members(path: Address) -> Iterator[Member]:
    """The regular files of a `.tar` or `.tar.gz`, in its order, found in one pass.

    Args:
        path: The archive.

    Raises:
        DataError: The archive is damaged, or is one of those that are refused.
    """
    limits = _Limits(path)
    with _damage_explained(path), _metered(path) as stream:
        archive = tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:")  # noqa: SIM115
        count = 0
        while (member := archive.next()) is not None:
            # tarfile keeps every header that it has read, 1 GB for a million files, and never uses it again.
            archive.members.clear()  # type: ignore[attr-defined]
            limits.admit(member.name, member.size)
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                refuse(path, f"'{member.name}' is a link, a device or a sparse file")
            count += 1
            yield Member(_clean(member.name), member.offset_data, member.size, stream)
        # tarfile treats a damaged header, or a cut between two members, as the end. The true end is a block of
        # zeros.
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no end mark after file {count:,}")


@contextmanager
def _metered(path: Address) -> Iterator[Metered]:
    with open_file(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if packed:
            with gzip.open(file) as unpacked:
                yield Metered(cast(IO[bytes], unpacked), path, allowance(size_of(path)), packed)
        else:
            yield Metered(file, path, MOST_BYTES, packed)


class Zip:
    """The files of a `.zip`.

    Args:
        path: The archive.

    Attributes:
        names: Paths of the files, in the archive's order.

    Raises:
        DataError: The archive is damaged, encrypted, or is one of those that are refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        limits = _Limits(path)
        with _damage_explained(path), zipfile.ZipFile(path) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
        for member in members:
            limits.admit(member.filename, member.file_size)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                refuse(path, f"'{member.filename}' is a link or a device")
            if member.flag_bits & 1:
                refuse(path, f"'{member.filename}' is encrypted")
        check_ratio(path, limits.total)
        self._members = [member for member in members if not member.is_dir()]
        self.names = tuple(_clean(member.filename) for member in self._members)
        check_unique(path, self.names)

    def read(self, positions: IntArray) -> Iterator[tuple[int, bytes | str]]:
        """Yields each place in `positions` and its file's content, in the archive's order."""
        with _damage_explained(self.path), zipfile.ZipFile(self.path) as archive:
            for place in np.argsort(positions, kind="stable"):
                try:
                    # Reading stops at the size that the index declares, which was checked.
                    content: bytes | str = archive.read(self._members[positions[place]])
                except Exception as error:  # as at every border
                    content = f"damaged in the archive: {cause(error)}"
                yield int(place), content


class Metered:
    """A stream with a size limit, so that an archive bomb is refused before it fills the memory.

    It also limits headers: tarfile reads extended headers whole, whatever their size.

    Args:
        stream: What is read.
        path: The archive, for messages.
        allowance: The most bytes that it may hold.
        packed: Whether they are unpacked as they are read.
    """

    def __init__(self, stream: IO[bytes], path: Address, allowance: int, packed: bool) -> None:
        self._stream, self._path, self._allowance = stream, path, allowance
        self.packed = packed

    def read(self, size: int) -> bytes:
        """As of a file."""
        if not 0 <= size <= MOST_MEMBER_BYTES:
            refuse(self._path, f"a header in it claims {size:,} bytes")
        self._check(self._stream.tell() + size)
        return self._stream.read(size)

    def seek(self, offset: int) -> int:
        """As of a file."""
        self._check(offset)
        return self._stream.seek(offset)

    def tell(self) -> int:
        """As of a file."""
        return self._stream.tell()

    def _check(self, end: int) -> None:
        if end > self._allowance:
            refuse(self._path, f"it unpacks to more than {self._allowance:,} bytes")


class _Limits:
    """Checks an archive's index, and refuses too many bytes or files, or paths that point outside of it."""

    def __init__(self, path: Address) -> None:
        self.path = path
        self.count = 0
        self.total = 0

    def admit(self, name: str, size: int) -> None:
        self.count += 1
        self.total += size
        parts = name.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
            refuse(self.path, f"'{name}' points outside of it")
        if not 0 <= size <= MOST_MEMBER_BYTES:
            refuse(self.path, f"'{name}' claims {size:,} bytes; the limit is {MOST_MEMBER_BYTES:,}")
        if self.count > MOST_MEMBERS:
            refuse(self.path, f"it holds more than {MOST_MEMBERS:,} files")
        if self.total > MOST_BYTES:
            refuse(self.path, f"it unpacks to more than {MOST_BYTES:,} bytes")


def check_unique(path: Address, names: Sequence[str]) -> None:
    """Refuses an archive that holds two files of one name."""
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        refuse(path, f"it holds '{name}' {times} times")


def refuse(
    path: Address, reason: str, todo: str = "If you trust it, unpack it yourself and give the folder."
) -> NoReturn:
    """Raises the `DataError` that says why an archive is not read."""
    raise DataError(f"The archive '{path}' is refused: {reason}.", todo)


def check_ratio(path: Path, total: int) -> None:
    """Refuses an archive that claims `total` bytes, if that is too much for its own size."""
    if total > allowance(path.stat().st_size):
        refuse(path, f"it claims {total:,} bytes, over {MOST_RATIO} times its own size")


def _clean(name: str) -> str:
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


@contextmanager
def _damage_explained(path: Address) -> Iterator[None]:
    with border(
        f"The archive '{path}' cannot be read whole", "It may be damaged; download or pack it again.", DataError
    ):
        yield
