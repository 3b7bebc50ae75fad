"""What helps a MobileNetV2 from ImageNet on 5,000 upscaled CIFAR-10 images: each choice alone, and together.

    python bench/ablation.py --data cifar-10-python.tar.gz --weights imagenet --size 64 --out ablation.jsonl

Every row trains the `cifar10` recipe's network anew on the same 5,000 training images for 5 epochs and is scored on
validation images taken from the rest of the training split, as a float graph and as its int8 form on LiteRT; test
images are never looked at. One JSON line a row is
appended to the output file as soon as it is known, and rows that are there already are not trained again. The table
of all rows is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from octavo.analysis.evaluate import compare, evaluate
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.recipe.schema import Recipe, load_recipe
from octavo.runs.stages import calibration_of, splits_of
from octavo.source.export import to_float_tflite
from octavo.tflite.graph import Graph

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
    "naive": {"train.unfreeze_from": "block_8_expand", "train.learning_rate": 1e-4},
    "full": {},
    "low-rate": {"train.learning_rate": 1e-4},
    "discriminative": {"train.learning_rate": 1e-3, "train.backbone_rate": 0.1},
    "gradual": {"train.gradual_unfreezing": 1},
    "updated-bn": {"train.batch_norm": "update"},
    "updated-bn-fast": {"train.batch_norm": "update", "train.batch_norm_momentum": 0.9},
    "adapt-bn": {"train.adapt_batch_norm": True},
    "reestimate-bn": {"train.reestimate_batch_norm": True},
    "flip-shift": {"train.augment": AUGMENT},
    "crop": {"train.augment": {"crop": 0.25}},
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
}
VALIDATION = 2000


def recipe_of(row: str, size: int, seed: int, data: Path, weights: str) -> Recipe:
    settings = {**FULL, **ROWS[row], "preprocess.size": size, "data.validation": VALIDATION, "seed": seed}
    settings |= {"data.path": str(data), "model.weights": weights, "data.test": 10}
    return load_recipe("cifar10", [f"{key}={json.dumps(value)}" for key, value in settings.items()])


def measure(row: str, recipe: Recipe, splits: Any) -> dict[str, Any]:
    """Trains one row and scores it on the validation images."""
    from octavo.training import baseline as train

    preprocess = Preprocess.from_recipe(recipe.preprocess)
    model = train.build(recipe.model, preprocess.shape, len(splits.train.classes), recipe.seed)
    with tempfile.TemporaryDirectory() as workdir:
        start = time.perf_counter()
        history = train.fit(model, splits.train, None, preprocess, recipe.train, recipe.seed, Path(workdir))
        seconds = time.perf_counter() - start
    graph = Graph(to_float_tflite(model))
    calibrated = preprocess.apply(calibration_of(recipe, splits).images)
    int8 = Graph(quantize(graph, calibrate(graph, calibrated)).content)
    float_scores, int8_scores = (evaluate(g, splits.validation, preprocess) for g in (graph, int8))
    return {
        "row": row,
        "size": recipe.preprocess.size,
        "seed": recipe.seed,
        "images": len(splits.validation),
        "accuracy": vars(float_scores.accuracy()),
        "int8": vars(compare(float_scores, int8_scores, 0.01).difference),
        "train_accuracy": history.epochs[-1]["accuracy"],
        "seconds": round(seconds),
        "settings": ROWS[row],
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip(),
    }


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| row | what it changes | size | validation accuracy (95% interval) | int8, points | training accuracy | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        a = r["accuracy"]
        changes = ", ".join(f"{k.split('.', 1)[1]} {json.dumps(v)}" for k, v in r["settings"].items()) or "–"
        lines.append(
            f"| {r['row']} | {changes.replace(chr(34), '')} | {r['size']} | {a['value']:.1%} ({a['low']:.1%} to "
            f"{a['high']:.1%}) | {r['int8']['value'] * 100:+.1f} | {r['train_accuracy']:.1%} | {r['seconds']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--out", type=Path, default=Path("ablation.jsonl"))
    arguments = parser.parse_args()
    known = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    results = [json.loads(line) for line in known]
    splits = None
    for row in arguments.rows.split(","):
        if any((r["row"], r["size"], r["seed"]) == (row, arguments.size, arguments.seed) for r in results):
            continue
        recipe = recipe_of(row, arguments.size, arguments.seed, arguments.data, arguments.weights)
        splits = splits or splits_of(recipe)
        results.append(measure(row, recipe, splits))
        with arguments.out.open("a") as stream:
            stream.write(json.dumps(results[-1]) + "\n")
        print(f"{row}: {results[-1]['accuracy']['value']:.2%} in {results[-1]['seconds']} s", flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
