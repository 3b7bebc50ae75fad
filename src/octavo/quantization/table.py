"""The table: the scale and zero point of every tensor that becomes integer, computed from the graph and the ranges.

This is the only place that decides them. The writer writes the table into the file, and the proof compares the file
with the table.
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
from octavo.tflite.lookup import lookup
from octavo.tflite.op_table import OF_BYTES, Row, bias_of, row, takes_bytes, why_not


@dataclass(frozen=True)
class KeptInFloat:
    """An op that stays in float.

    Args:
        op: The op, by kind and index.
        tensor: The name of its output tensor.
        reason: Why it stays in float.
    """

    op: str
    tensor: str
    reason: str

    def __str__(self) -> str:
        return f"{self.op} ({self.tensor}): {self.reason}"


@dataclass(frozen=True)
class Slot:
    """A stored tensor, or the requantized copy of it that one op reads.

    Args:
        tensor: The tensor's name.
        op: The index of the op that reads the copy; None for the stored tensor.

    Example:
        >>> str(Slot("image")), str(Slot("image", 3))
        ('image', 'image@3')
    """

    tensor: str
    op: int | None = None

    def __str__(self) -> str:
        return self.tensor if self.op is None else f"{self.tensor}@{self.op}"


class _Frozen:
    """The base of a frozen dataclass. It makes the mappings read-only too."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, Mapping):
                object.__setattr__(self, name, MappingProxyType(dict(value)))


@dataclass(frozen=True)
class Table(_Frozen):
    """The scale and zero point of every integer tensor.

    Args:
        stored: Parameters of the stored tensors, by name: activations, weights and biases.
        requantized: Parameters of the copies that ops read at another scale than that of the stored tensor. A QUANTIZE
            op makes each copy.
        kept_in_float: The ops that stay in float, each with the reason.
        precision: The precision of the ops that were given one, by name.
        widened: The number of channels whose weight scale was widened to keep the bias inside its type, by bias name.
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
    """Which tensors share a scale, and which have a fixed one: the rules of the specification, before any range.

    Args:
        integer: The ops that become integer, with their rows of the op table.
        kept_in_float: The ops that stay in float, each with the reason.
        precision: The precision of the ops that were given one, by name; all others get int8.
        stored: The slot of each tensor that is stored as integers, by its name.
        requantized: The slot that an op reads instead of the stored one.
        group: The group of each slot, named by one of its slots. All slots of a group share a scale and zero point.
        fixed: The parameters of the groups whose kernels fix them.
        tensor: The tensor of each slot.
        formats: The format of the ops that write or read each slot. All slots of a group have the same bit width.
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
        """The group of every stored tensor and of every requantized copy."""
        stored = {Slot(name): self.group[slot] for name, slot in self.stored.items()}
        return stored | {place: self.group[slot] for place, slot in self.requantized.items()}

    def at(self, op: Op, tensor: Tensor) -> Slot | None:
        """The group at whose scale `op` reads `tensor`; None if it reads floats."""
        slot = self.requantized.get(Slot(tensor.name, op.index), self.stored.get(tensor.name))
        return None if slot is None else self.group[slot]


def layout(graph: Graph, allow_float: bool = False, precision: Mapping[str, Precision] | None = None) -> Layout:
    """Finds which tensors of a float graph share a scale. No two of its ops may share a constant.

    Args:
        graph: The float graph, as `Graph.unshared` makes it.
        allow_float: Keep ops without an int8 form in float, instead of raising an error.
        precision: The precision of ops that shall not be int8: see `octavo.quantization.precision.resolve`.

    Raises:
        QuantizationError: An op has no int8 form and `allow_float` is off, or it does not support its `precision`;
            each such op is listed.
    """
    given = resolve(graph, precision or {})
    floats = {name for name, asked in given.items() if not FORMATS[asked].integer}
    missing = [item for item in _unquantizable(graph) if item.tensor not in floats]
    if missing and not allow_float:
        raise _refused(graph, missing)
    asked = [KeptInFloat(str(op), name, "as requested") for op in graph.ops if (name := name_of(graph, op)) in floats]
    return _layout(graph, [*missing, *asked], given)


def build(
    graph: Graph, ranges: Ranges, allow_float: bool = False, precision: Mapping[str, Precision] | None = None
) -> Table:
    """Computes the table of a float graph. No two of its ops may share a constant.

    Args:
        graph: The float graph, as `Graph.unshared` makes it.
        ranges: The ranges of its activations. A range given for a constant or a slot overrides the one of its values.
        allow_float: Keep ops without an int8 form in float, instead of raising an error.
        precision: The precision of ops that shall not be int8: see `octavo.quantization.precision.resolve`.

    Raises:
        QuantizationError: An op has no int8 form at these ranges and `allow_float` is off, or it does not support its
            `precision`; each such op is listed.
    """
    # Of a study or a tuning pass, which make ranges of their own.
    ranges = ranges.finite(graph.name)
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
            chosen = format_of(graph, op, found.precision)
            made, channels = _constants(graph, op, rules, params[image], chosen, ranges.weights)
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
            yield KeptInFloat(str(op), name, f"{why_not(op)}; only that of a uint8 input has an int8 form")
        if rules.function is not None and touches_float and lookup(graph, op) is None:
            yield KeptInFloat(str(op), name, f"{why_not(op)}; only that of one tensor and numbers has an int8 form")
        if rules.weight is not None:
            weight = graph.tensors[op.inputs[rules.weight]]
            if weight.constant is None and not rules.computed:
                yield KeptInFloat(str(op), name, f"its weights '{weight.name}' are computed, not constant")
            for constant in filter(None, (weight, bias_of(graph, op))):
                if touches_float and constant.constant is not None and constant.dtype != "float32":
                    yield KeptInFloat(str(op), name, f"its constant '{constant.name}' is {constant.dtype}, not float32")
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
    """The ops whose kernels compute wrong results at the scales of these ranges."""
    for op, rules in found.integer:
        for tensor in _members(graph, op, rules) if rules.below < inf else ():
            slot = found.at(op, tensor)
            scale = 0.0 if slot is None else float(params[slot].scale[0])
            if scale >= rules.below:
                limit = f"LiteRT's int8 kernel computes wrong results at scales of {rules.below:g} or more"
                yield KeptInFloat(str(op), name_of(graph, op), f"{limit}, and '{tensor.name}' has {scale:.3g}")
                break


def _members(graph: Graph, op: Op, rules: Row) -> list[Tensor]:
    """The float tensors that `op` treats as activations: all but its constant weights, bias and numbers."""
    special = {op.inputs[i] for i in (rules.weight, rules.bias) if i is not None and i < len(op.inputs)}
    if rules.function is not None:
        # The constant operands of a lookup are part of its function.
        special |= set(op.inputs)
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
                # If all inputs have the same fixed scale, the output has it too.
                fixed |= dict.fromkeys(outputs, first)
            else:
                # A tensor with a fixed scale cannot take that of the group: the op reads a requantized copy instead.
                slots = {name: Slot(name, op.index) if slot in fixed else slot for name, slot in slots.items()}
                groups.join(list(slots.values()))
        for tensor in members:
            slot = slots[tensor.name]
            # An input of the graph is stored, even if all ops read requantized copies of it.
            for each in (slot, Slot(tensor.name)) if tensor.index in graph.inputs else (slot,):
                groups.add(each)
                tensors[each] = tensor
            formats[slot] = by_op[op.index]
            if slot.op is not None:
                requantized[slot] = slot
    stored = {slot.tensor: slot for slot in groups.slots() if slot.op is None}
    for tensor in _made_in_float(graph, {op.index for op, _ in integer}):
        # The output of an op in float is stored in float. Integer ops read quantized copies of it.
        if tensor.name in stored:
            slot = stored.pop(tensor.name)
            for op in graph.consumers.get(tensor.index, ()):
                if op.index in by_op:
                    requantized.setdefault(Slot(tensor.name, op.index), slot)
    group = {slot: slot if slot in fixed else groups.root(slot) for slot in (*stored.values(), *requantized.values())}
    return Layout(integer, tuple(left), precision, stored, requantized, group, fixed, tensors, formats)


def _slot(graph: Graph, tensor: Tensor, op: Op, formats: Mapping[int, Format]) -> Slot:
    """The slot that `op` reads or writes: the stored tensor, or a requantized copy if the bit widths differ.

    A stored tensor has the bit width of the op that writes it. Inputs have 8 bits, since pixels have 256 values.
    """
    if tensor.constant is not None:
        return Slot(tensor.name)
    producer = graph.producers.get(tensor.index)
    usual = FORMATS[DEFAULT]
    stored = usual if producer is None else formats.get(producer.index, usual)
    return Slot(tensor.name, None if stored.activations == formats[op.index].activations else op.index)


def _made_in_float(graph: Graph, integer: set[int]) -> list[Tensor]:
    """The activations that ops in float write."""
    producers = [(tensor, graph.producers.get(tensor.index)) for tensor in graph.activations]
    return [tensor for tensor, op in producers if op is not None and op.index not in integer]


def parameters(layout: Layout, ranges: Ranges) -> dict[Slot, QParams]:
    """The parameters of every group: the fixed ones, or those of the union of its members' ranges."""
    params = dict(layout.fixed)
    for group, slots in layout.members.items():
        if group not in params:
            found = [_range(slot, layout.tensor[slot], ranges) for slot in slots]
            low, high = min(low for low, _ in found), max(high for _, high in found)
            # An input that ops read only as copies is stored in the default format.
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
        f"The ranges have no entry for tensor '{tensor.name}'.",
        "Calibrate the graph that is quantized.",
    )


class _Groups:
    """Groups of slots that must share a scale, as a union-find structure."""

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
    graph: Graph, op: Op, rules: Row, image: QParams, chosen: Format, given: Mapping[str, tuple[float, ...]]
) -> tuple[dict[str, QParams], dict[str, int]]:
    """Parameters of constant weights and their bias, by name, and the number of widened weight scales, by bias name.

    A weight scale is widened if the bias would overflow its type.

    Args:
        graph: The float graph.
        op: An op with constant weights.
        rules: Its row of the op table.
        image: The parameters of the input that is multiplied by the weights.
        chosen: The format of the op.
        given: The largest real of each channel's codes where it is not the largest weight: `Ranges.weights`.
    """
    assert rules.weight is not None
    weight, bias, axis = graph.tensors[op.inputs[rules.weight]], bias_of(graph, op), rules.axis
    assert weight.constant is not None
    others = tuple(i for i in range(weight.constant.ndim) if i != axis)
    if weight.name in given:
        largest = np.asarray(given[weight.name], np.float64)
    else:
        # Without a copy of the weights, which are most of a model's memory.
        of = others if axis is not None else None
        ends = weight.constant.max(axis=of), -weight.constant.min(axis=of)
        largest = np.abs(np.maximum(*ends)).astype(np.float64)
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
