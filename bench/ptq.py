"""PTQ side by side: Octavo, TensorFlow's converter, litert-quantizer's own calibration, and the floor.

    python bench/ptq.py                       # untrained MobileNetV2 at 224, random images: time and memory
    python bench/ptq.py --network ResNet50 --images 1000 --methods octavo_call
    python bench/ptq.py --run runs/cifar10    # the run's model and images: accuracy on its test images too

Each method runs in a process of its own, in turn, several times, so that the machine's drift falls on all alike.
Time is the work alone, without imports: by the clock, and as CPU time of the process and its children, which says
something where other work takes the cores too. Memory is the peak of the process, with imports. The floor is a plain
float forward of the same images on LiteRT on all cores: warm, the second pass of interpreters that are there, and the
faster of one interpreter with threads and one interpreter per core; or from the file, the first pass in a fresh
process, with all that it loads, as every other method has it. TensorFlow's converter cannot start from a `.tflite`
file: it converts the Keras model, so Octavo's way from the Keras model is timed as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from usage import cpu, peak

FLOORS = ("floor", "floor_file")
METHODS = {
    "floor": "floor, warm: float forward",
    "floor_file": "floor, from float .tflite: load and float forward",
    "octavo_call": "Octavo, the whole call: `octavo.quantize` from file to file",
    "octavo": "Octavo, its passes alone, from float .tflite",
    "octavo_plain": "the same without tuning",
    "octavo_keras": "Octavo, from .keras",
    "octavo_keras_call": "Octavo, the whole call from .keras, with the imports of its child",
    "litert_quantizer": "litert-quantizer's calibration",
    "tensorflow": "TensorFlow's converter, from .keras",
}


def prepare(folder: Path, run: Path | None, network: str, count: int) -> None:
    """Writes float.tflite, model.keras and the calibration images into the folder."""
    from octavo.data.preprocess import Preprocess
    from octavo.recipe.schema import load_recipe
    from octavo.runs.stages import calibration_of, splits_of

    if run is not None:
        recipe = load_recipe(str(run / "recipe.yaml"))
        images = calibration_of(recipe, splits_of(recipe))
        calibration = Preprocess.from_recipe(recipe.preprocess).apply(images.images)
        for name in ("float.tflite", "model.keras"):
            (folder / name).write_bytes((run / name).read_bytes())
    else:
        import keras

        from octavo.source.export import to_float_tflite

        keras.utils.set_random_seed(0)
        model = getattr(keras.applications, network)(weights=None, classes=10)
        model.save(folder / "model.keras")
        (folder / "float.tflite").write_bytes(to_float_tflite(model))
        calibration = np.random.default_rng(0).uniform(-1, 1, (count, *model.input_shape[1:])).astype(np.float32)
    np.save(folder / "calibration.npy", calibration)
    np.savez(folder / "calibration.npz", x_train=calibration)


def _now() -> Any:
    """The clock, and the CPU time of this process and of its children that ended, in seconds."""
    return np.array([time.perf_counter(), cpu()])


def work(method: str, folder: Path) -> tuple[Any, bytes]:
    """Runs one method; returns its seconds, as of `_now`, and the int8 file it made (nothing for the floor)."""
    images = np.load(folder / "calibration.npy")
    return {
        "floor": _floor,
        "floor_file": _floor_file,
        "octavo": _octavo,
        "octavo_call": _octavo_call,
        "octavo_plain": _octavo_plain,
        "octavo_keras": _octavo_keras,
        "octavo_keras_call": _octavo_keras_call,
        "litert_quantizer": _litert_quantizer,
        "tensorflow": _tensorflow,
    }[method](folder, images)


def _floor(folder: Path, images: Any) -> tuple[Any, bytes]:
    from ai_edge_litert.interpreter import Interpreter

    from octavo.runtime.litert import Model
    from octavo.tflite.graph import Graph

    content = (folder / "float.tflite").read_bytes()
    made = Interpreter(model_content=content, num_threads=os.cpu_count())
    made.allocate_tensors()
    entry = made.get_input_details()[0]["index"]
    model = Model(Graph(content))
    for repeat in range(2):  # the first pass warms up
        start = _now()
        for image in images:
            made.set_tensor(entry, image[None])
            made.invoke()
        threads = _now() - start
        start = _now()
        model.run(images)
        cores = _now() - start
        del repeat
    return np.minimum(threads, cores), b""


def _floor_file(folder: Path, images: Any) -> tuple[Any, bytes]:
    from octavo.runtime.litert import Model
    from octavo.tflite.graph import Graph

    start = _now()
    Model(Graph.read(folder / "float.tflite")).run(images)
    return _now() - start, b""


def _octavo(folder: Path, images: Any) -> tuple[Any, bytes]:
    return _post_training(folder, images, ("compensate",))


def _octavo_call(folder: Path, images: Any) -> tuple[Any, bytes]:
    return _call(folder / "float.tflite", folder, images)


def _octavo_keras_call(folder: Path, images: Any) -> tuple[Any, bytes]:
    return _call(folder / "model.keras", folder, images)


def _call(model: Path, folder: Path, images: Any) -> tuple[Any, bytes]:
    import octavo.api.quantize

    _imported()
    data, out = folder / "calibration.npz", folder / f"{os.getpid()}.tflite"
    start = _now()
    octavo.quantize(model, data, out, images=len(images), force=True)
    return _now() - start, out.read_bytes()


def _octavo_plain(folder: Path, images: Any) -> tuple[Any, bytes]:
    return _post_training(folder, images, ())


def _imported() -> None:
    """Imports all that quantization needs: imports are not timed."""
    import litert_quantizer.model_modifier  # noqa: F401

    import octavo.quantization.proof
    import octavo.tuning.tune  # noqa: F401


def _post_training(folder: Path, images: Any, passes: tuple[str, ...]) -> tuple[Any, bytes]:
    from octavo.tflite.graph import Graph

    _imported()

    start = _now()
    content = _quantized(Graph.read(folder / "float.tflite"), images, passes)
    return _now() - start, content


def _quantized(graph: Any, images: Any, passes: tuple[str, ...]) -> bytes:
    from octavo.quantization.calibrate import survey
    from octavo.quantization.proof import prove
    from octavo.quantization.quantize import quantize
    from octavo.quantization.table import build
    from octavo.tuning.tune import read_first, tune

    seen = survey(graph, images, excerpt=read_first(graph, images, passes))
    tuned = tune(graph, seen.ranges, images, passes, build, kept=seen.excerpts)
    int8 = quantize(tuned.graph, tuned.ranges)
    prove(int8)
    return int8.content


def _octavo_keras(folder: Path, images: Any) -> tuple[Any, bytes]:
    import tensorflow  # noqa: F401 - imports are not timed

    from octavo.source.export import to_float_tflite
    from octavo.source.keras_file import load_keras
    from octavo.tflite.graph import Graph

    _imported()
    start = _now()
    graph = Graph(to_float_tflite(load_keras(folder / "model.keras")))
    content = _quantized(graph, images, ("compensate",))
    return _now() - start, content


def _litert_quantizer(folder: Path, images: Any) -> tuple[Any, bytes]:
    from litert_quantizer import quantizer, recipe

    content = _signed((folder / "float.tflite").read_bytes())
    start = _now()
    made = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    ranges = made.calibrate({"serve": [{"image": image[None]} for image in images]}, num_threads=os.cpu_count())
    result = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return _now() - start, bytes(result.quantized_model)


def _signed(content: bytes) -> bytes:
    """The same model with a signature, which litert-quantizer's calibration asks for and Octavo's graphs lack."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    from octavo.tflite.graph import serialize

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))

    def named(name: bytes, index: int) -> Any:
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name, index
        return made

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serve", 0
    signature.inputs = [named(b"image", model.subgraphs[0].inputs[0])]
    signature.outputs = [named(b"classes", model.subgraphs[0].outputs[0])]
    model.signatureDefs = [signature]
    return serialize(model)


def _tensorflow(folder: Path, images: Any) -> tuple[Any, bytes]:
    import keras
    import tensorflow as tf

    start = _now()
    model = keras.models.load_model(folder / "model.keras", compile=False)
    shape = [1, *model.input_shape[1:]]
    function = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec(shape, tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    content = converter.convert()
    return _now() - start, content


def accuracies(run: Path, files: dict[str, bytes]) -> dict[str, str]:
    """Each int8 file on the run's test images."""
    from octavo.analysis.evaluate import evaluate
    from octavo.data.preprocess import Preprocess
    from octavo.recipe.schema import load_recipe
    from octavo.runs.stages import splits_of
    from octavo.tflite.graph import Graph

    recipe = load_recipe(str(run / "recipe.yaml"))
    test = splits_of(recipe).test
    preprocess = Preprocess.from_recipe(recipe.preprocess)
    found = {}
    for method, content in files.items():
        value = evaluate(Graph(content), test, preprocess).accuracy()
        found[method] = f"{value.value:.2%} ({value.low:.2%} to {value.high:.2%})"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run directory that `octavo run` wrote")
    parser.add_argument("--network", default="MobileNetV2", help="without a run: a name in keras.applications")
    parser.add_argument("--images", type=int, default=100, help="without a run: how many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="beside both floors")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        method, folder = arguments.child
        seconds, content = work(method, Path(folder))
        (Path(folder) / f"{method}.tflite").write_bytes(content)
        sys.stdout.write("\n" + json.dumps({"seconds": seconds[0], "cpu": seconds[1], "megabytes": peak()}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.run, arguments.network, arguments.images)
        count = len(np.load(folder / "calibration.npy", mmap_mode="r"))
        results: dict[str, list[dict[str, float]]] = {method: [] for method in (*FLOORS, *arguments.methods)}
        for _ in range(arguments.repeats):
            for method in results:
                done = subprocess.run(
                    [sys.executable, __file__, "--child", method, name], capture_output=True, text=True, check=True
                )
                results[method].append(json.loads(done.stdout.splitlines()[-1]))
        files = {m: (folder / f"{m}.tflite").read_bytes() for m in results if m not in FLOORS}
        right = accuracies(arguments.run, files) if arguments.run else {}
        times = {m: median(r["seconds"] for r in rows) for m, rows in results.items()}
        loads = {m: median(r["cpu"] for r in rows) for m, rows in results.items()}
        print(f"{count} images, {arguments.repeats} repeats, median; {os.cpu_count()} cores")
        print(
            "| method | seconds | times warm | times from file | CPU seconds | times warm | times from file "
            "| peak memory, MB | bytes | int8 accuracy |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        for method in results:
            memory = max(r["megabytes"] for r in results[method])
            size = f"{len(files[method]):,}" if method in files else "–"
            columns = " | ".join(
                " | ".join((f"{of[method]:.2f}", *(f"{of[method] / of[floor]:.1f}" for floor in FLOORS)))
                for of in (times, loads)
            )
            print(f"| {METHODS[method]} | {columns} | {memory:.0f} | {size} | {right.get(method, '–')} |")
        if {"tensorflow", "octavo"} <= set(times):
            print(f"TensorFlow's converter ÷ Octavo: {times['tensorflow'] / times['octavo']:.1f}")


if __name__ == "__main__":
    main()
