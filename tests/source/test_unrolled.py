"""Recurrent Keras layers are unrolled for their export: the graph is Keras' model, and the model stays as it was."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from handmade import answers, values

from octavo.source.export import to_float_tflite
from octavo.source.unrolled import unrolled
from octavo.tflite.graph import Graph

LAYERS = {
    "LSTM": lambda: [keras.layers.LSTM(5, return_sequences=True), keras.layers.LSTM(4)],
    "GRU": lambda: [keras.layers.GRU(5, go_backwards=True)],
    "SimpleRNN": lambda: [keras.layers.Bidirectional(keras.layers.SimpleRNN(5))],
    "masked": lambda: [keras.layers.Masking(0.0), keras.layers.LSTM(5)],
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_graph_computes_what_the_loop_computes(name: str) -> None:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((6, 3)), *LAYERS[name](), keras.layers.Dense(2)])
    given = values(1, 6, 3, seed=1, scale=1.0)
    given[0, 2] = 0.0
    wanted = np.asarray(model(given))
    content = to_float_tflite(model)
    assert "WHILE" not in {op.kind for op in Graph(content).ops}
    (found,) = answers(content, given)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    recurrent = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
    assert recurrent and not any(layer.unroll for layer in recurrent)


def test_open_long_and_stateful_layers_stay_loops() -> None:
    shapes = {"open": (None, 3), "long": (257, 3), "short": (256, 3)}
    for name, shape in shapes.items():
        layer = keras.layers.LSTM(2)
        with unrolled(keras.Sequential([keras.Input(shape), layer])):
            assert layer.unroll == (name == "short"), name
    kept = keras.layers.LSTM(2, stateful=True)
    with unrolled(keras.Sequential([keras.Input((4, 3), batch_size=1), kept])):
        assert not kept.unroll
