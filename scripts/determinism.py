"""Trains and quantizes a small network with one thing changed at a time, and shows which results change with it.

python scripts/determinism.py                    # every factor, in a process of its own
python scripts/determinism.py --deterministic    # the same with what `--deterministic` sets

Results are hashes: of the augmented batches, the first weights, the trained weights, the int8 file of post-training
quantization, and the int8 file of quantization-aware training. Both int8 files start from the first weights, so that
each result depends on one kind of work only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = ("batches", "first weights", "trained", "ptq", "qat")
# What each process has beyond the first one's environment.
FACTORS: dict[str, dict[str, str]] = {
    "nothing": {},
    "nothing, again": {},
    "PYTHONHASHSEED=1": {"PYTHONHASHSEED": "1"},
    "NumPy's BLAS: 1 thread": {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "TensorFlow inter-op: 1 thread": {"TF_NUM_INTEROP_THREADS": "1"},
    "TensorFlow inter-op: 5 threads": {"TF_NUM_INTEROP_THREADS": "5"},
    "TensorFlow intra-op: 1 thread": {"TF_NUM_INTRAOP_THREADS": "1"},
    "TensorFlow intra-op: 2 threads": {"TF_NUM_INTRAOP_THREADS": "2"},
    "TensorFlow intra-op: 5 threads": {"TF_NUM_INTRAOP_THREADS": "5"},
    "oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "oneDNN off, intra-op: 1 thread": {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "1"},
    "oneDNN off, intra-op: 5 threads": {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "5"},
    "no augmentation": {"AUGMENT": "0"},
    "no augmentation, intra-op: 5 threads": {"AUGMENT": "0", "TF_NUM_INTRAOP_THREADS": "5"},
    "op determinism, intra-op: 1 thread": {"OP_DETERMINISM": "1", "TF_NUM_INTRAOP_THREADS": "1"},
    "op determinism, intra-op: 5 threads": {"OP_DETERMINISM": "1", "TF_NUM_INTRAOP_THREADS": "5"},
}


def network(input_shape: tuple[int, int, int], classes: int) -> Any:
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(input_shape),
            *(layers.Conv2D(32, 3, 2, use_bias=False), layers.BatchNormalization(), layers.ReLU(6.0)),
            *(layers.DepthwiseConv2D(3, padding="same"), layers.BatchNormalization(), layers.ReLU(6.0)),
            *(layers.Conv2D(64, 3, 2, padding="same"), layers.ReLU(6.0)),
            *(layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(classes, activation="softmax")),
        ]
    )


def one(deterministic: bool) -> dict[str, str]:
    """The hash of every result, and the seconds of both trainings."""
    import octavo
    from octavo.base.backend import load
    from octavo.data.encoded_inputs import Feed
    from octavo.data.open import open_dataset
    from octavo.data.preprocess import Preprocess
    from octavo.data.split import draw
    from octavo.quantization.calibrate import calibrate
    from octavo.quantization.quantize import quantize
    from octavo.recipe.schema import AugmentRecipe, QatRecipe, TrainRecipe
    from octavo.runtime.litert import inputs_of
    from octavo.simulate import Simulation
    from octavo.source.export import to_float_tflite
    from octavo.tflite.graph import Graph
    from octavo.training import qat
    from octavo.training.augment import Augment
    from octavo.training.baseline.fit import fit
    from octavo.training.batches import Pixels, one_hot, training_batches
    from octavo.training.convert import convert

    keras, tf = load("keras"), load("tensorflow")
    if os.environ.get("OP_DETERMINISM"):
        tf.config.experimental.enable_op_determinism()
    if deterministic:
        from octavo.training.determinism import make_deterministic

        make_deterministic()
    recipe = octavo.load_recipe("digits", ["preprocess.size=64", "data.train=128", "data.test=20"])
    preprocess = Preprocess.from_recipe(recipe.preprocess)
    splits = draw(open_dataset("digits"), recipe.data, 0)
    augment = AugmentRecipe(shift=0.0 if os.environ.get("AUGMENT") == "0" else 0.1)
    keras.utils.set_random_seed(0)
    model = network((64, 64, 3), 10)
    graph = Graph(to_float_tflite(model))
    found = {"first weights": _hash(*model.get_weights())}
    batches = training_batches(Pixels(splits.train, preprocess), one_hot(splits.train), 32, 0, 0, Augment(augment, 0))
    found["batches"] = _hash(*(batches[step][0] for step in range(len(batches))))
    feed = Feed(splits.train.take(np.arange(16)), preprocess, inputs_of(graph))
    ranges = calibrate(graph, feed)
    found["ptq"] = _hash(quantize(graph, ranges).content)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        training = TrainRecipe(epochs=2, batch=32, augment=augment)
        fit(model, splits.train, None, preprocess, training, 0, Path(folder) / "float")
        found["trained"] = _hash(*model.get_weights())
        simulation = Simulation(graph, ranges)
        aware = QatRecipe(epochs=2, batch=32, learning_rate=1e-3, augment=augment)
        qat.fit(simulation, splits.train, None, preprocess, aware, 0, Path(folder) / "qat")
    found["seconds"] = f"{time.perf_counter() - begin:.1f}"
    found["qat"] = _hash(convert(simulation).quantized.content)
    return found


def _hash(*values: Any) -> str:
    return hashlib.sha256(b"".join(v if isinstance(v, bytes) else np.asarray(v).tobytes() for v in values)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--one", action="store_true", help="one process, which prints its hashes")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.deterministic)))
        return
    known: dict[str, dict[str, int]] = {name: {} for name in RESULTS}
    print(f"| changed | {' | '.join(RESULTS)} | seconds |\n|---|{'---|' * len(RESULTS)}---|")
    for factor, more in FACTORS.items():
        command = [sys.executable, "-W", "ignore", __file__, "--one", *sys.argv[1:]]
        environment = {"PYTHONHASHSEED": "0", **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **more}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        # Equal results have equal letters.
        cells = [chr(65 + known[name].setdefault(found[name], len(known[name]))) for name in RESULTS]
        print(f"| {factor} | {' | '.join(cells)} | {found['seconds']} |", flush=True)


if __name__ == "__main__":
    main()
