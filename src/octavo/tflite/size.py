"""Size, honestly: how many bytes of a `.tflite` file are weights, quantization parameters, names, and rest."""

from __future__ import annotations

from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema

from octavo.base.artefact import Artefact, Part


@dataclass(frozen=True)
class Bytes:
    """The bytes of a `.tflite` file by what they hold; they add up to the file's size.

    Args:
        weights: All constants.
        quantization: Scales, zero points and observed ranges.
        names: Of tensors.
        rest: The graph itself, metadata, packed files, padding.
    """

    weights: int
    quantization: int
    names: int
    rest: int


class FileSizes(Part):
    """Bytes of every file of a run's model.

    Args:
        keras_with_optimizer: The `.keras` file with its optimizer's state; None where there is none.
        keras: The same without it.
        float_tflite: The float `.tflite`.
        int8_tflite: The int8 `.tflite`.
    """

    keras_with_optimizer: int | None
    keras: int | None
    float_tflite: int
    int8_tflite: int


class Breakdown(Part):
    """What both `.tflite` files hold.

    Args:
        float_tflite: The bytes of the float `.tflite`.
        int8_tflite: The bytes of the int8 `.tflite`.
    """

    float_tflite: Bytes
    int8_tflite: Bytes


class Sizes(Artefact):
    """How large a run's files are, and what they hold.

    Args:
        files: Bytes of every file.
        breakdown: What both `.tflite` files hold.
    """

    file = "size.json"
    what = "the sizes of a run"

    files: FileSizes
    breakdown: Breakdown


def breakdown(content: bytes) -> Bytes:
    """The bytes of a `.tflite` file by what they hold.

    Args:
        content: The bytes of the file.
    """
    model = schema.Model.GetRootAs(content, 0)
    described = {model.Metadata(place).Buffer() for place in range(model.MetadataLength())}
    data: dict[int, int] = {}
    behind = 0
    for index in set(range(model.BuffersLength())) - described:
        buffer = model.Buffers(index)
        # Buffers and tensors can point at one vector; a field's offset stands at 4 + 2 * its number in the schema.
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
