"""Shards as Hugging Face's data sets have them: Parquet with a column of encoded images, and one of their classes.

PyArrow reads them, and is imported where there is one. A row group is read from its start, a few images at a time.
"""

from __future__ import annotations

import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import numpy as np

from octavo.base.address import Address
from octavo.base.affine import IntArray
from octavo.base.backend import load
from octavo.base.border import border, parse_json
from octavo.base.errors import DataError
from octavo.base.limits import MOST_MEMBER_BYTES, MOST_MEMBERS, allowance
from octavo.data.opener import open_file, size_of
from octavo.data.shard import Index, Label, label_of
from octavo.data.streamed import changed

# The first and the last bytes of a file.
MAGIC = b"PAR1"
# What ends a file: the size of the footer, and MAGIC.
_TAIL = 8
# Rows that are decoded at once: few, since a dictionary lets many rows share one large value.
_ROWS = 4
# The most bytes of a text, and entries of a list, in a footer.
_MOST_FOOTER = 64 << 20
_IMAGES = ("image", "img", "images", "jpg", "jpeg", "png", "picture", "photo")
_LABELS = ("label", "labels", "cls", "class", "target")


@dataclass(frozen=True)
class ParquetShard:
    """A Parquet file of images.

    Args:
        address: Where it is.
        column: The column of the images.
        mark: A checksum of its footer.
    """

    address: Address
    column: str
    mark: int

    def read(self, places: IntArray) -> Iterator[tuple[int, bytes | str]]:
        """As for `Shard.read`; a place is the number of a row."""
        rows = _rows(self.address, self.column, self.mark)
        for place in np.argsort(places[:, 0], kind="stable").tolist():
            yield place, rows.read(int(places[place, 0]))


# The last ones stay open, each at its place, since images are mostly asked for a few at a time, and forwards.
@lru_cache(maxsize=2)
def _rows(address: Address, column: str, mark: int) -> _Rows:
    return _Rows(address, column, mark)


class _Rows:
    """The images of a file by their row, decoded a few at a time."""

    def __init__(self, address: Address, column: str, mark: int) -> None:
        self._address, self._column = address, column
        stream = open_file(address)
        weakref.finalize(self, stream.close)
        with _explained(address):
            if _mark(stream, address) != mark:
                raise changed(address)
            self._file = _opened(stream)
            groups = range(self._file.num_row_groups)
            self._starts = np.cumsum([0, *(self._file.metadata.row_group(group).num_rows for group in groups)])
        # The row group that is read, the first row that is decoded, and what was decoded from there on.
        self._group, self._first = -1, 0
        self._decoded: Sequence[Any] = []
        self._lock = threading.Lock()

    def read(self, row: int) -> bytes | str:
        """The encoded image of a row, or the reason why there is none.

        Raises:
            DataError: The file is damaged.
        """
        with self._lock, _explained(self._address):
            value = self._value(row)
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            return "the file does not hold it, but at most its path"
        if len(content) > MOST_MEMBER_BYTES:
            return f"{len(content):,} bytes; the limit is {MOST_MEMBER_BYTES:,}"
        return bytes(content)

    def _value(self, row: int) -> Any:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if group != self._group or row < self._first:
            self._group, self._first, self._decoded = group, int(self._starts[group]), []
            self._batches = self._file.iter_batches(_ROWS, [group], [self._column], use_threads=False)
        while row >= self._first + len(self._decoded):
            self._first += len(self._decoded)
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError("it has fewer rows than its footer says")
            self._decoded = batch.column(0)
        return self._decoded[row - self._first].as_py()


def index_parquet(address: Address) -> Index:
    """What a Parquet file of images holds. Of the columns, only that of the labels is read.

    Args:
        address: Where it is.

    Raises:
        DataError: It is damaged, or has no column of images, or claims more than its size explains.
        MissingDependencyError: PyArrow is not installed.
    """
    load("pyarrow.parquet")
    with open_file(address) as stream:
        with _explained(address):
            mark = _mark(stream, address)
            file = _opened(stream)
            _check_claims(file.metadata, size_of(address), address)
            schema = file.schema_arrow
            features = _features(schema.metadata or {})
        image = _column(schema, features, "Image", _IMAGES, _is_image, address)
        if image is None:
            raise DataError(
                f"'{address}' has no column of images; its columns are {', '.join(map(repr, schema.names[:20]))}.",
                "Images are encoded files (JPEG, PNG and so on) in a column `image` of binary values, or of structs "
                "with `bytes`, as Hugging Face's data sets have them.",
            )
        label = _column(schema, features, "ClassLabel", _LABELS, _is_label, address)
        with _explained(address):
            labels = _labels(file, label)
    rows = file.metadata.num_rows
    if len(labels) != rows:
        raise DataError(f"'{address}' is damaged: its footer states {rows:,} rows, and {len(labels):,} have labels.")
    places = np.zeros((rows, 3), np.int64)
    places[:, 0] = np.arange(rows)
    is_struct = load("pyarrow").types.is_struct(schema.field(image).type)
    return Index(
        ParquetShard(address, f"{image}.bytes" if is_struct else image, mark),
        places,
        tuple(f"[{row}]" for row in range(rows)),
        tuple(labels),
        _names(features.get(label or "", {})),
    )


def _opened(stream: IO[bytes]) -> Any:
    return load("pyarrow.parquet").ParquetFile(
        stream,
        buffer_size=1 << 20,
        pre_buffer=False,
        thrift_string_size_limit=_MOST_FOOTER,
        thrift_container_size_limit=_MOST_FOOTER,
    )


def _mark(stream: IO[bytes], address: Address) -> int:
    """A checksum of the footer, which has the place and the size of everything."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _TAIL))
    tail = stream.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or not length <= min(size - 2 * len(MAGIC), _MOST_FOOTER):
        raise DataError(f"'{address}' is no Parquet file, or is cut off.", "Download or write it again.")
    stream.seek(size - _TAIL - length)
    found = zlib.crc32(stream.read(length))
    stream.seek(0)
    return found


def _check_claims(metadata: Any, size: int, address: Address) -> None:
    claimed = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if not 0 <= metadata.num_rows <= MOST_MEMBERS:
        raise DataError(f"'{address}' claims {metadata.num_rows:,} rows; the limit is {MOST_MEMBERS:,}.")
    if claimed > allowance(size):
        raise DataError(f"'{address}' claims {claimed:,} bytes, too many for a file of {size:,}.")


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """What Hugging Face's `datasets` says of each column, if it wrote the file."""
    text = metadata.get(b"huggingface")
    value = None if text is None else parse_json(text)
    for key in ("info", "features"):
        value = value.get(key) if isinstance(value, dict) else None
    found = value if isinstance(value, dict) else {}
    return {name: feature for name, feature in found.items() if isinstance(feature, dict)}


def _names(feature: Mapping[str, Any]) -> tuple[str, ...]:
    names = feature.get("names")
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) and name for name in names) else ()


def _column(
    schema: Any,
    features: Mapping[str, Mapping[str, Any]],
    kind: str,
    usual: Sequence[str],
    fits: Callable[[Any], bool],
    address: Address,
) -> str | None:
    """The column of one kind: as `datasets` says, else by its usual name and its type. None if there is none.

    Raises:
        DataError: There are several, and none has the most usual name.
    """
    fitting = [field.name for field in schema if fits(field.type)]
    found = [name for name in fitting if features.get(name, {}).get("_type") == kind]
    found = found or [name for name in fitting if name.lower() in usual]
    if len(found) > 1 and usual[0] not in found:
        raise DataError(
            f"'{address}' has several columns of one kind: {', '.join(map(repr, found))}.",
            f"Name the one to use `{usual[0]}`.",
        )
    return usual[0] if usual[0] in found else next(iter(found), None)


def _is_image(kind: Any) -> bool:
    types = load("pyarrow").types
    if types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _is_image(kind.field(place).type) and not types.is_struct(kind.field(place).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_label(kind: Any) -> bool:
    types = load("pyarrow").types
    return bool(types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind))


def _labels(file: Any, column: str | None) -> list[Label]:
    if column is None:
        return [None] * int(file.metadata.num_rows)
    batches = file.iter_batches(1 << 16, columns=[column], use_threads=False)
    return [label_of(value) for batch in batches for value in batch.column(0).to_pylist()]


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    with border(f"The Parquet file '{address}' cannot be read", "It may be damaged; download it again.", DataError):
        yield
