"""What other precisions than int8 cost and bring: accuracy, size and time of mixed files of a run's float model.

    python bench/precision.py --run runs/cifar10

All files are made of the run's float graph and calibrated ranges by rounding to nearest, and run on its test images.
Time is the median on one thread, each file in turn with the float model, as a multiple of float's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from octavo import pipeline
from octavo.data.preprocess import Preprocess
from octavo.evaluate import compare, evaluate
from octavo.graph import Graph
from octavo.precision import Precision
from octavo.prove import prove
from octavo.quantize import quantize
from octavo.ranges import Ranges
from octavo.recipe import load_recipe
from octavo.runtime import latency

FILES: dict[str, dict[str, Precision]] = {
    "int8": {},
    "int4 weights, the classifier alone": {"FULLY_CONNECTED": "int4"},
    "int4 weights, 1x1 convolutions but the first": {"CONV_2D": "int4", "CONV_2D #0": "int8"},
    "int4 weights, depthwise convolutions": {"DEPTHWISE_CONV_2D": "int4"},
    "int4 weights, all": {"*": "int4"},
    "int16 activations, all": {"*": "int16x8"},
    "float from the Softmax on": {"SOFTMAX": "float"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run directory of `octavo run`")
    parser.add_argument("--seconds", type=float, default=6.0, help="about how long each comparison of times takes")
    options = parser.parse_args()
    recipe = load_recipe(str(options.run / "recipe.yaml"))
    test, preprocess = pipeline.splits_of(recipe).test, Preprocess.from_recipe(recipe.preprocess)
    graph = Graph.read(options.run / "float.tflite")
    ranges = Ranges.from_json(json.loads((options.run / "ranges.json").read_text("utf-8")))
    real = evaluate(graph, test, preprocess)
    share = real.accuracy()
    print("| precision | bytes | accuracy | minus float, points | times float's time |\n|---|---|---|---|---|")
    print(f"| float | {len(graph.content):,} | {share.value:.1%} ({share.low:.1%} to {share.high:.1%}) | | |")
    for title, precision in FILES.items():
        made = quantize(graph, ranges, precision=precision)
        prove(made)
        scores = evaluate(Graph(made.content), test, preprocess)
        share, apart = scores.accuracy(), compare(real, scores, 0.01)["difference"]
        before, after = latency([graph.content, made.content], options.seconds)
        print(
            f"| {title} | {len(made.content):,} | {share.value:.1%} ({share.low:.1%} to {share.high:.1%}) "
            f"| {100 * apart['value']:+.2f} ({100 * apart['low']:+.2f} to {100 * apart['high']:+.2f}) "
            f"| {after.median / before.median:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
