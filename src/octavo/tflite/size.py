"""Size, honestly: how many bytes of a `.tflite` file are weights, quantization parameters, names, and rest."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema


def breakdown(content: bytes) -> dict[str, int]:
    """The bytes of a `.tflite` file by what they hold; the four numbers add up to the file's size.

    Args:
        content: The bytes of the file.

    Returns:
        ``weights`` (all constants), ``quantization`` (scales, zero points and observed ranges), ``names`` (of
        tensors) and ``rest`` (the graph itself, metadata, packed files, padding).
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
    return {"weights": weights, "quantization": quantization, "names": names, "rest": rest}
