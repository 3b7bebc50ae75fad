"""Size: how many bytes of a `.tflite` file hold weights, quantization parameters, names, and the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ai_edge_litert import schema_py_generated as schema
from pydantic import Field

from octavo.base.artefact import Artefact, Part


@dataclass(frozen=True)
class Bytes:
    """The bytes of a `.tflite` file by content. They add up to the size of the file.

    Args:
        weights: All constants.
        quantization: Scales, zero points and observed ranges.
        names: The names of tensors.
        rest: The graph itself, metadata, packed files, padding.
    """

    weights: int
    quantization: int
    names: int
    rest: int


class FileSizes(Part):
    """The sizes of the files of a run's model, in bytes.

    Args:
        keras_with_optimizer: The `.keras` file with the state of its optimizer; None if there is none.
        keras: The `.keras` file without the state of the optimizer; None if there is none.
        float_tflite: The float `.tflite`.
        int8_tflite: The int8 `.tflite`.
    """

    keras_with_optimizer: int | None
    keras: int | None
    float_tflite: Annotated[int, Field(ge=1)]
    int8_tflite: Annotated[int, Field(ge=1)]


class Breakdown(Part):
    """The content of both `.tflite` files.

    Args:
        float_tflite: The bytes of the float `.tflite`.
        int8_tflite: The bytes of the int8 `.tflite`.
    """

    float_tflite: Bytes
    int8_tflite: Bytes


class Sizes(Artefact):
    """The sizes of a run's files, and their content.

    Args:
        files: The size of every file, in bytes.
        breakdown: The content of both `.tflite` files.
    """

    file = "size.json"
    what = "the sizes of a run"

    files: FileSizes
    breakdown: Breakdown


def breakdown(content: bytes) -> Bytes:
    """Counts the bytes of a `.tflite` file by content.

    Args:
        content: The bytes of the file.
    """
    model = schema.Model.GetRootAs(content, 0)
    described = {model.Metadata(place).Buffer() for place in range(model.MetadataLength())}
    data: dict[int, int] = {}
    behind = 0
    for index in set(range(model.BuffersLength())) - described:
        buffer = model.Buffers(index)
        # Several buffers or tensors can share a vector, which is counted once. The offset of a field is stored in the
        # vtable at 4 + 2 * its number in the schema.
        if buffer.DataLength():
            data[buffer._tab.Vector(buffer._tab.Offset(4))] = buffer.DataLength()
        elif buffer.Offset() > 1:
            behind += buffer.Size()
    weights = sum(data.values()) + behind
    names = 0
    vectors: dict[int, int] = {}
    for place in range(model.SubgraphsLength()):
        graph = model.Subgraphs(place)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            names += len(tensor.Name() or b"")
            found = tensor.Quantization()
            if found is not None:
                counts = (found.MinLength(), found.MaxLength(), found.ScaleLength(), found.ZeroPointLength())
                for slot, (count, width) in enumerate(zip(counts, (4, 4, 4, 8), strict=True)):
                    if count:
                        vectors[found._tab.Vector(found._tab.Offset(4 + 2 * slot))] = count * width
    quantization = sum(vectors.values())
    rest = len(content) - weights - quantization - names
    return Bytes(weights, quantization, names, rest)
