"""Fuses ops that one kernel can compute: PAD, activation functions, and QUANTIZE between equal scales.

No constant is recomputed: a fused op does the same arithmetic as the two ops did. Only exact fusions are made. A
candidate that would not be exact is kept, and the reason is reported. Integer results are bit-equal. Float results are
bit-equal on LiteRT's own kernels. XNNPACK sums the products of a convolution in another order when it pads, so its
floats may differ in the last bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from octavo.tflite.graph import Graph, Op, Tensor, serialize
from octavo.tflite.op_table import FUSED, activation, row, same_padding


@dataclass(frozen=True)
class Fused:
    """A graph after fusing.

    Args:
        graph: The fused graph, or the given graph if nothing could be fused.
        kinds: The number of removed ops, by kind.
        not_fused: Candidates that could not be fused, each with the reason.
    """

    graph: Graph
    kinds: dict[str, int]
    not_fused: tuple[str, ...]


def fuse(graph: Graph) -> Fused:
    """Fuses PAD into convolutions and activation functions into the ops before them, and removes no-op QUANTIZE ops.

    Args:
        graph: A float or quantized graph.
    """
    return _fused(graph, (_padding, _activation, _identity))


def fuse_activations(graph: Graph) -> Fused:
    """Fuses only activation functions into the ops before them. Float results stay bit-equal.

    Args:
        graph: A float or quantized graph.
    """
    return _fused(graph, (_activation,))


def _fused(graph: Graph, rules: Sequence[Callable[[_Draft, Op], None]]) -> Fused:
    gone: Counter[str] = Counter()
    while True:
        drafts = [_Draft(graph) for _ in rules]
        for draft, rule in zip(drafts, rules, strict=True):
            for op in graph.ops:
                rule(draft, op)
        # Only one rule is applied at a time: its changes may invalidate what another rule found.
        done = next((draft for draft in drafts if draft.dropped), None)
        if done is None:
            return Fused(graph, dict(gone), tuple(reason for draft in drafts for reason in draft.not_fused))
        gone.update(op.kind for op in done.dropped)
        graph = done.graph()


class _Draft:
    """The changes that one rule makes to a graph, collected first and applied together."""

    def __init__(self, graph: Graph) -> None:
        self.before = graph
        self.dropped: list[Op] = []
        self.not_fused: list[str] = []

    @cached_property
    def model(self) -> Any:
        """The model that is changed, copied at the first change."""
        return self.before.copied()

    @property
    def ops(self) -> list[Any]:
        """The ops of `model`, in the order of the graph's ops."""
        operators: list[Any] = self.model.subgraphs[0].operators
        return operators

    def alone(self, tensor: int) -> bool:
        """Whether a tensor has exactly one reader and is not an output of the graph."""
        return len(self.before.consumers.get(tensor, ())) == 1 and tensor not in self.before.outputs

    def graph(self) -> Graph:
        """The graph with all changes applied."""
        places = {op.index for op in self.dropped}
        self.model.subgraphs[0].operators = [raw for place, raw in enumerate(self.ops) if place not in places]
        return Graph(serialize(self.model), self.before.name)


def _padding(draft: _Draft, op: Op) -> None:
    """Fuses PAD into convolutions with padding VALID, if padding SAME adds the same zeros."""
    if op.kind != "PAD":
        return
    graph = draft.before
    source, made = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    readers = graph.consumers.get(made.index, ())
    reason = _why_not_same(graph, op, source, made, readers)
    if reason is not None:
        draft.not_fused.append(f"{op}: {reason}")
        return
    for reader in readers:
        raw = draft.ops[reader.index]
        raw.inputs[0] = source.index
        raw.builtinOptions.padding = schema.Padding.SAME
    draft.dropped.append(op)


def _why_not_same(graph: Graph, op: Op, source: Tensor, made: Tensor, readers: tuple[Op, ...]) -> str | None:
    for reader in readers:
        if (rules := row(reader)) is None or not rules.convolves or reader.inputs.index(made.index) != 0:
            return f"{reader} reads it, and only convolutions can pad with zeros"
        if reader.options.padding != schema.Padding.VALID:
            return f"{reader} pads its input itself"
    amounts = graph.tensors[op.inputs[1]].constant
    if amounts is None or len(source.shape) != 4 or min(source.shape) < 1:
        return "its sizes are not known"
    if source.qparams != made.qparams:
        return "its input and output have different scales"
    if made.index in graph.outputs:
        return "its result is an output of the model"
    if amounts[[0, 3]].any():
        return "it pads other axes than height and width"
    for reader in readers:
        weight, made_of, options = graph.tensors[reader.inputs[1]], graph.tensors[reader.outputs[0]], reader.options
        if (len(weight.shape), len(made_of.shape)) != (4, 4):
            return f"the shapes of {reader} are not those of a convolution"
        ways = ((options.strideH, options.dilationHFactor), (options.strideW, options.dilationWFactor))
        for axis, (stride, dilation) in enumerate(ways, start=1):
            # The start and the number of windows decide what they read. Zeros that no window reaches do not matter.
            steps, before, after = same_padding(source.shape[axis], weight.shape[axis], stride, dilation)
            if (steps, before) != (made_of.shape[axis], amounts[axis][0]):
                given = " and ".join(str(int(n)) for n in amounts[axis])
                return f"it pads {source.shape[axis]} by {given}, but SAME of {reader} pads by {before} and {after}"
    return None


def _activation(draft: _Draft, op: Op) -> None:
    """Fuses an activation function into an op that supports one and whose output nothing else reads."""
    rules, code = row(op), FUSED.get(op.kind)
    if rules is None or rules.bounds is None or code is None:
        return
    graph = draft.before
    source, made = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    maker = graph.producers.get(source.index)
    takes = None if maker is None else row(maker)
    if maker is None or maker.options is None or takes is None or not takes.fuses:
        draft.not_fused.append(f"{op} after {maker or 'an input'}: that op cannot fuse an activation function")
    elif activation(maker) is not None:
        draft.not_fused.append(f"{op} after {maker}: that op has an activation function already")
    elif not draft.alone(source.index):
        draft.not_fused.append(f"{op} after {maker}: another op or output also uses its input")
    elif source.qparams != made.qparams:
        draft.not_fused.append(f"{op} after {maker}: its input and output have different scales")
    else:
        raw = draft.ops[maker.index]
        raw.outputs[0] = made.index
        raw.builtinOptions.fusedActivationFunction = code
        draft.dropped.append(op)


def _identity(draft: _Draft, op: Op) -> None:
    """Removes a QUANTIZE that restores the type, scale and zero point of an earlier tensor, also past a DEQUANTIZE."""
    graph = draft.before
    made = graph.tensors[op.outputs[0]] if op.outputs else None
    if op.kind != "QUANTIZE" or made is None or made.qparams is None or draft.dropped:
        return
    source = graph.tensors[op.inputs[0]]
    lossless = {"QUANTIZE", "DEQUANTIZE"}
    while (source.dtype, source.qparams) != (made.dtype, made.qparams):
        maker = graph.producers.get(source.index)
        if maker is None or maker.kind not in lossless or source.qparams not in (None, made.qparams):
            return
        source = graph.tensors[maker.inputs[0]]
    if made.index in graph.outputs:
        draft.not_fused.append(f"{op}: its result is an output of the model")
        return
    for reader in graph.consumers.get(made.index, ()):
        raw = draft.ops[reader.index]
        raw.inputs = [source.index if int(i) == made.index else int(i) for i in raw.inputs]
    draft.dropped.append(op)
    # The ops before it are removed too if they have no other reader.
    before = op
    while draft.alone(before.inputs[0]) and before.inputs[0] != source.index:
        before = graph.producers[before.inputs[0]]
        draft.dropped.append(before)
