"""The proof: reads the written file back and compares it with the table, check by check.

The checks do not rely on the writer. They parse the bytes of the file, and LiteRT itself must allocate and run it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from pydantic import Field

from octavo.base.affine import QParams
from octavo.base.artefact import Artefact, Part
from octavo.base.errors import ProofError
from octavo.base.formats import DEFAULT, FORMATS, Format
from octavo.quantization.quantize import Quantized
from octavo.quantization.table import KeptInFloat
from octavo.runtime.litert import interpreter
from octavo.tflite.graph import WHOLE, Graph, Op, Tensor, describe
from octavo.tflite.lookup import looked_up, lookup
from octavo.tflite.op_table import BYTES, macs, row, takes_bytes, whole

_INTEGERS = [found for found in FORMATS.values() if found.integer]
_ACTIVATION_TYPES = {found.activation_type for found in _INTEGERS}
_BIAS_TYPES = {f"int{found.biases}" for found in _INTEGERS}


@dataclass(frozen=True)
class Check:
    """One statement about the file, and whether it holds.

    Args:
        name: The statement.
        passed: Whether it holds for all items.
        count: How many items were checked.
        detail: The items that fail, empty if it holds.
    """

    name: str
    passed: bool
    count: int
    detail: str = ""


class Port(Part):
    """An input or output of a file.

    Args:
        name: The tensor's name.
        shape: Its shape.
        dtype: Its element type.
        scale: Its scale; None if it is float.
        zero_point: Its zero point; None if it is float.
    """

    name: str
    shape: list[int]
    dtype: str
    scale: Annotated[float, Field(ge=1e-38, le=3e38)] | None
    zero_point: int | None


class Widened(Part):
    """A bias that would not fit into its type if the scales followed from the weights alone.

    Args:
        tensor: The name of the bias.
        channels: How many weight scales were widened for it.
    """

    tensor: str
    channels: int


class Proof(Artefact):
    """The results of the proof of an int8 file.

    Args:
        sha256: The SHA-256 of the file.
        bytes: Its size.
        input: Its first input.
        output: Its first output.
        checks: The checks.
        ops: How many ops of each kind it has.
        kept_in_float: The ops that stay in float.
        macs: Multiply-accumulates of one run.
        parameters: How many weights and biases it has.
        widened: Biases for which weight scales were widened.
        precision: The precision of every op that was given one, by the op's name.
    """

    file = "proof.json"
    what = "the proof of an int8 file"
    version = 2

    sha256: str
    bytes: int
    input: Port
    output: Port
    checks: list[Check]
    ops: dict[str, int]
    kept_in_float: list[KeptInFloat]
    macs: int
    parameters: int
    widened: list[Widened]
    precision: dict[str, str]


def prove(quantized: Quantized) -> Proof:
    """Reads an int8 file back and checks it against its table and the specification.

    Raises:
        ProofError: A check fails; each failed check is listed. The file must not be used then.
    """
    graph = Graph(quantized.content, "the int8 file")
    checks = accept(list(_checks(graph, quantized)))
    table = quantized.table
    widened = [Widened(tensor=name, channels=count) for name, count in table.widened.items()]
    return _proof(quantized.content, graph, checks, list(table.kept_in_float), widened, dict(table.precision))


def examine(content: bytes) -> Proof:
    """Checks an int8 file of any converter, as far as the file alone can be checked; a failed check is only reported.

    Args:
        content: The bytes of the file.

    Returns:
        The checks of the specification. Ops that read or write float count as left in float.
    """
    graph = Graph(content, "the int8 file")
    floats = [op for op in graph.ops if any("float" in t.dtype for t in _tensors(graph, (*op.inputs, *op.outputs)))]
    left = [
        KeptInFloat(str(op), graph.tensors[op.outputs[0]].name, "it reads or writes float in the given file")
        for op in floats
    ]
    checks = [*_specification(graph, [FORMATS[DEFAULT]]), _inside(content), _runs(content)]
    return _proof(content, graph, checks, left, [], {})


def _proof(
    content: bytes,
    graph: Graph,
    checks: list[Check],
    left: list[KeptInFloat],
    widened: list[Widened],
    precision: dict[str, str],
) -> Proof:
    return Proof(
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        input=Port(**describe(graph.tensors[graph.inputs[0]])),
        output=Port(**describe(graph.tensors[graph.outputs[0]])),
        checks=checks,
        ops=dict(Counter(op.kind for op in graph.ops).most_common()),
        kept_in_float=left,
        macs=macs(graph),
        parameters=graph.parameters,
        widened=widened,
        precision=precision,
    )


def accept(checks: list[Check]) -> list[Check]:
    """Returns the checks if all of them hold.

    Raises:
        ProofError: A check fails.
    """
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        raise ProofError(
            f"The written int8 file fails {len(failed)} of {len(checks)} checks and was not kept.",
            "This is a bug in Octavo or litert-quantizer: please report it with the float model.",
            details=failed,
        )
    return checks


def _checks(graph: Graph, quantized: Quantized) -> Iterator[Check]:
    table, source = quantized.table, quantized.source
    formats = [FORMATS[name] for name in dict.fromkeys((DEFAULT, *table.precision.values()))]
    if not table.kept_in_float:
        yield _ports(graph, source, formats)
        yield _check("no tensor is float", graph.tensors, lambda t: "float" not in t.dtype, lambda t: t.name)
        yield _builtins(graph)
    by_name = {t.name: t for t in graph.tensors}
    names = [name for name in table.stored if name in by_name]
    activations = [n for n in names if by_name[n].constant is None]
    constants = [n for n in names if by_name[n].constant is not None]
    yield Check(
        "every tensor of the quantization table is in the file",
        len(names) == len(table.stored),
        len(table.stored),
        ", ".join(sorted(set(table.stored) - set(names))[:5]),
    )
    yield _check(
        "each activation's scale and zero point equal the table's",
        activations,
        lambda n: _equal(by_name[n].qparams, table.stored[n]),
        str,
    )
    yield _check(
        "each constant's scales, zero points and axis equal the table's",
        constants,
        lambda n: _equal(by_name[n].qparams, table.stored[n]),
        str,
    )
    originals = {t.name: t for t in source.tensors}
    yield _check(
        "each constant's codes are the float values, divided and rounded, within half a step",
        constants,
        lambda n: _on_grid(by_name[n], originals[n], table.stored[n]),
        str,
    )
    yield from _specification(graph, formats)
    lookups = [op for op in source.ops if lookup(source, op) and source.tensors[op.outputs[0]].name in table.stored]
    if lookups:
        yield _check(
            "each table of a lookup holds the float op's result for each code, within half a step",
            lookups,
            lambda op: _holds_results(graph, quantized, op),
            str,
        )
    yield _inside(quantized.content)
    yield _runs(quantized.content)


def _specification(graph: Graph, formats: list[Format]) -> Iterator[Check]:
    """The rules of the specification for weights, biases, fixed and shared scales."""
    weights = [(op, graph.tensors[op.inputs[at]]) for op, at in _special(graph, "weight")]
    for dtype, most in {found.weight_type: found.largest_weight for found in _INTEGERS}.items():
        chosen = [(op, t) for op, t in weights if t.constant is not None and t.dtype == dtype]
        if chosen or dtype == FORMATS[DEFAULT].weight_type:
            name = f"weights are {dtype} per channel in [-{most}, {most}] with zero point 0"
            yield _check(name, chosen, _symmetric, lambda pair: f"{pair[0]} ({pair[1].name})")
    biases = [(op, graph.tensors[op.inputs[at]]) for op, at in _special(graph, "bias")]
    yield _check(
        f"biases are {_bias_types(formats)} at input scale times weight scale",
        [(op, t) for op, t in biases if t.constant is not None and t.dtype in _BIAS_TYPES],
        lambda pair: _bias_scale(graph, *pair),
        lambda pair: f"{pair[0]} ({pair[1].name})",
    )
    outputs = [(op, t) for op in graph.ops for t in _tensors(graph, op.outputs)]
    fixed = [(t, params) for op, t in outputs if (params := _fixed(op, t)) is not None]
    yield _check(
        "outputs whose scale the kernel fixes have that scale",
        fixed,
        lambda pair: _equal(pair[0].qparams, pair[1]),
        lambda pair: pair[0].name,
    )
    shared = [op for op in graph.ops if (rules := row(op)) is not None and rules.shares]
    yield _check("ops that move values read and write one scale", shared, lambda op: _one_scale(graph, op), str)


def _ports(graph: Graph, source: Graph, formats: list[Format]) -> Check:
    """Float inputs and outputs are quantized. Those of integers and booleans, such as tokens and classes, are kept."""
    dtypes = tuple(dict.fromkeys(found.activation_type for found in formats))
    pairs = [
        (graph.tensors[made], source.tensors[given])
        for made, given in zip((*graph.inputs, *graph.outputs), (*source.inputs, *source.outputs), strict=True)
    ]
    others = "".join(f", '{made.name}' {made.dtype}" for made, given in pairs if given.dtype in WHOLE)
    byte_inputs = {source.tensors[op.inputs[0]].name for op in source.ops if takes_bytes(source, op)}

    def holds(pair: tuple[Tensor, Tensor]) -> bool:
        made, given = pair
        if given.dtype in WHOLE:
            return made.dtype == given.dtype
        if given.name in byte_inputs:
            return made.dtype == "uint8" and _equal(made.qparams, BYTES)
        return made.dtype in dtypes

    name = f"input and output are {' or '.join(dtypes)}"
    name += ", and byte inputs are uint8 at scale 1" if byte_inputs else ""
    name += f", except for whole numbers:{others[1:]}" if others else ""
    return _check(name, pairs, holds, lambda pair: pair[0].name)


def _builtins(graph: Graph) -> Check:
    """Ops on quantized tensors have int8 kernels. Ops on integers and booleans alone are those of the float graph."""
    apart = dict.fromkeys(op.kind for op in graph.ops if not _has_kernel(op) and whole(graph, op))
    name = "every op is an int8 builtin (TFLITE_BUILTINS_INT8)"
    return _check(
        f"{name}, or computes whole numbers only: {', '.join(apart)}" if apart else name,
        graph.ops,
        lambda op: _has_kernel(op) or op.kind == "QUANTIZE" or whole(graph, op),
        str,
    )


def _has_kernel(op: Op) -> bool:
    """Whether LiteRT has an int8 kernel of an op. Ops that the op table only looks up have none."""
    rules = row(op)
    return rules is not None and rules.function is None


def _check(name: str, items: Any, holds: Any, show: Any) -> Check:
    items = list(items)
    broken = [show(item) for item in items if not holds(item)]
    more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
    return Check(name, not broken, len(items), ", ".join(broken[:5]) + more)


def _special(graph: Graph, part: str) -> Iterator[tuple[Op, int]]:
    for op in graph.ops:
        rules = row(op)
        at = None if rules is None else getattr(rules, part)
        if at is not None and at < len(op.inputs) and op.inputs[at] >= 0:
            yield op, at


def _tensors(graph: Graph, indices: tuple[int, ...]) -> list[Tensor]:
    return [graph.tensors[index] for index in indices if index >= 0]


def _fixed(op: Op, output: Tensor) -> QParams | None:
    """The parameters that the op's kernel fixes for an output of this type."""
    rules = row(op)
    forms = () if rules is None else rules.forms.items()
    return next((form.fixed for name, form in forms if FORMATS[name].activation_type == output.dtype), None)


def _bias_types(formats: list[Format]) -> str:
    """Names the types of biases: the usual one, and each other one with the activation type that it goes with."""
    usual = f"int{FORMATS[DEFAULT].biases}"
    types = {f"int{found.biases}": found.activation_type for found in formats if found.integer}
    others = [f" or {bias} with {entry} activations," for bias, entry in types.items() if bias != usual]
    return ",".join([usual, *others])


def _equal(written: QParams | None, wanted: QParams | None) -> bool:
    return (
        written is not None
        and wanted is not None
        and written.bits == wanted.bits
        and np.array_equal(written.scale, wanted.scale)
        and np.array_equal(written.zero_point, wanted.zero_point)
        and (written.scale.size == 1 or written.axis == wanted.axis)
    )


def _on_grid(written: Tensor, original: Tensor, params: QParams) -> bool:
    assert written.constant is not None and original.constant is not None
    shape = [-1 if axis == params.axis else 1 for axis in range(original.constant.ndim)]
    scale = params.scale.astype(np.float64).reshape(shape if params.axis is not None else [1] * len(shape))
    offset = params.zero_point.astype(np.float64).reshape(scale.shape)
    # In parts: at once, a large layer took six times the memory of its float weights.
    parts = np.nditer(
        [written.constant, original.constant, scale, offset],
        ["external_loop", "buffered", "zerosize_ok"],
        op_dtypes=[np.float64] * 4,
        buffersize=1 << 16,
    )
    for codes, reals, step, zero in parts:
        ideal = np.clip(reals / step + zero, params.qmin, params.qmax)
        if not np.all(np.abs(codes - ideal) <= 0.5 + 1e-6 * np.abs(ideal)):
            return False
    return True


def _holds_results(graph: Graph, quantized: Quantized, op: Op) -> bool:
    """Whether the file looks up the results of a float op, at the scales of the table."""
    source, table = quantized.source, quantized.table
    found, name = lookup(source, op), source.tensors[op.outputs[0]].name
    written = next((made for made in graph.ops if graph.tensors[made.outputs[0]].name == name), None)
    codes = None if written is None else looked_up(graph, written)
    if found is None or written is None or codes is None:
        return False
    read, made = table.at(op, source.tensors[found.source]), table.stored[name]
    results = graph.tensors[written.inputs[0]].constant
    if read is None or results is None or not _equal(graph.tensors[codes].qparams, read):
        return False
    ideal = found.reals(read) / float(made.scale[0]) + int(made.zero_point[0])
    off = results.astype(np.float64) - np.clip(ideal, made.qmin, made.qmax)
    return results.shape == ideal.shape and bool(np.all(np.abs(off) <= 0.5 + 1e-6 * np.abs(results)))


def _symmetric(pair: tuple[Op, Tensor]) -> bool:
    op, tensor = pair
    rules = row(op)
    assert rules is not None and tensor.constant is not None
    channels = 1 if rules.axis is None else tensor.shape[rules.axis]
    params = tensor.qparams
    return (
        params is not None
        and params.scale.size == channels
        and not params.zero_point.any()
        and int(tensor.constant.min()) >= -params.qmax
    )


def _bias_scale(graph: Graph, op: Op, bias: Tensor) -> bool:
    rules = row(op)
    assert rules is not None and rules.weight is not None
    image = graph.tensors[op.inputs[rules.image]].qparams
    weight = graph.tensors[op.inputs[rules.weight]].qparams
    if image is None or weight is None or bias.qparams is None:
        return False
    product = image.scale.astype(np.float32) * weight.scale.astype(np.float32)
    return bool(np.array_equal(bias.qparams.scale, product)) and not bias.qparams.zero_point.any()


def _one_scale(graph: Graph, op: Op) -> bool:
    quantized = [t for t in _tensors(graph, (*op.inputs, *op.outputs)) if t.dtype in _ACTIVATION_TYPES]
    return all(_equal(t.qparams, quantized[0].qparams) for t in quantized)


def _inside(content: bytes) -> Check:
    """All constants lie inside the flatbuffer, aligned as the schema asks: TFLite Micro relies on both."""
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    # Buffer.data is the first field of its table: vtable offset 4.
    starts = [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]
    wrong = sum(b.Offset() > 1 for b in buffers) + sum(start % 16 != 0 for start in starts)
    name = "all constants lie inside the flatbuffer, aligned to 16 bytes"
    return Check(name, wrong == 0, len(buffers), f"{wrong} do not" if wrong else "")


def _runs(content: bytes) -> Check:
    try:
        made = interpreter(content)
        for detail in made.get_input_details():
            made.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        made.invoke()
    except Exception as error:  # as at every border
        return Check("LiteRT allocates and runs it", False, 1, " ".join(str(error).split()))
    return Check("LiteRT allocates and runs it", True, 1)
