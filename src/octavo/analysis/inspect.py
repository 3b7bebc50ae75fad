"""Inspection: the properties of a `.tflite` file, without images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from octavo.base import notebook
from octavo.base.errors import ModelError
from octavo.base.record import Record
from octavo.data.preprocess import preprocessing_to_json
from octavo.quantization.precision import possible, short_name
from octavo.source.sidecar import Sidecar
from octavo.tflite import metadata
from octavo.tflite.graph import Graph, Op, describe
from octavo.tflite.lookup import lookup
from octavo.tflite.op_table import macs, row, whole
from octavo.tflite.size import breakdown


class Inspection(Record):
    """The properties of a model file, as `inspect` found them."""

    def __repr__(self) -> str:
        ports = " -> ".join(
            ", ".join(f"{facts['dtype']} {facts['shape']}" for facts in self[which]) for which in ("inputs", "outputs")
        )
        return (
            f"Inspection({self['kind']}, {ports}, {len(self['each_op'])} ops, {self['bytes']:,} bytes, "
            f"{self['parameters']:,} parameters, {self['macs']:,} MACs; keys: {', '.join(self)})"
        )

    def _repr_html_(self) -> str:
        rows = [(row["op"], f"{row['count']:,}", f"{row['macs']:,}") for row in self["ops"]]
        return notebook.table(("op", "count", "MACs"), rows, repr(self))


def inspect(
    graph: Graph, sidecar: Sidecar | None = None, content: bytes | None = None, canonical: Sequence[str] = ()
) -> dict[str, Any]:
    """A model's inputs, outputs, ops, size and quantization, as a JSON value.

    Args:
        graph: The model, in the form that quantization works on: see `octavo.source.load.load_float`.
        sidecar: Its sidecar, if it has one.
        content: The bytes of the file that it was read from; the graph's own by default.
        canonical: The changes that brought the file's graph into canonical form.
    """
    content = graph.content if content is None else content
    kinds = Counter(op.kind for op in graph.ops)
    cost: Counter[str] = Counter()
    for op in graph.ops:
        rules = row(op)
        cost[op.kind] += rules.macs(graph, op) if rules is not None else 0
    types = Counter(t.dtype for t in graph.tensors)
    integer = not any("float" in name for name in types)
    without = {op.kind for op in graph.ops if not whole(graph, op) and not _has_int8_form(graph, op)}
    return {
        "canonical": list(canonical),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "kind": "full-integer" if integer else ("partly quantized" if types["int8"] or types["int16"] else "float"),
        "inputs": [describe(graph.tensors[i]) for i in graph.inputs],
        "outputs": [describe(graph.tensors[i]) for i in graph.outputs],
        "ops": [{"op": kind, "count": count, "macs": cost[kind]} for kind, count in kinds.most_common()],
        "each_op": [
            {"op": str(op), "name": short_name(graph, op), "precisions": list(possible(op))} for op in graph.ops
        ],
        "no_int8_form": sorted(without - {"QUANTIZE", "DEQUANTIZE"}),
        "tensors": dict(types.most_common()),
        "parameters": graph.parameters,
        "macs": macs(graph),
        "breakdown": vars(breakdown(content)),
        "classes": list(sidecar.classes) if sidecar else None,
        "preprocess": preprocessing_to_json(sidecar.preprocess) if sidecar else None,
        "metadata": _metadata(content),
    }


def _has_int8_form(graph: Graph, op: Op) -> bool:
    rules = row(op)
    return rules is not None and (rules.function is None or lookup(graph, op) is not None)


def _metadata(content: bytes) -> dict[str, Any] | None:
    """TFLite metadata with the packed labels, or the reason why they cannot be read."""
    try:
        found = metadata.read(content)
        return None if found is None else found | {"labels": metadata.labels(content, found)}
    except ModelError as error:
        return {"damaged": str(error)}
