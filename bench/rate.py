"""The learning rate that training for int8 chooses by itself, beside a grid, on a run's validation images.

    octavo run digits --set data.validation=400 --set quantize.method=ptq --out runs/rate
    python bench/rate.py --run runs/rate --precision int4

Each model is trained from the run's float model and ranges as its recipe says, without choosing an epoch, at every rate
of the grid and at the one searched for; scored is the int8 file on LiteRT.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np

from octavo.analysis.evaluate import evaluate
from octavo.data.preprocess import Preprocess
from octavo.quantization.precision import Precision
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.recipe.schema import load_recipe
from octavo.runs import stages
from octavo.simulate import Simulation
from octavo.tflite.graph import Graph
from octavo.training import qat
from octavo.training.convert import convert

GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run directory of `octavo run`")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds of order and augmentation")
    parser.add_argument("--rates", type=float, nargs="*", default=GRID, help="the grid")
    parser.add_argument("--precision", choices=get_args(Precision), default="int8", help="of the weights")
    options = parser.parse_args()
    recipe = load_recipe(str(options.run / "recipe.yaml"))
    splits, preprocess = stages.splits_of(recipe), Preprocess.from_recipe(recipe.preprocess)
    assert splits.validation is not None, "the run needs validation images: --set data.validation=400"
    graph = Graph.read(options.run / "float.tflite")
    ranges = Ranges.from_json(json.loads((options.run / "ranges.json").read_text("utf-8")))
    precision: dict[str, Precision] = {} if options.precision == "int8" else {"*": options.precision}

    def right(content: bytes) -> float:
        return float(np.mean(evaluate(Graph(content), splits.validation, preprocess).correct))

    plain = right(quantize(graph, ranges, precision=precision).content)
    print(f"{len(splits.validation)} validation images: float {right(graph.content):.2%}, untrained {plain:.2%}\n")
    print(f"| rate | {' | '.join(f'seed {seed}' for seed in range(options.seeds))} | mean |")
    print("|---" * (options.seeds + 2) + "|", flush=True)
    for rate in (None, *options.rates):
        cells, found = [], []
        for seed in range(options.seeds):
            simulation = Simulation(graph, ranges, precision=precision)
            training = recipe.qat.model_copy(update={"learning_rate": rate})
            with tempfile.TemporaryDirectory() as folder:
                history = qat.fit(simulation, splits.train, None, preprocess, training, seed, Path(folder) / "qat")
            found.append(right(convert(simulation).quantized.content))
            cells.append(f"{found[-1]:.2%}" + ("" if rate else f" ({history.peak_rate:g})"))
        title = f"{rate:g}" if rate else "searched"
        print(f"| {title} | {' | '.join(cells)} | {np.mean(found):.2%} |", flush=True)


if __name__ == "__main__":
    main()
