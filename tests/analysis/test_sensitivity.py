"""Sensitivity, against LiteRT's own outputs and float64 formulas written apart."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from oneop import IMAGE, convert, inputs, weights

from octavo.analysis.sensitivity import sensitivity
from octavo.analysis.sensitivity_views import picture, table
from octavo.base.errors import DataError, QuantizationError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.precision import name_of
from octavo.quantization.ranges import Ranges
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

LABELS = np.arange(24) % 5


@pytest.fixture(scope="module")
def graph() -> Graph:
    """A convolution, a depthwise one, a dense layer, and a maximum that only moves values."""
    import tensorflow as tf

    def network(x: Any) -> Any:
        first = tf.nn.relu6(tf.nn.conv2d(x, weights(3, 3, 4, 6), 1, "SAME") + weights(6))
        deep = tf.nn.depthwise_conv2d(first, weights(3, 3, 6, 1, seed=1), [1, 1, 1, 1], "SAME") + weights(6, seed=2)
        dense = tf.matmul(tf.reshape(deep, [1, 384]), weights(384, 5, scale=0.1)) + weights(5)
        return tf.maximum(dense, 0.5 * np.ones((1, 5), np.float32))

    return Graph(convert(network))


@pytest.fixture(scope="module")
def ranges(graph: Graph) -> Ranges:
    return calibrate(graph, inputs())


def sqnr(real: np.ndarray, made: np.ndarray) -> float:
    real, made = real.astype(np.float64), made.astype(np.float64)
    return float(10 * np.log10((real**2).sum() / ((made - real) ** 2).sum()))


def test_an_op_that_moves_values_alone_costs_what_rounding_its_result_costs(graph: Graph, ranges: Ranges) -> None:
    found = sensitivity(graph, ranges, inputs(), LABELS)
    by_kind = {item.op: item for item in found.ops}
    assert set(by_kind) == {op.kind for op in graph.ops}
    last = graph.ops[-1]
    assert last.kind == "MAXIMUM"
    real = Model(graph).predict(inputs())
    # Its inputs and output share one range; rounding is monotonic, so the maximum of rounded values is that rounded.
    bounds = [ranges.of[graph.tensors[i].name] for i in (last.inputs[0], last.outputs[0])]
    low, high = min(0.0, *(b[0] for b in bounds)), max(0.5, *(b[1] for b in bounds))
    step = np.float32((high - low) / 255)
    zero = np.floor(-low / np.float64(step) + 0.5)
    made = (np.clip(np.rint(real.astype(np.float64) / step) + zero, 0, 255) - zero) * step
    only = by_kind["MAXIMUM"].only
    assert only is not None and only.sqnr == pytest.approx(sqnr(real, made), abs=0.02)
    assert found.accuracy == np.mean(real.argmax(1) == LABELS)
    assert only.accuracy == np.mean(made.argmax(1) == LABELS)
    assert only.agreement == np.mean(made.argmax(1) == real.argmax(1))


def test_a_tensor_with_a_careless_range_names_its_op(graph: Graph, ranges: Ranges) -> None:
    """The depthwise convolution's output has a range 60 times too wide: its own fault, and a gain to be without."""
    deep = next(op for op in graph.ops if op.kind == "DEPTHWISE_CONV_2D")
    low, high = ranges.of[name_of(graph, deep)]
    careless = Ranges(ranges.observer, ranges.images, {**ranges.of, name_of(graph, deep): (60 * low, 60 * high)})
    found = sensitivity(graph, careless, inputs())
    worst = found.ops[0]
    # The reshape behind it reads and writes the same codes, and shares the blame.
    assert {item.op for item in found.ops[:3]} >= {"DEPTHWISE_CONV_2D", "RESHAPE"}
    assert worst.only is not None and worst.share is not None and worst.share > 0.2
    noises = [item.only.noise for item in found.ops if item.only is not None]
    assert noises == sorted(noises, reverse=True)
    assert sum(item.share or 0.0 for item in found.ops) == pytest.approx(1.0)
    assert found.accuracy is None and worst.only.accuracy is None


def test_without_the_dense_layers_rounding_the_output_is_nearer_to_float(graph: Graph, ranges: Ranges) -> None:
    found = sensitivity(graph, ranges, inputs())
    item = next(item for item in found.ops if item.op == "FULLY_CONNECTED")
    assert item.all_but is not None and item.all_but.sqnr is not None and found.int8.sqnr is not None
    assert item.all_but.sqnr > found.int8.sqnr


def test_what_tuning_changed_is_for_integer_ops_alone(graph: Graph, ranges: Ranges) -> None:
    """A bias that is wrong by 3 shows where its op is int8, and not where it is float."""
    conv = next(op for op in graph.ops if op.kind == "CONV_2D")
    bias = graph.tensors[conv.inputs[2]]
    assert bias.constant is not None
    found = sensitivity(graph, ranges, inputs(), tuned=graph.replaced({bias.name: bias.constant + np.float32(3.0)}))
    plain = sensitivity(graph, ranges, inputs())
    for item in found.ops:
        before = next(other for other in plain.ops if other.name == item.name)
        assert (item.only == before.only) == (item.op != "CONV_2D")
        assert (item.all_but == before.all_but) == (item.op == "CONV_2D")
    assert found.ops[0].op == "CONV_2D"


def test_what_the_budget_leaves_out_is_listed(graph: Graph, ranges: Ranges) -> None:
    done: list[int] = []
    found = sensitivity(graph, ranges, inputs(), budget=0.0, progress=done.append)
    names = [name_of(graph, op) for op in graph.ops]
    assert found.unmeasured == {"only": names, "all_but": names}
    assert sum(done) == 2
    value = json.loads(json.dumps(found.to_json()))
    assert value["unmeasured"]["only"] == names
    assert picture(value)[:4] == b"\x89PNG"
    assert table(value).row_count == len(names)


def test_pictures_and_tables_of_a_whole_measurement(graph: Graph, ranges: Ranges) -> None:
    value = sensitivity(graph, ranges, inputs(), LABELS).to_json()
    assert picture(value)[:4] == b"\x89PNG"
    assert table(value, 2).row_count == 2


def test_no_images_and_ops_without_an_int8_form_are_refused(graph: Graph, ranges: Ranges) -> None:
    import tensorflow as tf

    with pytest.raises(DataError, match="at least one image"):
        sensitivity(graph, ranges, [])
    odd = Graph(convert(lambda x: tf.cumsum(tf.nn.relu(x), 1), IMAGE))
    with pytest.raises(QuantizationError, match="no int8 form"):
        sensitivity(odd, calibrate(odd, inputs()), inputs())
    found = sensitivity(odd, calibrate(odd, inputs()), inputs(), allow_float=True)
    assert [item.op for item in found.ops] == ["RELU"]
