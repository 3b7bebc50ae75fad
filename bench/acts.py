"""The longer work without training, beside a float forward of the same images: the tuning passes and `compare`.

    python bench/acts.py --run runs/cifar10
    python bench/acts.py --run runs/cifar10 --images 512 --what adaround --weights int4

All in one process, in turn, images in memory, each beside a float forward just before it, warm, on all cores. Bars:
AdaRound on MobileNetV2 at 224 with 512 images within 15 minutes on 2 cores, `compare` on 100 images within 30 seconds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from octavo.analysis.compare import compare
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.data.split import calibration
from octavo.quantization.calibrate import calibrate
from octavo.quantization.precision import Precision
from octavo.quantization.quantize import quantize
from octavo.quantization.table import build
from octavo.recipe.schema import load_recipe
from octavo.runs import stages
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tuning.tune import TUNING_PASSES, tune


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    names = [*TUNING_PASSES, "compare"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run directory of `octavo run`")
    parser.add_argument("--what", nargs="+", choices=names, default=names)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--weights", choices=["int8", "int4"], default="int8")
    options = parser.parse_args()
    recipe = load_recipe(str(options.run / "recipe.yaml"))
    preprocess, splits = Preprocess.from_recipe(recipe.preprocess), stages.splits_of(recipe)
    graph = Graph.read(options.run / "float.tflite").unshared()
    model = Model(graph)
    images = np.stack(list(Feed(calibration(splits.train, options.images, 0), preprocess, model.inputs)))
    ranges = calibrate(graph, images)
    precision: dict[str, Precision] = {"*": "int4"} if options.weights == "int4" else {}
    plan = partial(build, precision=precision)
    int8 = Graph(quantize(graph, ranges, precision=precision).content)
    jobs = {name: partial(tune, graph, ranges, images, (name,), plan) for name in TUNING_PASSES}
    jobs["compare"] = partial(compare, graph, int8, images)
    print(f"{options.images} images, weights {options.weights}, {os.cpu_count()} cores")
    print("| what | seconds | times a float forward of the images |\n|---|---|---|")
    for name in options.what:
        model.run(images)
        floor = timed(lambda: model.run(images))
        seconds = timed(jobs[name])
        print(f"| {name} | {seconds:.1f} | {seconds / floor:.1f} |", flush=True)


if __name__ == "__main__":
    main()
