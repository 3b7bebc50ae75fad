"""Converts the integer weights of dynamic-range quantized files to the float32 values that they represent."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_buffer
from octavo.tflite.graph import Graph, as_codes

# LiteRT rounds activations to 8 bits before it multiplies them by integer weights, so outputs are close but not equal.
NOISE = 0.25
# Ops that select or rearrange weights, as an embedding lookup does, without changing their values.
_MOVES = {"EXPAND_DIMS", "GATHER", "GATHER_ND", "RESHAPE", "SLICE", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE"}


def weights(graph: Graph) -> frozenset[int] | None:
    """The integer tensors that are weights or values selected from weights. None if activations are quantized."""
    found: set[int] = set()
    quantized = {t.index for t in graph.tensors if t.qparams is not None}
    found |= {index for index in quantized if graph.tensors[index].constant is not None}
    for op in graph.ops:
        made = quantized & set(op.outputs)
        if made and not (op.kind in _MOVES and op.inputs[0] in found):
            return None
        found |= made
    return frozenset(found) if quantized <= found else None


def dynamic_range(graph: Graph) -> Change | None:
    """Converts the integer weights of a float graph to float32. A rewrite of the canonical form.

    This is the only rewrite that is not exact. A graph with quantized activations is quantized already, and is left
    unchanged.
    """
    found = weights(graph)
    ends = [op for op in graph.ops if op.kind == "DEQUANTIZE" and op.inputs[0] in (found or ())]
    if not found or any(op.outputs[0] in graph.outputs for op in ends):
        return None
    model = graph.copied()
    subgraph = model.subgraphs[0]
    for index in found:
        tensor, raw = graph.tensors[index], subgraph.tensors[index]
        raw.type, raw.quantization = schema.TensorType.FLOAT32, None
        if tensor.constant is None:
            continue
        assert tensor.qparams is not None
        raw.buffer, raw.sparsity = add_buffer(model, tensor.qparams.dequantize(as_codes(tensor.constant))), None
    # The readers of a removed DEQUANTIZE read its input, which is float now.
    behind = {op.outputs[0]: op.inputs[0] for op in ends}
    dropped = {op.index for op in ends}
    subgraph.operators = [raw for place, raw in enumerate(subgraph.operators) if place not in dropped]
    for raw in subgraph.operators:
        raw.inputs = [behind.get(int(index), int(index)) for index in (raw.inputs if raw.inputs is not None else ())]
        if hasattr(raw.builtinOptions, "asymmetricQuantizeInputs"):
            raw.builtinOptions.asymmetricQuantizeInputs = False
    sweep(model)
    count = sum(graph.tensors[index].constant is not None for index in found)
    return Change(
        Graph.of(model, graph.name),
        (
            f"{count} integer weights of a dynamic-range file became float32; their rounding error remains. If you "
            "have the float model that it came from, give that.",
        ),
        NOISE,
        ("LiteRT computes something else with its integer weights", "Give the float model that it came from."),
    )
