"""A classifier on images of its own domain: float beside int8 of several methods, in accuracy, agreement and SQNR.

    python bench/domain.py sup_mobilenet_v1.tflite imagenet-sample-images/ --scale -1 1 --first 1
    python bench/domain.py sup_mobilenet_v1.tflite cifar10-images.tar.gz --scale -1 1

Some images, drawn by a seed, calibrate, and all others judge. Where names are those of ImageNet's sample images, such
as ``n01440764_tench.JPEG``, what stands before ``_`` is the class, and classes are in sorted order; elsewhere there is
no accuracy. Intervals are of the paired difference (Tango 1998), SQNR is that of all values of all images. A method is
an observer and tuning passes; ``int16x8`` has 16 bits for activations; litert-quantizer has its own calibration.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from models import _signed
from pairs import paired, points

from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.split import draw_calibration
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.quantization.table import build
from octavo.rewrite.strip import logits
from octavo.runtime.litert import Model
from octavo.source.load import load_float
from octavo.tflite.graph import Graph
from octavo.tuning.tune import tune

METHODS = (
    "minmax",
    "minmax bias",
    "minmax compensate",
    "minmax equalize compensate",
    "percentile compensate",
    "mse compensate",
    "mae compensate",
    "entropy compensate",
    "minmax adaround",
    "int16x8 compensate",
    "litert-quantizer",
)
Array = np.ndarray[Any, Any]


def made(graph: Graph, images: list[Array], method: str) -> bytes:
    """The int8 file of a method."""
    if method == "litert-quantizer":
        from litert_quantizer import quantizer, recipe

        content, names = _signed(graph.content)
        theirs = quantizer.Quantizer(content, recipe.static_wi8_ai8())
        found = theirs.calibrate({"serve": [{names[0]: image[None]} for image in images]}, num_threads=2)
        return bytes(theirs.quantize(found, enable_progress_bar=False, enable_progress_report=False).quantized_model)
    first, *passes = method.split()
    wide = first == "int16x8"
    ranges = calibrate(graph, images, "minmax" if wide else first)
    tuned = tune(graph, ranges, images, passes, build)
    return quantize(tuned.graph, tuned.ranges, precision={"*": "int16x8"} if wide else {}).content


def outputs(graph: Graph, images: list[Array]) -> Array:
    """The reals of its only output, ``(N, classes)``."""
    model = Model(graph)
    return model.run_all([(model.inputs[0].encode(image),) for image in images])[0].reshape(len(images), -1)


def sqnr(real: Array, other: Array) -> float:
    """In dB, of all values."""
    return float(10 * np.log10(np.square(real).sum() / np.square(other - real).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a float .tflite classifier with one input and one output")
    parser.add_argument("images", type=Path, help="a folder or archive of images")
    parser.add_argument("--scale", type=float, nargs=2, default=(-1.0, 1.0), help="the values of pixels 0 and 255")
    parser.add_argument("--first", type=int, default=0, help="the output of the first class")
    parser.add_argument("--count", type=int, default=1000, help="the most images, of those for training")
    parser.add_argument("--calibrate", type=int, default=200, help="images that calibrate")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    given = parser.parse_args()
    graph = load_float(given.model).graph
    size = (int(graph.tensors[graph.inputs[0]].shape[1]), int(graph.tensors[graph.inputs[0]].shape[2]))
    preprocess = Preprocess(size, scale=tuple(given.scale))
    chosen = draw_calibration(open_dataset("path", given.images), given.count, 0)
    images = list(preprocess.apply(chosen.pictures))
    ids = [Path(name).name.partition("_")[0] for name in chosen.ids]
    labelled = all(re.fullmatch(r"n\d{8}", name) for name in ids)
    truth = np.array([sorted(set(ids)).index(name) for name in ids]) + given.first
    order = np.random.default_rng(0).permutation(len(images))
    calibrating = [images[place] for place in order[: given.calibrate]]
    judging, truth = [images[place] for place in order[given.calibrate :]], truth[order[given.calibrate :]]

    def right(scores: Array, count: int) -> Array:
        return np.asarray((np.argsort(-scores, 1, kind="stable")[:, :count] == truth[:, None]).any(1))

    scores, probabilities = outputs(logits(graph), judging), outputs(graph, judging)
    if labelled:
        sys.stdout.write(f"float of {len(judging)}: {right(scores, 1).mean():.2%}, {right(scores, 5).mean():.2%}\n")
    for method in given.methods:
        int8 = Graph(made(graph, calibrating, method))
        theirs = outputs(logits(int8), judging)
        cells = [method]
        if labelled:
            cells += [f"{right(theirs, 1).mean():.2%}", points(paired(right(scores, 1), right(theirs, 1)))]
            cells += [points(paired(right(scores, 5), right(theirs, 5)))]
        cells += [f"{(theirs.argmax(1) == scores.argmax(1)).mean():.1%}", f"{sqnr(scores, theirs):.1f}"]
        cells += [f"{sqnr(probabilities, outputs(int8, judging)):.1f}"]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
