"""Comparison: two models on the same images, tensor by tensor, to find the ops that add error.

There are three runs per image: the first model, the second model, and the second model cut at every tensor, where each
op gets the first model's values as inputs. The second run shows the error accumulated up to a tensor; the third shows
the error that the tensor's op alone added.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.analysis import compare_views
from octavo.base.artefact import Artefact
from octavo.base.border import border
from octavo.base.errors import DataError, ModelError
from octavo.base.metric import Metric
from octavo.base.stats import decibels
from octavo.quantization.observers import Images
from octavo.runtime.litert import KERNEL_NAMES, Kernels, clear_unfilled, interpreter
from octavo.tflite.graph import Graph, Op, Tensor, as_codes, as_stored
from octavo.tflite.lookup import looked_up
from octavo.tflite.op_table import FUSED, LOOKED_UP, STORAGE, activation, row, takes_bytes

Array = npt.NDArray[Any]

_BLOCK = 1 << 15


@dataclass(frozen=True)
class Pair:
    """One tensor in two models.

    Args:
        before: The tensor in the first model.
        after: The same tensor in the second, as it is stored there.
        op: The second model's op that makes it; None for an input.
        forms: All the forms in which the second model holds it.
    """

    before: Tensor
    after: Tensor
    op: Op | None
    forms: tuple[Tensor, ...]


class _Flow:
    """A graph without its QUANTIZE and DEQUANTIZE ops: all stored forms of a value count as one tensor.

    The three ops of a lookup count as one: its GATHER, which reads the codes themselves. A product with 1 that clips
    counts as the activation function that clips: other converters write that.

    Args:
        graph: The graph.
        settled: The names of tensors that count as constants too.
    """

    def __init__(self, graph: Graph, settled: Container[str] = ()) -> None:
        self.graph = graph
        self.constants = {t.index for t in graph.tensors if t.constant is not None or t.name in settled}
        self.root = {tensor.index: tensor.index for tensor in graph.tensors}
        self.stored: dict[int, Tensor] = {}
        self.ops: list[Op] = []
        for op in graph.ops:
            if op.kind in STORAGE or takes_bytes(graph, op):
                root = self.root[op.outputs[0]] = self.root[op.inputs[0]]
                # A float tensor that is quantized immediately counts as an integer tensor for its readers.
                form = graph.tensors[op.outputs[0]]
                if form.qparams is not None and graph.tensors[root].qparams is None:
                    self.stored.setdefault(root, form)
            elif (codes := looked_up(graph, op)) is not None:
                self.ops.append(replace(op, inputs=(codes,)))
            elif (kind := _clip(graph, op)) is not None:
                self.ops.append(replace(op, kind=kind, inputs=op.inputs[:1]))
            else:
                self.ops.append(op)

    def reads(self, op: Op) -> list[int]:
        """The roots of the tensors that `op` reads, except constants."""
        roots = (self.root[index] for index in op.inputs if index >= 0)
        return [root for root in roots if root not in self.constants]

    def shapes(self, op: Op) -> list[tuple[int, ...]]:
        """The shapes of the outputs of `op`; a dynamic dimension counts as 1."""
        return [tuple(max(n, 1) for n in self.graph.tensors[index].shape) for index in op.outputs]

    def form(self, root: int) -> Tensor:
        """The tensor as it is stored."""
        return self.stored.get(root, self.graph.tensors[root])

    def forms(self, root: int) -> tuple[Tensor, ...]:
        """The tensor and all its forms that QUANTIZE and DEQUANTIZE ops make."""
        return self._forms[root]

    @cached_property
    def _forms(self) -> dict[int, tuple[Tensor, ...]]:
        found: dict[int, list[Tensor]] = {}
        for index, root in self.root.items():
            found.setdefault(root, []).append(self.graph.tensors[index])
        return {root: tuple(tensors) for root, tensors in found.items()}

    @cached_property
    def readers(self) -> dict[int, list[Op]]:
        """The ops that read each tensor, by its root, in execution order."""
        found: dict[int, list[Op]] = {}
        for op in self.ops:
            for root in dict.fromkeys(self.reads(op)):
                found.setdefault(root, []).append(op)
        return found

    def weights(self, op: Op) -> Array | None:
        """The weights of `op` as reals, if they are constant."""
        rules = row(op)
        if rules is None or rules.weight is None:
            return None
        tensor = self.graph.tensors[self.root[op.inputs[rules.weight]]]
        if tensor.constant is None:
            return None
        return tensor.constant if tensor.qparams is None else tensor.qparams.dequantize(tensor.constant)


def _clip(graph: Graph, op: Op) -> str | None:
    """The activation function that a product with 1 stands for, as `octavo.rewrite.integer_forms` writes it."""
    kind = activation(op)
    if op.kind != "MUL" or kind is None:
        return None
    factor = graph.tensors[op.inputs[1]]
    if factor.constant is None or factor.constant.size != 1:
        return None
    real = factor.constant if factor.qparams is None else factor.qparams.dequantize(factor.constant)
    return kind if math.isclose(real.item(), 1, rel_tol=1e-6) else None


def match(before: Graph, after: Graph) -> list[Pair]:
    """Finds the tensors that two models share, through their graphs.

    Two ops match if they have the same kind, the same output shapes and matching inputs. If several match, names
    decide, then weights, then order. QUANTIZE and DEQUANTIZE ops are ignored. If the second model has fused an
    activation function of the first into the op before it, the function's output matches that op's output.

    Args:
        before: The first model.
        after: The second model.

    Returns:
        The pairs in the first model's order: inputs, then op outputs.

    Raises:
        ModelError: The inputs differ in number or shape, or no op is the same.
    """
    # Where a sum has one result for all inputs, int8 may hold it as a constant.
    ours = _Flow(before, {tensor.name for tensor in after.tensors if tensor.constant is not None})
    theirs = _Flow(after)
    shapes = [[tuple(max(n, 1) for n in g.tensors[i].shape) for i in g.inputs] for g in (before, after)]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"{before.name} takes inputs of {shapes[0]}, and {after.name} of {shapes[1]}.",
            "Compare a model with its own quantized form.",
        )
    same = dict(zip(before.inputs, after.inputs, strict=True))
    maker: dict[int, Op | None] = dict.fromkeys(after.inputs)
    free = {op.index: op for op in theirs.ops}
    for op in ours.ops:
        found = _same_op(op, ours, theirs, free, same, maker)
        if found is not None:
            del free[found.index]
            for mine, other in zip(op.outputs, found.outputs, strict=True):
                same[mine], maker[theirs.root[other]] = theirs.root[other], after.ops[found.index]
        elif op.kind in FUSED and (source := same.get(ours.root[op.inputs[0]])) is not None:
            producer = after.producers.get(source)
            if producer is not None and activation(producer) == op.kind:
                del same[ours.root[op.inputs[0]]]
                same[op.outputs[0]] = source
    pairs = [
        Pair(before_tensor, after_tensor, maker[other], theirs.forms(other))
        for mine, other in sorted(same.items(), key=lambda item: _place(before, item[0]))
        if _real(before_tensor := ours.form(mine)) and _real(after_tensor := theirs.form(other))
    ]
    if not any(pair.op is not None for pair in pairs):
        raise ModelError(
            f"{before.name} and {after.name} have no op in common.", "Compare a model with its own quantized form."
        )
    return pairs


def _real(tensor: Tensor) -> bool:
    return tensor.constant is None and (tensor.dtype == "float32" or tensor.qparams is not None)


def _place(graph: Graph, index: int) -> int:
    producer = graph.producers.get(index)
    return -1 if producer is None else producer.index


def _same_op(
    op: Op, ours: _Flow, theirs: _Flow, free: Mapping[int, Op], same: Mapping[int, int], known: Container[int]
) -> Op | None:
    """The op of the second model, of those that are free, that is `op`; `known` has the tensors that are matched."""
    reads = [same.get(root) for root in ours.reads(op)]
    # Only the readers of a matched input can fit, and they are few, however many ops there are.
    entry = next((root for root in reads if root is not None), None)
    near = free.values() if entry is None else [each for each in theirs.readers.get(entry, ()) if each.index in free]
    kinds = (op.kind, "GATHER") if op.kind in LOOKED_UP else (op.kind,)
    alike = [each for kind in kinds for each in near if each.kind == kind]

    def fits(other: Op) -> bool:
        found: list[int | None] = [root if root in known else None for root in theirs.reads(other)]
        if (rules := row(op)) is not None and rules.commutative:
            return sorted(found, key=str) == sorted(reads, key=str)
        return found == reads

    shapes = ours.shapes(op)
    candidates = [other for other in alike if theirs.shapes(other) == shapes and fits(other)]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    name = ours.graph.tensors[op.outputs[0]].name
    weights = ours.weights(op)

    def likeness(other: Op) -> tuple[bool, float]:
        twin = theirs.weights(other)
        alike = weights is not None and twin is not None and weights.shape == twin.shape
        return theirs.graph.tensors[other.outputs[0]].name == name, _cosine(weights, twin) if alike else 0.0

    # max keeps the first of equal candidates, so order decides last.
    return max(candidates, key=likeness)


def _cosine(first: Any, second: Any) -> float:
    one, two = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    return float(one @ two / max(float(np.sqrt((one @ one) * (two @ two))), 1e-30))


def _dot(one: Array, two: Array) -> float:
    """The dot product of two float32 vectors, in float64 where float32 overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        made = float(np.dot(one, two))
    return made if math.isfinite(made) else float(np.dot(one.astype(np.float64), two.astype(np.float64)))


@dataclass
class Sums:
    """Running sums of a tensor's error: enough for every figure, and of a size independent of the number of images."""

    count: int = 0
    signal: float = 0.0
    other: float = 0.0
    product: float = 0.0
    noise: float = 0.0
    absolute: float = 0.0
    largest: float = 0.0

    def add(self, reference: Array, values: Array, tensor: Tensor) -> None:
        """Adds one image: the expected values, float32, and the values of `tensor`, in the same number."""
        reference, values = reference.ravel(), values.ravel()
        self.count += reference.size
        # In blocks that fit into the cache, since this handles all values of all tensors of all images.
        for start in range(0, reference.size, _BLOCK):
            x = reference[start : start + _BLOCK]
            y = _decoded(tensor, values[start : start + _BLOCK])
            error = y - x
            self.signal += _dot(x, x)
            self.other += _dot(y, y)
            self.product += _dot(x, y)
            self.noise += _dot(error, error)
            np.abs(error, out=error)
            self.absolute += float(error.sum())
            self.largest = max(self.largest, float(error.max()))

    def merge(self, more: Sums) -> None:
        """Adds the sums of another worker."""
        for name in ("count", "signal", "other", "product", "noise", "absolute"):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        self.largest = max(self.largest, more.largest)

    def error(self, scale: float | None) -> Error:
        """The figures; `scale` is the tensor's step, None if it is stored in float."""
        length = math.sqrt(self.signal * self.other)
        return Error(
            sqnr=decibels(self.signal, self.noise),
            cosine=self.product / length if length > 0 else None,
            mean=self.absolute / max(self.count, 1),
            largest=self.largest,
            mean_lsb=None if scale is None else self.absolute / max(self.count, 1) / scale,
            largest_lsb=None if scale is None else self.largest / scale,
        )


@dataclass(frozen=True)
class Error:
    """The error of a tensor over all images.

    Args:
        sqnr: Signal to quantization noise, ``10 log10(sum x^2 / sum (y - x)^2)`` in dB (Jayant and Noll, Digital
            Coding of Waveforms, 1984, section 4.1); None without noise or without signal.
        cosine: ``sum xy / sqrt(sum x^2 sum y^2)``; None if one of the two is all zero.
        mean: Mean absolute error.
        largest: Largest absolute error.
        mean_lsb: Mean absolute error in steps of the tensor's scale; None if it is stored in float.
        largest_lsb: Largest absolute error in steps of the tensor's scale.
    """

    sqnr: float | None
    cosine: float | None
    mean: float
    largest: float
    mean_lsb: float | None
    largest_lsb: float | None


@dataclass(frozen=True)
class TensorError:
    """One tensor of the second model against the first.

    Args:
        before: Its name in the first model.
        after: Its name in the second.
        op: The kind of the op that makes it; ``INPUT`` for an input.
        place: The op's position in the second model; -1 for an input.
        accumulated: The error that the tensor has when the model runs from the image.
        added: The error that its op alone makes, if its inputs are the first model's values.
        low: The share of its values at the lowest code; None if it is stored in float.
        high: The share at the highest code.
        codes: The share of the codes that occur, for 8-bit tensors.
    """

    before: str
    after: str
    op: str
    place: int
    accumulated: Error
    added: Error
    low: float | None
    high: float | None
    codes: float | None


@dataclass(frozen=True)
class Unmatched:
    """Ops of each model without a match in the other, except ops that only change storage.

    Args:
        before: Of the first model.
        after: Of the second.
    """

    before: list[str]
    after: list[str]


class Compared(Artefact):
    """Two models, tensor by tensor.

    Args:
        images: How many images both ran.
        kernels: The kernel family, in words.
        likeness: What `agreement` measures; null if the outputs were not read by a task.
        agreement: How alike the answers of both models are; null if they were not read.
        tensors: The tensors that both have, in the first model's order.
        unmatched: Ops of each model without a match in the other, except ops that only change storage.
    """

    file = "compare.json"
    what = "the comparison of two models"
    version = 2

    images: int
    kernels: str
    likeness: Metric | None = None
    agreement: float | None = None
    tensors: list[TensorError]
    unmatched: Unmatched

    def __repr__(self) -> str:
        value = self.to_json()
        worst = "".join(
            f", worst {row['op']} #{row['place']} adds noise at {row['added']['sqnr']:.1f} dB"
            for row in compare_views.worst(value["tensors"], 1)
        )
        last = value["tensors"][-1]["accumulated"]["sqnr"]
        output = "without noise" if last is None else f"{last:.1f} dB"
        scope = f"{len(self.tensors)} tensors on {self.images:,} images, {self.kernels}"
        return f"Compared({scope}: output SQNR {output}{worst})"

    def _repr_html_(self) -> str:
        return compare_views.notebook(self.to_json(), repr(self))


@dataclass
class _Seen:
    """One worker's sums for one tensor."""

    accumulated: Sums = field(default_factory=Sums)
    added: Sums = field(default_factory=Sums)
    codes: Array = field(default_factory=lambda: np.zeros(256, np.int64))
    ends: Array = field(default_factory=lambda: np.zeros(2, np.int64))

    @property
    def finite(self) -> bool:
        """Whether every value was a finite number."""
        return all(math.isfinite(value) for sums in (self.accumulated, self.added) for value in vars(sums).values())

    def merge(self, more: _Seen) -> None:
        self.accumulated.merge(more.accumulated)
        self.added.merge(more.added)
        self.codes += more.codes
        self.ends += more.ends


def compare(
    before: Graph,
    after: Graph,
    images: Images,
    kernels: Kernels = "xnnpack",
    progress: Callable[[int], None] = lambda done: None,
    workers: int | None = None,
) -> Compared:
    """Measures every tensor of `after` against `before` on the same images.

    Memory does not grow with the number of images: only sums and counts are kept for each tensor.

    Args:
        before: The model to measure against: float, or another int8 model.
        after: The model to measure, from any converter.
        images: Inputs of the first model, as reals without the batch axis, such as preprocessed images, float32
            ``(height, width, channels)``; tuples if it has several inputs.
        kernels: The kernel family that runs both.
        progress: Called after each image with 1.
        workers: How many images run at the same time; as many as there are cores by default.

    Raises:
        DataError: There are no images.
        ModelError: The models are not two forms of one, or LiteRT refuses one of them.
    """
    if len(images) == 0:
        raise DataError("Comparison needs at least one image, and got none.", "Give a few held-out images.")
    pairs = match(before, after)
    count = min(workers or os.cpu_count() or 1, len(images))
    probes = [_Probe(before, after, pairs, kernels) for _ in range(count)]

    def work(worker: int) -> None:
        for place in range(worker, len(images), count):
            probes[worker].look(images[place])
            progress(1)

    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work, worker) for worker in range(count)]:
            done.result()
    seen = probes[0].seen
    for probe in probes[1:]:
        for mine, more in zip(seen, probe.seen, strict=True):
            mine.merge(more)
    broken = [pair.after.name for pair, kept in zip(pairs, seen, strict=True) if not kept.finite]
    if broken:
        raise ModelError(
            f"{before.name} or {after.name} computes NaN or infinity on these images, so that no error can be told.",
            "A normalization may divide by zero, or a weight is not finite. The tensors:",
            broken[:10],
        )
    found = [_figures(pair, kept) for pair, kept in zip(pairs, seen, strict=True)]
    return Compared(
        images=len(images),
        kernels=KERNEL_NAMES[kernels],
        tensors=found,
        unmatched=_unmatched(before, after, pairs),
    )


class _Probe:
    """The three runs of one worker."""

    def __init__(self, before: Graph, after: Graph, pairs: Sequence[Pair], kernels: Kernels) -> None:
        self.pairs = pairs
        self.seen = [_Seen() for _ in pairs]
        # Each op gets the first model's values, in the form in which it reads them.
        self._cuts = [(place, form) for place, pair in enumerate(pairs) for form in pair.forms]
        measured = [pair.after for pair in pairs]
        self._first = _Runner(before.exposed([pair.before for pair in pairs]), kernels)
        self._second = _Runner(after.exposed(measured), kernels)
        self._alone = _Runner(after.severed([form for _, form in self._cuts]).exposed(measured), kernels)

    def look(self, sample: Array | tuple[Array, ...]) -> None:
        """Runs one sample, real values without the batch axis, and adds its errors."""
        given = [values[None] for values in (sample if isinstance(sample, tuple) else (sample,))]
        reals = [
            values if pair.before.qparams is None else pair.before.qparams.dequantize(values)
            for pair, values in zip(self.pairs, self._first.run(given), strict=True)
        ]
        for pair, seen, real, values in zip(self.pairs, self.seen, reals, self._second.run(given), strict=True):
            seen.accumulated.add(real, values, pair.after)
            if pair.after.qparams is not None:
                params = pair.after.qparams
                seen.ends += (np.count_nonzero(values == params.qmin), np.count_nonzero(values == params.qmax))
                if params.bits == 8:
                    seen.codes += np.bincount(values.view(np.uint8).ravel(), minlength=256)
        fed = [reals[place].reshape([max(n, 1) for n in form.shape]) for place, form in self._cuts]
        alone = self._alone.run([*fed, *given])
        for pair, seen, real, values in zip(self.pairs, self.seen, reals, alone, strict=True):
            seen.added.add(real, values, pair.after)


class _Runner:
    """An interpreter from arrays to arrays, by the file's own order of inputs and outputs."""

    def __init__(self, graph: Graph, kernels: Kernels) -> None:
        self._graph = graph
        self._inputs = [graph.tensors[index] for index in graph.inputs]
        self._outputs = [graph.tensors[index] for index in graph.outputs]
        self._made = made = interpreter(graph.content, kernels)
        shapes = {detail["index"]: tuple(detail["shape"]) for detail in made.get_input_details()}
        for tensor in self._inputs:
            if shapes[tensor.index] != (wanted := tuple(max(n, 1) for n in tensor.shape)):
                made.resize_tensor_input(tensor.index, wanted)
        made.allocate_tensors()
        self._exits = [made.tensor(index) for index in graph.outputs]

    def run(self, reals: Sequence[Array]) -> list[Array]:
        """Real values in, raw values out: views that the next run overwrites."""
        for tensor, values in zip(self._inputs, reals, strict=True):
            params = tensor.qparams
            raw = values.astype(tensor.dtype) if params is None else as_stored(params.quantize(values), tensor.dtype)
            self._made.set_tensor(tensor.index, raw)
        with border(f"LiteRT cannot run {self._graph.name}", kind=ModelError):
            self._made.invoke()
        found = [view() for view in self._exits]
        clear_unfilled(self._graph, found)
        return [
            values if tensor.qparams is None else as_codes(values)
            for tensor, values in zip(self._outputs, found, strict=True)
        ]


def _decoded(tensor: Tensor, values: Array) -> Array:
    if tensor.qparams is None:
        return values
    # `QParams.dequantize` in float32 and in place, for speed; the difference of codes is exact.
    real = values.astype(np.float32)
    real -= np.float32(tensor.qparams.zero_point[0])
    real *= tensor.qparams.scale[0]
    return real


def _figures(pair: Pair, seen: _Seen) -> TensorError:
    params = pair.after.qparams
    scale = None if params is None else float(params.scale[0])
    count = max(seen.accumulated.count, 1)
    return TensorError(
        before=pair.before.name,
        after=pair.after.name,
        op="INPUT" if pair.op is None else pair.op.kind,
        place=-1 if pair.op is None else pair.op.index,
        accumulated=seen.accumulated.error(scale),
        added=seen.added.error(scale),
        low=None if params is None else float(seen.ends[0]) / count,
        high=None if params is None else float(seen.ends[1]) / count,
        codes=None if params is None or params.bits != 8 else float(np.count_nonzero(seen.codes)) / 256,
    )


def _unmatched(before: Graph, after: Graph, pairs: Sequence[Pair]) -> Unmatched:
    """Ops that compute reals and whose outputs are in no pair."""
    found = []
    for graph, named in (
        (before, {pair.before.index for pair in pairs}),
        (after, {form.index for pair in pairs for form in pair.forms}),
    ):
        flow = _Flow(graph)
        forms = {form.index for op in flow.ops for out in op.outputs for form in flow.forms(out)} & named
        roots = {flow.root[index] for index in forms}
        found.append(
            [
                str(op)
                for op in flow.ops
                if any(flow.root[out] not in roots and _real(flow.form(flow.root[out])) for out in op.outputs)
            ]
        )
    return Unmatched(*found)
