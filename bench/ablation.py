"""What helps a MobileNetV2 from ImageNet on 5,000 upscaled CIFAR-10 images: each choice alone, and together.

    python bench/ablation.py --data cifar10-images.tar.gz --weights imagenet --size 96 --seeds 0 1 2 --out rows.jsonl

Every row trains the `cifar10` recipe's network anew on 5,000 training images for 5 epochs and is scored on validation
images taken from the rest of the training split, as a float graph and as its int8 form on LiteRT (the default of
`octavo.quantize`, and min-max alone); test images are never looked at. A seed is another choice of training and
validation images, initial classifier, order and augmentation; rows are compared seed by seed, on the same images. One
JSON line a row and seed is appended to the output file as soon as it is known, and what is there already is not trained
again. The table of all rows is printed at the end.

The row `teacher` needs `--teacher`, a larger network trained on the same images; `{seed}` in its path is the seed.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pairs import mean, points

from octavo.analysis.evaluate import evaluate
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.data.split import Splits
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.quantization.table import build
from octavo.recipe.schema import Recipe, load_recipe
from octavo.runs.stages import calibration_of, splits_of
from octavo.runtime.litert import Model
from octavo.source.export import to_float_tflite
from octavo.tflite.graph import Graph
from octavo.training.history import History
from octavo.tuning.tune import tune

Array = npt.NDArray[Any]

# All layers trained by Adam at 3e-4 with frozen batch norms, no augmentation: what the other rows change.
FULL = {
    "train.batch_norm": "frozen",
    "train.learning_rate": 3e-4,
    "train.batch_norm_momentum": None,
    "train.label_smoothing": 0,
    "train.weight_averaging": 0,
    "train.adapt_batch_norm": False,
    "train.reestimate_batch_norm": False,
    "train.weight_decay": 0,
    "train.augment": {},
}
AUGMENT = {"flip": True, "shift": 0.125}
ROWS: dict[str, dict[str, Any]] = {
    "full": {},
    "naive": {"train.unfreeze_from": "block_8_expand", "train.learning_rate": 1e-4},
    "low-rate": {"train.learning_rate": 1e-4},
    "high-rate": {"train.learning_rate": 6e-4},
    "discriminative": {"train.learning_rate": 1e-3, "train.backbone_rate": 0.3},
    "layer-decay": {"train.learning_rate": 6e-4, "train.layer_decay": 0.9},
    "small-batch": {"train.batch": 16},
    "long-warm-up": {"train.warmup": 0.3},
    "weight-decay": {"train.weight_decay": 0.01},
    "gradual": {"train.gradual_unfreezing": 1},
    "updated-bn": {"train.batch_norm": "update"},
    "updated-bn-fast": {"train.batch_norm": "update", "train.batch_norm_momentum": 0.9},
    "adapt-bn": {"train.adapt_batch_norm": True},
    "reestimate-bn": {"train.reestimate_batch_norm": True},
    "flip-shift": {"train.augment": AUGMENT},
    "crop": {"train.augment": {"flip": True, "crop": 0.25}},
    "mixup": {"train.augment": {"mixup": 0.2}},
    "randaugment": {"train.augment": {"randaugment": 2}},
    "label-smoothing": {"train.label_smoothing": 0.1},
    "weight-averaging": {"train.weight_averaging": 0.98},
    "nearest": {"preprocess.interpolation": "nearest"},
    "bilinear": {"preprocess.interpolation": "bilinear"},
    "lanczos": {"preprocess.interpolation": "lanczos"},
    "together": {"train.label_smoothing": 0.1, "train.augment": AUGMENT},
    "together-updated-bn": {
        "train.batch_norm": "update",
        "train.batch_norm_momentum": 0.9,
        "train.label_smoothing": 0.1,
        "train.augment": AUGMENT,
    },
    "together-sgd": {
        "train.optimizer": "sgd",
        "train.learning_rate": 0.01,
        "train.label_smoothing": 0.1,
        "train.augment": AUGMENT,
    },
    "progressive": {},
    # Beyond the budget of 5,000 images and 5 epochs: what limits the rows above.
    "more-images": {"train.label_smoothing": 0.1, "train.augment": AUGMENT, "data.train": 25000, "train.epochs": 1},
    "more-epochs": {"train.label_smoothing": 0.1, "train.augment": AUGMENT, "train.epochs": 10},
    "teacher": {"train.augment": AUGMENT, "train.distill": 0.7},
}
# Progressive resizing: a smaller input in the first epochs, and the weights carried over.
FIRST_SIZE, FIRST_EPOCHS = 2 / 3, 3
VALIDATION = 5000


def recipes_of(row: str, size: int, seed: int, arguments: argparse.Namespace) -> list[Recipe]:
    """The recipes of a row, one after the other; each begins with the weights of the last."""
    settings = {**FULL, **ROWS[row], "preprocess.size": size, "data.validation": VALIDATION, "seed": seed}
    settings |= {"data.path": str(arguments.data), "model.weights": arguments.weights, "data.test": 10}
    if row == "teacher":
        settings["train.teacher"] = arguments.teacher.format(seed=seed)
    changes: list[dict[str, Any]] = [{}]
    if row == "progressive":
        first = {"preprocess.size": round(size * FIRST_SIZE), "train.schedule": "constant"}
        rest = load_recipe("cifar10").train.epochs - FIRST_EPOCHS
        changes = [first | {"train.epochs": FIRST_EPOCHS}, {"train.epochs": rest, "train.warmup": 0.0}]
    return [
        load_recipe("cifar10", [f"{key}={json.dumps(value)}" for key, value in (settings | each).items()])
        for each in changes
    ]


def trained(recipes: list[Recipe], splits: Splits) -> tuple[Any, History]:
    """The network of a row, and the history of the last part of its training."""
    from octavo.training import baseline
    from octavo.training.teacher import Teacher

    weights = None
    for recipe in recipes:
        preprocess, train = Preprocess.from_recipe(recipe.preprocess), recipe.train
        model = baseline.build(recipe.model, preprocess.shape, len(splits.train.classes), recipe.seed)
        if weights is not None:
            model.set_weights(weights)
        teacher = Teacher(Graph.read(train.teacher), preprocess, train.teacher_share) if train.teacher else None
        with tempfile.TemporaryDirectory() as workdir:
            history = baseline.fit(
                model, splits.train, None, preprocess, train, recipe.seed, Path(workdir), teacher=teacher
            )
        weights = model.get_weights()
    return model, history


def measure(row: str, recipes: list[Recipe], splits: Splits) -> dict[str, Any]:
    """Trains one row and scores it on the validation images."""
    recipe = recipes[-1]
    preprocess = Preprocess.from_recipe(recipe.preprocess)
    start = time.perf_counter()
    model, history = trained(recipes, splits)
    seconds = time.perf_counter() - start
    graph = Graph(to_float_tflite(model))
    images = Feed(calibration_of(recipe, splits), preprocess, Model(graph, workers=1).inputs)
    ranges = calibrate(graph, images)
    tuned = tune(graph, ranges, images, ("compensate",), build)
    made = {"minmax": quantize(graph, ranges), "int8": quantize(tuned.graph, tuned.ranges)}
    graphs = {"float": graph, **{name: Graph(int8.content) for name, int8 in made.items()}}
    right = {name: evaluate(each, splits.validation, preprocess).correct for name, each in graphs.items()}
    return {
        "row": row,
        "size": recipe.preprocess.size,
        "seed": recipe.seed,
        "right": {name: packed(each) for name, each in right.items()},
        "train_accuracy": history.epochs[-1]["accuracy"],
        "seconds": round(seconds),
        "settings": ROWS[row],
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        ).stdout.strip(),
    }


def packed(right: Array) -> str:
    """Whether each image is right, as text."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpacked(text: str) -> Array:
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=VALIDATION).astype(float)


def table(results: list[dict[str, Any]]) -> str:
    """A line for each row and size: means over its seeds, differences image by image."""
    lines = [
        "| row | what it changes | size | seeds | validation accuracy | minus `full`, points | int8 minus float "
        "| min-max minus float | training accuracy | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_place: dict[tuple[str, int], dict[int, dict[str, Any]]] = {}
    for result in results:
        by_place.setdefault((result["row"], result["size"]), {})[result["seed"]] = result
    for (row, size), found in by_place.items():
        right = {seed: {kind: unpacked(text) for kind, text in r["right"].items()} for seed, r in found.items()}
        base = by_place.get(("full", size), {})
        # More training images leave other images for validation.
        alone = row == "full" or "data.train" in ROWS[row]
        shared = [] if alone else [seed for seed in found if seed in base]
        against = over_seeds([right[seed]["float"] - unpacked(base[seed]["right"]["float"]) for seed in shared])
        int8, minmax = (
            over_seeds([each[kind] - each["float"] for each in right.values()]) for kind in ("int8", "minmax")
        )
        first = next(iter(found.values()))
        changes = ", ".join(f"{key.split('.', 1)[1]} {json.dumps(value)}" for key, value in first["settings"].items())
        accuracy = np.mean([each["float"].mean() for each in right.values()])
        trained, seconds = (np.mean([r[key] for r in found.values()]) for key in ("train_accuracy", "seconds"))
        lines.append(
            f"| {row} | {changes.replace(chr(34), '') or '–'} | {size} | {len(found)} | {accuracy:.1%} | {against} | "
            f"{int8} | {minmax} | {trained:.1%} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def over_seeds(differences: list[Array]) -> str:
    """The mean difference over seeds, which have other images, in points."""
    return points(mean(np.concatenate(differences))) if differences else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--teacher", default="", help="a float model, such as runs/teacher-{seed}/float.tflite")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    usual = [row for row in ROWS if row != "teacher"]
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=usual)
    parser.add_argument("--out", type=Path, default=Path("ablation.jsonl"))
    arguments = parser.parse_args()
    known = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    results = [json.loads(line) for line in known]
    for seed in arguments.seeds:
        splits: dict[str, Splits] = {}
        for row in arguments.rows:
            if any((r["row"], r["size"], r["seed"]) == (row, arguments.size, seed) for r in results):
                continue
            recipes = recipes_of(row, arguments.size, seed, arguments)
            images = recipes[-1].data.model_dump_json()
            splits[images] = splits.get(images) or splits_of(recipes[-1])
            results.append(measure(row, recipes, splits[images]))
            with arguments.out.open("a") as stream:
                stream.write(json.dumps(results[-1]) + "\n")
            accuracy = unpacked(results[-1]["right"]["float"]).mean()
            print(f"{row}, seed {seed}: {accuracy:.2%} in {results[-1]['seconds']} s", flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
