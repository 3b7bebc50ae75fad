"""Replaces float ops that have no int8 kernel, or a slow one, by equivalent ops that have one.

Every tensor keeps its name, so that data stored by tensor name, such as ranges, is valid for both graphs. A quotient or
a sum of several tensors needs new tensors, whose names begin with that of its result. The only op that is removed is a
CAST of an integer input to float: the input becomes float32 itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.rewrite.rewritten import Rewritten
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_tensor, operator, set_constant
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import FUSED, bias_of, same_padding

Array = npt.NDArray[Any]


# Ops that move values of integers as they move those of reals, and the input that holds them.
_MOVES: Mapping[str, int] = {
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "GATHER"), 0),
    **dict.fromkeys(("TILE", "BROADCAST_TO", "UNPACK", "SPLIT_V"), 0),
    "SPLIT": 1,
}
# Types of inputs that can be exchanged for another one. int8 is left out: whether its values are pixels is unknown.
_INTEGERS, _FLOATS = ("int16", "int32", "int64"), ("float16", "float64")
# The most elements of a running sum, whose matrix has the square of that.
_LONGEST = 512
# The most elements of a product.
_MOST_FACTORS = 8
# The most places of a depthwise kernel for which XNNPACK has fast code. With more it runs one convolution after the
# other, of one channel each, which takes ten times as long and more.
_MOST_TAPS = 25
_BY_XNNPACK = "which XNNPACK computes in int8"


@dataclass(frozen=True)
class _Form:
    """The replacement of an op.

    Args:
        kind: The kind of the new op.
        inputs: Its inputs: indices of existing tensors, values of new constants, or ops whose results it reads.
        options: Its options in the schema.
        what: A description for display.
        how: What int8 does with it, for display.
        shape: The shape of its result if another op reads it; None for that of its inputs, broadcast.
    """

    kind: str
    inputs: tuple[int | Array | _Form, ...]
    options: Any
    what: str = ""
    how: str = "for which LiteRT has an int8 kernel"
    shape: tuple[int, ...] | None = None


def integer_forms(graph: Graph) -> Rewritten:
    """Rewrites a float graph with ops that have int8 forms. Float results are bit-equal unless said otherwise.

    NEG becomes MUL by -1. SQUARE becomes MUL of a tensor by itself. DIV by a tensor becomes MUL by its reciprocal, and
    the result may differ in the last bits. The reciprocal of a constant is a constant, any other one is a DIV of 1: see
    `octavo.tflite.lookup`. HARD_SWISH, whose int8 kernel is slow, becomes x * relu6(x + 3) / 6. CUMSUM along up to
    512 elements becomes BATCH_MATMUL by a triangle of ones. A convolution of each channel by itself becomes the sum of
    several with some rows of the kernel each, if the kernel has more than 25 places. All of these may differ in the
    last bits too.
    REDUCE_PROD of up to 8 elements becomes MUL of slices. ADD_N becomes a chain of ADD. CAST of a bool tensor becomes
    SELECT_V2 of 1 and 0. SQUARED_DIFFERENCE, whose int8 kernel is slow, becomes SUB and MUL, and a separate RELU, RELU6
    or RELU_N1_TO_1 becomes MUL by 1 with that activation function.
    An input of integers that are only moved and cast to float becomes float32, or uint8 if it is an image.

    Args:
        graph: A float graph. A quantized graph is returned unchanged.

    Example:
        >>> graph = Graph.read("float.tflite")
        >>> integer_forms(graph).graph is graph, integer_forms(graph).changes
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
    subgraph = model.subgraphs[0]
    subgraph.operators = [
        made
        for index, raw in enumerate(subgraph.operators)
        for made in (_made(model, graph.ops[index], forms[index], int(raw.outputs[0]), {}) if index in forms else [raw])
    ]
    sweep(model)
    counts = Counter((graph.ops[index].kind, form.what, form.how) for index, form in forms.items())
    changes = (f"{count} {kind} became {what}, {how}." for (kind, what, how), count in counts.items())
    return Rewritten(Graph.of(model, graph.name), (*real, *changes))


def _real_inputs(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Makes inputs float32 if they are only moved and cast to it. Also returns sentences for display.

    float32 holds integers up to 2^24 exactly. Images of integers become bytes instead, since their pixels are not
    scaled, and bytes have an int8 form.
    """
    casts: list[Op] = []
    moved: dict[int, list[int]] = {}
    images: list[int] = []
    for index in graph.inputs:
        entry = graph.tensors[index]
        if entry.dtype not in (*_INTEGERS, *_FLOATS) or (found := _to_real(graph, index)) is None:
            continue
        held, ends = found
        if not entry.is_image or entry.dtype in _FLOATS:
            moved[index] = held
            casts += ends
        elif held == [index]:
            images.append(index)
    if not moved and not images:
        return graph, ()
    model = graph.copied()
    subgraph = model.subgraphs[0]
    for index in images:
        subgraph.tensors[index].type = schema.TensorType.UINT8
    instead = {cast.outputs[0]: cast.inputs[0] for cast in casts}
    for index in (index for indices in moved.values() for index in indices):
        subgraph.tensors[index].type = schema.TensorType.FLOAT32
    dropped = {cast.index for cast in casts}
    subgraph.operators = [raw for place, raw in enumerate(subgraph.operators) if place not in dropped]
    for raw in subgraph.operators:
        raw.inputs = [instead.get(int(index), int(index)) for index in raw.inputs]
    changes = [
        *(f"Input '{t.name}' takes bytes: {t.dtype} became uint8." for t in (graph.tensors[i] for i in images)),
        *(
            f"Input '{t.name}' takes real numbers: {t.dtype} became float32, and its CAST was removed."
            for t in (graph.tensors[i] for i in moved)
        ),
    ]
    sweep(model)
    return Graph.of(model, graph.name), tuple(changes)


def _to_real(graph: Graph, index: int) -> tuple[list[int], list[Op]] | None:
    """The tensors that hold the values of an input, and the ops that cast them to float32.

    None if anything else reads the values.
    """
    held, casts = [index], []
    for at in held:
        readers = graph.consumers.get(at, ())
        if at in graph.outputs or not readers:
            return None
        for reader in readers:
            out = reader.outputs[0]
            if reader.kind == "CAST" and graph.tensors[out].dtype == "float32" and out not in graph.outputs:
                casts.append(reader)
            elif reader.inputs.count(at) == 1 and reader.inputs.index(at) == _MOVES.get(reader.kind):
                held += reader.outputs
            else:
                return None
    return held, casts


def _form(graph: Graph, op: Op) -> _Form | None:
    rule = _RULES.get(op.kind)
    return None if rule is None or graph.tensors[op.outputs[0]].dtype != "float32" else rule(graph, op)


def _product(op: Op, second: int | Array | _Form, what: str) -> _Form:
    options = schema.MulOptionsT()
    options.fusedActivationFunction = getattr(op.options, "fusedActivationFunction", 0)
    return _Form("MUL", (op.inputs[0], second), options, what)


def _negative(graph: Graph, op: Op) -> _Form:
    return _product(op, np.asarray(-1, np.float32), "MUL by -1")


def _square(graph: Graph, op: Op) -> _Form:
    return _product(op, op.inputs[0], "MUL of a tensor by itself")


def _quotient(graph: Graph, op: Op) -> _Form | None:
    first, second = (graph.tensors[index].constant for index in op.inputs)
    if second is None:
        if first is not None and first.size == 1:
            return None
        reciprocal = _Form("DIV", (np.asarray(1, np.float32), op.inputs[1]), schema.DivOptionsT())
        return replace(
            _product(op, reciprocal, "MUL by the reciprocal of its divisor"), how="which int8 looks up in a table"
        )
    with np.errstate(divide="ignore", over="ignore"):
        factor = (1 / second.astype(np.float64)).astype(np.float32)
    return _product(op, factor, "MUL by the reciprocal") if np.all(np.isfinite(factor)) else None


def _sum(graph: Graph, op: Op) -> _Form | None:
    made: int | _Form = op.inputs[0]
    for index in op.inputs[1:]:
        made = _Form("ADD", (made, index), schema.AddOptionsT(), "ADD")
    return made if isinstance(made, _Form) else None


def _cast(graph: Graph, op: Op) -> _Form | None:
    if graph.tensors[op.inputs[0]].dtype != "bool":
        return None
    one, zero = (np.asarray(value, np.float32) for value in (1, 0))
    return _Form("SELECT_V2", (op.inputs[0], one, zero), schema.SelectV2OptionsT(), "SELECT_V2 of 1 and 0")


def _hard_swish(graph: Graph, op: Op) -> _Form:
    """XNNPACK leaves the int8 HARD_SWISH to LiteRT's own kernel, which takes three times as long as these ops."""
    clipped = schema.AddOptionsT()
    clipped.fusedActivationFunction = FUSED["RELU6"]
    gate = _Form("ADD", (op.inputs[0], np.asarray(3, np.float32)), clipped)
    product = _Form("MUL", (op.inputs[0], gate), schema.MulOptionsT())
    sixth = np.asarray(1 / 6, np.float32)
    return _Form("MUL", (product, sixth), schema.MulOptionsT(), "ADD and two MUL", _BY_XNNPACK)


def _clipped(graph: Graph, op: Op) -> _Form:
    """XNNPACK leaves a separate int8 RELU to LiteRT's own kernel, which takes 60 times as long as this product."""
    options = schema.MulOptionsT()
    options.fusedActivationFunction = FUSED[op.kind]
    return _Form("MUL", (op.inputs[0], np.asarray(1, np.float32)), options, "MUL by 1", _BY_XNNPACK)


def _squared_difference(graph: Graph, op: Op) -> _Form:
    """XNNPACK leaves the int8 SQUARED_DIFFERENCE to LiteRT's own kernel, which takes many times as long."""
    difference = _Form("SUB", op.inputs, schema.SubOptionsT())
    return _Form("MUL", (difference, difference), schema.MulOptionsT(), "SUB and MUL", _BY_XNNPACK)


def _large_kernel(graph: Graph, op: Op) -> _Form | None:
    """The sum of depthwise convolutions that have a few rows of the kernel each, on the rows of the input they read."""
    shape, out, options = *(graph.tensors[index].shape for index in (op.inputs[0], op.outputs[0])), op.options
    kernel = _kernel_of_channels(graph, op)
    if kernel is None or min(shape) < 1 or max(options.dilationHFactor, options.dilationWFactor) > 1:
        return None
    _, height, width, channels = kernel.shape
    rows = _MOST_TAPS // width
    if height * width <= _MOST_TAPS or rows < 1:
        return None
    whole: int | _Form = op.inputs[0]
    strides = (options.strideH, options.strideW)
    if options.padding == schema.Padding.SAME:
        ways = zip(shape[1:3], kernel.shape[1:3], strides, strict=True)
        amounts = np.array([(0, 0), *(same_padding(*way)[1:] for way in ways), (0, 0)], np.int32)
        shape = tuple(size + int(pair.sum()) for size, pair in zip(shape, amounts, strict=True))
        whole = _Form("PAD", (whole, amounts), schema.PadOptionsT(), shape=shape)
    bias: int | Array = _zeros(channels) if (given := bias_of(graph, op)) is None else given.index
    made: _Form | None = None
    for first in range(0, height, rows):
        part = np.ascontiguousarray(kernel[:, first : first + rows])
        read = (shape[0], (out[1] - 1) * strides[0] + part.shape[1], shape[2], shape[3])
        begin = np.array([0, first, 0, 0], np.int32)
        strip = _Form("SLICE", (whole, begin, np.array(read, np.int32)), schema.SliceOptionsT(), shape=read)
        valid = schema.DepthwiseConv2DOptionsT()
        valid.padding, (valid.strideH, valid.strideW) = schema.Padding.VALID, strides
        valid.depthMultiplier = channels // shape[3]
        piece = _Form("DEPTHWISE_CONV_2D", (strip, part, bias), valid, shape=out)
        made, bias = piece if made is None else _Form("ADD", (made, piece), schema.AddOptionsT()), _zeros(channels)
    assert made is not None
    made.options.fusedActivationFunction = options.fusedActivationFunction
    return replace(made, what="a sum of DEPTHWISE_CONV_2D with fewer rows", how=_BY_XNNPACK)


def _kernel_of_channels(graph: Graph, op: Op) -> Array | None:
    """The kernel of a convolution of each channel by itself, ``(1, height, width, outputs)``; None of any other op."""
    source, weight = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[1]]
    if weight.constant is None or weight.dtype != "float32":
        return None
    if op.kind == "DEPTHWISE_CONV_2D":
        return weight.constant
    # A CONV_2D with as many groups as there are channels.
    return weight.constant.transpose(3, 1, 2, 0) if weight.shape[3] == 1 and source.shape[3] > 1 else None


def _zeros(count: int) -> Array:
    return np.zeros(count, np.float32)


def _running_sum(graph: Graph, op: Op) -> _Form | None:
    """The product with a triangle of ones. QAT trains no constant of BATCH_MATMUL, as it does of FULLY_CONNECTED."""
    axis, shape = graph.tensors[op.inputs[1]].constant, graph.tensors[op.inputs[0]].shape
    if axis is None or len(shape) < 2 or min(shape) < 1:
        return None
    at = int(axis.item()) % len(shape)
    size = shape[at]
    if size > _LONGEST:
        return None
    # Row i has a 1 for each element that sum i has.
    ones = np.tril(np.ones((size, size), np.float32), -1 if op.options.exclusive else 0)
    if op.options.reverse:
        ones = ones[::-1, ::-1]
    columns = (prod(shape[:at]), size, prod(shape[at + 1 :]))
    factors = (ones, _reshaped(op.inputs[0], columns))
    product = _Form("BATCH_MATMUL", factors, schema.BatchMatMulOptionsT(), shape=columns)
    return replace(_reshaped(product, shape), what="BATCH_MATMUL by a triangle of ones")


def _product_of_all(graph: Graph, op: Op) -> _Form | None:
    """A chain of MUL, if each result is the product of a few elements."""
    axes, shape = graph.tensors[op.inputs[1]].constant, graph.tensors[op.inputs[0]].shape
    if axes is None or not shape or min(shape) < 1:
        return None
    reduced = sorted({int(axis) % len(shape) for axis in axes.ravel()})
    counts = [shape[axis] for axis in reduced]
    if not 2 <= prod(counts) <= _MOST_FACTORS:
        return None
    kept = tuple(1 if axis in reduced else size for axis, size in enumerate(shape))
    made: _Form | None = None
    for place in np.ndindex(*counts):
        begin = np.zeros(len(shape), np.int32)
        begin[reduced] = place
        part = _Form("SLICE", (op.inputs[0], begin, np.array(kept, np.int32)), schema.SliceOptionsT(), shape=kept)
        made = part if made is None else _Form("MUL", (made, part), schema.MulOptionsT())
    assert made is not None
    return replace(_reshaped(made, graph.tensors[op.outputs[0]].shape), what="MUL of its elements")


def _reshaped(source: int | _Form, shape: tuple[int, ...]) -> _Form:
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    return _Form("RESHAPE", (source, np.array(shape, np.int32)), options, shape=shape)


_RULES: Mapping[str, Callable[[Graph, Op], _Form | None]] = {
    "NEG": _negative,
    "SQUARE": _square,
    "DIV": _quotient,
    "ADD_N": _sum,
    "CAST": _cast,
    "HARD_SWISH": _hard_swish,
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1"), _clipped),
    "SQUARED_DIFFERENCE": _squared_difference,
    **dict.fromkeys(("DEPTHWISE_CONV_2D", "CONV_2D"), _large_kernel),
    "CUMSUM": _running_sum,
    "REDUCE_PROD": _product_of_all,
}


def _made(model: Any, op: Op, form: _Form, output: int, known: dict[int | str, int]) -> list[Any]:
    """The ops of a form, in execution order. The last one writes the tensor `output`.

    Args:
        model: The model, which gets new tensors.
        op: The op that is replaced.
        form: Its form, or a part of that.
        output: The tensor of the result.
        known: The tensors that are made already: of parts by their identity, since several ops may read one, and of
            constants by their name.
    """
    subgraph = model.subgraphs[0]
    name = subgraph.tensors[op.outputs[0]].name.decode("utf-8", "replace")
    top = output == op.outputs[0]
    before: list[Any] = []
    inputs: list[int] = []
    for place, value in enumerate(form.inputs):
        if isinstance(value, int):
            inputs.append(value)
        elif isinstance(value, _Form):
            if id(value) not in known:
                index = add_tensor(model, f"{name};{value.kind.lower()}.{len(subgraph.tensors)}", "float32", ())
                before += _made(model, op, value, index, known)
                known[id(value)] = index
            inputs.append(known[id(value)])
        else:
            # The old constant, if there is one, has no other reader, and its tensor is used again.
            again = top and place < len(op.inputs) and op.inputs[place] != op.inputs[0] and value.dtype == np.float32
            new = f"{name};{form.kind.lower()}.{place}"
            new = f"{new}.{len(subgraph.tensors)}" if new in known else new
            index = known[new] = op.inputs[place] if again else add_tensor(model, new, "float32", ())
            set_constant(model, index, value)
            inputs.append(index)
    if not top:
        shapes = [tuple(int(n) for n in subgraph.tensors[index].shape) for index in inputs]
        subgraph.tensors[output].shape = list(np.broadcast_shapes(*shapes) if form.shape is None else form.shape)
    return [*before, operator(model, form.kind, inputs, [output], form.options)]
