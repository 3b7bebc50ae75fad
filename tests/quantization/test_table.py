from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from types import MappingProxyType

import numpy as np
import pytest
from handmade import File
from oneop import IMAGE, convert, inputs, weights

from octavo.base.affine import QParams
from octavo.base.errors import ModelError, QuantizationError
from octavo.base.formats import FORMATS
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import Quantized, quantize
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import Slot, build, layout
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph


def _made(
    function: object, shape: tuple[int, ...] = IMAGE, values: np.ndarray | None = None
) -> tuple[Graph, Quantized]:
    graph = Graph(convert(function, shape))  # type: ignore[arg-type]
    images = inputs(shape) if values is None else values
    made = quantize(graph, calibrate(graph, images))
    prove(made)
    return graph, made


def _kinds(made: Quantized) -> list[str]:
    return [op.kind for op in Graph(made.content).ops]


def test_concatenated_branches_share_the_union_of_their_ranges_without_requantizing() -> None:
    import tensorflow as tf

    graph, made = _made(lambda x: tf.concat([x * weights(8, 8, 4), tf.nn.relu(x) * 40.0], -1))
    assert "QUANTIZE" not in _kinds(made)
    concat = next(op for op in graph.ops if op.kind == "CONCATENATION")
    params = {made.table.stored[graph.tensors[i].name] for i in (*concat.inputs, *concat.outputs)}
    assert len(params) == 1
    ranges = calibrate(graph, inputs()).of
    bounds = [ranges[graph.tensors[i].name] for i in concat.inputs]
    wanted = QParams.from_range(min(b[0] for b in bounds), max(b[1] for b in bounds))
    assert params == {wanted}


def test_a_fixed_scale_beside_others_is_requantized() -> None:
    import tensorflow as tf

    graph, made = _made(lambda x: tf.concat([tf.sigmoid(x), x * weights(8, 8, 4)], -1))
    assert _kinds(made).count("QUANTIZE") == 1
    values = inputs()
    step = float(Graph(made.content).tensors[Graph(made.content).outputs[0]].qparams.scale[0])  # type: ignore[union-attr]
    off = np.abs(Model(Graph(made.content)).predict(values) - Model(graph).predict(values)).max()
    assert off <= 2.1 * step


def test_a_fixed_scale_alone_is_passed_on() -> None:
    import tensorflow as tf

    _, made = _made(lambda x: tf.reshape(tf.nn.softmax(x), [1, 4, 4]), (1, 16))
    assert "QUANTIZE" not in _kinds(made)
    output = Graph(made.content)
    params = output.tensors[output.outputs[0]].qparams
    assert params is not None
    assert (float(params.scale[0]), int(params.zero_point[0])) == (1 / 256, -128)


def test_sharing_goes_through_chains() -> None:
    import tensorflow as tf

    graph, made = _made(
        lambda x: tf.pad(tf.nn.max_pool2d(tf.nn.relu(x), 2, 2, "VALID"), [[0, 0], [1, 1], [1, 1], [0, 0]])
    )
    moving = [op for op in graph.ops if op.kind in {"MAX_POOL_2D", "PAD"}]
    assert len(moving) == 2
    names = {graph.tensors[i].name for op in moving for i in (op.inputs[0], *op.outputs)}
    assert len({made.table.stored[name] for name in names}) == 1


def test_a_bias_that_would_overflow_widens_its_channels_scale() -> None:
    """A channel with next to no weights beside a bias of 3: its bias code would be 4e12."""
    import tensorflow as tf

    kernel, bias = weights(1, 1, 4, 3), np.array([0.1, 3.0, -0.2], np.float32)
    kernel[..., 1] *= 1e-10
    graph, made = _made(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME") + bias)
    assert list(made.table.widened.values()) == [1]
    int8 = Graph(made.content)
    codes = next(t.constant for t in int8.tensors if t.dtype == "int32" and t.constant is not None and t.qparams)
    assert np.abs(codes.astype(np.int64)).max() <= 2**30
    values = inputs()
    step = float(int8.tensors[int8.outputs[0]].qparams.scale[0])  # type: ignore[union-attr]
    for kernels in ("xnnpack", "reference"):
        assert np.abs(Model(int8, kernels).predict(values) - Model(graph).predict(values)).max() <= 2.1 * step  # type: ignore[arg-type]


def test_without_the_guard_the_bias_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guard is for: without it the same bias saturates 32 bits and the channel is wrong."""
    import tensorflow as tf

    monkeypatch.setitem(FORMATS, "int8", replace(FORMATS["int8"], largest_bias=2**62))
    kernel, bias = weights(1, 1, 4, 3), np.array([0.1, 3.0, -0.2], np.float32)
    kernel[..., 1] *= 1e-7
    graph = Graph(convert(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME") + bias))
    values = inputs()
    made = quantize(graph, calibrate(graph, values))
    try:
        wrong = Model(Graph(made.content)).predict(values)
    except ModelError:
        return
    assert np.abs(wrong - Model(graph).predict(values)).max() > 1.0


def test_what_has_no_int8_form_is_listed_with_its_place() -> None:
    import tensorflow as tf

    graph = Graph(convert(lambda x: tf.nn.lrn(tf.nn.relu(x)) + tf.cumsum(x, 1)))
    with pytest.raises(QuantizationError, match="2 ops have no int8 form") as caught:
        quantize(graph, calibrate(graph, inputs()))
    kinds = [detail.split(" #")[0] for detail in caught.value.details]
    assert sorted(kinds) == ["CUMSUM", "LOCAL_RESPONSE_NORMALIZATION"]


def test_weights_of_another_type_have_no_int8_form() -> None:
    file = File()
    x, out = file.tensor("x", (1, 3)), file.tensor("out", (1, 4))
    file.dense(x, file.constant("weight", np.ones((4, 3), np.int32)), out)
    graph = Graph(file.ports([x], [out]).bytes())
    with pytest.raises(QuantizationError, match="its constant 'weight' is int32, not float32"):
        quantize(graph, Ranges("minmax", 1, {"x": (0.0, 1.0), "out": (0.0, 1.0)}))


def test_allowed_float_runs_between_conversions_and_is_listed() -> None:
    import tensorflow as tf

    graph = Graph(convert(lambda x: tf.cumsum(tf.nn.relu(x), 1) + tf.nn.max_pool2d(x, 3, 1, "SAME")))
    values = inputs()
    made = quantize(graph, calibrate(graph, values), allow_float=True)
    proof = prove(made)
    assert [item.op.split(" #")[0] for item in proof.kept_in_float] == ["CUMSUM"]
    kinds = _kinds(made)
    assert "DEQUANTIZE" in kinds
    assert "QUANTIZE" in kinds
    int8 = Graph(made.content)
    step = float(int8.tensors[int8.outputs[0]].qparams.scale[0])  # type: ignore[union-attr]
    assert np.abs(Model(int8).predict(values) - Model(graph).predict(values)).max() <= 3 * step


def test_ranges_of_another_graph_are_refused() -> None:
    import tensorflow as tf

    graph = Graph(convert(tf.nn.relu))
    with pytest.raises(QuantizationError, match="have no entry for tensor"):
        quantize(graph, Ranges("minmax", 1, {"other": (0.0, 1.0)}))


def test_a_table_and_a_layout_cannot_be_changed() -> None:
    import tensorflow as tf

    graph, made = _made(lambda x: tf.concat([tf.sigmoid(x), x * weights(8, 8, 4)], -1))
    for whole in (made.table, layout(graph)):
        with pytest.raises(FrozenInstanceError):
            whole.stored = {}  # type: ignore[misc]
        for found in fields(whole):
            value = getattr(whole, found.name)
            assert isinstance(value, tuple | MappingProxyType), found.name
    with pytest.raises(TypeError, match="item assignment"):
        made.table.stored["x"] = QParams.from_range(0, 1)  # type: ignore[index]


def test_a_slot_is_a_tensor_as_it_is_stored_or_as_one_op_reads_it() -> None:
    import tensorflow as tf

    graph, made = _made(lambda x: tf.concat([tf.sigmoid(x), x * weights(8, 8, 4)], -1))
    (slot,) = made.table.requantized
    concat = next(op for op in graph.ops if op.kind == "CONCATENATION")
    sigmoid = next(op for op in graph.ops if op.kind == "LOGISTIC")
    assert slot == Slot(graph.tensors[sigmoid.outputs[0]].name, concat.index)
    assert made.table.at(concat, graph.tensors[sigmoid.outputs[0]]) == made.table.requantized[slot]
    found = layout(graph)
    assert found.places[slot] == found.at(concat, graph.tensors[concat.outputs[0]])
    assert found.places[Slot(slot.tensor)] == Slot(slot.tensor) and Slot(slot.tensor) in found.fixed
    assert set(found.group) == {each for slots in found.members.values() for each in slots}
    # Ranges name slots as they always did: saved ones of 0.1 are read.
    ranges = calibrate(graph, inputs())
    named = Ranges("minmax", 1, {**ranges.of, str(slot): (-4.0, 4.0)})
    assert str(slot) == f"{slot.tensor}@{concat.index}"
    assert build(graph, named).requantized[slot] == QParams.from_range(-4, 4)


def test_depthwise_channels_have_scales_of_their_own() -> None:
    """Channel ranges that differ 20 times: per channel, every channel is as exact as its own range allows."""
    import tensorflow as tf

    kernel = weights(3, 3, 4, 1)
    kernel[:, :, 0] *= 20
    graph, made = _made(lambda x: tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME"))
    depthwise = next(op for op in graph.ops if op.kind == "DEPTHWISE_CONV_2D")
    params = made.table.stored[graph.tensors[depthwise.inputs[1]].name]
    assert params.axis == 3
    wanted = np.abs(kernel).max(axis=(0, 1, 3)) / 127
    np.testing.assert_allclose(params.scale, wanted, rtol=1e-6)
