"""Accuracy of a run's float model after a few more epochs, as float and as int8: what training for int8 is worth.

    python bench/qat_accuracy.py --run runs/cifar10 --out runs/qat-accuracy --seeds 0 1 2 --test 10000
    python bench/qat_accuracy.py --run runs/cifar10 --out runs/qat-int4 --set 'quantize.precision={"*": int4}'

From the run's one float model and its calibrated ranges, for each seed (of order and augmentation), with the settings
of the run's `qat` section and its precisions: `control`, the float graph trained on; `qat`, quantization-aware
training; `distill`, the same with a share of the loss from the float graph's outputs (half of it, if `qat.distill` is
not set). Beside them the float model as it is, post-training quantization as the run made it, and `start`: what
training starts from, written as it is. int8 is the written and proved file on LiteRT. Where the recipe sets validation
images apart (`--set data.validation=2000`), all are scored on them too, so that they can choose. What is in OUT is not
computed again, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from pairs import mean, paired, percent, points

from octavo.analysis.evaluate import evaluate
from octavo.base.progress import Silent
from octavo.base.stats import proportion
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.data.split import Splits
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.recipe.schema import Recipe, load_recipe
from octavo.runs import stages
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.training import qat
from octavo.training.convert import convert
from octavo.training.start import started

KINDS = {"control": "float control", "qat": "QAT int8", "distill": "QAT int8, distilled"}


class Lines(Silent):
    """Progress as lines."""

    def say(self, text: str) -> None:
        print(text, flush=True)


def score(graph: Graph, splits: Splits, preprocess: Preprocess, out: Path, name: str) -> None:
    """Evaluates a model on the validation and test images, and keeps whether each one is right."""
    for images, path in ((splits.validation, out / "validation" / f"{name}.npy"), (splits.test, out / f"{name}.npy")):
        if images is not None:
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as stream:
                np.save(stream, evaluate(graph, images, preprocess).correct)


def start(run: Path, out: Path, recipe: Recipe, splits: Splits, preprocess: Preprocess) -> tuple[Graph, Ranges]:
    """The float graph and the ranges that training for int8 starts from; scored, and kept for the next seed."""
    paths, asked = (out / "start.float.tflite", out / "start.json"), recipe.quantize
    if not (out / "start.npy").exists():
        graph = Graph.read(run / "float.tflite")
        ranges = Ranges.from_json(json.loads((run / "ranges.json").read_text("utf-8")))
        images = Feed(stages.calibration_of(recipe, splits), preprocess, Model(graph, workers=1).inputs)
        began = time.perf_counter()
        made = started(graph, ranges, images, recipe.qat.start, asked.options, Lines())
        print(f"start: {time.perf_counter() - began:.0f} s", flush=True)
        paths[0].write_bytes(made.graph.content)
        paths[1].write_text(json.dumps(made.ranges.to_json()))
        int8 = quantize(made.graph, made.ranges, asked.allow_float, asked.precision).content
        (out / "start.tflite").write_bytes(int8)
        score(Graph(int8), splits, preprocess, out, "start")
    return Graph.read(paths[0]), Ranges.from_json(json.loads(paths[1].read_text()))


def train(kind: str, seed: int, run: Path, out: Path, recipe: Recipe, splits: Splits, preprocess: Preprocess) -> None:
    """Trains one model and scores it."""
    from octavo.simulate import FloatModel, Simulation

    graph = Graph.read(run / "float.tflite")
    asked = recipe.quantize
    if kind == "control":
        model = FloatModel(graph)
    else:
        model = Simulation(*start(run, out, recipe, splits, preprocess), asked.allow_float, asked.precision)
    settings = recipe.qat.model_copy(update={"distill": (recipe.qat.distill or 0.5) if kind == "distill" else 0.0})
    workdir = out / f".{kind}-{seed}"
    qat.fit(
        model, splits.train, None, preprocess, settings, seed, workdir, Lines(), f"{kind}, seed {seed}", teacher=graph
    )
    made = model.graph if kind == "control" else Graph(convert(model).quantized.content)  # type: ignore[arg-type]
    (out / f"{kind}-{seed}.tflite").write_bytes(made.content)
    score(made, splits, preprocess, out, f"{kind}-{seed}")


def table(out: Path, seeds: list[int]) -> None:
    """All that is there, model by model and seed by seed."""
    right: dict[str, Any] = {path.stem: np.load(path) for path in sorted(out.glob("*.npy"))}
    chosen_by = {path.stem: np.load(path).mean() for path in (out / "validation").glob("*.npy")}
    print("| model | seed | validation | accuracy | minus float | minus control of the seed | minus PTQ | bytes |")
    print("|---|---|---|---|---|---|---|---|")
    names = [("float", "", "float"), ("ptq", "", "PTQ int8"), ("start", "", "start of training")]
    names += [(f"{kind}-{seed}", str(seed), title) for kind, title in KINDS.items() for seed in seeds]
    for name, seed, title in names:
        if name not in right:
            continue
        cells = [_against(right, base, name) for base in ("float", f"control-{seed}", "ptq")]
        share = proportion(int(right[name].sum()), len(right[name]))
        cells.append(f"{path.stat().st_size:,}" if (path := out / f"{name}.tflite").exists() else "")
        print(
            f"| {title} | {seed} | {f'{chosen_by[name]:.2%}' if name in chosen_by else ''} | {percent(share)} "
            f"| {' | '.join(cells)} |"
        )
    for kind, title in KINDS.items():
        there = [seed for seed in seeds if f"{kind}-{seed}" in right]
        if len(there) < 2:
            continue
        values = [right[f"{kind}-{seed}"].mean() for seed in there]
        line = f"\n{title}: mean {np.mean(values):.2%}, from {min(values):.2%} to {max(values):.2%}"
        if kind != "control" and all(f"control-{seed}" in right for seed in there):
            line += f"; minus control {_pooled(right, kind, there)}"
        print(line)


def _pooled(right: dict[str, Any], kind: str, seeds: list[int]) -> str:
    """Mean over seeds of the difference to the control, in points; its interval is over the images.

    Seeds share the images, so an image's differences are averaged first: the normal interval of their mean.
    """
    gaps = np.mean([right[f"{kind}-{s}"].astype(float) - right[f"control-{s}"] for s in seeds], axis=0)
    return points(mean(gaps))


def _against(right: dict[str, Any], base: str, name: str) -> str:
    return "" if base not in right or base == name else points(paired(right[base], right[name]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run directory of `octavo run`")
    parser.add_argument("--out", type=Path, required=True, help="where models and scores are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), help="none: only `start`")
    parser.add_argument("--test", type=int, help="test images; the run's own by default")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="KEY=VALUE of the recipe")
    options = parser.parse_args()
    more = [f"data.test={options.test}"] if options.test else []
    recipe = load_recipe(str(options.run / "recipe.yaml"), [*options.settings, *more])
    splits, preprocess = stages.splits_of(recipe), Preprocess.from_recipe(recipe.preprocess)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, file in (("float", "float.tflite"), ("ptq", "int8.tflite")):
        if not (options.out / f"{name}.npy").exists():
            score(Graph.read(options.run / file), splits, preprocess, options.out, name)
    if not options.kinds:
        start(options.run, options.out, recipe, splits, preprocess)
    for seed in options.seeds:
        for kind in options.kinds:
            if not (options.out / f"{kind}-{seed}.npy").exists():
                train(kind, seed, options.run, options.out, recipe, splits, preprocess)
    table(options.out, options.seeds)


if __name__ == "__main__":
    main()
