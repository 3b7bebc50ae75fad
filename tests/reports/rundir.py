"""A run directory with figures made up by hand, as the stages would write it."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from octavo.base.stats import mcnemar, paired_difference, proportion
from octavo.recipe.schema import load_recipe

CLASSES = ("<script>alert(1)</script>", "naïve | ünïcode 猫 $x^$", "plain")

# A file's name to a function that changes its value, or to None: the run has no such file.
Changes = Callable[[Any], None] | None
MakeRun = Callable[..., Path]


def png(seed: int, side: int = 16) -> str:
    """An image as a data URI."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _model(classes: Sequence[str], each: int, correct: Sequence[int], latency: float) -> dict[str, Any]:
    """A model that takes what it gets wrong for the next class."""
    count = len(classes)
    confusion = np.diag(correct) + np.roll(np.diag([each - hit for hit in correct]), 1, axis=1)
    answers = confusion.sum(axis=0)
    rows = []
    for k, (name, hit) in enumerate(zip(classes, correct, strict=True)):
        recall, precision = hit / each, hit / max(int(answers[k]), 1)
        f1 = 2 * recall * precision / (recall + precision) if hit else 0.0
        row = {"class": name, "images": each, "correct": hit, "recall": recall, "precision": precision, "f1": f1}
        rows.append(row)
    return {
        "file": "x.tflite",
        "sha256": "0" * 64,
        "accuracy": vars(proportion(sum(correct), each * count)),
        "top5": vars(proportion(each * count, each * count)) if count > 10 else None,
        "per_class": rows,
        "confusion": confusion.tolist(),
        "latency_ms": {"median": latency, "p90": latency * 1.2, "min": latency * 0.9, "runs": 100},
    }


def make_evaluation(classes: Sequence[str] = CLASSES, each: int = 20, lost: int = 2, gained: int = 1) -> dict[str, Any]:
    """Float right on nine of ten images of each class; int8 loses some of the first, and gains some of the last."""
    right = [each * 9 // 10] * len(classes)
    other = [right[0] - lost, *right[1:-1], right[-1] + gained]
    images, margin = each * len(classes), 0.02
    difference = paired_difference(lost, gained, images)
    shown = [
        {
            "id": f"test/<img>/{k}.png",
            "label": classes[0],
            "float": classes[0],
            "int8": classes[1],
            "float_probability": 0.9,
            "int8_probability": 0.6,
            "image": png(k),
        }
        for k in range(min(lost + gained, 24))
    ]
    return {
        "images": images,
        "classes": list(classes),
        "kernels": "LiteRT with XNNPACK",
        "models": {
            "float": _model(classes, each, right, 2.0),
            "int8": _model(classes, each, other, 1.0),
        },
        "comparison": {
            "confidence": 0.95,
            "agreement": 1 - (lost + gained) / images,
            "difference": vars(difference),
            "mcnemar": {"b": lost, "c": gained, "p": mcnemar(lost, gained)},
            "margin": margin,
            "non_inferior": difference.low > -margin,
            "probability_shift": {"mean": 0.01, "max": 0.2},
            "disagreements": shown,
        },
    }


def trained(value: dict[str, Any]) -> None:
    """Turns an evaluation into that of a run with quantization-aware training."""
    images, classes = value["images"], value["classes"]
    each = images // len(classes)
    worse, better = [each * 8 // 10] * len(classes), [each * 9 // 10 + 1] * len(classes)
    value["models"]["ptq"] = _model(classes, each, worse, 1.0)
    value["models"]["control"] = _model(classes, each, better, 2.0)
    pairs = {
        ("float", "ptq"): (40, 10),
        ("float", "control"): (4, 9),
        ("ptq", "int8"): (5, 44),
        ("control", "int8"): (8, 2),
    }
    value["pairs"] = [
        {
            "before": before,
            "after": after,
            "difference": vars(paired_difference(*counts, images)),
            "margin": 0.02,
            "non_inferior": paired_difference(*counts, images).low > -0.02,
        }
        for (before, after), counts in pairs.items()
    ]


def _activation(place: int, outlier: float) -> dict[str, Any]:
    top = 6.0 * outlier
    values = {"0": -0.5, "0.001": -0.4, "0.25": 0.0, "0.5": 0.5, "0.75": 2.0, "0.999": 5.6, "1": top}
    name = f"net/block_{place}/relu;net/block_{place}/conv"
    return {"name": name, "op": "CONV_2D", "range": [-0.5, top], "quantiles": values}


def _weight(place: int, depthwise: bool, spread: float) -> dict[str, Any]:
    edges = np.linspace(-128, 128, 65)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = np.round(1000 * np.exp(-((middle / (25 + 3 * place)) ** 2))).astype(int)
    return {
        "name": f"net/block_{place}/{'depthwise' if depthwise else 'conv'}",
        "op": "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        "channels": 8,
        "channel_max": {"min": 0.05, "median": 0.05 * math.sqrt(spread), "max": 0.05 * spread},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _error(k: int) -> dict[str, Any]:
    own = None if k == 0 else 40.0 - 15.0 * (k == 3)
    return {
        "before": f"tensor_{k}",
        "op": "CONV_2D",
        "accumulated": {"sqnr": None if k == 0 else 30.0 - 3 * k, "mean_lsb": 0.5 + k},
        "added": {"sqnr": own, "mean_lsb": 0.3},
    }


def _timing(model: str, kernels: str, median: float, memory: int, left: list[str]) -> dict[str, Any]:
    ratio = 0.5 if model == "int8.tflite" else 1.0
    return {
        "model": model,
        "kernels": kernels,
        "threads": 1,
        "latency": {"median": median, "p90": median * 1.2, "minimum": median * 0.9, "runs": 1000},
        "ratio": {"value": ratio, "low": ratio * 0.98, "high": ratio * 1.02},
        "throughput": 1500 / median,
        "footprint": {"load_ms": 2.5 * median, "first_ms": 3 * median, "memory": memory},
        "left": left,
    }


def _target(name: str, takes: bool | None, runs: bool | None, cost: bool | None, **facts: Any) -> dict[str, Any]:
    """A target whose words name it; one that can not take the model, or is unknown, has no other answers."""

    def answer(value: bool | None, about: str, given: dict[str, Any]) -> dict[str, Any]:
        return {"answer": value, "about": f"{name} {about}", "facts": given}

    return {
        "target": name,
        "takes": answer(takes, "looked", facts.pop("takes", {})),
        "runs": answer(runs, "ran or not", {}) if takes else None,
        "costs": answer(cost, "costs", facts) if takes else None,
    }


def make_deployment() -> dict[str, Any]:
    """Int8 takes half of float's time on XNNPACK, whose every figure differs from evaluation's."""
    return {
        "sha256": {"float.tflite": "0" * 64, "int8.tflite": "0" * 64},
        "benchmark": {
            "seconds": 2.0,
            "machine": {"cpu": "a bench cpu", "architecture": "a64", "cores": 2, "system": "Linux", "litert": "2.3.0"},
            "files": {},
            "timings": [
                _timing("float.tflite", "xnnpack", 3.0, 8_000_000, []),
                _timing("int8.tflite", "xnnpack", 1.5, 5_500_000, ["SOFTMAX #3"]),
                _timing("float.tflite", "builtin", 8.0, 6_000_000, ["CONV_2D #0"]),
                _timing("int8.tflite", "builtin", 4.0, 4_000_000, ["CONV_2D #0"]),
            ],
            "peak_int8_gmacs": None,
            "profiles": {},
        },
        "not_timed": [],
        "images": 8,
        "targets": [
            _target("LiteRT CPU, xnnpack", True, True, True, median_ms=1.5),
            _target("Browser, <b>", None, None, None),
            _target("OpenVINO CPU", True, True, True, median=1.25, p90=1.5, minimum=1.0),
            _target("TFLite Micro", True, False, False, activations=106_496, runtime_estimate=68_504, flash=1_000_000),
            _target("Arm ethos-u55-128 (Vela)", None, None, None),
            _target("Edge TPU (pre-flight)", True, False, False, constants=400_000),
        ],
    }


def make_files() -> dict[str, Any]:
    """Every file of a run, by its stem."""
    recipe = load_recipe("digits", ["quantize.method=ptq"]).model_dump(mode="json")
    recipe["title"] = "A <b>title</b>"
    port = {"name": "image", "shape": [1, 32, 32, 3], "dtype": "int8", "scale": 0.0078431377, "zero_point": -1}
    out = {"name": "Identity", "shape": [1, 3], "dtype": "int8", "scale": 0.00390625, "zero_point": -128}
    split = {"images": 60, "per_class": [20, 20, 20], "digest": "d" * 64}
    stage = {"seconds": 1.25, "key": "k", "commit": "abc1234", "inputs": {}, "outputs": {"a.json": "e" * 64}}
    return {
        "recipe": recipe,
        "manifest": {
            "octavo": "0.1.0",
            "commit": "abc1234",
            "created": "2030-01-01T00:00:00+00:00",
            "recipe": "digits",
            "title": "",
            "seed": 7,
            "command": "octavo run digits --set a=`b`|c",
            "machine": {"cpu": "a cpu", "cores": 2, "python": "3.11.7", "platform": "Linux-x86_64"},
            "versions": {"keras": "3.15.1", "numpy": "2.0.0"},
            "stages": {"train": stage, "evaluate": stage},
        },
        "data": {
            "source": "hand",
            "classes": list(CLASSES),
            "train": {**split, "images": 1200},
            "validation": None,
            "test": split,
            "calibration": {**split, "images": 100},
            "warnings": ["2 corrupt images were left out: <i>a.png</i>, b_.png"],
            "input_shape": [8, 8, 3],
        },
        "history": {
            "epochs": [
                {
                    "epoch": n,
                    "loss": 1 / n,
                    "accuracy": 0.9 + 0.04 * n,
                    "val_loss": None,
                    "val_accuracy": None,
                    "learning_rate": 0.1,
                    "seconds": 3.0,
                }
                for n in (1, 2)
            ],
            "seconds": 6.0,
            "parameters": {"total": 10_000, "trainable": 8_000},
            "best_epoch": None,
        },
        "ranges": {"observer": "minmax", "images": 100, "tensors": {"image": {"min": -1.0, "max": 1.0}}},
        "proof": {
            "sha256": "f" * 64,
            "bytes": 1_000_000,
            "input": port,
            "output": out,
            "checks": [
                {"name": "input and output are int8", "passed": True, "count": 2, "detail": ""},
                {"name": "LiteRT allocates and runs it", "passed": True, "count": 1, "detail": ""},
            ],
            "ops": {"CONV_2D": 3, "SOFTMAX": 1},
            "float_left": [],
            "macs": 15_000_000,
            "parameters": 400_000,
            "widened": [],
            "precision": {"first": "int4", "second": "int4", "third": "int8"},
        },
        "distributions": {
            "images": 8,
            "activations": [_activation(k, 4.0 if k == 2 else 1.0) for k in range(6)],
            "weights": [_weight(k, k % 2 == 1, 40.0 if k == 3 else 4.0) for k in range(6)],
        },
        "compare": {
            "images": 16,
            "kernels": "LiteRT with XNNPACK",
            "tensors": [_error(k) for k in range(6)],
        },
        "size": {
            "files": {
                "keras_with_optimizer": 5_000_000,
                "keras": 2_500_000,
                "float_tflite": 2_000_000,
                "int8_tflite": 1_000_000,
            },
            "breakdown": {
                "float_tflite": {"weights": 1_900_000, "quantization": 0, "names": 50_000, "rest": 50_000},
                "int8_tflite": {"weights": 700_000, "quantization": 200_000, "names": 50_000, "rest": 50_000},
            },
        },
        "evaluation": make_evaluation(),
        "deployment": make_deployment(),
        "qat": {
            "epochs": [{"epoch": 1, "loss": 0.5, "accuracy": 0.9}, {"epoch": 2, "loss": 0.4, "accuracy": 0.95}],
            "seconds": 75.0,
            "peak_rate": 0.0001,
        },
    }


def write_run(folder: Path, **changes: Changes) -> Path:
    """Writes a run directory; arguments change or leave out its files."""
    folder.mkdir(exist_ok=True)
    for stem, value in make_files().items():
        path = folder / f"{stem}.{'yaml' if stem == 'recipe' else 'json'}"
        change = changes.get(stem, lambda same: None)
        if change is None:
            path.unlink(missing_ok=True)
            continue
        change(value)
        path.write_text(yaml.safe_dump(value) if stem == "recipe" else json.dumps(value), "utf-8")
    return folder
