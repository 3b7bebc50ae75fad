"""What other precisions than int8 cost and bring: accuracy, size and time of mixed files of a run's float model.

    python bench/precision.py --run runs/cifar10

All files are made of the run's float graph and calibrated ranges, and run on its test images. The op that stays in
float is the costliest of MobileNetV2, by `octavo sensitivity`. Time is the median on one thread, each file in turn with
the float model, as a multiple of float's. The last two rows tell weights from activations: the float model with the
int8 file's weights, by accuracy; and the file with activations of 16 bits, by its time and its distance to that model
on a few images, since it takes a second an image.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np

from octavo.analysis.evaluate import Scores, compare, evaluate
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.quantization.precision import Precision
from octavo.quantization.proof import prove
from octavo.quantization.quantize import Quantized, quantize
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import build
from octavo.recipe.schema import load_recipe
from octavo.runs import stages
from octavo.runtime.litert import Model, latency
from octavo.tflite.graph import Graph
from octavo.tuning.tune import tune

# Tuning passes and precisions.
FILES: dict[str, tuple[tuple[str, ...], dict[str, Precision]]] = {
    "int8": ((), {}),
    "int8, biases corrected": (("bias",), {}),
    "int8, biases corrected, the costliest op in float": (("bias",), {"DEPTHWISE_CONV_2D #1": "float"}),
    "int4 weights, the classifier alone": ((), {"FULLY_CONNECTED": "int4"}),
    "int4 weights, all convolutions but depthwise and the first": ((), {"CONV_2D": "int4", "CONV_2D #0": "int8"}),
    "int4 weights, depthwise convolutions": ((), {"DEPTHWISE_CONV_2D": "int4"}),
    "int4 weights, all": ((), {"*": "int4"}),
    "int4 weights, all, biases corrected": (("bias",), {"*": "int4"}),
}
# Images on which activations of 16 bits are compared.
FEW = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run directory of `octavo run`")
    parser.add_argument("--seconds", type=float, default=6.0, help="about how long each comparison of times takes")
    options = parser.parse_args()
    recipe = load_recipe(str(options.run / "recipe.yaml"))
    splits, preprocess = stages.splits_of(recipe), Preprocess.from_recipe(recipe.preprocess)
    test = splits.test
    graph = Graph.read(options.run / "float.tflite")
    ranges = Ranges.from_json(json.loads((options.run / "ranges.json").read_text("utf-8")))
    real = evaluate(graph, test, preprocess)
    print("| precision | bytes | accuracy | minus float, points | times float's time |\n|---|---|---|---|---|")
    print(f"| float | {len(graph.content):,} | {_share(real)} | | |")
    images = Feed(stages.calibration_of(recipe, splits), preprocess, Model(graph, workers=1).inputs)
    for title, (passes, precision) in FILES.items():
        tuned = tune(graph, ranges, images, passes, partial(build, precision=precision))
        made = quantize(tuned.graph, tuned.ranges, precision=precision)
        prove(made)
        scores = evaluate(Graph(made.content), test, preprocess)
        ratio = _ratio(graph, made, options.seconds)
        print(
            f"| {title} | {len(made.content):,} | {_share(scores)} | {_apart(real, scores)} | {ratio:.2f} |", flush=True
        )
    wide = quantize(graph, ranges, precision={"*": "int16x8"})
    prove(wide)
    rounded = {
        tensor.name: params.dequantize(params.quantize(tensor.constant))
        for tensor in wide.source.tensors
        if tensor.constant is not None and (params := wide.table.stored.get(tensor.name)) is not None
    }
    twin = wide.source.replaced(rounded)
    scores = evaluate(twin, test, preprocess)
    print(f"| int8 weights, float activations | – | {_share(scores)} | {_apart(real, scores)} | – |")
    few = test.take(np.arange(FEW))
    outputs = [Model(made).predict(preprocess.apply(few.images)) for made in (twin, Graph(wide.content))]
    noise = np.sum((outputs[1] - outputs[0]).astype(np.float64) ** 2)
    sqnr = 10 * np.log10(np.sum(outputs[0].astype(np.float64) ** 2) / noise)
    ratio = _ratio(graph, wide, options.seconds)
    print(f"| int16 activations, all | {len(wide.content):,} | {sqnr:.1f} dB from the row above | | {ratio:.2f} |")


def _share(scores: Scores) -> str:
    share = scores.accuracy()
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


def _apart(real: Scores, scores: Scores) -> str:
    apart = compare(real, scores, 0.01).difference
    return f"{100 * apart.value:+.2f} ({100 * apart.low:+.2f} to {100 * apart.high:+.2f})"


def _ratio(graph: Graph, made: Quantized, seconds: float) -> float:
    before, after = latency([graph.content, made.content], seconds)
    return after.median_ms / before.median_ms


if __name__ == "__main__":
    main()
