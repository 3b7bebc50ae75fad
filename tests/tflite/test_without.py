"""Why an operator has no int8 form: each reason, seen on LiteRT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oneop import convert, inputs, weights

from octavo.base.errors import ModelError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import TABLE, WITHOUT, Form, Row, why_not

SHAPE = (1, 4, 8)


def _cases() -> dict[str, Callable[[Any], Any]]:
    import tensorflow as tf

    return {
        "NEG": lambda x: -(x + 1.0),
        "SQUARE": tf.square,
        "DIV": lambda x: x / tf.nn.relu(x),
        "SIN": tf.sin,
        "COS": tf.cos,
        "POW": lambda x: tf.pow(tf.abs(x), 1.7),
        "FLOOR": tf.floor,
        "CEIL": tf.math.ceil,
        "ROUND": tf.round,
        "SIGN": tf.sign,
        "CUMSUM": lambda x: tf.cumsum(x, 1),
        "ADD_N": lambda x: tf.add_n([x, 2 * x, tf.abs(x)]),
        "SEGMENT_SUM": lambda x: tf.math.segment_sum(tf.reshape(x, (4, 8)), [0, 0, 1, 1]),
        "REVERSE_SEQUENCE": lambda x: tf.reverse_sequence(x, [3], 1, 0),
        "LOCAL_RESPONSE_NORMALIZATION": lambda x: tf.nn.lrn(tf.reshape(x, (1, 2, 2, 8))),
        "CONV_3D": lambda x: tf.nn.conv3d(tf.reshape(x, (1, 2, 2, 2, 4)), weights(1, 1, 1, 4, 3), [1] * 5, "VALID"),
        "ATAN2": lambda x: tf.math.atan2(x, x + 3.0),
        "FLOOR_DIV": lambda x: tf.math.floordiv(x, 0.7),
        "FLOOR_MOD": lambda x: tf.math.floormod(x, 0.7),
        "CAST": lambda x: tf.cast(tf.argmax(x, -1), tf.float32) * 0.7,
        "SCATTER_ND": lambda x: tf.scatter_nd([[0], [3], [5], [6]], tf.reshape(x, (4, 8)), (8, 8)),
        "REDUCE_PROD": lambda x: tf.reduce_prod(x + weights(8), -1),
    }


ERRING = {"NEG", "FLOOR_DIV", "FLOOR_MOD", "CAST"}
COMPUTED = {"SCATTER_ND": 0.51, "REDUCE_PROD": 4.0}
BY_ITSELF = {"UNIDIRECTIONAL_SEQUENCE_LSTM"}


def _int8(kind: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Graph, Graph, np.ndarray]:
    """A float model, and its int8 form as if the op had a row like any other."""
    graph = Graph(convert(_cases()[kind], SHAPE))
    assert kind in {op.kind for op in graph.ops}
    monkeypatch.setitem(TABLE, kind, Row({"int8": Form(lambda graph, op: 1)}, shares=kind == "SCATTER_ND"))
    values = inputs(SHAPE, 32, 0.25, 2.0) if kind == "DIV" else inputs(SHAPE, 32)
    return graph, Graph(quantize(graph, calibrate(graph, values)).content), values


def test_every_reason_has_a_case() -> None:
    assert set(WITHOUT) == {*_cases(), *BY_ITSELF}
    assert not set(WITHOUT) & set(TABLE)


@pytest.mark.parametrize("kind", sorted(set(WITHOUT) - ERRING - set(COMPUTED) - BY_ITSELF - {"DIV"}))
def test_litert_refuses_those_of_float_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, int8, values = _int8(kind, monkeypatch)
    assert "has no int8 kernel" in WITHOUT[kind]
    with pytest.raises(ModelError):
        Model(int8).predict(values)


@pytest.mark.parametrize("kind", sorted(ERRING))
def test_litert_computes_others_wrongly(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, int8, values = _int8(kind, monkeypatch)
    params = int8.tensors[int8.outputs[0]].qparams
    assert params is not None
    for kernels in ("xnnpack", "reference"):
        off = np.abs(Model(int8, kernels).predict(values) - Model(graph).predict(values)) / params.scale[0]
        assert off.max() > 10, kernels


def test_a_division_stops_where_its_divisor_rounds_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    _, int8, values = _int8("DIV", monkeypatch)
    Model(int8).predict(values)
    values[0, 0, 0] = 0.001
    with pytest.raises(ModelError, match="zero_point"):
        Model(int8).predict(values)


@pytest.mark.parametrize("kind", sorted(COMPUTED))
def test_litert_computes_what_octavo_does_not_know(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, int8, values = _int8(kind, monkeypatch)
    params = int8.tensors[int8.outputs[0]].qparams
    assert params is not None and "Octavo does not support LiteRT's int8 kernel" in WITHOUT[kind]
    off = np.abs(Model(int8).predict(values) - Model(graph).predict(values)).max() / params.scale[0]
    assert off <= COMPUTED[kind]


def test_custom_and_unknown_ops_have_reasons_too() -> None:
    custom = Op(0, "CUSTOM:Mystery", (), (), None, 1)
    assert "it is a custom op" in why_not(custom)
    assert "Octavo knows no int8 kernel" in why_not(Op(0, "BETA", (), (), None, 1))


def test_an_unrolled_lstm_has_int8_forms_as_its_reason_says() -> None:
    import keras

    from octavo.analysis.answers import answers
    from octavo.quantization.proof import prove
    from octavo.source.export import to_float_tflite

    assert "`unroll=True`" in WITHOUT["UNIDIRECTIONAL_SEQUENCE_LSTM"]
    keras.utils.set_random_seed(1)
    layers = [keras.Input((6, 8)), keras.layers.LSTM(12, unroll=True), keras.layers.Dense(4)]
    graph, values = Graph(to_float_tflite(keras.Sequential(layers))), inputs((1, 6, 8), 40)
    made = quantize(graph, calibrate(graph, values))
    assert prove(made).kept_in_float == []
    found = answers(graph, Graph(made.content), values)
    assert found.worst.sqnr is not None and found.worst.sqnr > 25
