"""The simulation on Keras' other backends, where they are installed: same training, and a proved file."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import tiny_tflite

CODE = """
import json, sys, tempfile
from pathlib import Path
import numpy as np
from octavo.quant_model import QuantModel
from octavo.runtime import Model
from octavo.graph import Graph
from octavo.simulate import FloatModel
import keras
folder = Path(sys.argv[1])
images = np.random.default_rng(0).uniform(-1, 1, (12, 8, 8, 3)).astype("float32")
graph = Graph.read(folder / "float.tflite")
drift = np.abs(np.asarray(FloatModel(graph).predict(images, verbose=0)) - Model(graph).predict(images)).max()
model = QuantModel(graph)
model.calibrate(images)
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", teacher="float")
losses = model.fit(images, np.arange(12) % 3, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
model.save(folder / "model.keras")
loaded = keras.models.load_model(folder / "model.keras")
checks = loaded.to_int8(folder / "int8.tflite").checks
judged = Model(Graph.read(folder / "int8.tflite")).predict(images)
apart = np.abs(judged - np.asarray(loaded.predict(images, verbose=0)))
print(json.dumps([keras.backend.backend(), float(drift), losses, len(checks), float(apart.max() * 256)]))
"""


def _run(backend: str, folder: Path) -> list[object]:
    folder.mkdir()
    (folder / "float.tflite").write_bytes(tiny_tflite())
    environment = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", "-c", CODE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_train_as_tensorflow_does(backend: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    name, drift, losses, checks, apart = _run(backend, tmp_path / backend)
    assert name == backend
    assert drift < 1e-5  # type: ignore[operator]
    assert checks == 15
    # Sums in another order than XNNPACK's can fall to the other side of a tie.
    assert apart <= 1  # type: ignore[operator]
    assert losses == pytest.approx(_run("tensorflow", tmp_path / "tensorflow")[2], rel=1e-3)
