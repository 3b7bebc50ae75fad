"""TFLite metadata: the description of a model for other tools, and the files that are packed behind the model.

A ``TFLITE_METADATA`` entry of the model holds a separate flatbuffer, with the identifier ``M001``. Files that it names,
such as the labels, follow the model as a ZIP archive without compression. Both formats fit into one file: a flatbuffer
is read from its beginning, a ZIP archive from its end. Values are JSON values with the names of the public schema:
https://github.com/google-ai-edge/mediapipe/blob/v0.10.21/mediapipe/tasks/metadata/metadata_schema.fbs (1.5.0).
Only the tables that an image classifier needs are supported; others are ignored.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import encode as numbers
from flatbuffers.table import Table

from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.base.limits import MOST_LABELS, MOST_TABLES
from octavo.tflite.graph import Graph, serialize

NAME = "TFLITE_METADATA"
# The first version of the schema already has all fields below.
PARSER_VERSION = "1.0.0"
_IDENTIFIER = b"M001"

# The number and type of each field, for each table.
_TABLES: dict[str, dict[str, tuple[int, str]]] = {
    "ModelMetadata": {
        "name": (0, "string"),
        "description": (1, "string"),
        "version": (2, "string"),
        "subgraph_metadata": (3, "[SubGraphMetadata]"),
        "author": (4, "string"),
        "license": (5, "string"),
        "associated_files": (6, "[AssociatedFile]"),
        "min_parser_version": (7, "string"),
    },
    "SubGraphMetadata": {
        "name": (0, "string"),
        "description": (1, "string"),
        "input_tensor_metadata": (2, "[TensorMetadata]"),
        "output_tensor_metadata": (3, "[TensorMetadata]"),
        "associated_files": (4, "[AssociatedFile]"),
    },
    "TensorMetadata": {
        "name": (0, "string"),
        "description": (1, "string"),
        "content": (3, "Content"),
        "process_units": (4, "[ProcessUnit]"),
        "associated_files": (6, "[AssociatedFile]"),
    },
    "Content": {"content_properties": (0, "ContentProperties")},
    "FeatureProperties": {},
    "ImageProperties": {"color_space": (0, "ColorSpaceType")},
    "ProcessUnit": {"options": (0, "ProcessUnitOptions")},
    "NormalizationOptions": {"mean": (0, "[float]"), "std": (1, "[float]")},
    "AssociatedFile": {"name": (0, "string"), "description": (1, "string"), "type": (2, "AssociatedFileType")},
}
# A union consists of two fields: the number of the table's type, from 1 up, and the table.
_UNIONS = {
    "ContentProperties": ("FeatureProperties", "ImageProperties"),
    "ProcessUnitOptions": ("NormalizationOptions",),
}
_ENUMS = {
    "ColorSpaceType": ("UNKNOWN", "RGB", "GRAYSCALE"),
    "AssociatedFileType": (
        "UNKNOWN",
        "DESCRIPTIONS",
        "TENSOR_AXIS_LABELS",
        "TENSOR_VALUE_LABELS",
        "TENSOR_AXIS_SCORE_CALIBRATION",
        "VOCABULARY",
        "SCANN_INDEX_FILE",
    ),
}


def encode(value: Mapping[str, Any]) -> bytes:
    """Writes metadata as the bytes of a flatbuffer.

    Args:
        value: A ``ModelMetadata`` as a JSON value. The key ``x_type`` holds the type of a union ``x``.

    Example:
        >>> decode(encode({"name": "Digits", "subgraph_metadata": [{"input_tensor_metadata": [{"name": "image"}]}]}))
        {'name': 'Digits', 'subgraph_metadata': [{'input_tensor_metadata': [{'name': 'image'}]}]}
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_put(builder, "ModelMetadata", value), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _put(builder: flatbuffers.Builder, table: str, value: Mapping[str, Any]) -> int:
    """Writes a table and all tables inside it; returns its offset."""
    small: dict[int, int] = {}
    offsets: dict[int, int] = {}
    for name, (slot, kind) in _TABLES[table].items():
        if name not in value:
            continue
        item = value[name]
        if kind in _ENUMS:
            small[slot] = _ENUMS[kind].index(item)
        elif kind in _UNIONS:
            member = value[f"{name}_type"]
            small[slot] = 1 + _UNIONS[kind].index(member)
            offsets[slot + 1] = _put(builder, member, item)
        elif kind == "string":
            offsets[slot] = builder.CreateString(item)
        elif kind == "[float]":
            offsets[slot] = builder.CreateNumpyVector(np.asarray(item, np.float32))
        elif kind.startswith("["):
            places = [_put(builder, kind[1:-1], one) for one in item]
            builder.StartVector(4, len(places), 4)
            for place in reversed(places):
                builder.PrependUOffsetTRelative(place)
            offsets[slot] = builder.EndVector()
        else:
            offsets[slot] = _put(builder, kind, item)
    builder.StartObject(1 + max([*small, *offsets], default=-1))
    for slot, place in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, place, 0)
    for slot, number in small.items():
        builder.PrependUint8Slot(slot, number, 0)
    return int(builder.EndObject())


def decode(content: bytes) -> dict[str, Any]:
    """The inverse of `encode`; it also reads metadata that other tools wrote.

    Raises:
        ModelError: The bytes are not TFLite metadata.
    """
    if content[4:8] != _IDENTIFIER:
        raise ModelError("TFLite metadata should have the identifier 'M001' in their bytes 4 to 8.")
    data = bytearray(content)
    with border("The TFLite metadata are damaged", kind=ModelError):
        root = numbers.Get(flatbuffers.packer.uoffset, data, 0)
        return _Reader().table("ModelMetadata", Table(data, root))


class _Reader:
    """Reads at most `MOST_TABLES` tables."""

    def __init__(self) -> None:
        self._left = MOST_TABLES

    def table(self, name: str, at: Table) -> dict[str, Any]:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many tables")
        found: dict[str, Any] = {}
        for field, (slot, kind) in _TABLES[name].items():
            place = _field(at, slot)
            if kind in _ENUMS:
                number = at.Get(flatbuffers.number_types.Uint8Flags, place) if place else 0
                found[field] = _ENUMS[kind][number] if number < len(_ENUMS[kind]) else str(number)
            elif place and kind in _UNIONS:
                number = at.Get(flatbuffers.number_types.Uint8Flags, place)
                known = 0 < number <= len(_UNIONS[kind])
                found[f"{field}_type"] = member = _UNIONS[kind][number - 1] if known else str(number)
                if known and (place := _field(at, slot + 1)):
                    found[field] = self.table(member, Table(at.Bytes, at.Indirect(place)))
            elif place:
                found[field] = self._value(kind, at, place)
        return found

    def _value(self, kind: str, at: Table, place: int) -> Any:
        if kind == "string":
            return at.String(place).decode("utf-8")
        if kind == "[float]":
            start, count = at.Vector(place - at.Pos), at.VectorLen(place - at.Pos)
            return [float(one) for one in np.frombuffer(at.Bytes, "<f4", count, start)]
        if kind.startswith("["):
            start, count = at.Vector(place - at.Pos), at.VectorLen(place - at.Pos)
            return [self.table(kind[1:-1], Table(at.Bytes, at.Indirect(start + 4 * one))) for one in range(count)]
        return self.table(kind, Table(at.Bytes, at.Indirect(place)))


def _field(at: Table, slot: int) -> int:
    """The position of a field; 0 if the table does not have it."""
    offset = int(at.Offset(4 + 2 * slot))
    return at.Pos + offset if offset else 0


def attach(
    graph: Graph, value: Mapping[str, Any], files: Mapping[str, bytes], builder: flatbuffers.Builder | None = None
) -> Graph:
    """The same model with new metadata, which replace earlier ones.

    Args:
        graph: The model.
        value: The metadata, as for `encode`.
        files: The content of the files that the metadata name, by name. They are packed behind the model.
        builder: As for `octavo.tflite.graph.serialize`.
    """
    model = graph.copied()
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME.encode(), len(model.buffers)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(encode(value), np.uint8)
    model.metadata = [item for item in model.metadata or () if item.name != entry.name] + [entry]
    stream = io.BytesIO(serialize(model, builder))
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            # A ZIP file stores times, the earliest in 1980. A fixed time makes equal models equal files.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return Graph(stream.getvalue(), graph.name)


def read(content: bytes) -> dict[str, Any] | None:
    """The metadata of a model file, or None if it has none.

    Raises:
        ModelError: The metadata are damaged.
    """
    with border("The TFLite metadata are damaged", kind=ModelError):
        model = schema.Model.GetRootAs(content, 0)
        for place in range(model.MetadataLength()):
            entry = model.Metadata(place)
            if entry.Name() == NAME.encode():
                buffer = model.Buffers(entry.Buffer())
                return decode(buffer.DataAsNumpy().tobytes() if buffer.DataLength() else b"")
    return None


def labels(content: bytes, value: Mapping[str, Any]) -> list[str] | None:
    """The labels of a model's first output, from the packed file of labels; None if there is no such file.

    Args:
        content: The bytes of the model file.
        value: Its metadata, as `read` returns them.

    Raises:
        ModelError: The packed file cannot be read.
    """
    outputs = [one for graph in value.get("subgraph_metadata", []) for one in graph.get("output_tensor_metadata", [])]
    for file in outputs[0].get("associated_files", []) if outputs else []:
        if file["type"] == "TENSOR_AXIS_LABELS":
            return _packed(content, file.get("name", "")).decode("utf-8", "replace").splitlines()
    return None


def _packed(content: bytes, name: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entry = archive.getinfo(name)
            if entry.file_size <= MOST_LABELS:
                return archive.read(entry)
    except Exception as error:  # as at every border
        raise ModelError(f"The metadata name '{name}', which is not packed in the model.") from error
    raise ModelError(f"'{name}', packed in the model, has {entry.file_size:,} bytes.")
