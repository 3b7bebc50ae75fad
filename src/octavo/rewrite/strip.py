"""Makes a model file smaller: data that no kernel reads is removed, and equal data is stored once.

LiteRT 2.3 limits what can be removed. It refuses a tensor with fewer zero points than scales, and XNNPACK refuses a
convolution whose bias does not have one scale per channel. Neither vector can be removed or cut to one entry, although
both follow from other numbers in the file. But a flatbuffer may refer to one vector or table from many places. All
weights and biases with the same number of channels share one vector of zero points, convolutions with equal options
share one options table, and activations with the same shape and scale share their entries.
"""

from __future__ import annotations

import numpy as np

from octavo.base.errors import ModelError
from octavo.rewrite.sweep import sweep
from octavo.tflite.dedup import Sharing
from octavo.tflite.graph import Graph, Tensor, serialize
from octavo.tflite.metadata import NAME

# Metadata that is dropped: the converter's notes about itself, and the TFLite metadata of the original file, whose
# label files were packed behind the model. Other metadata belongs to other tools and is kept.
_NOTES = {b"min_runtime_version", b"CONVERSION_METADATA", NAME.encode()}


def strip(graph: Graph) -> Graph:
    """Removes internal tensor names and unused data, and stores equal data once.

    Every number that a kernel reads is kept, so outputs are bit-equal.

    Args:
        graph: A float or int8 model. Signatures and the metadata of other tools are kept. TFLite metadata is dropped,
            since its files are stored after the model. `octavo deploy` writes new metadata.
    """
    model = graph.copied()
    sweep(model)
    model.description = None
    model.metadata = [item for item in model.metadata or () if item.name not in _NOTES] or None
    ports = {*model.subgraphs[0].inputs, *model.subgraphs[0].outputs}
    for index, raw in enumerate(model.subgraphs[0].tensors):
        if index not in ports:
            raw.name = None
        if raw.shapeSignature is not None and np.array_equal(raw.shapeSignature, raw.shape):
            raw.shapeSignature = None
        if raw.shape is not None and len(raw.shape):
            # `hasRank` only distinguishes a scalar from an unknown rank; a shape with dimensions does not need it.
            raw.hasRank = False
        if (found := raw.quantization) is not None:
            found.min = found.max = None
            if found.scale is None or len(found.scale) == 0:
                raw.quantization = None
    return Graph(serialize(model, Sharing()), graph.name)


def logits_of(graph: Graph) -> Tensor:
    """The tensor that the final Softmax reads.

    Raises:
        ModelError: The model does not end with a Softmax.
    """
    last = graph.producers.get(graph.outputs[0])
    if len(graph.outputs) != 1 or last is None or last.kind != "SOFTMAX":
        raise ModelError(
            f"One output, of a SOFTMAX, was expected. {graph.name} has {len(graph.outputs)}; the first is of "
            f"{last.kind if last is not None else 'no op'}.",
            "There is no Softmax to remove: leave out `logits`.",
        )
    return graph.tensors[last.inputs[0]]


def logits(graph: Graph) -> Graph:
    """Removes the final Softmax. The class with the largest output stays the same.

    Raises:
        ModelError: The model does not end with a Softmax.
    """
    kept = logits_of(graph)
    model = graph.copied()
    subgraph = model.subgraphs[0]
    dropped = graph.outputs[0]
    # The new output tensor takes over the name of the old one.
    old, new = subgraph.tensors[dropped], subgraph.tensors[kept.index]
    new.name, old.name = old.name, new.name
    subgraph.outputs = [kept.index]
    del subgraph.operators[graph.producers[dropped].index]
    for signature in model.signatureDefs or ():
        for item in signature.outputs:
            if item.tensorIndex == dropped:
                item.tensorIndex = kept.index
    sweep(model)
    return Graph(serialize(model), graph.name)
