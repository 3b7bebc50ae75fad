"""The graph of a `.tflite` file: reads, changes and writes its ops, tensors and constants.

The utilities of the LiteRT wheel read and write the flatbuffer. A `Graph` is immutable: every change makes a new one.
Only models with one subgraph are supported: control flow is refused, with its cause.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from octavo.base.affine import QParams
from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.tflite import control_flow, soundness
from octavo.tflite.draft import add_buffer, operator
from octavo.tflite.op_options import options_of
from octavo.tflite.sparse import dense

Array = npt.NDArray[Any]

_KINDS: dict[int, str] = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
# Types of tensors that are not quantized: indices, classes, sizes, booleans. An int8 file has them unchanged.
WHOLE = frozenset({"int32", "int64", "bool"})
_DTYPES: dict[int, str] = {v: k.lower() for k, v in vars(schema.TensorType).items() if isinstance(v, int)}


@dataclass(frozen=True)
class Tensor:
    """One tensor of the graph.

    Args:
        index: Its index in the file.
        name: Its name, unique within the graph.
        shape: Its static shape; -1 for a dimension that the file leaves open.
        dtype: NumPy's name of its element type (``float32``, ``int8``, …), or ``int4``.
        constant: Its values if the file holds them, else None. ``int4`` values are unpacked to int8, and a sparse
            constant is expanded to its dense array.
        qparams: Its scale and zero point if it is quantized, else None. For a uint8 tensor, the zero point is that of
            int8 codes, which are the bytes minus 128.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: Array | None
    qparams: QParams | None

    @property
    def is_image(self) -> bool:
        """Whether its shape is that of images, ``(N, height, width, 1 or 3)``."""
        return len(self.shape) == 4 and self.shape[3] in (1, 3)


@dataclass(frozen=True)
class Op:
    """One operation of the graph.

    Args:
        index: Its index in execution order.
        kind: Its builtin name, such as ``CONV_2D``; ``CUSTOM:name`` for a custom op.
        inputs: Tensor indices; -1 for an optional input that is absent.
        outputs: Tensor indices.
        options: The schema's options object (read only); None for kinds without options.
        version: The operator version in the file.
        custom: The options of a custom op, as its maker wrote them.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    version: int
    custom: bytes = b""

    def __str__(self) -> str:
        return f"{self.kind} #{self.index}"


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns the exceptions that a damaged file causes into one clear error."""
    with border(f"{name} is damaged: its flatbuffer could not be read", "Copy or export the file again.", ModelError):
        yield


def unpack(content: bytes, name: str = "the model") -> Any:
    """Unpacks the bytes of a `.tflite` file into the schema's `ModelT`, with all its subgraphs.

    Args:
        content: The bytes.
        name: The name of the model in error messages.

    Raises:
        ModelError: The bytes are not a `.tflite` model.
    """
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise ModelError(
            f"{name} is not a .tflite model: bytes 4 to 8 should read 'TFL3'.",
            "Give a .tflite file, such as TensorFlow Lite's converter or Octavo writes.",
        )
    with reading(name):
        # Its buffers are views into the bytes, which nothing changes.
        return flatbuffer_utils.read_model_from_bytearray(content)


def read_bytes(path: Path) -> bytes:
    """Reads the bytes of a `.tflite` file.

    Raises:
        ModelError: There is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise ModelError(f"There is no file '{path}'.", "Give the path of a .tflite model.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"'{path}' could not be read: {error.strerror}.") from error


class Graph:
    """The ops and tensors of a `.tflite` model with one subgraph.

    Args:
        content: The bytes of a `.tflite` file.
        name: The name of the model in error messages.

    Raises:
        ModelError: The bytes are not a `.tflite` model that Octavo can read.

    Example:
        >>> graph = Graph.read("float.tflite")
        >>> [op.kind for op in graph.ops], graph.tensors[graph.inputs[0]].shape
        (['CONV_2D', 'MEAN', 'FULLY_CONNECTED', 'SOFTMAX'], (1, 8, 8, 3))
    """

    def __init__(self, content: bytes, name: str = "the model") -> None:
        self.content = content
        self.name = name
        model = unpack(content, name)
        with reading(name):
            self._take(model, len(content))

    @cached_property
    def content(self) -> bytes:
        """The bytes of its `.tflite` file. If the graph was made from a model, they are packed on first use."""
        return serialize(self._model)

    def __repr__(self) -> str:
        ports = " -> ".join(
            ", ".join(f"{self.tensors[i].dtype} {self.tensors[i].shape}" for i in indices)
            for indices in (self.inputs, self.outputs)
        )
        return f"Graph({self.name}: {len(self.ops)} ops, {len(self.content):,} bytes, {ports})"

    def _take(self, model: Any, size: int) -> None:
        self._model = model
        self._single()
        self._subgraph = model.subgraphs[0]
        stored = [
            bool(len(b.data)) if (b := model.buffers[raw.buffer]).data is not None else False
            for raw in self._subgraph.tensors
        ]
        soundness.check(self._subgraph, stored, size, self.name)
        self.tensors: tuple[Tensor, ...] = self._read_tensors()
        self.ops: tuple[Op, ...] = self._read_ops()
        self.inputs: tuple[int, ...] = tuple(int(i) for i in self._subgraph.inputs)
        self.outputs: tuple[int, ...] = tuple(int(i) for i in self._subgraph.outputs)

    @classmethod
    def of(cls, model: Any, name: str = "the model") -> Self:
        """Makes a graph of a schema `ModelT` and keeps it. This equals reading its bytes, but is faster.

        Args:
            model: The model. It must not be changed afterwards, and its buffers are renumbered when it is packed.
            name: The name of the model in error messages.
        """
        made = cls.__new__(cls)
        made.name = name
        made._take(model, sum(len(raw.data) for raw in model.buffers if raw.data is not None))
        return made

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Reads a `.tflite` file.

        Raises:
            ModelError: There is no such file, or it is not a model that Octavo can read.
        """
        path = Path(path)
        return cls(read_bytes(path), f"'{path}'")

    def _single(self) -> None:
        if (count := len(self._model.subgraphs)) == 1:
            return
        if count:
            control_flow.refuse(self._model, self._model.subgraphs[0], self.name)
        raise ModelError(
            f"{self.name} has {count} subgraphs, as files with several signatures have. One was expected.",
            "Choose one with `signature`, or export the model with one signature.",
        )

    def _read_tensors(self) -> tuple[Tensor, ...]:
        seen: dict[str, int] = {}
        tensors = []
        for index, raw in enumerate(self._subgraph.tensors):
            base = raw.name.decode("utf-8", "replace") if raw.name else f"tensor_{index}"
            count = seen[base] = seen.get(base, 0) + 1
            # Tables are keyed by name, so a repeated name gets the tensor's index as a suffix.
            name = base if count == 1 else f"{base}#{index}"
            shape = raw.shapeSignature if raw.shapeSignature is not None and len(raw.shapeSignature) else raw.shape
            dtype = _DTYPES[raw.type]
            tensors.append(
                Tensor(
                    index=index,
                    name=name,
                    shape=tuple(int(n) for n in shape) if shape is not None else (),
                    dtype=dtype,
                    constant=self._constant(raw, dtype),
                    qparams=_qparams(raw),
                )
            )
        return tuple(tensors)

    def _constant(self, raw: Any, dtype: str) -> Array | None:
        data = self._model.buffers[raw.buffer].data
        if data is None or len(data) == 0:
            return None
        shape = [int(n) for n in raw.shape] if raw.shape is not None else []
        if dtype == "int4":
            return unpack4(np.frombuffer(bytes(data), np.uint8), math.prod(shape)).reshape(shape)
        if dtype not in np.sctypeDict:
            return None
        # A view, not a copy: graphs that are made of one another share their constants.
        values = np.frombuffer(data, dtype=dtype)
        if not values.flags.aligned:
            values = values.copy()
        values.flags.writeable = False
        return values.reshape(shape) if raw.sparsity is None else dense(values, shape, raw.sparsity)

    def _read_ops(self) -> tuple[Op, ...]:
        ops = []
        for index, raw in enumerate(self._subgraph.operators):
            code = self._model.operatorCodes[raw.opcodeIndex]
            builtin = flatbuffer_utils.get_builtin_code_from_operator_code(code)
            kind = _KINDS.get(builtin, f"BUILTIN_{builtin}")
            if kind == "CUSTOM":
                kind = f"CUSTOM:{(code.customCode or b'').decode('utf-8', 'replace')}"
            ops.append(
                Op(
                    index=index,
                    kind=kind,
                    inputs=tuple(int(i) for i in raw.inputs) if raw.inputs is not None else (),
                    outputs=tuple(int(i) for i in raw.outputs) if raw.outputs is not None else (),
                    options=options_of(kind, raw.builtinOptions),
                    version=int(code.version or 1),
                    custom=bytes(raw.customOptions) if raw.customOptions is not None else b"",
                )
            )
        return tuple(ops)

    @cached_property
    def arguments(self) -> dict[int, str]:
        """The names of the input and output tensors in the first signature; empty if the file has no signature."""
        found = (self._model.signatureDefs or [None])[0]
        maps = () if found is None else (*(found.inputs or ()), *(found.outputs or ()))
        return {int(item.tensorIndex): item.name.decode("utf-8", "replace") for item in maps if item.name}

    @cached_property
    def producers(self) -> dict[int, Op]:
        """The op that writes each tensor; inputs and constants have none."""
        return {out: op for op in self.ops for out in op.outputs}

    @property
    def variables(self) -> tuple[int, ...]:
        """The indices of the tensors that keep their values between runs, such as the state of an LSTM."""
        return tuple(index for index, raw in enumerate(self._subgraph.tensors) if raw.isVariable)

    @property
    def sparse(self) -> tuple[int, ...]:
        """The indices of the tensors that the file stores as sparse constants."""
        return tuple(index for index, raw in enumerate(self._subgraph.tensors) if raw.sparsity is not None)

    @cached_property
    def unfilled(self) -> tuple[Op, ...]:
        """The ops that write their outputs in part: their last output is the number of items that they wrote."""
        return tuple(op for op in self.ops if op.kind == "CUSTOM:TFLite_Detection_PostProcess")

    @cached_property
    def consumers(self) -> dict[int, tuple[Op, ...]]:
        """The ops that read each tensor, in execution order."""
        readers: dict[int, list[Op]] = {}
        for op in self.ops:
            for index in dict.fromkeys(i for i in op.inputs if i >= 0):
                readers.setdefault(index, []).append(op)
        return {index: tuple(ops) for index, ops in readers.items()}

    @cached_property
    def activations(self) -> tuple[Tensor, ...]:
        """The float tensors that are not constant: inputs, then op outputs, in execution order."""
        order = [*self.inputs, *(out for op in self.ops for out in op.outputs)]
        tensors = (self.tensors[index] for index in dict.fromkeys(order))
        return tuple(t for t in tensors if t.dtype == "float32" and t.constant is None)

    @property
    def parameters(self) -> int:
        """The number of elements of all float and quantized constants."""
        return sum(
            t.constant.size
            for t in self.tensors
            if t.constant is not None and (t.dtype == "float32" or t.qparams is not None)
        )

    def exposed(self, tensors: Sequence[Tensor]) -> Graph:
        """The same graph with `tensors` as its outputs, in that order, so that the runtime returns them.

        Unlike `preserve_all_tensors`, this keeps the fast kernels of the runtime.
        """
        model = self.copied()
        model.subgraphs[0].outputs = [t.index for t in tensors]
        model.signatureDefs = None
        return Graph.of(model, self.name)

    def severed(self, tensors: Sequence[Tensor]) -> Graph:
        """The same graph cut at `tensors`: ops read each of them from a new float input, not the computed values.

        A QUANTIZE op follows the input of an integer tensor, so that the error of every op between two cuts can be
        measured alone. QUANTIZE and DEQUANTIZE ops of the graph still read the computed values: together with the op
        before them they compute the stored tensor. The new inputs come first, in the order of `tensors`, then the
        old ones. The indices of existing tensors do not change.
        """
        model = self.copied()
        subgraph = model.subgraphs[0]
        entries, steps, twins = [], [], {}
        for tensor in tensors:
            raw = subgraph.tensors[tensor.index]
            entry = copy.copy(raw)
            entry.name, entry.type, entry.quantization = f"{tensor.name};fed".encode(), schema.TensorType.FLOAT32, None
            entry.buffer = 0
            subgraph.tensors.append(entry)
            entries.append(len(subgraph.tensors) - 1)
            twins[tensor.index] = entries[-1]
            if tensor.qparams is not None:
                twin = copy.copy(raw)
                twin.name, twin.buffer = f"{tensor.name};read".encode(), 0
                subgraph.tensors.append(twin)
                twins[tensor.index] = len(subgraph.tensors) - 1
                steps.append(operator(model, "QUANTIZE", [entries[-1]], [twins[tensor.index]]))
        for op, raw_op in zip(self.ops, subgraph.operators, strict=True):
            if raw_op.inputs is not None and op.kind not in ("QUANTIZE", "DEQUANTIZE"):
                raw_op.inputs = [twins.get(int(index), int(index)) for index in raw_op.inputs]
        subgraph.operators = [*steps, *subgraph.operators]
        subgraph.inputs = [*entries, *self.inputs]
        model.signatureDefs = None
        return Graph.of(model, self.name)

    def replaced(self, constants: Mapping[str, Array]) -> Graph:
        """The same graph with new values for some constants, of the same shape and type.

        Raises:
            KeyError: A name is no constant of this graph.
            ValueError: A shape or type differs.
        """
        model = self.copied()
        by_name = {t.name: t for t in self.tensors if t.constant is not None}
        for name, values in constants.items():
            tensor = by_name[name]
            assert tensor.constant is not None
            if values.shape != tensor.constant.shape or values.dtype != tensor.constant.dtype:
                raise ValueError(
                    f"'{name}' holds {tensor.constant.dtype} {tensor.constant.shape}, not {values.dtype} {values.shape}"
                )
            raw = model.subgraphs[0].tensors[tensor.index]
            # Tensors can share a buffer, so the changed tensor gets its own.
            raw.buffer, raw.sparsity = add_buffer(model, pack4(values) if tensor.dtype == "int4" else values), None
        return Graph.of(model, self.name)

    def unshared(self) -> Graph:
        """The same graph with a separate float constant for each reader, since two readers may need two scales.

        Converters store equal constants once: two layers whose biases are all zero read the same tensor.
        """
        return self._unshared if self._shares else self

    @cached_property
    def _unshared(self) -> Graph:
        taken: set[int] = set()
        model = self.copied()
        subgraph = model.subgraphs[0]
        names = {tensor.name for tensor in self.tensors}
        for tensor in self.tensors:
            # The unique names are written into the file, so that a writer can identify tensors by name.
            subgraph.tensors[tensor.index].name = tensor.name.encode()
        for op in self.ops:
            for place, index in enumerate(op.inputs):
                if index < 0 or (tensor := self.tensors[index]).constant is None or tensor.dtype != "float32":
                    continue
                if index in taken:
                    twin = copy.copy(subgraph.tensors[index])
                    name = f"{tensor.name};{op.index}.{place}"
                    while name in names:  # as this made it before other ops were added
                        name += "'"
                    names.add(name)
                    twin.name = name.encode()
                    subgraph.tensors.append(twin)
                    subgraph.operators[op.index].inputs[place] = index = len(subgraph.tensors) - 1
                elif tensor.constant.size:
                    taken.add(index)
                # Two tensors can also share a buffer.
                raw = subgraph.tensors[index]
                model.buffers.append(model.buffers[raw.buffer])
                raw.buffer = len(model.buffers) - 1
        return Graph.of(model, self.name)

    @cached_property
    def _shares(self) -> bool:
        """Whether two readers share a float constant or its buffer, or the file has names that are not unique."""
        raw = self._subgraph.tensors
        read = [i for op in self.ops for i in op.inputs if i >= 0 and self.tensors[i].constant is not None]
        floats = [i for i in read if self.tensors[i].dtype == "float32"]
        named = all(raw[t.index].name == t.name.encode() for t in self.tensors)
        return not named or len({raw[i].buffer for i in floats}) < len(floats)

    def copied(self) -> Any:
        """A copy of the graph as a schema `ModelT`. It may be changed, except for the contents of its buffers."""
        return copy.deepcopy(self._model, {id(self._model.buffers): [_plain(raw) for raw in self._model.buffers]})


def as_codes(raw: Array) -> Array:
    """Stored values as the codes of `QParams`: uint8 values minus 128, as int8; all others unchanged.

    Example:
        >>> as_codes(np.array([0, 128, 255], np.uint8)).tolist()
        [-128, 0, 127]
    """
    return (raw.astype(np.int16) - 128).astype(np.int8) if raw.dtype == np.uint8 else raw


def as_stored(codes: Array, dtype: str) -> Array:
    """The inverse of `as_codes`: codes as a tensor of the given type stores them.

    Example:
        >>> as_stored(np.array([-128, 0, 127], np.int8), "uint8").tolist()
        [0, 128, 255]
    """
    return (codes.astype(np.int16) + 128 if dtype == "uint8" else codes).astype(dtype)


def pack4(codes: Array) -> Array:
    """Packs 4-bit codes as a file stores them: two in a byte, the first in the lower half.

    The upper half of the last byte is 0 if the number of codes is odd.

    Example:
        >>> pack4(np.array([1, -1, -7])).tolist()
        [241, 9]
    """
    halves = np.append(codes.ravel(), np.zeros(codes.size % 2, np.int8)).astype(np.uint8) & 0xF
    return halves[::2] | halves[1::2] << 4


def unpack4(data: Array, count: int) -> Array:
    """The inverse of `pack4`: unpacks `count` codes of 4 bits to int8.

    Example:
        >>> unpack4(np.array([241, 9], np.uint8), 3).tolist()
        [1, -1, -7]
    """
    # Shifting up and back down extends the sign bit from 4 bits to 8.
    halves = np.stack([data << 4, data], axis=-1).astype(np.uint8).view(np.int8) >> 4
    return halves.ravel()[:count]


def describe(tensor: Tensor) -> dict[str, Any]:
    """An input or output as a JSON value: name, shape, element type, scale and zero point, as the file has them."""
    params = tensor.qparams
    above = 128 if tensor.dtype == "uint8" else 0
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": None if params is None else float(params.scale[0]),
        "zero_point": None if params is None else int(params.zero_point[0]) + above,
    }


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer aligned as the schema asks (``force_align: 16``); the generated code does not align it.

    Kernels on microcontrollers read int32 biases in place, and fault on an unaligned address.
    """

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - the generated code calls it so
        offset = None
        if self.data is not None and len(self.data):
            builder.StartVector(1, len(self.data), 16)
            builder.head = builder.Head() - len(self.data)
            builder.Bytes[builder.Head() : builder.Head() + len(self.data)] = self.data
            offset = builder.EndVector()
        schema.BufferStart(builder)
        if offset is not None:
            schema.BufferAddData(builder, offset)
        return int(schema.BufferEnd(builder))


def _plain(raw: Any) -> Any:
    """A new buffer object with the same content."""
    made = schema.BufferT()
    made.data = None if raw.data is None or len(raw.data) == 0 else np.frombuffer(raw.data, np.uint8)
    return made


def _aligned(raw: Any) -> _AlignedBuffer:
    """An aligned buffer with the same content."""
    made = _AlignedBuffer()
    made.data = None if raw.data is None else memoryview(raw.data).cast("B")
    return made


def drop_unused_buffers(model: Any) -> None:
    """Drops the buffers of a schema `ModelT` that nothing refers to, and numbers the others in the order of their use.

    Args:
        model: The model, which is changed. Its buffer 0 is empty afterwards, by the schema.
    """
    kept: dict[int, int] = {}
    buffers = [schema.BufferT()]
    for holder in (*(t for graph in model.subgraphs for t in graph.tensors), *(model.metadata or [])):
        raw = model.buffers[holder.buffer]
        if raw.data is None or len(raw.data) == 0:
            holder.buffer = 0
            continue
        if holder.buffer not in kept:
            kept[holder.buffer] = len(buffers)
            buffers.append(raw)
        holder.buffer = kept[holder.buffer]
    model.buffers = buffers


def serialize(model: Any, builder: flatbuffers.Builder | None = None) -> bytes:
    """Packs a schema `ModelT` into the bytes of a `.tflite` file.

    All constants are stored inside the flatbuffer, aligned to 16 bytes. Unused buffers are dropped.

    Args:
        model: The model; its buffers are renumbered.
        builder: An empty builder that packs it; by default one of the flatbuffers package.
    """
    drop_unused_buffers(model)
    model.buffers = buffers = [_aligned(raw) for raw in model.buffers]
    if builder is None:
        # The builder has room for everything from the start: growing would copy its content.
        items = sum(len(graph.tensors) + len(graph.operators or ()) for graph in model.subgraphs)
        room = (1 << 16) + 512 * items + sum(len(buffer.data or b"") + 32 for buffer in buffers)
        builder = flatbuffers.Builder(room)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def _qparams(raw: Any) -> QParams | None:
    """The tensor's scale and zero point, or None if the file has none (or only min and max)."""
    quantization = raw.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return None
    scale = np.asarray(quantization.scale, np.float32)
    zero_point = np.asarray(
        quantization.zeroPoint if quantization.zeroPoint is not None else np.zeros(scale.size), np.int64
    )
    dtype = _DTYPES[raw.type]
    bits = {"int4": 4, "int8": 8, "uint8": 8, "int16": 16, "int32": 32, "int64": 64}.get(dtype)
    if dtype == "uint8":
        # Octavo uses int8 codes throughout; `Port` converts the bytes of inputs and outputs by adding 128.
        zero_point = zero_point - 128
    if bits is None or not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        return None
    # With one channel, quantization per channel and per tensor are the same.
    return QParams(
        scale=scale,
        zero_point=zero_point,
        axis=int(quantization.quantizedDimension or 0) if scale.size > 1 else None,
        bits=bits,
    )
