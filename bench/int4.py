"""int4 weights after training and by training, on a run's test images.

    python bench/int4.py --run runs/digits --epochs 6
    python bench/int4.py --run runs/cifar10 --test 10000

All weights have 4 bits, all else is int8. Without training they are rounded to nearest, or for the outputs' sake
(`compensate`). With it, the simulation of the file is trained on the run's training images as the run's recipe says,
but for the number of epochs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

from octavo.analysis.evaluate import Scores, compare, evaluate
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.quantization.precision import Precision
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import build
from octavo.recipe.options import Quantization
from octavo.recipe.schema import load_recipe
from octavo.runs import stages
from octavo.runtime.litert import Model
from octavo.simulate import Simulation
from octavo.tflite.graph import Graph
from octavo.training import qat
from octavo.training.convert import convert
from octavo.training.start import started
from octavo.tuning.tune import tune

INT4: dict[str, Precision] = {"*": "int4"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run directory of `octavo run`")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the training images")
    parser.add_argument("--rate", type=float, default=None, help="Adam's rate; the best of a few by default")
    parser.add_argument("--test", type=int, help="test images; the run's own by default")
    options = parser.parse_args()
    more = [f"data.test={options.test}"] if options.test else []
    recipe = load_recipe(str(options.run / "recipe.yaml"), more)
    splits, preprocess = stages.splits_of(recipe), Preprocess.from_recipe(recipe.preprocess)
    graph = Graph.read(options.run / "float.tflite")
    ranges = Ranges.from_json(json.loads((options.run / "ranges.json").read_text("utf-8")))
    real = evaluate(graph, splits.test, preprocess)

    def row(title: str, content: bytes, scores: Scores) -> None:
        share, apart = scores.accuracy(), compare(real, scores, 0.01).difference
        print(
            f"| {title} | {len(content):,} | {share.value:.1%} ({share.low:.1%} to {share.high:.1%}) "
            f"| {100 * apart.value:+.2f} ({100 * apart.low:+.2f} to {100 * apart.high:+.2f}) |",
            flush=True,
        )

    print("| file | bytes | accuracy | minus float, points |\n|---|---|---|---|")
    row("float", graph.content, real)
    images = Feed(stages.calibration_of(recipe, splits), preprocess, Model(graph, workers=1).inputs)
    for title, precision in (("int8", {}), ("int4 weights", INT4)):
        for passes in ((), ("compensate",)):
            tuned = tune(graph, ranges, images, passes, partial(build, precision=precision))
            content = quantize(tuned.graph, tuned.ranges, precision=precision).content
            how = " + ".join(passes) or "rounded to nearest"
            row(f"{title}, {how}", content, evaluate(Graph(content), splits.test, preprocess))
    start = time.monotonic()
    tuned = started(graph, ranges, images, recipe.qat.start, Quantization(precision=INT4), _Lines())
    simulation = Simulation(tuned.graph, tuned.ranges, precision=INT4)
    training = recipe.qat.model_copy(update={"epochs": options.epochs, "learning_rate": options.rate})
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "qat"
        samples = splits.train, splits.validation
        qat.fit(simulation, *samples, preprocess, training, recipe.seed, workdir, _Lines(), teacher=graph)
    content = convert(simulation).quantized.content
    title = f"int4 weights, {options.epochs} epochs in {time.monotonic() - start:.0f} s"
    row(title, content, evaluate(Graph(content), splits.test, preprocess))


class _Lines(stages.Silent):
    """Says what training says."""

    def say(self, text: str) -> None:
        print(f"<!-- {text} -->", flush=True)


if __name__ == "__main__":
    main()
