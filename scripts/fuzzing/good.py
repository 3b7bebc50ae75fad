"""The good files that cases are damaged copies of."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def _network() -> bytes:
    """A float network of 13 ops, put together by hand."""
    sys.path.insert(0, str(ROOT / "tests"))
    from handmade import File, values

    made = File()
    x = made.tensor("image", (1, 12, 12, 3))

    def conv(source: int, name: str, weights: np.ndarray, shape: tuple[int, ...], kind: str = "", **fields: Any) -> int:
        out = made.tensor(name, shape)
        bias = made.constant(f"{name}/bias", values(weights.shape[0] if not kind else weights.shape[-1], seed=9))
        places = [source, made.constant(f"{name}/weights", weights), bias]
        fields = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, **fields}
        made.op(f"{kind}CONV_2D", places, [out], "DepthwiseConv2D" if kind else "Conv2D", **fields)
        return out

    padded = made.tensor("padded", (1, 14, 14, 3))
    made.op("PAD", [x, made.constant("pad", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))], [padded], "Pad")
    one = conv(padded, "one", values(8, 3, 3, 3), (1, 6, 6, 8), strideH=2, strideW=2, padding=1)
    deep = conv(
        one, "deep", values(1, 3, 3, 8), (1, 6, 6, 8), "DEPTHWISE_", depthMultiplier=1, fusedActivationFunction=3
    )
    two = conv(deep, "two", values(8, 1, 1, 8, seed=3), (1, 6, 6, 8))
    total = made.tensor("sum", (1, 6, 6, 8))
    made.op("ADD", [one, two], [total], "Add")
    both = made.tensor("both", (1, 6, 6, 16))
    made.op("CONCATENATION", [total, deep], [both], "Concatenation", axis=3)
    pooled = made.tensor("pooled", (1, 3, 3, 16))
    sizes = {"filterHeight": 2, "filterWidth": 2, "strideH": 2, "strideW": 2}
    made.op("MAX_POOL_2D", [both], [pooled], "Pool2D", **sizes)
    turned = made.tensor("turned", (1, 3, 3, 16))
    made.op("TRANSPOSE", [pooled, made.constant("order", np.array([0, 2, 1, 3], np.int32))], [turned], "Transpose")
    flat = made.tensor("flat", (1, 9, 16))
    made.op("RESHAPE", [turned, made.constant("shape", np.array([1, 9, 16], np.int32))], [flat], "Reshape")
    mean = made.tensor("mean", (1, 16))
    made.op("MEAN", [flat, made.constant("axes", np.array([1], np.int32))], [mean], "Reducer")
    logits = made.tensor("logits", (1, 4))
    made.dense(mean, made.constant("dense", values(4, 16)), logits, made.constant("dense/bias", values(4)))
    chances = made.tensor("chances", (1, 4))
    made.op("SOFTMAX", [logits], [chances], "Softmax", beta=1.0)
    return made.ports([x], [chances]).bytes()


POLICY = """\
max_drop: 50
worst_score: 1
max_size: 1000000
max_arena: 1000000
max_cpu_ops: 9
max_float_ops: 20
bit_equal: [xnnpack, builtin, reference]
max_latency_ratio: 99
undecided: warn
"""


def make(folder: Path) -> None:
    """Writes the good files that cases are damaged copies of."""
    from PIL import Image

    import octavo

    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (12, 12, 12, 3)).astype(np.uint8), np.arange(12) % 4
    np.savez(folder / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = folder / "photos" / str(label) / f"{place}.{('png', 'jpg', 'gif', 'bmp', 'webp', 'tif')[place % 6]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    for form in ("zip", "gztar", "tar"):
        shutil.make_archive(str(folder / "photos"), form, folder, "photos")
    (folder / "float.tflite").write_bytes(_network())
    octavo.quantize(folder / "float.tflite", folder / "data.npz", folder / "int8.tflite")
    (folder / "budget.yaml").write_text(POLICY)
    (folder / "recipe.yaml").write_bytes((ROOT / "src/octavo/recipe/builtin/digits.yaml").read_bytes())
    sys.path.insert(0, str(ROOT / "tests"))
    from rundir import write_run

    write_run(folder / "run")
    for task in TASKS:
        _make_task(folder / task, task)
    _make_shards(folder, images)


# Folders with the same images as shards.
SHARDS = ("tars", "parquets")


def _make_shards(folder: Path, images: np.ndarray) -> None:
    from sharded import parquets, tars

    for place, image in enumerate(images):
        _write_image(folder / "sharded" / "train" / str(place % 4) / f"{place}.png", image)
    for name, write in zip(SHARDS, (tars, parquets), strict=True):
        write(folder / "sharded", folder / name, ("0", "1", "2", "3"), "train")


# Samples and models of other tasks than classes of images, in folders of these names.
TASKS = ("recordings", "sounds", "masks", "boxes", "inputs", "numbers", "labels")


def _make_task(folder: Path, task: str) -> None:
    """Writes the float model of a task, its samples as `data…`, and the int8 model."""
    import octavo

    folder.mkdir()
    random = np.random.default_rng(1)
    (folder / "float.tflite").write_bytes(_model_of(task))
    match task:
        case "recordings" | "sounds":
            for name, sign in (("falling", -1), ("rising", 1)):
                (folder / "data" / name).mkdir(parents=True)
                for k in range(6):
                    values = np.clip(random.normal(0.4 * sign, 0.2, (8, 17, 25)[k % 3]), -1, 1)
                    _write_signal(folder / "data" / name / f"{k}.{'csv' if task == 'recordings' else 'wav'}", values)
        case "masks":
            for k in range(8):
                image = random.integers(0, 256, (12, 12, 3)).astype(np.uint8)
                _write_image(folder / "data" / "images" / f"{k}.png", image)
                _write_image(folder / "data" / "masks" / f"{k}.png", image.argmax(axis=-1).astype(np.uint8))
        case "boxes":
            from detector import write_coco

            write_coco(folder / "data", 8)
        case "inputs":
            arrays = {"left": random.normal(size=(12, 8)), "right": random.normal(size=(12, 4))}
            np.savez(folder / "data.npz", **{k: v.astype(np.float32) for k, v in arrays.items()}, y=np.arange(12) % 3)
        case "numbers" | "labels":
            x, y = random.normal(size=(12, 8)).astype(np.float32), random.normal(size=(12, 3)).astype(np.float32)
            np.savez(folder / "data.npz", x=x, y=y if task == "numbers" else (y > 0).astype(np.uint8))
    data = next(file for file in folder.iterdir() if file.name.startswith("data"))
    octavo.quantize(folder / "float.tflite", data, folder / "int8.tflite", allow_float=True)


def _model_of(task: str) -> bytes:
    from handmade import File, values

    made = File()
    match task:
        case "boxes":
            from detector import detector

            return detector("table").content
        case "masks":
            x, y = made.tensor("image", (1, 12, 12, 3)), made.tensor("scores", (1, 12, 12, 3))
            places = [x, made.constant("w", values(3, 1, 1, 3)), made.constant("b", values(3))]
            fields = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
            made.op("CONV_2D", places, [y], "Conv2D", **fields)
            return made.ports([x], [y]).bytes()
        case "inputs":
            left, right = made.tensor("left", (1, 8)), made.tensor("right", (1, 4))
            one, two, y = (made.tensor(name, (1, 3)) for name in ("one", "two", "logits"))
            made.dense(left, made.constant("v", values(3, 8)), one)
            made.dense(right, made.constant("w", values(3, 4)), two)
            made.op("ADD", [one, two], [y], "Add")
            return made.ports([left, right], [y]).bytes()
    x, y = made.tensor("x", (1, 8)), made.tensor("y", (1, 3 if task in ("numbers", "labels") else 2))
    if task == "numbers":
        made.dense(x, made.constant("w", values(3, 8)), y)
        return made.ports([x], [y]).bytes()
    logits = made.tensor("logits", (1, 3 if task == "labels" else 2))
    made.dense(x, made.constant("w", values(3 if task == "labels" else 2, 8)), logits)
    if task == "labels":
        made.op("LOGISTIC", [logits], [y])
    else:
        made.op("SOFTMAX", [logits], [y], "Softmax", beta=1.0)
    return made.ports([x], [y]).bytes()


def _write_signal(file: Path, values: np.ndarray) -> None:
    from scipy.io import wavfile

    if file.suffix == ".csv":
        np.savetxt(file, values, delimiter=",")
    else:
        wavfile.write(file, 8000, np.rint(values * 32767).astype(np.int16))


def _write_image(file: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def make_keras(folder: Path) -> None:
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((12, 12, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(4)]
    )
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
