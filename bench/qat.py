"""A training step side by side: Keras' own float step, the float graph, and the simulation, with and without a teacher.

    python bench/qat.py --run runs/cifar10                # the run's model, at its size, batches of 32
    python bench/qat.py --run runs/cifar10 --batch 8 --repeats 3
    python bench/qat.py --file float.tflite               # any classifier's float graph, against itself in float

Time: CPU time, which other work on the machine changes less than the clock; all models in one process, one step of each
in turn, so that the machine's drift falls on all alike; the median, and the median of the ratios turn by turn. Memory:
each model in a process of its own, the peak of the process after five steps, with imports. Images are random; a step
does not depend on what they show. What Keras trains is the network that the graph was exported from, all its layers
trainable, once with batch norms that follow the images (as Keras does by default) and once with frozen ones, which is
what a graph's folded batch norms are.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

METHODS = {
    "keras": "Keras, the float network",
    "keras_frozen": "Keras, the float network with frozen batch norms",
    "float": "the float graph (`FloatModel`)",
    "qat": "**quantization-aware (`Simulation`)**",
    "distill": "quantization-aware, with the float graph as teacher",
}


# Those that need no Keras model.
OF_GRAPHS = ("float", "qat", "distill")


def step(method: str, source: Path, batch: int) -> Callable[[], None]:
    """One training step of a method, built and ready."""
    from octavo.base.backend import load
    from octavo.tflite.graph import Graph

    keras = load("keras")
    model = _model(method, source)
    extra: dict[str, Any] = {"teacher": "float"} if method == "distill" else {}
    if method.startswith("keras"):
        # As the others are: XLA is 20 to 30 times slower than TensorFlow's own kernels on a CPU.
        extra["jit_compile"] = False
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy", **extra)
    random = np.random.default_rng(0)
    graph = Graph.read(_file(source))
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    images = random.uniform(-1, 1, (batch, *shape)).astype(np.float32)
    labels = random.integers(0, graph.tensors[graph.outputs[0]].shape[-1], batch)
    return lambda: model.train_on_batch(images, labels)


def _file(source: Path) -> Path:
    return source / "float.tflite" if source.is_dir() else source


def _model(method: str, source: Path) -> Any:
    from octavo.quantization.calibrate import calibrate
    from octavo.quantization.ranges import Ranges
    from octavo.simulate import FloatModel, Simulation
    from octavo.source.keras_file import load_keras
    from octavo.tflite.graph import Graph

    if method.startswith("keras"):
        import keras

        model = load_keras(source / "model.keras")
        for layer in model._flatten_layers():
            layer.trainable = not (method == "keras_frozen" and isinstance(layer, keras.layers.BatchNormalization))
        return model
    graph = Graph.read(_file(source))
    if method == "float":
        return FloatModel(graph)
    if source.is_dir():
        return Simulation(graph, Ranges.from_json(json.loads((source / "ranges.json").read_text("utf-8"))))
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    return Simulation(graph, calibrate(graph, np.random.default_rng(1).uniform(-1, 1, (8, *shape)).astype(np.float32)))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def times(methods: list[str], source: Path, batch: int, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of every step, method by method."""
    steps = {method: step(method, source, batch) for method in methods}
    for work in steps.values():
        work()
        work()
    found: dict[str, list[float]] = {method: [] for method in methods}
    for _ in range(repeats):
        for method, work in steps.items():
            start = _cpu()
            work()
            found[method].append(_cpu() - start)
    return found


def memory(method: str, source: Path, batch: int) -> float:
    """Peak memory in MB of a process that trains five steps."""
    option = "--run" if source.is_dir() else "--file"
    command = [sys.executable, __file__, option, str(source), "--batch", str(batch), "--memory", method]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--run", type=Path, dest="source", help="a run directory of `octavo run`")
    given.add_argument("--file", type=Path, dest="source", help="a float .tflite classifier, for the methods of graphs")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--memory", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    source: Path = options.source
    methods = options.methods or list(METHODS if source.is_dir() else OF_GRAPHS)
    if options.memory:
        work = step(options.memory, source, options.batch)
        for _ in range(5):
            work()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    # Memory first: a child's peak begins at what its parent had when it was forked.
    peaks = {method: memory(method, source, options.batch) for method in methods}
    found = times(methods, source, options.batch, options.repeats)
    base = methods[0]
    print(
        "| training step | CPU seconds | times the first | peak memory, MB | times the first |\n|---|---|---|---|---|"
    )
    for method, seconds in found.items():
        ratio = median(s / b for s, b in zip(seconds, found[base], strict=True))
        print(
            f"| {METHODS[method]} | {median(seconds):.3f} | {ratio:.2f} | {peaks[method]:,.0f} | "
            f"{peaks[method] / peaks[base]:.2f} |"
        )


if __name__ == "__main__":
    main()
