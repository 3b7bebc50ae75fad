"""Quantization: makes the bytes of a full-integer `.tflite` file from a float graph and its ranges.

Octavo computes all scales and zero points (`octavo.quantization.table`). litert-quantizer applies them to the graph,
and adds QUANTIZE and DEQUANTIZE ops where an op reads a tensor at another scale than that of the stored tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from octavo.base.affine import QParams
from octavo.base.errors import ModelError
from octavo.quantization import table as tables
from octavo.quantization.constant_sums import without_constant_sums
from octavo.quantization.precision import Precision, name_of, written
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import Table
from octavo.tflite.dedup import Sharing
from octavo.tflite.draft import add_tensor, operator, operator_code, set_constant
from octavo.tflite.graph import Graph, Op, Tensor, drop_unused_buffers, serialize
from octavo.tflite.lookup import CODES, lookup
from octavo.tflite.op_table import STORAGE, row


@dataclass(frozen=True)
class Quantized:
    """An int8 model, the float graph it was made from, and the table of its parameters.

    Args:
        content: The bytes of the int8 `.tflite` file.
        source: The float graph with unshared constants, and without sums that are constant in int8
            (`octavo.quantization.constant_sums`). The table uses the names of its tensors.
        table: The scale and zero point of every tensor.
    """

    content: bytes
    source: Graph
    table: Table

    @cached_property
    def graph(self) -> Graph:
        """The int8 model, read from its bytes."""
        return Graph(self.content)


def quantize(
    graph: Graph, ranges: Ranges, allow_float: bool = False, precision: Mapping[str, Precision] | None = None
) -> Quantized:
    """Quantizes a float graph: int8 weights, activations, input and output, int32 biases.

    Args:
        graph: A float `.tflite` graph.
        ranges: Ranges of its activations, from `octavo.quantization.calibrate`.
        allow_float: Keep ops without an int8 form in float, instead of refusing the model.
        precision: The precision of ops that shall not be int8: see `octavo.quantization.precision.resolve`.

    Raises:
        QuantizationError: The model cannot become fully integer, or an op does not support its `precision`; every
            such op is listed.
        ModelError: As for `check_float`.
    """
    check_float(graph)
    source = graph.unshared()
    table = tables.build(source, ranges, allow_float, precision)
    simpler = without_constant_sums(source, table)
    if simpler is not source:
        names = {name_of(simpler, op) for op in simpler.ops}
        left = {name: asked for name, asked in table.precision.items() if name in names}
        source, table = simpler, tables.build(simpler, ranges, allow_float, left)
    return Quantized(_write(source, table), source, table)


def check_float(graph: Graph) -> None:
    """Refuses a graph that cannot be quantized.

    Raises:
        ModelError: It is quantized already, its weights hold NaN or infinity, or an output is a constant.
    """
    if any(t.qparams is not None for t in graph.tensors):
        raise ModelError(
            f"{graph.name} is quantized already: a float32 model was expected.",
            "Give the float model that it came from.",
        )
    broken = [
        t.name
        for t in graph.tensors
        if t.constant is not None and t.dtype == "float32" and not np.all(np.isfinite(t.constant))
    ]
    if broken:
        raise ModelError(
            f"{graph.name} has NaN or infinity in {len(broken)} of its constants.",
            "Its training diverged: train again with a lower learning rate. The constants are:",
            details=broken[:5],
        )
    outputs = (graph.tensors[index] for index in graph.outputs)
    fixed = [f"'{t.name}'" for t in outputs if t.constant is not None and t.dtype == "float32"]
    if fixed:
        raise ModelError(
            f"{graph.name} has an output that is a constant, the same for every input: {', '.join(fixed)}.",
            "Export the model without this output, and keep its values beside the file.",
        )


def _write(source: Graph, table: Table) -> bytes:
    from litert_quantizer.model_modifier import ModelModifier

    instructions = {t.name: found for t in source.tensors if (found := _instruction(source, table, t)) is not None}
    # The writer keeps views into the model that it is given, so it gets a copy. It needs a list of signatures.
    given = source.copied()
    # It stores every buffer, also those of constants that were replaced.
    drop_unused_buffers(given)
    # It also expects each output once.
    once = list(dict.fromkeys(source.outputs))
    given.subgraphs[0].outputs = once
    signed = given.signatureDefs is not None
    given.signatureDefs = given.signatureDefs or []
    written = bytes(ModelModifier(given).modify_model(instructions, enable_progress_bar=False))
    # The writer may put weights behind the flatbuffer. Reading and packing moves them into it: TFLite Micro and older
    # readers do not support external buffers.
    model = flatbuffer_utils.read_model_from_bytearray(written)
    made = model.subgraphs[0].outputs
    model.subgraphs[0].outputs = [int(made[once.index(index)]) for index in source.outputs]
    _quantize_unread(model, source, table)
    _quantize_bytes(model)
    _look_up(model, source, table)
    _set_versions(model, Graph.of(model))
    if not signed:
        model.signatureDefs = None
    # `unshared` gave each reader its own constant, since two readers may need two scales. Equal ones are merged again.
    return serialize(model, Sharing(len(written)))


def _quantize_unread(model: Any, source: Graph, table: Table) -> None:
    """Quantizes the outputs that no op reads, such as an unused part of a split: the writer skips them."""
    by_name = {raw.name.decode(): raw for raw in model.subgraphs[0].tensors}
    for tensor in source.activations:
        params = table.stored.get(tensor.name)
        if params is None or tensor.index in source.consumers or tensor.index in source.outputs:
            continue
        raw = by_name[tensor.name]
        raw.type = getattr(schema.TensorType, f"INT{params.bits}")
        raw.quantization = schema.QuantizationParametersT()
        raw.quantization.scale, raw.quantization.zeroPoint = params.scale, params.zero_point.astype(np.int64)


def _quantize_bytes(model: Any) -> None:
    """Replaces each CAST from a uint8 input to int8 by a QUANTIZE op: the int8 code is the byte minus 128."""
    subgraph = model.subgraphs[0]
    for raw in subgraph.operators:
        code = flatbuffer_utils.get_builtin_code_from_operator_code(model.operatorCodes[raw.opcodeIndex])
        if code != schema.BuiltinOperator.CAST:
            continue
        source, made = (subgraph.tensors[index] for index in (raw.inputs[0], raw.outputs[0]))
        if (source.type, made.type) != (schema.TensorType.UINT8, schema.TensorType.INT8):
            continue
        source.quantization = schema.QuantizationParametersT()
        source.quantization.scale, source.quantization.zeroPoint = np.array([1.0], np.float32), np.array([0])
        # Version 2 is the first that converts between integer types.
        raw.opcodeIndex = operator_code(model, "QUANTIZE", 2)
        raw.builtinOptionsType, raw.builtinOptions = schema.BuiltinOptions.QuantizeOptions, schema.QuantizeOptionsT()


def _look_up(model: Any, source: Graph, table: Table) -> None:
    """Replaces each op that has no int8 kernel by CAST, ADD and GATHER, which look its results up."""
    subgraph = model.subgraphs[0]
    lookups = {source.tensors[op.outputs[0]].name: (op, found) for op in source.ops if (found := lookup(source, op))}
    operators, first = [], None
    for raw in subgraph.operators:
        output = int(raw.outputs[0])
        name = subgraph.tensors[output].name.decode()
        if name not in lookups or name not in table.stored:
            operators.append(raw)
            continue
        op, found = lookups[name]
        params = table.at(op, source.tensors[found.source])
        assert params is not None
        codes = int(raw.inputs[op.inputs.index(found.source)])
        results = found.table(params, table.stored[name])
        # A number that it computes with has no other reader, and its tensor becomes the table.
        spare = [int(index) for index in raw.inputs if index != codes]
        at = spare[0] if spare else add_tensor(model, f"{name};results", "int8", results.shape)
        set_constant(model, at, results)
        subgraph.tensors[at].quantization = subgraph.tensors[output].quantization
        if first is None:
            first = add_tensor(model, "first_code", "int32", ())
            set_constant(model, first, np.asarray(-CODES[0], np.int32))
        shape = source.tensors[op.outputs[0]].shape
        whole, places = (add_tensor(model, f"{name};{what}", "int32", shape) for what in ("codes", "places"))
        operators += [
            operator(model, "CAST", [codes], [whole], schema.CastOptionsT()),
            operator(model, "ADD", [whole, first], [places], schema.AddOptionsT()),
            operator(model, "GATHER", [at, places], [output], schema.GatherOptionsT()),
        ]
    subgraph.operators = operators


def _instruction(source: Graph, table: Table, tensor: Tensor) -> Any:
    """The instruction to litert-quantizer for one tensor, or None if the tensor does not change."""
    from litert_quantizer import qtyping

    do = qtyping.QuantTransformation
    params = table.stored.get(tensor.name)
    if params is None and not any(slot.tensor == tensor.name for slot in table.requantized):
        return None
    floats = {item.op for item in table.kept_in_float}
    # One entry for each input that is this tensor: an op can read a tensor twice.
    readers = [op for op in source.consumers.get(tensor.index, ()) for index in op.inputs if index == tensor.index]

    def reading(op: Op) -> Any:
        if str(op) in floats:
            return qtyping.OpToTensorParams(op.index, [do.NO_QUANTIZE])
        at = table.at(op, tensor)
        assert at is not None
        step = do.ADD_QUANTIZE if tensor.constant is None else do.QUANTIZE_TENSOR
        return qtyping.OpToTensorParams(op.index, [step], _uniform(at, tensor))

    consumers = [reading(op) for op in readers]
    if tensor.index in source.outputs and params is not None:
        consumers.append(qtyping.OpToTensorParams(-1, [do.ADD_QUANTIZE], _uniform(params, tensor)))
    producer = source.producers.get(tensor.index)
    place = -1 if producer is None else producer.index
    if tensor.constant is not None:
        made = None
    elif params is None:
        made = qtyping.OpToTensorParams(place, [do.NO_QUANTIZE])
    else:
        made = qtyping.OpToTensorParams(place, [do.ADD_DEQUANTIZE], _uniform(params, tensor))
    return qtyping.TensorTransformationParams(tensor.name, made, consumers)


def _uniform(params: QParams, tensor: Tensor) -> Any:
    from litert_quantizer import qtyping

    return qtyping.UniformQuantParams(
        num_bits=params.bits,
        quantized_dimension=params.axis,
        scale=params.scale,
        zero_point=params.zero_point.astype(np.int64),
        symmetric=params.narrow or params.bits >= 32,
        quantized_data=None if tensor.constant is None else params.quantize(tensor.constant),
    )


def _set_versions(model: Any, graph: Graph) -> None:
    """Sets the operator version of every integer op; the writer leaves that of the float op."""
    subgraph = model.subgraphs[0]
    codes: dict[tuple[int, int, bytes | None], int] = {}
    old = model.operatorCodes
    model.operatorCodes = []
    for raw, op in zip(subgraph.operators, graph.ops, strict=True):
        if hasattr(raw.builtinOptions, "potScaleInt16") and graph.tensors[op.outputs[0]].dtype == "int16":
            # The default means that int16 scales are powers of two, as in old files. Those of the table are not.
            raw.builtinOptions.potScaleInt16 = False
        code = old[raw.opcodeIndex]
        builtin = flatbuffer_utils.get_builtin_code_from_operator_code(code)
        version = _version(graph, op)
        key = (builtin, version, code.customCode)
        if key not in codes:
            codes[key] = len(model.operatorCodes)
            made = schema.OperatorCodeT()
            made.builtinCode = builtin
            # Readers from before 2020 read this field, which holds only codes up to 127.
            made.deprecatedBuiltinCode = min(builtin, 127)
            made.version = version
            made.customCode = code.customCode
            model.operatorCodes.append(made)
        raw.opcodeIndex = codes[key]


def _version(graph: Graph, op: Op) -> int:
    if op.kind in STORAGE:
        return max(op.version, STORAGE[op.kind](graph, op))
    rules, precision = row(op), written(graph, op)
    if rules is None or precision is None:
        return op.version
    return max(op.version, rules.forms[precision].version(graph, op))
