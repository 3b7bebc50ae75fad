"""Every row of the op table against LiteRT: a one-op float model, its int8 form, the same inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oneop import IMAGE, convert, inputs, kinds, one_op, weights

from octavo.base.formats import DEFAULT
from octavo.quantization.calibrate import calibrate
from octavo.quantization.precision import Precision, written
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.runtime.litert import Kernels, Model
from octavo.tflite.graph import Graph, serialize
from octavo.tflite.op_table import FUSED, TABLE, activation, clips

# How far an output may be from float, in output steps. Half a step is the output's own rounding, which is all that
# ops without arithmetic have; arithmetic adds its rounded inputs and a rounded multiplier.
EXACT = 0.51
CLOSE = 2.1
# Functions that are steep where they are fed magnify the rounding of their input.
STEEP = {"RSQRT": 5.0, "EXP": 3.0, "LOG": 3.5, "L2_NORMALIZATION": 7.0}

# What LiteRT's reference resolver lacks, or computes wrongly (SUM at two scales), beside its other two families.
NOT_IN_REFERENCE = {"ELU", "TILE", "DEPTH_TO_SPACE", "SUM"}
# TensorFlow's converter writes these as RESHAPE.
WRITTEN_AS_RESHAPE = {"SQUEEZE", "EXPAND_DIMS"}


def steps_off(content: bytes, values: np.ndarray, kernels: Kernels) -> float:
    """Quantizes and proves a float model, and gives the largest error of its int8 form in output steps."""
    graph = Graph(content)
    made = quantize(graph, calibrate(graph, values))
    prove(made)
    int8 = Graph(made.content)
    wanted = Model(graph).predict(values)
    assert np.ptp(wanted, axis=0).max() > 0, "outputs that do not differ would hide every error"
    params = int8.tensors[int8.outputs[0]].qparams
    assert params is not None
    # Fixed output scales can be narrower than the function's values; beyond them int8 saturates, as it should.
    bounded = np.clip(wanted, params.minimum[0], params.maximum[0])
    return float(np.abs(Model(int8, kernels).predict(values) - bounded).max() / params.scale[0])


def test_every_row_has_a_case_here() -> None:
    assert set(TABLE) <= set(kinds())


@pytest.mark.parametrize("kind", sorted(TABLE))
def test_int8_is_float_within_rounding_on_litert(kind: str) -> None:
    content, shape, (low, high) = one_op(kind)
    found = {op.kind for op in Graph(content).ops}
    assert ("RESHAPE" if kind in WRITTEN_AS_RESHAPE else kind) in found
    bound = STEEP.get(kind, EXACT if TABLE[kind].shares and not TABLE[kind].blends else CLOSE)
    values = inputs(shape, 24, low, high)
    assert steps_off(content, values, "xnnpack") <= bound
    if kind not in NOT_IN_REFERENCE:
        assert steps_off(content, values, "reference") <= bound


@pytest.mark.parametrize("kind", sorted(set(TABLE) - {"PRELU", "BATCH_MATMUL", "LOG", "SPLIT_V", "UNPACK"}))
def test_versions_and_fixed_scales_equal_tensorflows_converter(kind: str) -> None:
    """The same model through TensorFlow's full-integer converter, where that quantizes the op at all."""
    import tensorflow as tf
    from oneop import _cases

    function, shape, (low, high) = _cases()[kind]
    values = inputs(shape, 24, low, high)
    made = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([made.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in values)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = Graph(converter.convert())
    except Exception as error:  # its own kind, not exported
        pytest.skip(f"TensorFlow's converter does not quantize it: {str(error)[:80]}")
    graph = Graph(one_op(kind)[0])
    ours = Graph(quantize(graph, calibrate(graph, values)).content)
    name = "RESHAPE" if kind in WRITTEN_AS_RESHAPE else kind
    int8 = {"int8"}
    versions = {
        op.version
        for op in theirs.ops
        if op.kind == name and int8 & {theirs.tensors[i].dtype for i in (op.inputs[-1], op.inputs[0], op.outputs[0])}
    }
    if not versions:
        pytest.skip("TensorFlow's converter leaves it in float")
    assert {op.version for op in ours.ops if op.kind == name} == versions
    fixed = TABLE[kind].forms["int8"].fixed
    if fixed is not None:
        params = theirs.tensors[theirs.outputs[0]].qparams
        assert params is not None
        assert (params.scale[0], params.zero_point[0]) == (fixed.scale[0], fixed.zero_point[0])


# The same in output steps of 16 bits, of which an input's rounding makes more than one in the steep functions.
STEEP_WIDE = {"RSQRT": 8.0, "LOG": 10.0, "EXP": 5.0, "TANH": 4.0}


@pytest.mark.parametrize("kind", sorted(kind for kind, rules in TABLE.items() if "int16x8" in rules.forms))
def test_int16_activations_are_float_within_rounding_on_litert(kind: str) -> None:
    """All but the weights, whose 8 bits the float model is given too."""
    content, shape, (low, high) = one_op(kind)
    graph = Graph(content)
    name = "RESHAPE" if kind in WRITTEN_AS_RESHAPE else kind
    values = inputs(shape, 24, low, high)
    # A margin, since the 8 bits of the input can reach beyond the range that 16 bits of it are cut to.
    made = quantize(graph, calibrate(graph, np.concatenate([values, 1.02 * values])), precision={name: "int16x8"})
    prove(made)
    wide = Graph(made.content)
    entry, output = (wide.tensors[index].qparams for index in (wide.inputs[0], wide.outputs[0]))
    assert entry is not None and output is not None and (entry.bits, output.bits) == (8, 16)
    values = entry.dequantize(entry.quantize(values))
    rounded = {
        t.name: params.dequantize(params.quantize(t.constant))
        for t in made.source.tensors
        if t.constant is not None and (params := made.table.stored.get(t.name)) is not None and params.bits == 8
    }
    wanted = Model(made.source.replaced(rounded)).predict(values)
    bound = STEEP_WIDE.get(kind, EXACT if TABLE[kind].shares and not TABLE[kind].blends else CLOSE)
    for kernels in ("xnnpack", "reference") if kind != "TILE" else ("xnnpack",):
        off = np.abs(Model(wide, kernels).predict(values) - wanted).max() / output.scale[0]
        assert off <= bound, (kernels, off)


def changed(content: bytes, change: Callable[[Any], None]) -> Graph:
    """A model whose one op that the table knows is changed."""
    model = Graph(content).copied()
    places = [op.index for op in Graph(content).ops if op.kind in TABLE]
    change(model.subgraphs[0].operators[places[-1]])
    return Graph(serialize(model))


@pytest.mark.parametrize("kind", sorted(kind for kind, rules in TABLE.items() if rules.weight is not None))
def test_weights_and_images_lie_where_the_row_says(kind: str) -> None:
    graph, rules = Graph(one_op(kind)[0]), TABLE[kind]
    op = next(op for op in graph.ops if op.kind == kind)
    assert op.inputs[rules.image] == graph.inputs[0]
    assert rules.weight is not None
    weight, output = graph.tensors[op.inputs[rules.weight]], graph.tensors[op.outputs[0]]
    sizes = dict(zip(rules.layout, weight.shape, strict=True))
    assert weight.constant is not None and sizes["O"] == output.shape[-1]
    assert sizes.get("I", graph.tensors[graph.inputs[0]].shape[-1]) == graph.tensors[graph.inputs[0]].shape[-1]
    assert ("I" in sizes) != rules.depthwise and ("H" in sizes) == (rules.convolves or rules.transposed)


@pytest.mark.parametrize("kind", sorted(kind for kind, rules in TABLE.items() if rules.bounds is not None))
def test_an_activation_function_clips_at_its_bounds(kind: str) -> None:
    low, high = TABLE[kind].bounds or (0.0, 0.0)
    values = inputs(IMAGE, 24, -9.0, 9.0)
    found = Model(Graph(one_op(kind)[0])).predict(values)
    np.testing.assert_array_equal(found, np.clip(values, low, high))


@pytest.mark.parametrize("end", sorted(kind for kind in FUSED if kind in TABLE and TABLE[kind].bounds is not None))
@pytest.mark.parametrize("kind", sorted(kind for kind, rules in TABLE.items() if rules.fuses))
def test_what_fuses_clips_in_float_and_int8(kind: str, end: str) -> None:
    content, shape, (low, high) = one_op(kind)

    def fuse(raw: Any) -> None:
        raw.builtinOptions.fusedActivationFunction = FUSED[end]

    fused, values = changed(content, fuse), 4 * inputs(shape, 24, low, high)
    op = next(op for op in fused.ops if op.kind == kind)
    assert activation(op) == end and clips(op) == TABLE[end].bounds
    wanted = np.clip(Model(Graph(content)).predict(values), *clips(op))
    int8, plain = (Graph(quantize(each, calibrate(each, values)).content) for each in (fused, Graph(content)))
    # The inputs' rounding is what it is without the function, whose narrower output has finer steps.
    step = max(float(each.tensors[each.outputs[0]].qparams.scale[0]) for each in (int8, plain))  # type: ignore[union-attr]
    kernels: tuple[Kernels, ...] = ("xnnpack", "builtin", "reference")
    for each in kernels:
        np.testing.assert_allclose(Model(fused, each).predict(values), wanted, atol=1e-5)
        found = Model(int8, each).predict(values)
        assert np.abs(found - wanted).max() <= CLOSE * step
        assert clips(op)[0] - 0.51 * step <= found.min() and found.max() <= clips(op)[1] + 0.51 * step


@pytest.mark.parametrize("kind", sorted(kind for kind, rules in TABLE.items() if rules.scales))
def test_what_commutes_with_a_scale_does(kind: str) -> None:
    import tensorflow as tf

    content = convert(lambda x: x + tf.nn.max_pool2d(x, 3, 1, "SAME")) if kind == "ADD" else one_op(kind)[0]
    model, values = Model(Graph(content)), inputs()
    assert kind in {op.kind for op in Graph(content).ops}
    np.testing.assert_array_equal(model.predict(2 * values), 2 * model.predict(values))


@pytest.mark.parametrize("kind", sorted(kind for kind, rules in TABLE.items() if rules.commutative))
def test_inputs_that_can_be_exchanged_are(kind: str) -> None:
    def exchange(raw: Any) -> None:
        raw.inputs = list(raw.inputs)[::-1]

    content = one_op(kind)[0]
    other = changed(content, exchange)
    assert [op.inputs for op in other.ops] != [op.inputs for op in Graph(content).ops]
    np.testing.assert_array_equal(Model(other).predict(inputs()), Model(Graph(content)).predict(inputs()))


OTHERS = [(kind, name) for kind, rules in sorted(TABLE.items()) for name in rules.forms if name != DEFAULT]


@pytest.mark.parametrize(("kind", "precision"), OTHERS)
def test_every_other_form_is_written_in_its_types_and_runs_on_litert(kind: str, precision: Precision) -> None:
    content, shape, (low, high) = one_op(kind)
    name = "RESHAPE" if kind in WRITTEN_AS_RESHAPE else kind
    graph = Graph(content)
    made = quantize(graph, calibrate(graph, inputs(shape, 8, low, high)), precision={name: precision})
    assert "LiteRT allocates and runs it" in {check.name for check in prove(made).checks}
    mixed = Graph(made.content)
    assert {written(mixed, op) for op in mixed.ops if op.kind == name} == {precision}
    wanted = {form.version(mixed, op) for op in mixed.ops if (form := TABLE[name].forms[precision]) and op.kind == name}
    assert {op.version for op in mixed.ops if op.kind == name} == wanted


slow_to_build = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@slow_to_build
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["SAME", "VALID"]),
    filters=st.integers(1, 9),
    dilation=st.integers(1, 2),
    ends=st.sampled_from(["none", "relu", "relu6"]),
)
def test_convolutions_of_any_shape(
    kernel: int, stride: int, padding: str, filters: int, dilation: int, ends: str
) -> None:
    import tensorflow as tf

    stride = 1 if dilation > 1 else stride
    end = {"none": lambda x: x, "relu": tf.nn.relu, "relu6": tf.nn.relu6}[ends]
    content = convert(
        lambda x: end(
            tf.nn.conv2d(x, weights(kernel, kernel, 4, filters), stride, padding, dilations=dilation)
            + weights(filters)
            + 0.5
        )
    )
    assert steps_off(content, inputs(), "xnnpack") <= CLOSE


@slow_to_build
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 2),
    padding=st.sampled_from(["SAME", "VALID"]),
    multiplier=st.integers(1, 3),
)
def test_depthwise_convolutions_of_any_shape(kernel: int, stride: int, padding: str, multiplier: int) -> None:
    import tensorflow as tf

    content = convert(
        lambda x: tf.nn.depthwise_conv2d(x, weights(kernel, kernel, 4, multiplier), [1, stride, stride, 1], padding)
    )
    assert steps_off(content, inputs(), "xnnpack") <= CLOSE


@slow_to_build
@given(units=st.integers(1, 9), bias=st.booleans(), keep=st.booleans())
def test_dense_layers_with_and_without_bias_and_kept_dimensions(units: int, bias: bool, keep: bool) -> None:
    import tensorflow as tf

    shape = (1, 5, 16) if keep else (1, 16)
    content = convert(lambda x: tf.matmul(x, weights(16, units)) + (weights(units) if bias else 0.0), shape)
    assert steps_off(content, inputs(shape), "xnnpack") <= CLOSE


@slow_to_build
@given(axes=st.sampled_from([[1], [2], [1, 2], [3]]), keep=st.booleans())
def test_means_over_any_axes(axes: list[int], keep: bool) -> None:
    import tensorflow as tf

    assert steps_off(convert(lambda x: tf.reduce_mean(x, axes, keepdims=keep)), inputs(IMAGE), "xnnpack") <= CLOSE
