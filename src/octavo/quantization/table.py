"""The table: a scale and zero point for every tensor that becomes integer, worked out from graph and ranges.

Everything that int8 asks of a graph is decided here, once: the writer writes this table, the proof reads the
file back against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf
from types import MappingProxyType

import numpy as np

from octavo.base.affine import QParams
from octavo.base.errors import QuantizationError
from octavo.base.formats import DEFAULT, FORMATS, Format, Precision
from octavo.quantization.precision import format_of, name_of, resolve
from octavo.quantization.ranges import Range, Ranges
from octavo.tflite.graph import WHOLE, Graph, Op, Tensor
from octavo.tflite.op_table import OF_BYTES, Row, bias_of, row, takes_bytes, why_not


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
class Slot:
    """A tensor as it is stored, or as one op reads it where that is another.

    Args:
        tensor: The tensor's name.
        op: The index of the op that reads it; None for the tensor as it is stored.

    Example:
        >>> str(Slot("image")), str(Slot("image", 3))
        ('image', 'image@3')
    """

    tensor: str
    op: int | None = None

    def __str__(self) -> str:
        return self.tensor if self.op is None else f"{self.tensor}@{self.op}"


class _Frozen:
    """A frozen dataclass whose mappings cannot be changed either."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, Mapping):
                object.__setattr__(self, name, MappingProxyType(dict(value)))


@dataclass(frozen=True)
class Table(_Frozen):
    """Every tensor's parameters.

    Args:
        stored: Parameters by tensor name, as the tensor is stored: activations, weights and biases.
        requantized: Parameters where an op needs a tensor at another scale than it is stored at; a QUANTIZE op goes
            between.
        kept_in_float: The ops that stay in float, each with the reason.
        precision: The precision of the ops that were given one, by name.
        widened: Channels by bias name whose weight scale was widened to keep the bias inside its type.
    """

    stored: Mapping[str, QParams]
    requantized: Mapping[Slot, QParams]
    kept_in_float: tuple[KeptInFloat, ...]
    precision: Mapping[str, Precision]
    widened: Mapping[str, int]

    def at(self, op: Op, tensor: Tensor) -> QParams | None:
        """The parameters at which `op` reads `tensor`."""
        return self.requantized.get(Slot(tensor.name, op.index), self.stored.get(tensor.name))


@dataclass(frozen=True)
class Layout(_Frozen):
    """Which tensors have one scale together, which have a fixed one: the specification's rules, before any number.

    Args:
        integer: The ops that become integer, with their rows.
        kept_in_float: The ops that stay in float, each with the reason.
        precision: The precision of the ops that were given one, by name; all others get int8.
        stored: The slot of each tensor that is stored as integers, by its name.
        requantized: The slot that an op reads in place of the stored one.
        group: The group of each slot, named by one of them; all its slots have one scale and zero point.
        fixed: The parameters of the groups whose kernels fix them.
        tensor: The tensor behind each slot.
        formats: The format of the ops that make or read each slot; a group has one width of codes.
    """

    integer: tuple[tuple[Op, Row], ...]
    kept_in_float: tuple[KeptInFloat, ...]
    precision: Mapping[str, Precision]
    stored: Mapping[str, Slot]
    requantized: Mapping[Slot, Slot]
    group: Mapping[Slot, Slot]
    fixed: Mapping[Slot, QParams]
    tensor: Mapping[Slot, Tensor]
    formats: Mapping[Slot, Format]

    @cached_property
    def members(self) -> Mapping[Slot, tuple[Slot, ...]]:
        """The slots of each group."""
        found: dict[Slot, list[Slot]] = {}
        for slot, group in self.group.items():
            found.setdefault(group, []).append(slot)
        return {group: tuple(slots) for group, slots in found.items()}

    @property
    def places(self) -> Mapping[Slot, Slot]:
        """The group at every place: of each tensor as it is stored, and as an op reads it where that is another."""
        stored = {Slot(name): self.group[slot] for name, slot in self.stored.items()}
        return stored | {place: self.group[slot] for place, slot in self.requantized.items()}

    def at(self, op: Op, tensor: Tensor) -> Slot | None:
        """The group at whose scale `op` reads `tensor`; None where it reads floats."""
        slot = self.requantized.get(Slot(tensor.name, op.index), self.stored.get(tensor.name))
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
    floats = {name for name, asked in given.items() if not FORMATS[asked].integer}
    missing = [item for item in _unquantizable(graph) if item.tensor not in floats]
    if missing and not allow_float:
        raise _refused(graph, missing)
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
        QuantizationError: An op has no int8 form at these ranges and `allow_float` is off, or not the one that
            `precision` asks for; each one is listed.
    """
    found = layout(graph, allow_float, precision)
    params = parameters(found, ranges)
    if wide := list(_too_wide(graph, found, params)):
        if not allow_float:
            raise _refused(graph, wide)
        found = _layout(graph, [*found.kept_in_float, *wide], found.precision)
        params = parameters(found, ranges)
    stored = {name: params[found.group[slot]] for name, slot in found.stored.items()}
    requantized = {place: params[found.group[slot]] for place, slot in found.requantized.items()}
    widened: dict[str, int] = {}
    for op, rules in found.integer:
        if rules.weight is not None and graph.tensors[op.inputs[rules.weight]].constant is not None:
            image = found.at(op, graph.tensors[op.inputs[rules.image]])
            assert image is not None
            made, channels = _constants(graph, op, rules, params[image], format_of(graph, op, found.precision))
            stored |= made
            widened |= channels
    return Table(stored, requantized, found.kept_in_float, found.precision, widened)


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
        if rules is OF_BYTES.get(op.kind) and touches_float and not takes_bytes(graph, op):
            yield KeptInFloat(str(op), name, f"{why_not(op)}; that of a uint8 input alone has an int8 form")
        if rules.weight is not None:
            weight = graph.tensors[op.inputs[rules.weight]]
            if weight.constant is None and not rules.computed:
                yield KeptInFloat(str(op), name, f"its weights '{weight.name}' are computed, not constant")
        others = {graph.tensors[i].dtype for i in op.outputs} - {"float32", *WHOLE}
        if others:
            yield KeptInFloat(
                str(op), name, f"it computes {', '.join(sorted(others))}; Octavo quantizes float32 graphs"
            )


def _refused(graph: Graph, missing: list[KeptInFloat]) -> QuantizationError:
    return QuantizationError(
        f"{graph.name} cannot become fully integer: {len(missing)} op{'s have' if len(missing) > 1 else ' has'} no "
        "int8 form.",
        "Replace them in the network, or keep them in float: set `allow_float`.",
        details=[str(item) for item in missing],
    )


def _too_wide(graph: Graph, found: Layout, params: Mapping[Slot, QParams]) -> Iterator[KeptInFloat]:
    """The ops whose kernels cannot compute with the scales that these ranges ask for."""
    for op, rules in found.integer:
        for tensor in _members(graph, op, rules) if rules.below < inf else ():
            slot = found.at(op, tensor)
            scale = 0.0 if slot is None else float(params[slot].scale[0])
            if scale >= rules.below:
                reason = f"LiteRT's int8 kernel of it errs at scales from {rules.below:g} on, and '{tensor.name}' has "
                yield KeptInFloat(str(op), name_of(graph, op), f"{reason}{scale:.3g}")
                break


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
    integer = tuple((op, found) for op in graph.ops if str(op) not in floats and (found := row(op)) is not None)
    by_op = {op.index: format_of(graph, op, precision) for op, _ in integer}
    fixed: dict[Slot, QParams] = {}
    requantized: dict[Slot, Slot] = {}
    tensors: dict[Slot, Tensor] = {}
    formats: dict[Slot, Format] = {}
    groups = _Groups()
    for op, rules in integer:
        members = _members(graph, op, rules)
        outputs = [Slot(graph.tensors[i].name) for i in op.outputs]
        kernels = rules.forms[precision.get(name_of(graph, op), DEFAULT)].fixed
        if kernels is not None:
            fixed |= dict.fromkeys(outputs, kernels)
        slots = {t.name: _slot(graph, t, op, by_op) for t in members}
        if rules.shares:
            given = [fixed.get(slot) for name, slot in slots.items() if Slot(name) not in outputs]
            first = given[0] if given else None
            if first is not None and all(params == first for params in given):
                # All it reads has one fixed scale: its result has it too.
                fixed |= dict.fromkeys(outputs, first)
            else:
                # A fixed tensor cannot take the group's scale: the op reads a requantized copy instead.
                slots = {name: Slot(name, op.index) if slot in fixed else slot for name, slot in slots.items()}
                groups.join(list(slots.values()))
        for tensor in members:
            slot = slots[tensor.name]
            # What is fed is stored, even where all read copies of it.
            for each in (slot, Slot(tensor.name)) if tensor.index in graph.inputs else (slot,):
                groups.add(each)
                tensors[each] = tensor
            formats[slot] = by_op[op.index]
            if slot.op is not None:
                requantized[slot] = slot
    stored = {slot.tensor: slot for slot in groups.slots() if slot.op is None}
    for tensor in _made_in_float(graph, {op.index for op, _ in integer}):
        # What an op left in float computes is stored in float, and only read as integers.
        if tensor.name in stored:
            slot = stored.pop(tensor.name)
            for op in graph.consumers.get(tensor.index, ()):
                if op.index in by_op:
                    requantized.setdefault(Slot(tensor.name, op.index), slot)
    group = {slot: slot if slot in fixed else groups.root(slot) for slot in (*stored.values(), *requantized.values())}
    return Layout(integer, tuple(left), precision, stored, requantized, group, fixed, tensors, formats)


def _slot(graph: Graph, tensor: Tensor, op: Op, formats: Mapping[int, Format]) -> Slot:
    """A tensor as `op` reads or makes it: as it is stored, or a requantized copy where that has another width.

    A tensor has the width of the op that makes it. Inputs have that of int8, since pixels have 256 values.
    """
    if tensor.constant is not None:
        return Slot(tensor.name)
    producer = graph.producers.get(tensor.index)
    usual = FORMATS[DEFAULT]
    stored = usual if producer is None else formats.get(producer.index, usual)
    return Slot(tensor.name, None if stored.activations == formats[op.index].activations else op.index)


def _made_in_float(graph: Graph, integer: set[int]) -> list[Tensor]:
    """The activations that ops make which are not among the integer ones."""
    producers = [(tensor, graph.producers.get(tensor.index)) for tensor in graph.activations]
    return [tensor for tensor, op in producers if op is not None and op.index not in integer]


def parameters(layout: Layout, ranges: Ranges) -> dict[Slot, QParams]:
    """The parameters of every group: fixed, or of the union of what its members have seen."""
    params = dict(layout.fixed)
    for group, slots in layout.members.items():
        if group not in params:
            found = [_range(slot, layout.tensor[slot], ranges) for slot in slots]
            low, high = min(low for low, _ in found), max(high for _, high in found)
            # What is fed, and read as copies alone, is stored in the usual one.
            format_ = layout.formats.get(group, FORMATS[DEFAULT])
            if format_.symmetric:
                params[group] = QParams.symmetric(np.array([max(abs(low), abs(high))]), None, format_.activations)
            else:
                params[group] = QParams.from_range(low, high, format_.activations)
    return params


def _range(slot: Slot, tensor: Tensor, ranges: Ranges) -> Range:
    given = ranges.of.get(str(slot), ranges.of.get(tensor.name))
    if given is not None:
        return given
    if tensor.constant is not None:
        return float(tensor.constant.min()), float(tensor.constant.max())
    raise QuantizationError(
        f"The ranges hold nothing for tensor '{tensor.name}'.",
        "Calibrate this very graph, then quantize it.",
    )


class _Groups:
    """Slots that must have one scale: a union-find."""

    def __init__(self) -> None:
        self._parent: dict[Slot, Slot] = {}

    def slots(self) -> list[Slot]:
        return list(self._parent)

    def add(self, slot: Slot) -> None:
        self._parent.setdefault(slot, slot)

    def join(self, slots: list[Slot]) -> None:
        for slot in slots:
            self.add(slot)
        for slot in slots[1:]:
            self._parent[self.root(slot)] = self.root(slots[0])

    def root(self, slot: Slot) -> Slot:
        while self._parent[slot] != slot:
            slot = self._parent[slot]
        return slot


def _constants(
    graph: Graph, op: Op, rules: Row, image: QParams, chosen: Format
) -> tuple[dict[str, QParams], dict[str, int]]:
    """Parameters of constant weights and their bias, by name, and how many weight scales of a bias were widened.

    A weight scale is widened where the bias would leave its type.

    Args:
        graph: The float graph.
        op: An op with constant weights.
        rules: Its row.
        image: The parameters of what the weights meet.
        chosen: What it computes with.
    """
    assert rules.weight is not None
    weight, bias, axis = graph.tensors[op.inputs[rules.weight]], bias_of(graph, op), rules.axis
    assert weight.constant is not None
    others = tuple(i for i in range(weight.constant.ndim) if i != axis)
    largest = np.abs(weight.constant.astype(np.float64)).max(axis=others if axis is not None else None)
    widened: dict[str, int] = {}
    if bias is not None and bias.constant is not None:
        steps = np.abs(bias.constant.astype(np.float64)) / (float(image.scale[0]) * chosen.largest_bias)
        limit = steps * chosen.largest_weight
        if count := int(np.count_nonzero(limit > largest)):
            widened[bias.name] = count
            largest = np.maximum(largest, limit)
    found = {weight.name: QParams.symmetric(np.atleast_1d(largest), axis, chosen.weights)}
    if bias is not None and bias.constant is not None:
        found[bias.name] = QParams.bias(image.scale, found[weight.name].scale, chosen.biases)
    return found, widened
