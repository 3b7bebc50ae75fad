"""Keras models exported with Keras on JAX: the same graph as by TensorFlow's converter, where both are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from octavo.runtime.litert import interpreter
from octavo.source.export import to_float_tflite
from octavo.tflite.graph import Graph

MISSING = [name for name in ("jax", "litert_converter") if find_spec(name) is None]
CODE = """
import sys
from pathlib import Path
from octavo.source import exported
# As the child process of every command does it.
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    made, said = path.with_suffix(".tflite"), path.with_suffix(".json")
    assert exported._export(str(path), str(made), str(said), str(path.stat().st_size)) == 0, said.read_text()
assert "tensorflow" not in sys.modules
"""


def _classifier() -> Any:
    layers = keras.layers
    image = made = keras.Input((12, 12, 3))
    made = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(made)
    made = layers.ReLU(6.0)(layers.BatchNormalization()(made))
    made = layers.DepthwiseConv2D(3, padding="same", activation="relu")(made)
    made = layers.Add()([made, layers.Conv2D(8, 1)(made)])
    made = layers.MaxPooling2D()(made)
    made = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(made))
    return keras.Model(image, layers.Dense(4, activation="softmax")(made))


def _two_inputs() -> Any:
    """In another order than that of their names."""
    second, first = keras.Input((6,), name="zeta"), keras.Input((4,), name="alpha")
    joined = keras.layers.Concatenate()([keras.layers.Dense(3)(second), first])
    return keras.Model([second, first], [keras.layers.Dense(2)(joined), keras.layers.Dense(3)(joined)])


def _recurrent() -> Any:
    return keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])


def _run(graph: Graph, given: dict[tuple[int, ...], Any]) -> list[Any]:
    """The outputs for inputs that are told apart by their shapes."""
    made = interpreter(graph.content)
    for index in graph.inputs:
        made.set_tensor(index, given[tuple(graph.tensors[index].shape)])
    made.invoke()
    return [np.asarray(made.get_tensor(index)) for index in graph.outputs]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (pip install -e '.[jax]')")
def test_the_graph_is_that_of_tensorflows_converter(tmp_path: Path) -> None:
    models = {"classifier": _classifier(), "recurrent": _recurrent(), "two": _two_inputs()}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], env={**os.environ, "KERAS_BACKEND": "jax"}, check=True, timeout=300
    )
    random = np.random.default_rng(0)
    for name, model in models.items():
        mine, theirs = Graph.read(tmp_path / f"{name}.tflite"), Graph(to_float_tflite(model))
        shapes = [tuple(theirs.tensors[index].shape) for index in theirs.inputs]
        given = {shape: random.normal(size=shape).astype(np.float32) for shape in shapes}
        for found, wanted in zip(_run(mine, given), _run(theirs, given), strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-6, rtol=1e-5, err_msg=name)
    ops = [op.kind for op in Graph.read(tmp_path / "classifier.tflite").ops]
    assert sorted(ops) == sorted(op.kind for op in Graph(to_float_tflite(models["classifier"])).ops)
