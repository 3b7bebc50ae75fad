from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from octavo.api.slim import slim as slim_file
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.rewrite.equality import compare
from octavo.rewrite.equality import pictures as photographs
from octavo.rewrite.fuse import fuse
from octavo.rewrite.strip import strip
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph, serialize
from octavo.tflite.op_table import same_padding

SIZE = 12


@functools.cache
def network(size: int = SIZE) -> Graph:
    """A small float network with strides, padding, a sum and ReLUs, as TensorFlow's converter fuses it."""
    import tensorflow as tf

    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return tf.constant(rng.normal(0, 0.4, shape).astype(np.float32))

    kernels = weights(3, 3, 3, 8), weights(3, 3, 8, 1), weights(5, 3, 8, 8), weights(8, 4)

    @tf.function(input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32)])
    def classify(image: Any) -> Any:
        first = tf.nn.relu6(tf.nn.conv2d(image, kernels[0], 2, "SAME"))
        deep = tf.nn.relu(tf.nn.depthwise_conv2d(first, kernels[1], [1, 1, 1, 1], "SAME"))
        deep = tf.nn.conv2d(deep, kernels[2], 1, "SAME")
        joined = tf.nn.relu(first + deep)
        return tf.nn.softmax(tf.matmul(tf.reduce_mean(joined, [1, 2]), kernels[3]))

    return Graph(bytes(tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()]).convert()))


@functools.cache
def int8() -> Graph:
    images = Preprocess((SIZE, SIZE)).normalize(photographs((SIZE, SIZE, 3), 20))
    return Graph(quantize(network(), calibrate(network(), images)).content)


def inputs(graph: Graph) -> np.ndarray:
    seen = photographs((SIZE, SIZE, 3), 12, seed=1).astype(np.int16) - 128
    return seen.astype(np.int8) if graph.tensors[graph.inputs[0]].dtype == "int8" else seen.astype(np.float32) / 128


class Apart:
    """Takes a graph apart by hand, the way that exporters leave it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(graph.content))
        self.subgraph = self.model.subgraphs[0]
        self.ops = {op.index: raw for op, raw in zip(graph.ops, self.subgraph.operators, strict=True)}

    def made(self) -> Graph:
        return Graph(serialize(self.model))

    def twin(self, tensor: int, **changes: Any) -> int:
        raw = copy.deepcopy(self.subgraph.tensors[tensor])
        raw.name = f"{raw.name.decode()};{len(self.subgraph.tensors)}".encode()
        raw.buffer = 0
        for name, value in changes.items():
            setattr(raw, name, value)
        self.subgraph.tensors.append(raw)
        return len(self.subgraph.tensors) - 1

    def insert(self, before: Any, kind: str, sources: list[int], target: int, version: int = 2) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = version
        self.model.operatorCodes.append(code)
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = len(self.model.operatorCodes) - 1, sources, [target]
        self.subgraph.operators.insert(self.subgraph.operators.index(before), op)

    def pad(self, place: int, extra: int = 0) -> None:
        """SAME of a convolution as PAD and VALID, with `extra` zeros more before and fewer after."""
        op = self.graph.ops[place]
        source, weight = (self.graph.tensors[i] for i in op.inputs[:2])
        options = op.options
        amounts = np.zeros((4, 2), np.int32)
        for axis, stride in ((1, options.strideH), (2, options.strideW)):
            _, before, after = same_padding(source.shape[axis], weight.shape[axis], stride)
            amounts[axis] = before + extra, after - extra
        self.model.buffers.append(schema.BufferT())
        self.model.buffers[-1].data = amounts.view(np.uint8).ravel()
        shape = np.array(source.shape, np.int32) + amounts.sum(axis=1)
        held = {"buffer": len(self.model.buffers) - 1, "shape": np.array([4, 2], np.int32), "quantization": None}
        held |= {"type": schema.TensorType.INT32}
        constant, padded = self.twin(source.index, **held), self.twin(source.index, shape=shape)
        raw = self.ops[place]
        self.insert(raw, "PAD", [source.index, constant], padded)
        raw.inputs[0] = padded
        raw.builtinOptions.padding = schema.Padding.VALID

    def activation(self, place: int) -> int:
        """A fused activation function as an op of its own; returns what it reads."""
        op = self.graph.ops[place]
        kind = {1: "RELU", 3: "RELU6"}[op.options.fusedActivationFunction]
        between = self.twin(op.outputs[0])
        raw = self.ops[place]
        after = self.subgraph.operators[self.subgraph.operators.index(raw) + 1]
        raw.outputs = [between]
        raw.builtinOptions.fusedActivationFunction = 0
        self.insert(after, kind, [between], op.outputs[0])
        return between

    def quantize_again(self, place: int, *between: dict[str, Any]) -> None:
        """Steps between two ops: through tensors with `between` changed, back to what it was."""
        raw = self.ops[place]
        source = int(raw.inputs[0])
        for changes in (*between, {}):
            target = self.twin(source, **changes)
            kind = "DEQUANTIZE" if changes.get("type") == schema.TensorType.FLOAT32 else "QUANTIZE"
            self.insert(raw, kind, [int(raw.inputs[0])], target)
            raw.inputs[0] = target


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def place_of(graph: Graph, kind: str, which: int = 0) -> int:
    return [op.index for op in graph.ops if op.kind == kind][which]


def check(apart: Graph, whole: Graph, gone: dict[str, int]) -> None:
    """LiteRT computes the graph that was taken apart as the whole one, and Octavo puts it together again."""
    fused = fuse(apart)
    assert fused.kinds == gone
    assert kinds(fused.graph) == kinds(whole) != kinds(apart)
    for first, second in ((apart, whole), (apart, fused.graph), (apart, strip(fused.graph))):
        found = compare(first, second, inputs(whole), inputs(whole))
        assert all(item.distinct > 3 for item in found)
        # XNNPACK sums floats in another order where it pads; LiteRT's own kernels do not.
        padded = "PAD" in gone and whole is network()
        assert all(item.steps <= (1e-6 if padded and item.kernels == "xnnpack" else 0) for item in found), found
    assert len(strip(fused.graph).tensors) == len(strip(whole).tensors)


@pytest.mark.parametrize("whole", [network, int8])
def test_padding_that_is_same_goes_into_convolutions(whole: Callable[[], Graph]) -> None:
    apart = Apart(whole())
    for kind, which in (("CONV_2D", 0), ("DEPTHWISE_CONV_2D", 0), ("CONV_2D", 1)):
        apart.pad(place_of(whole(), kind, which))
    check(apart.made(), whole(), {"PAD": 3})


@pytest.mark.parametrize("whole", [network, int8])
def test_activation_functions_go_into_the_ops_before_them(whole: Callable[[], Graph]) -> None:
    apart = Apart(whole())
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD"):
        apart.activation(place_of(whole(), kind))
    check(apart.made(), whole(), {"RELU6": 1, "RELU": 2})


@pytest.mark.parametrize(
    ("between", "gone"),
    [
        ([], {"QUANTIZE": 1}),
        ([{"type": schema.TensorType.FLOAT32, "quantization": None}], {"QUANTIZE": 1, "DEQUANTIZE": 1}),
    ],
)
def test_quantize_that_gives_back_what_there_was_is_dropped(
    between: list[dict[str, Any]], gone: dict[str, int]
) -> None:
    apart = Apart(int8())
    apart.quantize_again(place_of(int8(), "DEPTHWISE_CONV_2D"), *between)
    check(apart.made(), int8(), gone)


def test_bytes_and_back_are_dropped() -> None:
    source = int8().ops[place_of(int8(), "DEPTHWISE_CONV_2D")].inputs[0]
    unsigned = copy.deepcopy(Apart(int8()).subgraph.tensors[source].quantization)
    unsigned.zeroPoint = np.asarray(unsigned.zeroPoint) + 128
    apart = Apart(int8())
    apart.quantize_again(
        place_of(int8(), "DEPTHWISE_CONV_2D"), {"type": schema.TensorType.UINT8, "quantization": unsigned}
    )
    check(apart.made(), int8(), {"QUANTIZE": 2})


def test_quantize_through_a_coarser_scale_stays() -> None:
    source = int8().ops[place_of(int8(), "DEPTHWISE_CONV_2D")].inputs[0]
    coarse = copy.deepcopy(Apart(int8()).subgraph.tensors[source].quantization)
    coarse.scale = np.asarray(coarse.scale) * np.float32(3)
    apart = Apart(int8())
    apart.quantize_again(place_of(int8(), "DEPTHWISE_CONV_2D"), {"quantization": coarse})
    made = apart.made()
    assert not fuse(made).kinds
    assert any(not item.equal for item in compare(made, int8(), inputs(made), inputs(made)))


def test_padding_on_the_other_side_is_left_with_the_reason() -> None:
    """What PyTorch does to even sizes: one row of zeros before, where SAME has it after."""
    apart = Apart(network())
    apart.pad(place_of(network(), "CONV_2D"), extra=1)
    made = apart.made()
    fused = fuse(made)
    assert not fused.kinds and fused.graph is made
    assert fused.not_fused == ("PAD #0: it pads 12 by 1 and 0, but SAME of CONV_2D #1 pads by 0 and 1",)
    assert any(not item.equal for item in compare(made, network(), inputs(made), inputs(made)))


def test_a_convolution_with_damaged_shapes_keeps_its_padding() -> None:
    apart = Apart(network())
    place = place_of(network(), "CONV_2D")
    apart.pad(place)
    apart.subgraph.tensors[apart.subgraph.operators[place + 1].outputs[0]].shape = [1]
    said = fuse(apart.made()).not_fused
    assert said == ("PAD #0: the shapes of CONV_2D #1 are not those of a convolution",)


def test_what_something_else_reads_is_left() -> None:
    apart = Apart(network())
    between = apart.activation(place_of(network(), "CONV_2D"))
    apart.ops[place_of(network(), "ADD")].inputs[0] = between
    assert [reason for reason in fuse(apart.made()).not_fused if "another op or output also uses its input" in reason]


def test_an_int8_activation_with_a_scale_of_its_own_is_left() -> None:
    apart = Apart(int8())
    between = apart.activation(place_of(int8(), "DEPTHWISE_CONV_2D"))
    found = apart.subgraph.tensors[between].quantization
    found.scale, found.zeroPoint = np.asarray(found.scale) * np.float32(2), np.array([0])
    made = apart.made()
    assert not fuse(made).kinds
    assert any("input and output have different scales" in reason for reason in fuse(made).not_fused)


@pytest.mark.parametrize("size", [7, 8, 224])
@pytest.mark.parametrize(("window", "stride"), [(1, 2), (3, 1), (3, 2), (4, 2), (5, 3), (7, 2)])
def test_same_is_what_tensorflow_does(size: int, window: int, stride: int) -> None:
    """The oracle is TensorFlow's own convolution with SAME, beside VALID on what is padded here."""
    import tensorflow as tf

    image = np.random.default_rng(size).normal(size=(1, size, size, 1)).astype(np.float32)
    kernel = np.random.default_rng(window).normal(size=(window, window, 1, 1)).astype(np.float32)
    steps, before, after = same_padding(size, window, stride)
    padded = np.pad(image, ((0, 0), (before, after), (before, after), (0, 0)))
    same = tf.nn.conv2d(image, kernel, stride, "SAME").numpy()
    assert same.shape[1] == steps
    np.testing.assert_allclose(tf.nn.conv2d(padded, kernel, stride, "VALID").numpy(), same, atol=1e-5)


@pytest.mark.parametrize("whole", [network, int8])
@pytest.mark.parametrize("fused", [True, False])
def test_slim_fuses_before_it_strips(tmp_path: Path, fused: bool, whole: Callable[[], Graph]) -> None:
    apart = Apart(whole())
    apart.pad(place_of(whole(), "CONV_2D"))
    source, out = tmp_path / "apart.tflite", tmp_path / "slim.tflite"
    source.write_bytes(apart.made().content)
    Sidecar(Preprocess((SIZE, SIZE)), ("a", "b", "c", "d")).write(source)
    made = slim_file(source, out, fuse=fused, images=6)
    assert [step.name for step in made.steps] == ["fuse", "strip"][not fused :]
    assert made.not_fused == ()
    assert made.to_json()["steps"][0]["loose"] == (["xnnpack"] if fused and whole is network else [])
    assert ("PAD" in kinds(Graph.read(out))) is not fused
