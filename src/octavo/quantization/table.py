"""The table: a scale and zero point for every tensor that becomes integer, worked out from graph and ranges.

Everything that int8 asks of a graph is decided here, once: the writer writes this table, the proof reads the
file back against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from octavo.base.affine import QParams
from octavo.base.errors import QuantizationError
from octavo.quantization.precision import Precision, name_of, resolve, weight_bits
from octavo.quantization.ranges import Range, Ranges
from octavo.tflite.graph import Graph, Op, Tensor
from octavo.tflite.op_table import Row, bias_of, row, why_not

# |bias| / (input scale * weight scale) must stay below this, or the kernels' int32 sums can overflow.
LARGEST_BIAS_CODE = 2**30
# The same of int64 sums, which the kernels multiply by 16 bits: they must stay below 2**47.
LARGEST_WIDE_BIAS_CODE = 2**46


@dataclass(frozen=True)
class KeptInFloat:
    """Something that stays in float.

    Args:
        op: The op, by kind and place.
        tensor: The tensor that it makes.
        reason: Why it stays.
    """

    op: str
    tensor: str
    reason: str

    def __str__(self) -> str:
        return f"{self.op} ({self.tensor}): {self.reason}"


@dataclass(frozen=True)
class Table:
    """Every tensor's parameters.

    Args:
        stored: Parameters by tensor name, as the tensor is stored: activations, weights and biases.
        requantized: Parameters by (op index, tensor name) where an op needs a tensor at another scale than it is
            stored at; a QUANTIZE op goes between.
        kept_in_float: The ops that stay in float, each with the reason.
        precision: The precision of the ops that were given one, by name.
        widened: Channels by bias name whose weight scale was widened to keep the bias inside int32.
    """

    stored: dict[str, QParams] = field(default_factory=dict)
    requantized: dict[tuple[int, str], QParams] = field(default_factory=dict)
    kept_in_float: list[KeptInFloat] = field(default_factory=list)
    precision: Mapping[str, Precision] = field(default_factory=dict)
    widened: dict[str, int] = field(default_factory=dict)

    def at(self, op: Op, tensor: Tensor) -> QParams | None:
        """The parameters at which `op` reads `tensor`."""
        return self.requantized.get((op.index, tensor.name), self.stored.get(tensor.name))


@dataclass(frozen=True)
class Layout:
    """Which tensors have one scale together, which have a fixed one: the specification's rules, before any number.

    A slot is a tensor as it is stored, by its name, or as one op reads it (``name@op``) where that differs.

    Args:
        integer: The ops that become integer, with their rows.
        kept_in_float: The ops that stay in float, each with the reason.
        precision: The precision of the ops that were given one, by name; all others get int8.
        stored: The slot of each tensor that is stored as integers.
        requantized: The slot by (op index, tensor name) where an op reads another than the stored one.
        group: The group of each slot; all its slots have one scale and zero point.
        fixed: The parameters of the groups whose kernels fix them.
        tensor: The tensor behind each slot.
        wide: The slots of 16 bits; a group has one width.
    """

    integer: list[tuple[Op, Row]]
    kept_in_float: list[KeptInFloat]
    precision: Mapping[str, Precision] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)
    requantized: dict[tuple[int, str], str] = field(default_factory=dict)
    group: dict[str, str] = field(default_factory=dict)
    fixed: dict[str, QParams] = field(default_factory=dict)
    tensor: dict[str, Tensor] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)

    @property
    def members(self) -> dict[str, list[str]]:
        """The slots of each group."""
        found: dict[str, list[str]] = {}
        for slot, group in self.group.items():
            found.setdefault(group, []).append(slot)
        return found

    def at(self, op: Op, tensor: Tensor) -> str | None:
        """The group at whose scale `op` reads `tensor`; None where it reads floats."""
        slot = self.requantized.get((op.index, tensor.name), self.stored.get(tensor.name))
        return None if slot is None else self.group[slot]


def layout(graph: Graph, allow_float: bool = False, precision: Mapping[str, Precision] | None = None) -> Layout:
    """Works out which tensors of a float graph share a scale, in which no two ops share a constant.

    Args:
        graph: The float graph, as `Graph.unshared` makes it.
        allow_float: Leave in float what has no int8 form, instead of raising.
        precision: What is to be other than int8, as `octavo.quantization.precision.resolve` takes it.

    Raises:
        QuantizationError: An op has no int8 form and `allow_float` is off, or not the one that `precision` asks for;
            each one is listed.
    """
    given = resolve(graph, precision or {})
    floats = {name for name, asked in given.items() if asked == "float"}
    missing = [item for item in _unquantizable(graph) if item.tensor not in floats]
    if missing and not allow_float:
        raise QuantizationError(
            f"{graph.name} cannot become fully integer: {len(missing)} op{'s have' if len(missing) > 1 else ' has'} no "
            "int8 form.",
            "Replace them in the network, or keep them in float: set `allow_float`.",
            details=[str(item) for item in missing],
        )
    asked = [KeptInFloat(str(op), name, "as asked for") for op in graph.ops if (name := name_of(graph, op)) in floats]
    return _layout(graph, [*missing, *asked], given)


def build(
    graph: Graph, ranges: Ranges, allow_float: bool = False, precision: Mapping[str, Precision] | None = None
) -> Table:
    """Works out the table of a float graph in which no two ops share a constant.

    Args:
        graph: The float graph, as `Graph.unshared` makes it.
        ranges: The ranges of its activations; what they hold for a constant or a slot goes before its own values.
        allow_float: Leave in float what has no int8 form, instead of raising.
        precision: What is to be other than int8, as `octavo.quantization.precision.resolve` takes it.

    Raises:
        QuantizationError: An op has no int8 form and `allow_float` is off, or not the one that `precision` asks for;
            each one is listed.
    """
    found = layout(graph, allow_float, precision)
    params = parameters(found, ranges)
    table = Table(
        stored={name: params[found.group[slot]] for name, slot in found.stored.items()},
        requantized={place: params[found.group[slot]] for place, slot in found.requantized.items()},
        kept_in_float=found.kept_in_float,
        precision=found.precision,
    )
    for op, rules in found.integer:
        _constants(graph, op, rules, table)
    return table


def _unquantizable(graph: Graph) -> Iterator[KeptInFloat]:
    for op in graph.ops:
        names = [graph.tensors[i].name for i in op.outputs]
        name = names[0] if names else "no output"
        touches_float = any(graph.tensors[i].dtype == "float32" for i in (*op.inputs, *op.outputs) if i >= 0)
        rules = row(op)
        if rules is None:
            if touches_float:
                yield KeptInFloat(str(op), name, why_not(op))
            continue
        if rules.weight is not None:
            weight = graph.tensors[op.inputs[rules.weight]]
            if weight.constant is None and op.kind != "FULLY_CONNECTED":
                yield KeptInFloat(str(op), name, f"its weights '{weight.name}' are computed, not constant")
        others = {graph.tensors[i].dtype for i in op.outputs} - {"float32", "int32", "int64", "bool"}
        if others:
            yield KeptInFloat(
                str(op), name, f"it computes {', '.join(sorted(others))}; Octavo quantizes float32 graphs"
            )


def _members(graph: Graph, op: Op, rules: Row) -> list[Tensor]:
    """The float tensors of `op` that are activations to it: all but its weights and bias."""
    special = {op.inputs[i] for i in (rules.weight, rules.bias) if i is not None and i < len(op.inputs)}
    return [
        tensor
        for index in dict.fromkeys((*op.inputs, *op.outputs))
        if index >= 0
        and (tensor := graph.tensors[index]).dtype == "float32"
        and not (index in special and tensor.constant is not None)
    ]


def _layout(graph: Graph, left: list[KeptInFloat], precision: Mapping[str, Precision]) -> Layout:
    floats = {item.op for item in left}
    integer = [(op, found) for op in graph.ops if str(op) not in floats and (found := row(op)) is not None]
    layout = Layout(integer=integer, kept_in_float=left, precision=precision)
    wide = {op.index for op, _ in integer if precision.get(name_of(graph, op)) == "int16x8"}
    groups = _Groups()
    for op, rules in integer:
        members = _members(graph, op, rules)
        outputs = [graph.tensors[i].name for i in op.outputs]
        form = rules.int16x8 if op.index in wide and rules.int16x8 is not None else rules
        if form.fixed is not None:
            layout.fixed.update(dict.fromkeys(outputs, form.fixed))
        slots = {t.name: _slot(graph, t, op, wide) for t in members}
        if rules.shares:
            given = [layout.fixed.get(slot) for name, slot in slots.items() if name not in outputs]
            first = given[0] if given else None
            if first is not None and all(params == first for params in given):
                # All it reads has one fixed scale: its result has it too.
                layout.fixed.update(dict.fromkeys(outputs, first))
            else:
                # A fixed tensor cannot take the group's scale: the op reads a requantized copy instead.
                slots = {name: f"{name}@{op.index}" if slot in layout.fixed else slot for name, slot in slots.items()}
                groups.join(list(slots.values()))
        for tensor in members:
            slot = slots[tensor.name]
            # What is fed is stored, even where all read copies of it.
            for name in {slot, *([tensor.name] if tensor.index in graph.inputs else [])}:
                groups.add(name)
                layout.tensor[name] = tensor
            if op.index in wide:
                layout.wide.add(slot)
            if slot != tensor.name:
                layout.requantized[op.index, tensor.name] = slot
    copies = set(layout.requantized.values())
    layout.stored.update({name: name for name in groups.names() if name not in copies})
    _made_in_float(graph, layout)
    for slot in (*layout.stored.values(), *layout.requantized.values()):
        layout.group[slot] = slot if slot in layout.fixed else groups.root(slot)
    return layout


def _slot(graph: Graph, tensor: Tensor, op: Op, wide: set[int]) -> str:
    """A tensor as `op` reads or makes it: as it is stored, or a requantized copy where that has another width.

    A tensor has the width of the op that makes it. Inputs have 8 bits, since pixels have 256 values.
    """
    if tensor.constant is not None:
        return tensor.name
    producer = graph.producers.get(tensor.index)
    stored_wide = producer is not None and producer.index in wide
    return tensor.name if stored_wide == (op.index in wide) else f"{tensor.name}@{op.index}"


def _made_in_float(graph: Graph, layout: Layout) -> None:
    """What an op left in float computes is stored in float, and only read as integers."""
    inside = {op.index for op, _ in layout.integer}
    for tensor in graph.activations:
        producer = graph.producers.get(tensor.index)
        if producer is None or producer.index in inside or tensor.name not in layout.stored:
            continue
        slot = layout.stored.pop(tensor.name)
        for op in graph.consumers.get(tensor.index, ()):
            if op.index in inside:
                layout.requantized.setdefault((op.index, tensor.name), slot)


def parameters(layout: Layout, ranges: Ranges) -> dict[str, QParams]:
    """The parameters of every group: fixed, or of the union of what its members have seen."""
    params = dict(layout.fixed)
    for group, slots in layout.members.items():
        if group not in params:
            found = [_range(slot, layout.tensor[slot], ranges) for slot in slots]
            low, high = min(low for low, _ in found), max(high for _, high in found)
            if group in layout.wide:
                params[group] = QParams.symmetric(np.array([max(abs(low), abs(high))]), None, bits=16)
            else:
                params[group] = QParams.from_range(low, high)
    return params


def _range(slot: str, tensor: Tensor, ranges: Ranges) -> Range:
    given = ranges.of.get(slot, ranges.of.get(tensor.name))
    if given is not None:
        return given
    if tensor.constant is not None:
        return float(tensor.constant.min()), float(tensor.constant.max())
    raise QuantizationError(
        f"The ranges hold nothing for tensor '{tensor.name}'.",
        "Calibrate this very graph, then quantize it.",
    )


class _Groups:
    """Tensors that must have one scale: a union-find."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def names(self) -> list[str]:
        return list(self._parent)

    def add(self, name: str) -> None:
        self._parent.setdefault(name, name)

    def join(self, names: list[str]) -> None:
        for name in names:
            self.add(name)
        for name in names[1:]:
            self._parent[self.root(name)] = self.root(names[0])

    def root(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name


def image_place(op: Op) -> int:
    """Which input of an op with weights is the activation that they meet."""
    return 2 if op.kind == "TRANSPOSE_CONV" else 0


def _constants(graph: Graph, op: Op, rules: Row, table: Table) -> None:
    """Parameters of weights and bias, with weight scales widened where the bias would leave int32."""
    if rules.weight is None:
        return
    weight = graph.tensors[op.inputs[rules.weight]]
    if weight.constant is None:
        return
    axis = rules.axis
    others = tuple(i for i in range(weight.constant.ndim) if i != axis)
    largest = np.abs(weight.constant.astype(np.float64)).max(axis=others if axis is not None else None)
    bias = bias_of(graph, op)
    image = graph.tensors[op.inputs[image_place(op)]]
    params = table.at(op, image)
    assert params is not None
    bits = weight_bits(graph, op, table.precision)
    bias_bits, largest_code = (64, LARGEST_WIDE_BIAS_CODE) if params.bits == 16 else (32, LARGEST_BIAS_CODE)
    if bias is not None and bias.constant is not None:
        highest = (1 << (bits - 1)) - 1
        limit = np.abs(bias.constant.astype(np.float64)) / (float(params.scale[0]) * largest_code) * highest
        count = int(np.count_nonzero(limit > largest))
        if count:
            table.widened[bias.name] = count
            largest = np.maximum(largest, limit)
    table.stored[weight.name] = QParams.symmetric(np.atleast_1d(largest), axis, bits)
    if bias is not None and bias.constant is not None:
        table.stored[bias.name] = QParams.bias(params.scale, table.stored[weight.name].scale, bias_bits)
