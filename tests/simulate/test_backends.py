"""The simulation on Keras' other backends, where they are installed: same training, same codes, and a proved file."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oneop import inputs, one_op
from tiny import tiny_tflite

# Whose integers `octavo.simulate.integer` computes.
KINDS = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "ADD", "SUB", "MUL", "SQUARED_DIFFERENCE"),
    *("MEAN", "AVERAGE_POOL_2D", "HARD_SWISH", "LEAKY_RELU", "RSQRT", "SQRT", "RESIZE_BILINEAR"),
)
CODE = """
import json, sys, tempfile
from pathlib import Path
import numpy as np
from octavo.training.quant_model import QuantModel
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.simulate import FloatModel
import keras
folder = Path(sys.argv[1])
images = np.random.default_rng(0).uniform(-1, 1, (12, 8, 8, 3)).astype("float32")
graph = Graph.read(folder / "float.tflite")
drift = np.abs(np.asarray(FloatModel(graph).predict(images, verbose=0)) - Model(graph).predict(images)).max()
model = QuantModel(graph)
model.calibrate(images)
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", teacher="float")
losses = model.fit(images, np.arange(12) % 3, batch_size=12, epochs=6, shuffle=False, verbose=0).history["loss"]
ends = keras.ops.convert_to_numpy(model.range_ends).ravel().tolist()
model.save(folder / "model.keras")
loaded = keras.models.load_model(folder / "model.keras")
checks = loaded.to_int8(folder / "int8.tflite").checks
judged = Model(Graph.read(folder / "int8.tflite")).predict(images)
apart = np.abs(judged - np.asarray(loaded.predict(images, verbose=0)))
print(json.dumps([keras.backend.backend(), float(drift), losses, len(checks), float(apart.max() * 256), ends]))
"""
CODES = """
import json, sys
from pathlib import Path
import numpy as np
from octavo.analysis.agreement import agreement
from octavo.quantization.calibrate import calibrate
from octavo.tflite.graph import Graph
from octavo.quantization.quantize import quantize
from octavo.simulate import Simulation
import keras
folder = Path(sys.argv[1])
found = {}
for path in sorted(folder.glob("*.tflite")):
    graph, values = Graph.read(path), np.load(path.with_suffix(".npy"))
    simulation = Simulation(graph, calibrate(graph, values))
    int8 = quantize(simulation.graph, simulation.ranges)
    apart = max(tensor.largest for tensor in agreement(simulation, int8, values))
    outputs = simulation.predict(values, verbose=0)
    assert np.ptp(outputs) > 0, "one value for all would hide every difference"
    assert np.array_equal(outputs, keras.ops.convert_to_numpy(simulation(values)))
    found[path.stem] = apart
print(json.dumps([keras.backend.backend(), found]))
"""


def _trained(backend: str, folder: Path) -> list[object]:
    folder.mkdir()
    (folder / "float.tflite").write_bytes(tiny_tflite())
    return _run(backend, CODE, folder)


def _run(backend: str, code: str, folder: Path) -> list[object]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_train_as_tensorflow_does(backend: str, tmp_path: Path) -> None:
    _skip_without(backend)
    name, drift, losses, checks, apart, ends = _trained(backend, tmp_path / backend)
    assert name == backend
    assert drift < 1e-5  # type: ignore[operator]
    assert checks == 15
    assert apart == 0
    usual = _trained("tensorflow", tmp_path / "tensorflow")
    assert losses == pytest.approx(usual[2], rel=1e-3)
    # Gradients of ranges too: many values lie on a bound, where backends differ.
    assert ends == pytest.approx(usual[5], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_compute_the_same_codes(backend: str, tmp_path: Path) -> None:
    _skip_without(backend)
    for kind in KINDS:
        content, shape, (low, high) = one_op(kind)
        (tmp_path / f"{kind}.tflite").write_bytes(content)
        np.save(tmp_path / f"{kind}.npy", inputs(shape, 24, low, high))
    assert _run(backend, CODES, tmp_path) == [backend, dict.fromkeys(sorted(KINDS), 0)]


def _skip_without(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
