"""Post-training quantization, pass by pass, beside the other converters: accuracy on many test images.

    python bench/tune.py --run runs/cifar10 --out runs/tune --test 10000
    python bench/tune.py --run runs/cifar10 --out runs/tune-hard --stretch 5      # channels stretched up to 2**5 times
    python bench/tune.py --run runs/cifar10 --out runs/tune-int4 --weights int4

From the run's one float model. A draw is another choice of calibration images. A method is an observer with tuning
passes (``minmax``, ``mse``, ``minmax+bias``, ``minmax+equalize+bias``), ``tensorflow`` (its converter, which starts
from the run's Keras model), or ``litert-quantizer``, ``litert-quantizer-mse`` and ``litert-quantizer-octav`` (Google's
writer with its own weight algorithms). What is in OUT is not computed again, so a bench that was stopped goes on.
Images are read once; every int8 file is scored on LiteRT with XNNPACK.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pairs import mean, paired, percent, points

from octavo.base.stats import proportion
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.data.split import Splits, calibration
from octavo.quantization.calibrate import calibrate
from octavo.quantization.observers import observe
from octavo.quantization.precision import Precision
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.quantization.table import build
from octavo.recipe.schema import load_recipe
from octavo.runs import stages
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tuning.equalize import channel_peaks, regions, rescaled
from octavo.tuning.tune import tune

METHODS = ("minmax", "minmax+bias", "minmax+compensate", "tensorflow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run directory of `octavo run`")
    parser.add_argument("--out", type=Path, required=True, help="where scores are kept")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--draws", type=int, default=5, help="choices of the calibration images")
    parser.add_argument("--images", type=int, default=100, help="calibration images of a draw")
    parser.add_argument("--test", type=int, help="test images; the run's own by default")
    parser.add_argument("--stretch", type=int, default=0, help="scale channels down by up to 2**STRETCH first")
    parser.add_argument("--weights", choices=["int8", "int4"], default="int8")
    options = parser.parse_args()
    more = [f"data.test={options.test}"] if options.test else []
    recipe = load_recipe(str(options.run / "recipe.yaml"), more)
    splits, preprocess = stages.splits_of(recipe), Preprocess.from_recipe(recipe.preprocess)
    graph = Graph.read(options.run / "float.tflite")
    options.out.mkdir(parents=True, exist_ok=True)
    port = Model(graph, workers=1).input
    if options.stretch:
        graph = stretched(graph, Feed(calibration(splits.train, 500, 0), preprocess, [port]), options.stretch)
    test = Pixels(splits, preprocess)
    if not (options.out / "float.npy").exists():
        test.score(graph, options.out / "float.npy")
    precision: dict[str, Precision] = {"*": "int4"} if options.weights == "int4" else {}
    for draw in range(options.draws):
        images = Feed(calibration(splits.train, options.images, draw), preprocess, [port])
        for method in options.methods:
            path = options.out / f"{method}-{draw}.npy"
            if path.exists():
                continue
            start = time.perf_counter()
            content = made(method, graph, options.run, images, precision)
            seconds = time.perf_counter() - start
            test.score(Graph(content), path)
            path.with_suffix(".json").write_text(json.dumps({"seconds": seconds, "bytes": len(content)}))
            print(f"{method}, draw {draw}: {np.load(path).mean():.2%}, {seconds:.1f} s", flush=True)
    table(options.out, options.methods, options.draws)


class Pixels:
    """The test images, preprocessed once and kept as bytes: a pixel has 256 values whatever its scale."""

    def __init__(self, splits: Splits, preprocess: Preprocess) -> None:
        self.labels = splits.test.labels
        self.preprocess = preprocess
        self.bytes = np.stack([preprocess.resize([image])[0] for image in splits.test.images])

    def score(self, graph: Graph, path: Path) -> None:
        """Evaluates a model on all images, and keeps whether each one is right."""
        model = Model(graph)
        exits = model.run(_Encoded(self.bytes, self.preprocess, model.inputs))
        with path.open("wb") as stream:
            np.save(stream, exits.argmax(axis=1) == self.labels)


class _Encoded:
    """Bytes as raw inputs of one model, image by image: each of the 256 values is looked up."""

    def __init__(self, images: np.ndarray, preprocess: Preprocess, port: Any) -> None:
        self.images, self.codes = images, port.encode(preprocess.normalize(np.arange(256, dtype=np.uint8)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> np.ndarray:
        return np.asarray(np.take(self.codes, self.images[place]))


def made(method: str, graph: Graph, run: Path, images: Feed, precision: dict[str, Precision]) -> bytes:
    """The int8 file of a method."""
    if method == "tensorflow":
        return _tensorflow(run / "model.keras", images)
    if method.startswith("litert-quantizer"):
        return _litert_quantizer(graph, images, method.removeprefix("litert-quantizer").removeprefix("-"))
    observer, *passes = method.split("+")
    tuned = tune(graph, calibrate(graph, images, observer), images, passes, partial(build, precision=precision))
    int8 = quantize(tuned.graph, tuned.ranges, precision=precision)
    prove(int8)
    return int8.content


def _tensorflow(path: Path, images: Feed) -> bytes:
    import keras
    import tensorflow as tf

    model = keras.models.load_model(path, compile=False)
    shape = [1, *model.input_shape[1:]]
    function = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec(shape, tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([images[place][None]] for place in range(len(images)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _litert_quantizer(graph: Graph, images: Feed, algorithm: str) -> bytes:
    """Its own weight algorithms, on the true ranges: its moving averages depend on the order of the images."""
    from litert_quantizer import quantizer, recipe

    ranges = observe(graph, images)
    keys = {"mse": recipe.AlgorithmName.MSE, "octav": recipe.AlgorithmName.OCTAV}
    wanted = recipe.static_wi8_ai8(keys[algorithm]) if algorithm else recipe.static_wi8_ai8()
    rank = {tensor.name: len(tensor.shape) for tensor in graph.activations}
    given = {
        name: {"min": np.full((1,) * rank[name], low, np.float32), "max": np.full((1,) * rank[name], high, np.float32)}
        for name, (low, high) in ranges.of.items()
    }
    made = quantizer.Quantizer(bytearray(graph.content), wanted)
    result = made.quantize(given, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def stretched(graph: Graph, images: Feed, most: int) -> Graph:
    """The same function with channels scaled down by random powers of two, and what reads them scaled up.

    As equalization papers do to make a network hard. Where a ReLU6 comes between, only channels that stay below 6 on
    the images are scaled: the function of others would change.
    """
    graph = graph.unshared()
    found, _ = regions(graph)
    peaks = channel_peaks(graph, found, images, lambda done: None)
    random = np.random.default_rng(0)
    scales = []
    for region in found:
        scale = 2.0 ** random.integers(0, most + 1, region.tensors[0].shape[-1])
        for tensor in region.capped:
            scale = np.where(peaks[tensor.name] >= 6, 1.0, scale)
        scales.append(scale)
    return rescaled(graph, found, scales)


def table(out: Path, methods: list[str], draws: int) -> None:
    """Every method's mean over the draws, against float and against TensorFlow's converter, image by image."""
    before = np.load(out / "float.npy")
    share = proportion(int(before.sum()), len(before))
    print(f"float: {percent(share)} of {len(before):,} images\n")
    print("| method | draws | mean | lowest | highest | minus float, points | seconds | bytes |")
    print("|---|---|---|---|---|---|---|---|")
    for method in methods:
        paths = [path for draw in range(draws) if (path := out / f"{method}-{draw}.npy").exists()]
        right = np.array([np.load(path) for path in paths])
        if len(right) == 0:
            continue
        notes = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
        each = right.mean(axis=1)
        print(
            f"| {method} | {len(right)} | {each.mean():.2%} | {each.min():.2%} | {each.max():.2%} "
            f"| {_gap(before, right)} | {np.median([note['seconds'] for note in notes]):.1f} "
            f"| {np.median([note['bytes'] for note in notes]):,.0f} |"
        )


def _gap(before: np.ndarray, right: np.ndarray) -> str:
    """Mean difference with its interval over the images: Tango's for one draw; draws are averaged image by image."""
    return points(paired(before, right[0]) if len(right) == 1 else mean(right.mean(axis=0) - before))


if __name__ == "__main__":
    main()
