"""Copies of good files with something wrong in them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Random = np.random.Generator

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
