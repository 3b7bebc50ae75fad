"""Replaces float ops that have no int8 kernel by equivalent ops that have one.

Each op is replaced by one op, and every tensor keeps its name. Data stored by tensor name, such as ranges, is valid for
both graphs. The only op that is removed is a CAST of an integer input to float: the input becomes float32 itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.rewrite.rewritten import Rewritten
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_buffer, operator_code
from octavo.tflite.graph import Graph, Op

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Form:
    """The replacement of an op.

    Args:
        kind: The kind of the new op.
        inputs: Its inputs: indices of existing tensors, or values of new constants.
        options: Its options in the schema.
        said: A description for display.
    """

    kind: str
    inputs: tuple[int | Array, ...]
    options: Any
    said: str


def integer_forms(graph: Graph) -> Rewritten:
    """Rewrites a float graph with ops that have int8 kernels. Float results are bit-equal, except for DIV.

    NEG becomes MUL by -1. SQUARE becomes MUL of a tensor by itself. DIV by a constant becomes MUL by the reciprocal,
    and its result may differ in the last bit. CAST of a bool tensor becomes SELECT_V2 of 1 and 0. An int32 or int64
    input that is only cast to float becomes a float32 input.

    Args:
        graph: A float graph. A quantized graph is returned unchanged.

    Example:
        >>> graph = Graph.read("float.tflite")
        >>> integer_forms(graph).graph is graph, integer_forms(graph).said
        (True, ())
    """
    if any(tensor.qparams is not None for tensor in graph.tensors):
        return Rewritten(graph)
    graph, real = _real_inputs(graph)
    forms = {op.index: form for op in graph.ops if (form := _form(graph, op)) is not None}
    if not forms:
        return Rewritten(graph, real)
    # Each op gets its own constants, so that a replaced constant has no other reader.
    graph = graph.unshared()
    model = graph.copied()
    for index, form in forms.items():
        _apply(model, graph.ops[index], form)
    counts = Counter((graph.ops[index].kind, form.said) for index, form in forms.items())
    said = (
        f"{count} {kind} became {what}, for which LiteRT has an int8 kernel." for (kind, what), count in counts.items()
    )
    return Rewritten(Graph.of(model, graph.name), (*real, *said))


def _real_inputs(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Makes integer inputs float32 if all their readers cast them to float. Also returns sentences for display.

    float32 holds integers up to 2^24 exactly. Image inputs are kept: their preprocessing defines the pixel type.
    """
    casts: dict[int, tuple[Op, ...]] = {}
    for index in graph.inputs:
        entry, readers = graph.tensors[index], graph.consumers.get(index, ())
        if entry.dtype not in ("int32", "int64") or entry.is_image:
            continue
        made = [reader.outputs[0] for reader in readers if reader.kind == "CAST"]
        real = all(graph.tensors[i].dtype == "float32" and i not in graph.outputs for i in made)
        if made and len(made) == len(readers) and real:
            casts[index] = readers
    if not casts:
        return graph, ()
    model = graph.copied()
    subgraph = model.subgraphs[0]
    instead = {cast.outputs[0]: index for index, readers in casts.items() for cast in readers}
    for index in casts:
        subgraph.tensors[index].type = schema.TensorType.FLOAT32
    dropped = {cast.index for readers in casts.values() for cast in readers}
    subgraph.operators = [raw for place, raw in enumerate(subgraph.operators) if place not in dropped]
    for raw in subgraph.operators:
        raw.inputs = [instead.get(int(index), int(index)) for index in raw.inputs]
    before = [graph.tensors[index] for index in casts]
    said = (
        f"Input '{entry.name}' takes real numbers: {entry.dtype} became float32, and its CAST was removed."
        for entry in before
    )
    sweep(model)
    return Graph.of(model, graph.name), tuple(said)


def _form(graph: Graph, op: Op) -> _Form | None:
    rule = _RULES.get(op.kind)
    return None if rule is None or graph.tensors[op.outputs[0]].dtype != "float32" else rule(graph, op)


def _product(op: Op, second: int | Array, said: str) -> _Form:
    options = schema.MulOptionsT()
    options.fusedActivationFunction = getattr(op.options, "fusedActivationFunction", 0)
    return _Form("MUL", (op.inputs[0], second), options, said)


def _negative(graph: Graph, op: Op) -> _Form:
    return _product(op, np.asarray(-1, np.float32), "MUL by -1")


def _square(graph: Graph, op: Op) -> _Form:
    return _product(op, op.inputs[0], "MUL of a tensor by itself")


def _quotient(graph: Graph, op: Op) -> _Form | None:
    divisor = graph.tensors[op.inputs[1]].constant
    if divisor is None:
        return None
    with np.errstate(divide="ignore", over="ignore"):
        factor = (1 / divisor.astype(np.float64)).astype(np.float32)
    return _product(op, factor, "MUL by the reciprocal") if np.all(np.isfinite(factor)) else None


def _cast(graph: Graph, op: Op) -> _Form | None:
    if graph.tensors[op.inputs[0]].dtype != "bool":
        return None
    one, zero = (np.asarray(value, np.float32) for value in (1, 0))
    return _Form("SELECT_V2", (op.inputs[0], one, zero), schema.SelectV2OptionsT(), "SELECT_V2 of 1 and 0")


_RULES: Mapping[str, Callable[[Graph, Op], _Form | None]] = {
    "NEG": _negative,
    "SQUARE": _square,
    "DIV": _quotient,
    "CAST": _cast,
}


def _apply(model: Any, op: Op, form: _Form) -> None:
    subgraph = model.subgraphs[0]
    raw = subgraph.operators[op.index]
    made = subgraph.tensors[op.outputs[0]]
    inputs: list[int] = []
    for place, value in enumerate(form.inputs):
        if isinstance(value, int):
            inputs.append(value)
            continue
        if place < len(op.inputs) and op.inputs[place] != op.inputs[0]:
            # Reuses the tensor of the old constant, which has no other reader.
            inputs.append(op.inputs[place])
        else:
            inputs.append(len(subgraph.tensors))
            subgraph.tensors.append(schema.TensorT())
            subgraph.tensors[-1].name = made.name + f";{form.kind.lower()}.{place}".encode()
        tensor = subgraph.tensors[inputs[-1]]
        tensor.type, tensor.shape, tensor.hasRank = schema.TensorType.FLOAT32, list(value.shape), True
        tensor.buffer = add_buffer(model, value)
    raw.inputs = inputs
    raw.opcodeIndex = operator_code(model, form.kind)
    raw.builtinOptions = form.options
    raw.builtinOptionsType = getattr(schema.BuiltinOptions, type(form.options).__name__.removesuffix("T"))
