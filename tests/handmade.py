"""`.tflite` files put together tensor by tensor, for what no converter here writes; needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from octavo.tflite.graph import Graph, serialize


class File:
    """A file in the making; tensors are told by the index that adding one returns."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, b"handmade"
        self.model.buffers, self.model.operatorCodes, self.model.subgraphs = [schema.BufferT()], [], []
        self.model.signatureDefs = None
        self.subgraph("main")

    def subgraph(self, name: str) -> int:
        """Another subgraph, which all that follows goes into."""
        self.at = schema.SubGraphT()
        self.at.name, self.at.tensors, self.at.operators = name.encode(), [], []
        self.at.inputs, self.at.outputs = [], []
        self.model.subgraphs.append(self.at)
        return len(self.model.subgraphs) - 1

    def tensor(self, name: str | None, shape: Sequence[int], dtype: str = "float32") -> int:
        """A tensor that is fed or computed; -1 is an open dimension."""
        raw = schema.TensorT()
        raw.name = None if name is None else name.encode()
        raw.shape, raw.type, raw.hasRank = [abs(n) for n in shape], getattr(schema.TensorType, dtype.upper()), True
        raw.shapeSignature = list(shape) if min(shape, default=1) < 0 else None
        self.at.tensors.append(raw)
        return len(self.at.tensors) - 1

    def constant(self, name: str | None, values: Any, scale: Any = None, axis: int = 0) -> int:
        """A tensor that is stored; with `scale`, its values are codes of zero point 0."""
        values = np.asarray(values)
        index = self.tensor(name, values.shape, values.dtype.name)
        raw = self.at.tensors[index]
        raw.buffer = len(self.model.buffers)
        self.model.buffers.append(schema.BufferT())
        self.model.buffers[-1].data = np.ascontiguousarray(values).view(np.uint8).ravel() if values.size else None
        if scale is not None:
            raw.quantization = schema.QuantizationParametersT()
            raw.quantization.scale = np.atleast_1d(np.asarray(scale, np.float32))
            raw.quantization.zeroPoint = np.zeros(raw.quantization.scale.size, np.int64)
            raw.quantization.quantizedDimension = axis
        return index

    def op(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: str = "", **fields: Any) -> None:
        """An op; `options` is the schema's name of its table, without ``Options``."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        raw = schema.OperatorT()
        raw.opcodeIndex = len(self.model.operatorCodes)
        raw.inputs, raw.outputs = list(inputs), list(outputs)
        if options:
            raw.builtinOptionsType = getattr(schema.BuiltinOptions, f"{options}Options")
            raw.builtinOptions = getattr(schema, f"{options}OptionsT")()
            for name, value in fields.items():
                setattr(raw.builtinOptions, name, value)
        self.model.operatorCodes.append(code)
        self.at.operators.append(raw)

    def custom(self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: dict[str, Any]) -> None:
        """A custom op; its options are a flexbuffer."""
        from flatbuffers import flexbuffers

        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode, code.version = name.encode(), 1
        raw = schema.OperatorT()
        raw.opcodeIndex = len(self.model.operatorCodes)
        raw.inputs, raw.outputs = list(inputs), list(outputs)
        raw.customOptions = np.frombuffer(flexbuffers.Dumps(options), np.uint8)
        self.model.operatorCodes.append(code)
        self.at.operators.append(raw)

    def dense(self, source: int, weight: int, out: int, bias: int = -1) -> None:
        """A FULLY_CONNECTED op."""
        self.op("FULLY_CONNECTED", [source, weight, bias], [out], "FullyConnected")

    def ports(self, inputs: Sequence[int], outputs: Sequence[int]) -> File:
        """What the subgraph takes and gives."""
        self.at.inputs, self.at.outputs = list(inputs), list(outputs)
        return self

    def signature(self, key: str, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        """A signature of the subgraph that was made last."""
        made = schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = key.encode(), len(self.model.subgraphs) - 1
        made.inputs, made.outputs = _maps(inputs), _maps(outputs)
        self.model.signatureDefs = [*(self.model.signatureDefs or []), made]

    def bytes(self) -> bytes:
        """The file."""
        return serialize(self.model)

    def graph(self) -> Graph:
        """The file, read."""
        return Graph(self.bytes(), "'handmade.tflite'")


def _maps(ports: dict[str, int]) -> list[Any]:
    made = []
    for name, index in ports.items():
        made.append(schema.TensorMapT())
        made[-1].name, made[-1].tensorIndex = name.encode(), index
    return made


def values(*shape: int, seed: int = 0, scale: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def answers(content: bytes, *given: np.ndarray) -> list[np.ndarray]:
    """What LiteRT itself gives, with inputs resized to what they are fed; shares no code with Octavo."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    details = sorted(made.get_input_details(), key=lambda detail: detail["index"])
    for detail, one in zip(details, given, strict=True):
        made.resize_tensor_input(detail["index"], one.shape)
    made.allocate_tensors()
    for detail, one in zip(details, given, strict=True):
        made.set_tensor(detail["index"], one)
    made.invoke()
    return [made.get_tensor(detail["index"]) for detail in made.get_output_details()]
