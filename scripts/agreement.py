"""Measures how far the simulation is from LiteRT on a run's own model and test images.

python scripts/agreement.py RUN                # RUN: a run's directory, such as runs/cifar10
python scripts/agreement.py RUN --images 16    # how many images tensor by tensor
python scripts/agreement.py RUN --top1 1000    # how many for the outputs alone
python scripts/agreement.py RUN --tensors      # every tensor, not every kind of op
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np

from octavo.analysis.agreement import Agreement, agreement
from octavo.base.stats import proportion
from octavo.data.preprocess import Preprocess
from octavo.quantization.quantize import Quantized, quantize
from octavo.quantization.ranges import Ranges
from octavo.recipe.schema import load_recipe
from octavo.runs.stages import splits_of
from octavo.runtime.litert import KERNEL_NAMES, Kernels, Model
from octavo.simulate import Simulation
from octavo.tflite.graph import Graph

FAMILIES: tuple[Kernels, ...] = ("xnnpack", "reference")
BATCH = 25


def kinds(found: list[Agreement]) -> list[tuple[str, list[Agreement]]]:
    return [(kind, [a for a in found if a.kind == kind]) for kind in dict.fromkeys(a.kind for a in found)]


def by_tensor(simulation: Simulation, int8: Quantized, images: np.ndarray, each: bool) -> None:
    print("| kernels | from | tensors of | equal | mean | largest |\n|---|---|---|---|---|---|")
    for kernels in FAMILIES:
        for local in (True, False):
            found = agreement(simulation, int8, images, kernels, local)
            groups = [(a.tensor, [a]) for a in found] if each else kinds(found)
            for name, members in groups:
                print(
                    f"| {KERNEL_NAMES[kernels]} | {'its own inputs' if local else 'the image'} | {name} "
                    f"| {sum(a.largest == 0 for a in members)} of {len(members)} "
                    f"| {np.mean([a.mean for a in members]):.5f} | {max(a.largest for a in members):.0f} |"
                )


def by_output(simulation: Simulation, int8: Quantized, images: list[np.ndarray], preprocess: Preprocess) -> None:
    models = {kernels: Model(Graph(int8.content), kernels) for kernels in FAMILIES}
    port = models["xnnpack"].input
    made: dict[str, list[np.ndarray]] = {"simulation": [], **{kernels: [] for kernels in FAMILIES}}
    for start in range(0, len(images), BATCH):
        batch = preprocess.apply(images[start : start + BATCH])
        made["simulation"].append(simulation.predict_on_batch(batch))
        for kernels, model in models.items():
            made[kernels].append(model.run(port.encode(batch)))
    values = {name: np.concatenate(parts) for name, parts in made.items()}
    params = models["xnnpack"].outputs[0].qparams
    assert params is not None
    print("\n| | top-1 agreement | 95% interval | equal outputs | mean | largest |\n|---|---|---|---|---|---|")
    for first, second in combinations(values, 2):
        a, b = values[first], values[second]
        same = a.argmax(1) == b.argmax(1)
        top = proportion(int(same.sum()), len(same))
        off = np.abs(a - b) / params.scale[0]
        print(
            f"| {first}, {second} | {top.value:.2%} of {len(same)} | {top.low:.2%} to {top.high:.2%} "
            f"| {np.all(off < 0.5, axis=1).mean():.2%} | {off.mean():.3f} | {off.max():.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--top1", type=int, default=1000)
    parser.add_argument("--tensors", action="store_true")
    given = parser.parse_args()
    recipe = load_recipe(str(given.run / "recipe.yaml"))
    graph = Graph.read(given.run / "float.tflite")
    simulation = Simulation(graph, Ranges.from_json(json.loads((given.run / "ranges.json").read_text("utf-8"))))
    int8 = quantize(simulation.graph, simulation.ranges)
    preprocess = Preprocess.from_recipe(recipe.preprocess)
    images = list(splits_of(recipe).test.images[: max(given.images, given.top1)])
    by_tensor(simulation, int8, preprocess.apply(images[: given.images]), given.tensors)
    by_output(simulation, int8, images[: given.top1], preprocess)


if __name__ == "__main__":
    main()
