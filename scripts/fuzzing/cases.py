"""What a case of each kind is: files in a folder of its own, and the words of a command."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fuzzing.damage import (
    Random,
    changed_bytes,
    changed_fields,
    changed_keras,
    changed_npz,
    changed_text,
    changed_value,
)
from fuzzing.good import POLICY, SHARDS, TASKS

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


def _shards(good: Path, here: Path, random: Random) -> list[Any]:
    """Tar or Parquet files of which one or two are damaged."""
    name = str(random.choice(SHARDS))
    shutil.copytree(good / name, here / name)
    files = sorted((here / name).iterdir())
    for place in random.permutation(len(files))[: random.integers(1, 3)]:
        content = files[place].read_bytes()
        if name == "tars" and random.random() < 0.5:
            # Something else as a label, in the same number of bytes.
            content = content.replace(b"1" + bytes(511), str(random.choice(list("x-9 é"))).encode()[:1] + bytes(511))
        files[place].write_bytes(changed_bytes(content, random))
    more = ["--jobs", 1] if random.random() < 0.3 else []
    return [*_evaluated(good, here / name, here), *more]


def _evaluated(good: Path, data: Path, here: Path) -> list[Any]:
    return ["evaluate", good / "int8.tflite", "--data", data]


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


# What is given the samples of a task: F is its float model, I the int8 one, M one of them, D the samples.
ON_TASKS = (
    "evaluate M --data D --kernels K",
    "evaluate I --data D --images 2 --json",
    "compare F I --data D --kernels K",
    "quantize F --data D -o out.tflite --images 6 --allow-float",
    "quantize F --data D -o out.tflite --images 6 --observer percentile --tune bias --allow-float",
    "sensitivity F --data D --images 3 --calibration 4 --budget 1",
    "check I --policy P --float F --data D --seconds 0.05",
)


def _task(good: Path, here: Path, random: Random) -> list[Any]:
    """Samples or a model of another task than classes of images, damaged."""
    task = str(random.choice(TASKS))
    shutil.copytree(good / task, here / task)
    files = sorted(file for file in (here / task).rglob("*") if file.is_file() and ".tflite" not in file.name)
    if random.random() < 0.3:
        files = sorted((here / task).glob("*.tflite"))
    for place in random.permutation(len(files))[: random.integers(1, 3)]:
        files[place].write_bytes(_changed_file(files[place], random))
    form, family = str(random.choice(["float", "int8"])), str(random.choice(FAMILIES))
    return _on_task(str(random.choice(ON_TASKS)), here / task, form, good, here, family)


def _on_task(command: str, task: Path, form: str, good: Path, here: Path, family: str) -> list[Any]:
    """The words of a command on the samples and models of one task's folder."""
    data = next(file for file in task.iterdir() if file.name.startswith("data"))
    words: dict[str, Any] = {"F": task / "float.tflite", "I": task / "int8.tflite"}
    made = filled(command, task / f"{form}.tflite", good, here, family)
    return [data if had == "D" else words.get(had, word) for had, word in zip(command.split(), made, strict=True)]


def _changed_file(file: Path, random: Random) -> bytes:
    """A file's content with damage that suits its format, or any file may have."""
    content = file.read_bytes() or b"x"
    if random.random() < 0.25:
        return changed_bytes(content, random)
    match file.suffix:
        case ".json":
            made = json.dumps(changed_value(json.loads(content), random)) if random.random() < 0.7 else ""
            return (made or changed_text(content.decode(), random)).encode("utf-8", "surrogatepass")
        case ".csv":
            return changed_text(content.decode(), random).encode("utf-8", "surrogatepass")
        case ".npz":
            return changed_npz(content, random)
        case ".tflite":
            return changed_fields(content, random)
    return changed_bytes(content, random)


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
    "tflite-fields": Kind(_models(changed_fields), 24),
    "tflite-bytes": Kind(_models(changed_bytes), 14),
    "npz": Kind(_npz, 12),
    "archive": Kind(_archive, 6),
    "image": Kind(_image, 6),
    "recipe": Kind(_yaml, 7),
    "sidecar": Kind(_sidecar, 7),
    "run": Kind(_run, 8),
    "keras": Kind(_keras, 0),
    "tasks": Kind(_task, 12),
    "shards": Kind(_shards, 4),
}


def allowed(command: str) -> tuple[int, ...]:
    """The exit codes of a command that did its work."""
    return (0, 1) if command in JUDGES else (0,)


def undamaged(good: Path) -> list[Callable[[Path], list[Any]]]:
    """Every command on good files, for a folder of its own. Each must do its work: a refusal hides what damage does."""
    made: list[Callable[[Path], list[Any]]] = []
    for command in COMMANDS:
        model = good / ("int8.tflite" if command.startswith(INT8) else "float.tflite")
        made.append(partial(filled, command, model, good, family="xnnpack"))
    made += [partial(_evaluated, good, good / name) for name in SHARDS]
    # Each task and each command once.
    for task, command in zip(TASKS, ON_TASKS, strict=True):
        made.append(partial(_on_task, command, good / task, "int8", good, family="xnnpack"))
    return made


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
