"""Gives damaged files to the command line, and counts what it does with them.

python scripts/fuzz.py --seed 1 --count 300                 # every kind in turn
python scripts/fuzz.py --seed 1 --count 10000 --workers 4   # as in `make nightly`
python scripts/fuzz.py --seed 1 --only tflite-fields:17     # one case again, with what it prints
python scripts/fuzz.py --seed 1 --count 50 --kinds keras    # some kinds; TensorFlow makes `keras` slow
python scripts/fuzz.py --seed 1 --count 20 --started        # child processes are started anew, not forked
python scripts/fuzz.py --seed 1 --count 10000 --kept FILE   # if it is stopped, the same command goes on from FILE

A case is clean if the command ends with exit code 0, or with 2 and one message (1 where it says that files differ, or
that a limit is broken); within 30 seconds; within 4 GB of
resident memory, its child processes included. Every case runs in a process forked from this one, which has everything
imported, and so do the child processes of Octavo: starting Python anew would take most of the time.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from octavo.cli.app import UNFORESEEN

ROOT = Path(__file__).resolve().parent.parent
SECONDS, BYTES = 30.0, 4 << 30
Random = np.random.Generator


# ---------------------------------------------------------------------------------------------------------- good files


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


def make_keras(folder: Path) -> None:
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((12, 12, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(4)]
    )
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")


# -------------------------------------------------------------------------------------------------------------- damage

# Numbers at the ends of what types hold, and beyond what anything needs.
ENDS = (0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 32767, 65535, 1 << 16, (1 << 31) - 1, -(1 << 31), 1 << 31, (1 << 32) - 1)
WIDE = (*ENDS, 3 * 10**12, 1 << 40, (1 << 63) - 1, -(1 << 63))
REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-38, 1e-9, 1e30, 3.4e38, float("inf"), -float("inf"), float("nan"))


def changed_bytes(content: bytes, random: Random) -> bytes:
    """Some bytes, words or lengths changed."""
    data = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(0, len(data)))
        match random.integers(0, 6):
            case 0:
                data[place] = random.integers(0, 256)
            case 1:
                data[place] ^= 1 << int(random.integers(0, 8))
            case 2 | 3:
                place -= place % 4
                data[place : place + 4] = int(random.choice(np.array(ENDS)) & 0xFFFFFFFF).to_bytes(4, "little")
            case 4:
                del data[place : place + int(random.integers(1, 16))]
            case 5:
                data = data[:place] if random.random() < 0.3 else data + data[place : place + 64]
        if not data:
            break
    return bytes(data)


def changed_fields(content: bytes, random: Random) -> bytes:
    """A `.tflite` file with one to three fields of its tables changed, and well-formed as a flatbuffer."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for _ in range(random.integers(1, 4)):
        owner, name, value = _field(model, random)
        setattr(owner, name, _other(value, random, model))
    try:
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    except Exception:  # A value that the format cannot hold.
        return content


def _field(model: Any, random: Random) -> tuple[Any, str, Any]:
    """A random field of a random table below the model: half of them of ops and tensors."""
    while True:
        at: Any = model
        graph = model.subgraphs[0] if model.subgraphs else None
        if random.random() < 0.7 and graph is not None:
            many = graph.operators if random.random() < 0.5 else graph.tensors
            at = many[random.integers(0, len(many))] if many else graph
        while True:
            names = [n for n in vars(at) if vars(at)[n] is not None] or list(vars(at))
            if not names:
                break
            name = str(random.choice(names))
            value = vars(at)[name]
            if isinstance(value, list) and value and hasattr(value[0], "__dict__") and random.random() < 0.9:
                at = value[random.integers(0, len(value))]
            elif hasattr(value, "__dict__") and random.random() < 0.9:
                at = value
            else:
                return at, name, value


def _other(value: Any, random: Random, model: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return float(random.choice(np.array(REALS)))
    if isinstance(value, int | np.integer):
        return int(random.choice(np.array(ENDS))) if random.random() < 0.5 else int(value) + int(random.integers(-3, 4))
    if isinstance(value, bytes):
        return [b"", b"\xff\xfe", value * 2, b"a" * 300][random.integers(0, 4)]
    if isinstance(value, np.ndarray) and value.size:
        made = value.copy()
        if made.dtype == np.uint8 and made.size >= 4 and random.random() < 0.7:
            made = made[: made.size - made.size % 4]
            whole = made.view("<i4" if random.random() < 0.5 else "<f4")
            whole[random.integers(0, whole.size)] = _end(whole.dtype, random)
            return whole.view(np.uint8)
        match random.integers(0, 4):
            case 0:
                return made[: random.integers(0, made.size)]
            case 1:
                return np.concatenate([made, made[:1]])
        made[random.integers(0, made.size)] = _end(made.dtype, random)
        return made
    if isinstance(value, list) and value:
        made = list(value)
        place = int(random.integers(0, len(made)))
        match random.integers(0, 5):
            case 0:
                del made[place]
            case 1:
                made.insert(place, made[int(random.integers(0, len(made)))])
            case 2:
                made.reverse()
            case 3:
                return [] if random.random() < 0.5 else None
            case 4:
                made[place] = _other(made[place], random, model)
        return made
    return None


def _end(dtype: np.dtype[Any], random: Random) -> Any:
    if dtype.kind == "f":
        return random.choice(np.array(REALS))
    limits = np.iinfo(dtype)
    return int(np.clip(int(random.choice(np.array(ENDS))), limits.min, limits.max))


def changed_text(text: str, random: Random) -> str:
    """JSON or YAML with words, numbers or brackets changed, or one of a few forms that parsers dislike."""
    odd = (
        "NaN",
        "Infinity",
        "-1",
        "1e999",
        "3000000000000",
        "null",
        "[]",
        "{}",
        '"\\ud800"',
        "2026-13-45",
        "!!python/x y",
    )
    odd = (
        *odd,
        "!!float y",
        "*a",
        "&a [*a]",
        "0o9",
        "1:99:99",
        "<<: 1",
        "? [a]",
        "\t",
        "\x00",
        "'",
        '"',
        "~",
        "é\u2028",
        "!!int x",
    )
    deep = int(random.choice(np.array([50, 101, 400, 2000, 30000])))
    match random.integers(0, 8):
        case 0:
            return ("[" * deep + "]" * deep)[: deep * 2 - int(random.integers(0, 2))]
        case 1:
            return '{"a":' * deep + "1" + "}" * deep
        case 2:
            lines = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}' if k else '1'] * 10)}]" for k in range(9)]
            return "\n".join(lines)
        case 3:
            return "\n".join(f"{'  ' * k}a:" for k in range(min(deep, 600)))
    words = [k for k in range(len(text)) if text[k] in '0123456789"[]{}:,-']
    for _ in range(random.integers(1, 4)):
        place = words[random.integers(0, len(words))]
        end = place + 1
        while end < len(text) and text[place].isdigit() and (text[end].isdigit() or text[end] == "."):
            end += 1
        text = text[:place] + (str(random.choice(np.array(odd, object))) if random.random() < 0.8 else "") + text[end:]
        words = [k for k in words if k < len(text)] or [0]
    return text


def changed_value(value: Any, random: Random) -> Any:
    """A JSON value with one part replaced by one of another type, removed, or repeated."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = str(random.choice(np.array(list(value), object)))
        if random.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: changed_value(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        place = int(random.integers(0, len(value)))
        match random.integers(0, 4):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return [*value, value[place]]
        return [changed_value(item, random) if k == place else item for k, item in enumerate(value)]
    others: tuple[Any, ...] = (
        None,
        -1,
        0,
        10**400,
        1e308,
        -1e308,
        3 * 10**12,
        "",
        "x" * 99,
        "\ud800",
        [],
        {},
        [[1], [1, 2]],
        True,
    )
    return others[random.integers(0, len(others))]


def changed_npz(content: bytes, random: Random) -> bytes:
    """An `.npz` whose members or headers claim something else, or whose arrays hold odd values."""
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    key = str(random.choice(list(arrays)))
    array, out = arrays[key], io.BytesIO()
    heads = (
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3000000000000,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 3000000000000), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3000000000000, 0), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<U999999999', 'fortran_order': False, 'shape': (), }",
        "{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<M8[s]', 'fortran_order': True, 'shape': (1,)*65, }",
        "{'descr': '<V4', 'fortran_order': False, 'shape': (3L, 2), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "(" * 300,
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'x': '''",
        "[" * 3000,
    )
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: array.astype(np.int64) + int(random.choice(np.array(WIDE, np.int64))) // 2,
        lambda: array.astype(np.float64) * float(random.choice(np.array(REALS))),
        lambda: array[:0],
        lambda: array[: len(array) // 2],
        lambda: array.astype(str),
        lambda: array.astype(np.complex64),
        lambda: array.reshape(-1),
        lambda: array[(None,) * 20],
        lambda: np.zeros((4, 0, 3), np.uint8),
        lambda: np.array(3 * 10**12),
        lambda: np.full(len(array), 3 * 10**12),
        lambda: np.array([f"class {k}" for k in range(12)]),
        lambda: np.zeros((12, 70000), np.uint8),
        lambda: np.array(["2026-01-01"] * 12, "M8[D]"),
    )
    if random.random() < 0.5:
        with np.errstate(all="ignore"):
            arrays[key if random.random() < 0.8 else "classes"] = kinds[random.integers(0, len(kinds))]()
        np.savez(out, **arrays)
        return out.getvalue()
    version = bytes([int(random.choice([1, 2, 3, 9])), 0])
    text = heads[random.integers(0, len(heads))].encode()
    length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    with zipfile.ZipFile(out, "w") as archive:
        for name, one in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, one)
            raw = stream.getvalue()
            if name == key:
                raw = (
                    changed_bytes(raw, random)
                    if random.random() < 0.3
                    else b"\x93NUMPY" + version + length + text + b"ab"
                )
            archive.writestr(f"{name}.npy", raw)
    return out.getvalue()


def changed_keras(path: Path, random: Random) -> bytes:
    """A `.keras` or `.h5` file with a changed configuration, other declared shapes, or changed bytes."""
    import h5py

    if random.random() < 0.3:
        return changed_bytes(path.read_bytes(), random)

    def declared(content: bytes) -> bytes:
        stream = io.BytesIO(content)
        with h5py.File(stream, "r+") as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            name = str(random.choice(names))
            rank = len(file[name].shape)
            del file[name]
            many = int(random.choice(np.array([1, 1000, 40000, 10**9])))
            file.create_dataset(name, (many,) * max(rank, 1), "f4", chunks=(1,) * max(rank, 1))
        return stream.getvalue()

    if path.suffix == ".h5":
        stream = io.BytesIO(path.read_bytes())
        if random.random() < 0.5:
            return declared(stream.getvalue())
        with h5py.File(stream, "r+") as file:
            file.attrs["model_config"] = changed_config(str(file.attrs["model_config"]), random).replace("\0", "")
        return stream.getvalue()
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    match random.integers(0, 4):
        case 0:
            parts["model.weights.h5"] = declared(parts["model.weights.h5"])
        case 1:
            parts["model.weights.h5"] = changed_bytes(parts["model.weights.h5"], random)
        case _:
            parts["config.json"] = changed_config(parts["config.json"].decode(), random).encode("utf-8", "replace")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def changed_config(text: str, random: Random) -> str:
    if random.random() < 0.5:
        return changed_text(text, random)
    numbers = [k for k in range(len(text)) if text[k] == " " and text[k + 1].isdigit()]
    place = numbers[random.integers(0, len(numbers))]
    end = place + 1
    while text[end].isdigit():
        end += 1
    return f"{text[:place]} {int(random.choice(np.array([0, 5, 1000, 60000, 10**7, 10**9, 3 * 10**12])))}{text[end:]}"


# --------------------------------------------------------------------------------------------------------------- cases


# What each command on a model is given: M is the model, D the data, F the float model, K a kernel family.
COMMANDS = (
    "inspect M --ops",
    "evaluate M --data D --kernels K",
    "compare F M --data D --kernels K --json",
    "compare M M --data D --kernels K",
    "slim M -o out.tflite",
    "slim M -o out.tflite --pixels int8 --logits",
    "quantize M --data D -o out.tflite --images 8",
    "quantize M --data D -o out.tflite --images 8 --tune equalize,bias --observer entropy",
    "quantize M --data D -o out.tflite --images 8 --tune adaround --precision *=int16x8 --allow-float",
    "sensitivity M --data D --images 4 --calibration 8 --budget 1 --kernels K",
    "calibrate M --data D --sizes 1,4 --draws 1 --judges 4",
    "benchmark M --kernels xnnpack,builtin,reference --seconds 0.05",
    "deploy M --out folder",
    "diff F M",
    "diff M F --json",
    "check M --policy P --float F --data D --seconds 0.05 --junit check.xml --markdown check.md",
)
# Commands that end with exit code 1 where a model is not as it should be.
JUDGES = ("diff", "check")
# Commands that take the float model alone, and those that take the int8 one alone.
FLOAT, INT8 = ("quantize", "sensitivity", "calibrate"), ("deploy", "slim M -o out.tflite --pixels")
FAMILIES = ("xnnpack", "builtin", "reference")
OUTPUTS = ("out.tflite", "folder", "check.xml", "check.md")


def filled(command: str, model: Path, good: Path, here: Path, family: str) -> list[Any]:
    """The words of a command, with its files."""
    words: dict[str, Any] = {"M": model, "D": good / "data.npz", "F": good / "float.tflite", "K": family}
    words |= {"P": good / "budget.yaml"} | {name: here / name for name in OUTPUTS}
    return [words.get(word, word) for word in command.split()]


def _models(damage: Callable[[bytes, Random], bytes]) -> Callable[[Path, Path, Random], list[Any]]:
    def case(good: Path, here: Path, random: Random) -> list[Any]:
        command = str(random.choice(COMMANDS))
        float_only, int8_only = command.startswith(FLOAT), command.startswith(INT8)
        kind = "float" if float_only else "int8" if int8_only else str(random.choice(["float", "int8"]))
        model = here / "m.tflite"
        model.write_bytes(damage((good / f"{kind}.tflite").read_bytes(), random))
        if command.startswith("deploy"):
            # The sidecar of a whole stranger's folder fits its model.
            belongs = json.loads((good / "int8.tflite.json").read_text("utf-8"))
            belongs["sha256"] = hashlib.sha256(model.read_bytes()).hexdigest()
            (here / "m.tflite.json").write_text(json.dumps(belongs), "utf-8")
        return filled(command, model, good, here, str(random.choice(FAMILIES)))

    return case


def _npz(good: Path, here: Path, random: Random) -> list[Any]:
    content = (good / "data.npz").read_bytes()
    data = here / "d.npz"
    data.write_bytes(changed_npz(content, random) if random.random() < 0.7 else changed_bytes(content, random))
    return ["evaluate", good / "int8.tflite", "--data", data]


def _archive(good: Path, here: Path, random: Random) -> list[Any]:
    name = str(random.choice(["photos.zip", "photos.tar", "photos.tar.gz"]))
    (here / name).write_bytes(changed_bytes((good / name).read_bytes(), random))
    return ["evaluate", good / "int8.tflite", "--data", here / name]


def _image(good: Path, here: Path, random: Random) -> list[Any]:
    shutil.copytree(good / "photos", here / "photos")
    files = sorted((here / "photos").rglob("*.*"))
    for _ in range(3):
        file = files[random.integers(0, len(files))]
        file.write_bytes(changed_bytes(file.read_bytes() or b"x", random))
    if random.random() < 0.1:
        os.rename(here / "photos" / "0", os.fsencode(here / "photos") + b"/\xff\xfe")  # noqa: PTH104 - bytes
    return ["evaluate", good / "int8.tflite", "--data", here / "photos"]


def _yaml(good: Path, here: Path, random: Random) -> list[Any]:
    path = here / "r.yaml"
    if random.random() < 0.3:
        path.write_bytes(changed_text(POLICY, random).encode("utf-8", "surrogatepass"))
        return ["check", good / "int8.tflite", "--policy", path, "--seconds", 0.05]
    text = (good / "recipe.yaml").read_text("utf-8")
    path.write_bytes(changed_text(text, random).encode("utf-8", "surrogatepass"))
    # A source without a path ends the run before any work.
    return ["run", path, "--out", here / "run", "--set", "data.source=path", "--set", "data.path=null"]


def _sidecar(good: Path, here: Path, random: Random) -> list[Any]:
    shutil.copyfile(good / "int8.tflite", here / "m.tflite")
    text = (good / "int8.tflite.json").read_text("utf-8")
    text = changed_text(text, random) if random.random() < 0.4 else json.dumps(changed_value(json.loads(text), random))
    (here / "m.tflite.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    return ["evaluate", here / "m.tflite", "--data", good / "data.npz"]


def _run(good: Path, here: Path, random: Random) -> list[Any]:
    shutil.copytree(good / "run", here / "run")
    files = sorted(file for file in (here / "run").iterdir() if file.suffix in (".json", ".yaml"))
    file = files[random.integers(0, len(files))]
    text = file.read_text("utf-8")
    if file.suffix == ".json" and random.random() < 0.7:
        text = json.dumps(changed_value(json.loads(text), random))
    else:
        text = changed_text(text, random)
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return ["report", here / "run"] if random.random() < 0.8 else ["pareto", here / "run"]


def _keras(good: Path, here: Path, random: Random) -> list[Any]:
    name = str(random.choice(["model.keras", "model.h5"]))
    (here / name).write_bytes(changed_keras(good / name, random))
    return ["inspect", here / name]


@dataclass(frozen=True)
class Kind:
    """A kind of input: how to make a case, and how many of 100 cases it gets."""

    case: Callable[[Path, Path, Random], list[Any]]
    share: int


KINDS = {
    "tflite-fields": Kind(_models(changed_fields), 34),
    "tflite-bytes": Kind(_models(changed_bytes), 20),
    "npz": Kind(_npz, 12),
    "archive": Kind(_archive, 6),
    "image": Kind(_image, 6),
    "recipe": Kind(_yaml, 7),
    "sidecar": Kind(_sidecar, 7),
    "run": Kind(_run, 8),
    "keras": Kind(_keras, 0),
}


def allowed(command: str) -> tuple[int, ...]:
    """The exit codes of a command that did its work."""
    return (0, 1) if command in JUDGES else (0,)


def check_good(good: Path) -> None:
    """Ends the script unless every command works on undamaged files: a refusal would hide what damage does."""
    wrong = []
    for command in COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            model = good / ("int8.tflite" if command.startswith(INT8) else "float.tflite")
            said = here / ".said"
            if (pid := os.fork()) == 0:
                _case_here([str(word) for word in filled(command, model, good, here, "xnnpack")], said, False)
            if _waited(pid, None)[0] not in allowed(command.split()[0]):
                wrong.append(f"octavo {command}\n{said.read_text('utf-8', 'replace')}")
    if wrong:
        raise SystemExit("These commands do not work on good files:\n" + "\n".join(wrong))


def plan(count: int, only: list[str] | None) -> list[tuple[str, int]]:
    """The kind of each case, and its number within the kind."""
    shares = {
        name: kind.share or 100 * (name in (only or ())) for name, kind in KINDS.items() if not only or name in only
    }
    shares = {name: share for name, share in shares.items() if share}
    total, made = sum(shares.values()), []
    for name, share in shares.items():
        made += [(name, number) for number in range(round(count * share / total))]
    return made


# ------------------------------------------------------------------------------------------------------------- running


@dataclass(frozen=True)
class Result:
    """What became of a case: its exit code, or minus the signal that killed it; empty `bad` if that is as it should."""

    kind: str
    number: int
    command: list[str]
    code: int
    seconds: float
    memory: int
    said: str
    bad: str = ""


def _forked(command: list[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """`octavo.base.child.run`, with a fork of this process in place of a new one."""
    if not command[2].endswith("child.py"):
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=seconds)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush(), sys.stderr.flush()
        if (pid := os.fork()) == 0:
            code = 1
            try:
                os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
                sys.argv = command[3:]
                runpy.run_module(command[3], run_name="__main__", alter_sys=False)
                code = 0
            except SystemExit as end:
                code = _exit_code(end)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(code)
        code, _ = _waited(pid, seconds)
        if code is None:
            raise subprocess.TimeoutExpired(command, seconds or 0)
        out.seek(0), err.seek(0)
        texts = [stream.read().decode("utf-8", "replace") for stream in (out, err)]
        return subprocess.CompletedProcess(command, code, *texts)


def _waited(pid: int, seconds: float | None) -> tuple[int | None, int]:
    """The exit code of a process, None if it had to be killed; and the most memory that it or its children took."""
    end = None if seconds is None else time.monotonic() + seconds
    pause = 0.001
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024
        if end is not None and time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            _, _, used = os.wait4(pid, 0)
            return None, used.ru_maxrss * 1024
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def run_case(name: str, number: int, seed: int, good: Path, started: bool, shown: bool = False) -> Result:
    """Makes one case and gives it to the command line, in a process of its own."""
    random = np.random.default_rng([seed, list(KINDS).index(name), number])
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        command = [str(part) for part in KINDS[name].case(good, here, random)]
        said = here / ".said"
        begin = time.perf_counter()
        if (pid := os.fork()) == 0:
            _case_here(command, said, started)
        # A little more, so that what takes too long is seen to.
        code, memory = _waited(pid, SECONDS + 15)
        seconds = time.perf_counter() - begin
        text = said.read_text("utf-8", "replace") if said.exists() else ""
        if shown:
            print(text)
            for file in here.iterdir():
                if file.is_file() and file != said:
                    shutil.copyfile(file, Path.cwd() / f"case-{file.name}")
    bad = (
        "killed after 45 s"
        if code is None
        else f"signal {signal.Signals(-code).name}"
        if code < 0
        else "traceback"
        if "Traceback (most recent call last)" in text or UNFORESEEN in text
        else f"exit code {code}"
        if code not in (*allowed(command[0]), 2)
        else "no message"
        if code == 2 and not text.strip()
        else f"{seconds:.0f} s"
        if seconds > SECONDS
        else f"{memory / 1e9:.1f} GB"
        if memory > BYTES
        else ""
    )
    return Result(name, number, command, -99 if code is None else code, seconds, memory, text, bad)


def _case_here(command: list[str], said: Path, started: bool) -> None:
    """The process of one case; it does not return."""
    code = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (3 * BYTES, 3 * BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        err, out = os.open(said, os.O_CREAT | os.O_WRONLY), os.open(os.devnull, os.O_WRONLY)
        os.dup2(err, 2), os.dup2(out, 1)
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
        from octavo.base import child
        from octavo.cli.entry import main

        if not started:
            child.run = _forked
        sys.argv = ["octavo", *command]
        main()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code)
        code = _exit_code(end)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _exit_code(end: SystemExit) -> int:
    """The exit code of an interpreter that ends so: 1 for a message, 0 for nothing."""
    return end.code if isinstance(end.code, int) else 0 if end.code is None else 1


def table(results: list[Result]) -> str:
    """Tried, clean and bad, for each kind, with the largest time and memory."""
    lines = ["| kind | tried | refused | ran | bad | longest | most memory |", "|---|---|---|---|---|---|---|"]
    for name in [*(name for name in KINDS if any(result.kind == name for result in results)), "all"]:
        mine = [result for result in results if name in (result.kind, "all")]
        refused, ran, bad = (
            sum(test(result) for result in mine)
            for test in (
                lambda result: not result.bad and result.code == 2,
                lambda result: not result.bad and result.code != 2,
                lambda result: bool(result.bad),
            )
        )
        most = max(result.memory for result in mine) / 1e9
        longest = max(result.seconds for result in mine)
        lines.append(f"| {name} | {len(mine):,} | {refused:,} | {ran:,} | {bad:,} | {longest:.1f} s | {most:.2f} GB |")
    return "\n".join(lines)


def _import_all(keras: bool) -> None:
    """Imports what cases need, so that their processes need not."""
    import importlib
    import pkgutil

    import octavo

    heavy = ("octavo.simulate", "octavo.training", "octavo.runs", "octavo.__main__", "octavo.deployment.predict")
    for module in pkgutil.walk_packages(octavo.__path__, "octavo."):
        if not module.name.startswith(heavy) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in (
        "ai_edge_litert.interpreter",
        "matplotlib.pyplot",
        "sklearn.metrics",
        "scipy.stats",
        "scipy.optimize",
        "yaml",
    ):
        importlib.import_module(name)
    importlib.import_module("octavo.runs.stages")
    if keras:
        importlib.import_module("tensorflow"), importlib.import_module("keras"), importlib.import_module("h5py")


def _in_fork(work: Callable[[], None]) -> None:
    """Runs a function in a process of its own: this one must hold no threads when it forks."""
    if (pid := os.fork()) == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("The good files could not be made.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--kinds", help="some of " + ", ".join(KINDS))
    parser.add_argument("--only", help="KIND:NUMBER")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kept", type=Path, help="a file that takes every result, to go on from")
    parser.add_argument("--started", action="store_true", help="start child processes anew instead of forking")
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    only = arguments.kinds.split(",") if arguments.kinds else None
    keras = "keras" in (only or ()) or (arguments.only or "").startswith("keras")
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder)
        _import_all(keras)
        _in_fork(lambda: make(good))
        if keras:
            _in_fork(lambda: make_keras(good))
        if arguments.only:
            name, _, number = arguments.only.partition(":")
            print(run_case(name, int(number), arguments.seed, good, arguments.started, shown=True))
            return 0
        if keras is False:
            check_good(good)
        cases = plan(arguments.count, only)
        order = np.random.default_rng(arguments.seed).permutation(len(cases))
        with Kept(arguments.kept or good / "kept", arguments.seed) as kept:
            known = {(result.kind, result.number) for result in kept.results}
            rest = [cases[place] for place in order if cases[place] not in known]
            _all(rest, arguments.seed, good, arguments.started, arguments.workers, kept)
            results = [result for result in kept.results if (result.kind, result.number) in set(cases)]
    print(f"\nseed {arguments.seed}, {len(results):,} inputs, {time.perf_counter() - begin:.0f} s\n\n{table(results)}")
    return int(len(results) != len(cases) or any(result.bad for result in results))


class Kept:
    """The results of a campaign in a file, one JSON object a line: those of earlier processes, then new ones.

    Args:
        file: It need not exist. The last line of a killed process may be cut off; that case is tried again.
        seed: That of the campaign. A file of another seed ends the script.
    """

    def __init__(self, file: Path, seed: int) -> None:
        self.results: list[Result] = []
        self._seed, self._one_at_a_time = seed, Lock()
        lines = file.read_text("utf-8").splitlines(keepends=True) if file.exists() else []
        for line in (line for line in lines if line.endswith("\n")):
            values = json.loads(line)
            if values.pop("seed") != seed:
                raise SystemExit(f"{file} holds results of another seed.")
            self.results.append(Result(**values))
        file.write_text("".join(line for line in lines if line.endswith("\n")), "utf-8")
        self._stream = file.open("a", encoding="utf-8")

    def add(self, result: Result) -> None:
        with self._one_at_a_time:
            self.results.append(result)
            self._stream.write(json.dumps({"seed": self._seed, **vars(result)}) + "\n")
            self._stream.flush()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()


def _all(cases: list[tuple[str, int]], seed: int, good: Path, started: bool, workers: int, kept: Kept) -> None:
    """Adds the results of all cases, from some processes that each take their share."""

    def share(worker: int, pipe: int) -> None:
        with os.fdopen(pipe, "w") as stream:
            for name, number in cases[worker::workers]:
                result = run_case(name, number, seed, good, started)
                stream.write(json.dumps(vars(result)) + "\n")
                stream.flush()

    pipes = []
    for worker in range(workers):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            try:
                share(worker, write)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(write)
        pipes.append(read)

    def gathered(pipe: int) -> int:
        count = 0
        with os.fdopen(pipe) as stream:
            for count, line in enumerate(stream, 1):  # noqa: B007
                kept.add(result := Result(**json.loads(line)))
                if result.bad:
                    last = (result.said.strip().splitlines()[-1:] or [""])[0][:300]
                    command = " ".join(result.command)
                    print(f"bad: {result.kind}:{result.number} {result.bad}: octavo {command}\n     {last}", flush=True)
        return count

    with ThreadPoolExecutor(workers) as pool:
        done = sum(pool.map(gathered, pipes))
    if done != len(cases):
        print(f"{len(cases) - done} cases have no result: the script itself failed")


if __name__ == "__main__":
    sys.exit(main())
