"""A slimmer file of the same model: what no kernel reads is left out, and what is equal is stored once.

LiteRT 2.3 decides how far this can go. It refuses a tensor with fewer zero points than scales, and XNNPACK refuses a
convolution whose bias does not have one scale per channel, so neither vector can be left out or cut to one entry,
though both follow from other numbers in the file. But a flatbuffer may point at one vector or table from many places:
the zero points of all weights and biases with as many channels are one vector of zeros, convolutions with the same
options share them, and activations of one shape and scale are one entry.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo.base.errors import ModelError
from octavo.tflite.dedup import Sharing
from octavo.tflite.graph import Graph, Tensor, serialize
from octavo.tflite.metadata import NAME

# The converter's notes about itself, and the description of the file that was, whose packed labels lay behind it;
# metadata of other names belongs to somebody.
_NOTES = {b"min_runtime_version", b"CONVERSION_METADATA", NAME.encode()}


def strip(graph: Graph) -> Graph:
    """The same model in fewer bytes: no names but those of inputs and outputs, nothing unused, nothing twice.

    Every number that a kernel reads stays, so outputs are equal bit for bit.

    Args:
        graph: A float or int8 model. Signatures and the metadata of other tools are kept. TFLite metadata is dropped,
            since its files lie behind the model: `octavo deploy` writes it anew.
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
            # It tells a scalar from an unknown rank, which a shape with dimensions leaves no doubt of.
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
            f"{graph.name} should have one output, of a SOFTMAX, and it has {len(graph.outputs)}, the first of "
            f"{last.kind if last is not None else 'no op'}.",
            "There is nothing to drop: leave `logits` out.",
        )
    return graph.tensors[last.inputs[0]]


def logits(graph: Graph) -> Graph:
    """The same model without its final Softmax: the class with the largest output is the same.

    Raises:
        ModelError: The model does not end with a Softmax.
    """
    kept = logits_of(graph)
    model = graph.copied()
    subgraph = model.subgraphs[0]
    dropped = graph.outputs[0]
    # The output keeps its name and place in the file, and takes over what it now holds.
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


def sweep(model: Any) -> None:
    """Takes out tensors that nothing uses, which moves all later ones up.

    Args:
        model: A schema `ModelT` of one subgraph, changed in place.
    """
    subgraph = model.subgraphs[0]
    lists = [subgraph.inputs, subgraph.outputs]
    for op in subgraph.operators:
        lists += [op.inputs, op.outputs, op.intermediates]
    used = sorted({int(i) for places in lists if places is not None for i in places if i >= 0})
    place = {old: new for new, old in enumerate(used)} | {-1: -1}

    def moved(places: Any) -> Any:
        return None if places is None else [place[int(i)] for i in places]

    subgraph.tensors = [subgraph.tensors[i] for i in used]
    subgraph.inputs, subgraph.outputs = moved(subgraph.inputs), moved(subgraph.outputs)
    for op in subgraph.operators:
        op.inputs, op.outputs, op.intermediates = moved(op.inputs), moved(op.outputs), moved(op.intermediates)
    for signature in model.signatureDefs or ():
        for item in (*signature.inputs, *signature.outputs):
            item.tensorIndex = place[item.tensorIndex]
