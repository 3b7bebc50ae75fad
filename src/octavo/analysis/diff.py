"""Diff: what changed between two `.tflite` files, without running them.

Ops are aligned in execution order: first those that are alike in everything, then by the names of their outputs, then
by their shapes, then by their kinds. Tensors are matched through the ops, so that two files need not share names.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.analysis import diff_views
from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.base.limits import MOST_ALIGNED
from octavo.source.sidecar import Sidecar
from octavo.tflite import metadata
from octavo.tflite.graph import Graph, Op, Tensor, as_codes
from octavo.tflite.size import breakdown

Array = npt.NDArray[Any]
_NOTHING = object()
# The fields of options that hold a number for a name.
_ENUMS: dict[str, dict[int, str]] = {
    field: {number: name for name, number in vars(kind).items() if isinstance(number, int)}
    for field, kind in (("padding", schema.Padding), ("fusedActivationFunction", schema.ActivationFunctionType))
}


@dataclass(frozen=True)
class Change:
    """One value that differs.

    Args:
        key: What it is; parts of a longer value have dots, as in ``preprocess.scale``.
        before: It in the first file, as a JSON value; None if it is missing there.
        after: It in the second.
    """

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key} {diff_views.value(self.before)} -> {diff_views.value(self.after)}"


@dataclass(frozen=True)
class OnlyOne:
    """An op that only one of the files has.

    Args:
        op: The op, by kind and index.
        name: The name of its output.
    """

    op: str
    name: str


@dataclass(frozen=True)
class OpChange:
    """An op whose options, version, or number of inputs or outputs differ.

    Args:
        before: The op in the first file, by kind and index.
        after: The op in the second.
        name: The name of its output in the first file.
        changes: What differs.
    """

    before: str
    after: str
    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Values:
    """How the values of a constant differ.

    Args:
        max: The largest absolute difference, in real values; None if it is not finite.
        rms: The root mean square of the differences, in real values; None if it is not finite.
        relative: `rms` divided by the root mean square of the first file's values; None if these are all 0.
        codes: How many of the stored numbers differ; None if the two are stored in different types.
        count: How many there are.
    """

    max: float | None
    rms: float | None
    relative: float | None
    codes: int | None
    count: int


@dataclass(frozen=True)
class TensorChange:
    """A tensor that differs.

    Args:
        before: Its name in the first file.
        after: Its name in the second.
        op: The second file's op that computes it, or that reads it if it is a constant; ``input`` for an input.
        changes: Its shape, type and quantization, as far as they differ.
        values: How its values differ. None if it is no constant, if they are equal, or if the shapes differ.
    """

    before: str
    after: str
    op: str
    changes: tuple[Change, ...]
    values: Values | None


@dataclass(frozen=True)
class File:
    """One of the two files.

    Args:
        path: Its path.
        bytes: Its size.
        sha256: The SHA-256 of its content.
        ops: How many ops it has.
    """

    path: str
    bytes: int
    sha256: str
    ops: int


@dataclass(frozen=True, repr=False)
class Diff:
    """What changed between two files.

    Args:
        before: The first file.
        after: The second file.
        size: The bytes of weights, quantization, names and the rest, as far as they differ.
        added: The second file's ops that the first has not.
        removed: The first file's ops that the second has not.
        ops: Ops that differ.
        tensors: Tensors that differ, the most changed constants first.
        renamed: How many of the tensors that both have, have another name.
        signature: The names of inputs and outputs, and of signatures.
        metadata: TFLite metadata, the description and the labels packed in the file.
        sidecar: What Octavo's sidecar says: preprocessing, classes, task.
    """

    before: File
    after: File
    size: tuple[Change, ...]
    added: tuple[OnlyOne, ...]
    removed: tuple[OnlyOne, ...]
    ops: tuple[OpChange, ...]
    tensors: tuple[TensorChange, ...]
    renamed: int
    signature: tuple[Change, ...]
    metadata: tuple[Change, ...]
    sidecar: tuple[Change, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs. The bytes of equal models can still lie in another order: see `sha256`."""
        parts = (self.size, self.added, self.removed, self.ops, self.tensors, self.signature)
        return not (any(parts) or self.renamed or self.metadata or self.sidecar)

    def __repr__(self) -> str:
        return f"Diff({diff_views.headline(self)})"

    def _repr_html_(self) -> str:
        return diff_views.notebook(self)

    def to_json(self) -> dict[str, Any]:
        """A JSON value with every difference."""
        return {"equal": self.equal, **asdict(self)}


@dataclass(frozen=True)
class Described:
    """A file that is compared.

    Args:
        path: Its path.
        content: Its bytes.
        graph: Its graph, unchanged; that of one signature if the file has several.
        sidecar: Its sidecar, or None if it has none.
    """

    path: str
    content: bytes
    graph: Graph
    sidecar: Sidecar | None

    @property
    def file(self) -> File:
        """Its size and hash."""
        digest = hashlib.sha256(self.content).hexdigest()
        return File(self.path, len(self.content), digest, len(self.graph.ops))


def diff(before: Described, after: Described) -> Diff:
    """Finds what changed between two files.

    Args:
        before: The first file.
        after: The second.
    """
    one, two = before.graph, after.graph
    pairs = align(one, two)
    matched = [{op.index for op in side} for side in zip(*pairs, strict=True)] or [set(), set()]
    tensors = _pairs_of_tensors(one, two, pairs)
    changed = [found for a, b, role in tensors if (found := _tensor_change(a, b, role)) is not None]
    return Diff(
        before=before.file,
        after=after.file,
        size=tuple(_changes(vars(breakdown(before.content)), vars(breakdown(after.content)))),
        added=tuple(OnlyOne(str(op), _name(two, op)) for op in two.ops if op.index not in matched[1]),
        removed=tuple(OnlyOne(str(op), _name(one, op)) for op in one.ops if op.index not in matched[0]),
        ops=tuple(made for a, b in pairs if (made := _op_change(one, a, b)) is not None),
        tensors=tuple(sorted(changed, key=_much, reverse=True)),
        renamed=sum(a.name != b.name for a, b, _ in tensors),
        signature=tuple(_changes(_signature(before), _signature(after))),
        metadata=tuple(_changes(_metadata(before.content), _metadata(after.content))),
        sidecar=tuple(_changes(_said(before.sidecar), _said(after.sidecar))),
    )


def align(before: Graph, after: Graph) -> list[tuple[Op, Op]]:
    """The ops that two graphs share, in execution order.

    Args:
        before: The first graph.
        after: The second.
    """

    def shapes(graph: Graph, op: Op) -> Hashable:
        return op.kind, tuple(graph.tensors[index].shape for index in op.outputs)

    def names(graph: Graph, op: Op) -> Hashable:
        return op.kind, tuple(graph.tensors[index].name for index in op.outputs)

    def whole(graph: Graph, op: Op) -> Hashable:
        return shapes(graph, op), repr(_options(op)), tuple(_content(graph, index) for index in op.inputs if index >= 0)

    def kinds(graph: Graph, op: Op) -> Hashable:
        return op.kind

    return _align(before, before.ops, after, after.ops, (whole, names, shapes, kinds))


Key = Callable[[Graph, Op], Hashable]


def _align(
    before: Graph, ours: Sequence[Op], after: Graph, theirs: Sequence[Op], keys: Sequence[Key]
) -> list[tuple[Op, Op]]:
    """Aligns two sequences by the first key, and what lies between equal ops by the next ones."""
    if not (keys and ours and theirs):
        return []
    key, *looser = keys
    blocks = _blocks([key(before, op) for op in ours], [key(after, op) for op in theirs], MOST_ALIGNED)
    pairs: list[tuple[Op, Op]] = []
    start = end = 0
    for i, j, count in [*blocks, (len(ours), len(theirs), 0)]:
        pairs += _align(before, ours[start:i], after, theirs[end:j], looser)
        pairs += zip(ours[i : i + count], theirs[j : j + count], strict=True)
        start, end = i + count, j + count
    return pairs


def _blocks(first: Sequence[Hashable], second: Sequence[Hashable], most: int) -> list[tuple[int, int, int]]:
    """The equal blocks of two sequences, each as two positions and a length.

    `difflib` can take the product of all equal pairs and the length, as with thousands of ops that are all alike. Where
    that is too much, the halves are aligned.

    Args:
        first: The first sequence.
        second: The second.
        most: The most steps.
    """
    counts = Counter(second)
    shorter = min(len(first), len(second))
    if shorter > 1 and shorter * sum(counts[item] for item in first) > most:
        i, j = len(first) // 2, len(second) // 2
        after = _blocks(first[i:], second[j:], most // 2)
        return _blocks(first[:i], second[:j], most // 2) + [(a + i, b + j, count) for a, b, count in after]
    return [(a, b, count) for a, b, count in SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()]


def _content(graph: Graph, index: int) -> Hashable:
    """The shape and type of a tensor, and the values of a constant."""
    tensor = graph.tensors[index]
    values = None if tensor.constant is None else hashlib.sha256(tensor.constant.tobytes()).digest()
    return tensor.shape, tensor.dtype, values


def _pairs_of_tensors(before: Graph, after: Graph, pairs: Sequence[tuple[Op, Op]]) -> list[tuple[Tensor, Tensor, str]]:
    """The tensors that two graphs share, each with the op that it belongs to."""
    found: dict[int, tuple[int, str]] = {}

    def match(ours: Sequence[int], theirs: Sequence[int], role: str) -> None:
        for a, b in zip(ours, theirs, strict=False):
            if a >= 0 and b >= 0:
                found.setdefault(a, (b, role))

    match(before.inputs, after.inputs, "input")
    for a, b in pairs:
        match(a.outputs, b.outputs, str(b))
    for a, b in pairs:
        constant = [
            (i, j)
            for i, j in zip(a.inputs, b.inputs, strict=False)
            if i >= 0 and j >= 0 and before.tensors[i].constant is not None and after.tensors[j].constant is not None
        ]
        match([i for i, _ in constant], [j for _, j in constant], str(b))
    match(before.outputs, after.outputs, "output")
    return [(before.tensors[a], after.tensors[b], role) for a, (b, role) in found.items()]


def _op_change(graph: Graph, before: Op, after: Op) -> OpChange | None:
    found = tuple(_changes(_facts(before), _facts(after)))
    return OpChange(str(before), str(after), _name(graph, before), found) if found else None


def _facts(op: Op) -> dict[str, Any]:
    return {**_options(op), "version": op.version, "inputs": len(op.inputs), "outputs": len(op.outputs)}


def _options(op: Op) -> dict[str, Any]:
    """The options of an op as a JSON value; those of a custom op as a hash."""
    found = {} if op.options is None else {name: _plain(value) for name, value in vars(op.options).items()}
    found |= {name: names.get(found[name], found[name]) for name, names in _ENUMS.items() if name in found}
    return found | ({"custom": hashlib.sha256(op.custom).hexdigest()[:16]} if op.custom else {})


def _tensor_change(before: Tensor, after: Tensor, op: str) -> TensorChange | None:
    found = tuple(_changes(_form(before), _form(after)))
    values = _values(before, after)
    return TensorChange(before.name, after.name, op, found, values) if found or values else None


def _form(tensor: Tensor) -> dict[str, Any]:
    params = tensor.qparams
    stored: dict[str, Any] = {"shape": list(tensor.shape), "type": tensor.dtype}
    if params is None:
        return stored
    # The file holds the zero point of bytes, and `QParams` that of int8 codes.
    above = 128 if tensor.dtype == "uint8" else 0
    zeros = [int(one) + above for one in params.zero_point]
    scales = [float(one) for one in params.scale]
    if params.axis is None:
        return stored | {"scale": scales[0], "zero_point": zeros[0]}
    return stored | {"scale": scales, "zero_point": zeros, "axis": params.axis}


def _values(before: Tensor, after: Tensor) -> Values | None:
    one, two = before.constant, after.constant
    if one is None or two is None or one.shape != two.shape:
        return None
    codes = int(np.count_nonzero(~_same(one, two))) if before.dtype == after.dtype else None
    old, new = _reals(before, one), _reals(after, two)
    apart = ~_same(old, new)
    if not apart.any() and not codes:
        return None
    with np.errstate(all="ignore"):
        off = np.where(apart, new - old, 0.0)
        rms, scale = (float(np.sqrt(np.mean(np.square(values)))) for values in (off, old))
        most = float(np.abs(off).max(initial=0.0))
        relative = rms / scale if scale > 0 else math.inf
    return Values(_finite(most), _finite(rms), _finite(relative), codes, one.size)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _same(one: Array, two: Array) -> Array:
    """Where two arrays are equal; NaN equals NaN."""
    same = np.asarray(one == two)
    return same | (np.isnan(one) & np.isnan(two)) if one.dtype.kind == two.dtype.kind == "f" else same


def _reals(tensor: Tensor, stored: Array) -> Array:
    real = stored if tensor.qparams is None else tensor.qparams.dequantize(as_codes(stored))
    return np.asarray(real, np.float64)


def _much(change: TensorChange) -> tuple[float, bool]:
    """How much a tensor changed: constants by the share of their error, and then other forms."""
    values = change.values
    share = 0.0 if values is None else math.inf if values.relative is None else values.relative
    return share, bool(change.changes)


def _name(graph: Graph, op: Op) -> str:
    """The name of an op's output."""
    return graph.tensors[op.outputs[0]].name if op.outputs else ""


def _signature(described: Described) -> dict[str, Any]:
    """The names of the file's signatures, and of the inputs and outputs, as a program asks for them."""
    graph = described.graph
    with border(f"The signatures of {graph.name} are damaged", kind=ModelError):
        model = schema.Model.GetRootAs(described.content, 0)
        keys = [
            (model.SignatureDefs(place).SignatureKey() or b"").decode("utf-8", "replace")
            for place in range(model.SignatureDefsLength())
        ]
    ports = {
        which: [graph.arguments.get(index, graph.tensors[index].name) for index in indices]
        for which, indices in (("inputs", graph.inputs), ("outputs", graph.outputs))
    }
    return {"keys": keys, **ports}


def _metadata(content: bytes) -> dict[str, Any]:
    """TFLite metadata, and the description in the file itself."""
    try:
        with border("The description is damaged", kind=ModelError):
            text = schema.Model.GetRootAs(content, 0).Description() or b""
        described = {"model_description": text.decode("utf-8", "replace")} if text else {}
        found = metadata.read(content)
        return described if found is None else {**described, **found, "labels": metadata.labels(content, found)}
    except ModelError as error:
        return {"damaged": str(error)}


def _said(sidecar: Sidecar | None) -> dict[str, Any]:
    return {} if sidecar is None else sidecar.to_json()


def _changes(before: Any, after: Any, key: str = "") -> Iterator[Change]:
    """The values that differ, part by part."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            inner = f"{key}.{name}" if key else str(name)
            yield from _changes(before.get(name, _NOTHING), after.get(name, _NOTHING), inner)
    elif before != after and not (before is _NOTHING and after is None) and not (before is None and after is _NOTHING):
        yield Change(key, *(None if value is _NOTHING else value for value in (before, after)))


def _plain(value: Any) -> Any:
    """A value of the schema as a JSON value."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        # JSON has no such number.
        return str(value)
    if isinstance(value, str | int | float | bool | None):
        return value
    return {name: _plain(one) for name, one in vars(value).items()}
