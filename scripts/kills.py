"""Kills runs in every stage, lets them go on, and compares what they make with what undisturbed runs make.

python scripts/kills.py --seed 1 --count 100

A run is killed once in each of its stages, one after another, and then goes on to its end; runs with `method: ptq` and
`qat` take turns, until `count` kills are done. A kill is SIGKILL to the whole process group. Half of them come at a
chosen moment, before or after a rename that the stage makes; the others at a random one of the stage's time. In the end
every file must equal that of the undisturbed run, but for what holds times (`TIMED`), and no other file may be there.

Every process is forked from this one, which has everything imported: importing TensorFlow would take most of the time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from forks import work_and_exit

METHODS = ("ptq", "qat")
STAGES = ["data", "train", "export", "calibrate", "quantize", "ptq", "control", "evaluate", "deployment", "report"]
SETTINGS = (
    *("model.architecture=kills:network", "model.alpha=1.0", "preprocess.size=32"),
    *("data.train=64", "data.validation=16", "data.test=40", "calibrate.images=16"),
    *("train.epochs=2", "train.batch=16", "qat.epochs=2", "qat.batch=16"),
    *("deployment.seconds=0.1", "deployment.targets=false"),
)
# What holds times, or a hash of what does: whole files, and keys at any depth of JSON. Keras writes the date, and
# addresses in memory (`shared_object_id`), into `model.keras`, whose hash is in its sidecar; its weights and layers are
# compared.
TIMED = (
    *("manifest.json", "deployment.json", "report.html", "report.md", "report.json", "model.keras.json"),
    *("report_files/latency.svg", "report_files/memory.svg"),
)
TIMED_KEYS = ("seconds", "images_per_second", "latency", "resumed", "shared_object_id")
SECONDS = 300.0


def network(input_shape: tuple[int, int, int], classes: int) -> Any:
    """A small network with all that training keeps: batch norms with statistics, and a dropout with a state."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(input_shape),
            *(layers.Conv2D(8, 3, 2, use_bias=False), layers.BatchNormalization(), layers.ReLU(6.0)),
            *(layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.ReLU(6.0)),
            *(layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(classes, activation="softmax")),
        ]
    )


# ---------------------------------------------------------------------------------------------------------- one process


@dataclass(frozen=True)
class Moment:
    """When a process is killed: in a stage, at a share of its time, or else before or after one of its renames."""

    stage: str
    share: float | None = None
    rename: int = 0
    after: bool = False


@dataclass
class Seen:
    """What a process told of itself: the time of each stage that it worked at, and the renames in it."""

    seconds: dict[str, float] = field(default_factory=dict)
    renames: Counter[str] = field(default_factory=Counter)
    last: str = ""


def _watched(tell: Callable[[str], None], moment: Moment | None) -> None:
    """Makes this process tell of its stages and renames, and die at a chosen moment."""
    from octavo import reports
    from octavo.runs.manifest import Manifest

    stage, replace, write = Manifest.stage, os.replace, reports.write
    now = {"stage": "", "renames": 0}

    def enter(name: str) -> None:
        now.update(stage=name, renames=0)
        tell(f"stage {name}")

    def staged(self: Manifest, name: str, inputs: Any, outputs: list[str], work: Callable[[], None]) -> bool:
        def watched() -> None:
            enter(name)
            work()

        return stage(self, name, inputs, outputs, watched)

    def replaced(source: Any, target: Any, **more: Any) -> None:
        mine = moment is not None and moment.share is None and moment.stage == now["stage"]
        dies = mine and moment.rename == now["renames"]
        now["renames"] += 1
        tell("rename")
        if dies and not moment.after:
            os.killpg(0, signal.SIGKILL)
        replace(source, target, **more)
        if dies:
            os.killpg(0, signal.SIGKILL)

    def reported(*arguments: Any) -> Any:
        enter("report")
        return write(*arguments)

    Manifest.stage, os.replace, reports.write = staged, replaced, reported  # type: ignore[method-assign,assignment]


def _run(out: Path, method: str, moment: Moment | None, pipe: int, said: Path) -> None:
    """The work of the process of one run."""
    os.setsid()
    stream = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(stream, 1), os.dup2(stream, 2)
    _watched(lambda text: os.write(pipe, f"{text}\n".encode()) and None, moment)
    from octavo.cli.entry import main

    settings = [part for text in (*SETTINGS, f"quantize.method={method}") for part in ("--set", text)]
    sys.argv = ["octavo", "run", "digits", "--out", str(out), *settings]
    main()


def run(out: Path, method: str, moment: Moment | None = None, wait: float = 0.0) -> tuple[bool, Seen]:
    """Runs the recipe in a process of its own.

    Args:
        out: The run directory.
        method: Of quantization.
        moment: When it is killed; never by default.
        wait: Seconds from the beginning of the moment's stage until the kill, if that is not at a rename.

    Returns:
        Whether it was killed, and what it told.

    Raises:
        SystemExit: It ended with another exit code than 0.
    """
    said = out.with_suffix(".said")
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(read)
        work_and_exit(partial(_run, out, method, moment, write, said))
    os.close(write)
    seen, began, due, rest = Seen(), time.monotonic(), time.monotonic() + SECONDS, b""
    while True:
        ready, _, _ = select.select([read], [], [], max(due - time.monotonic(), 0))
        if not ready:
            os.killpg(pid, signal.SIGKILL)
            break
        if not (new := os.read(read, 65536)):
            break
        *lines, rest = (rest + new).split(b"\n")
        for line in lines:
            word, _, name = line.decode().partition(" ")
            if word == "rename":
                seen.renames[seen.last] += 1
                continue
            now = time.monotonic()
            seen.seconds[seen.last] = now - began
            seen.last, began = name, now
            if moment is not None and moment.share is not None and moment.stage == name:
                due = now + wait
    seen.seconds[seen.last] = time.monotonic() - began
    os.close(read)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, -signal.SIGKILL) or (code and moment is None):
        raise SystemExit(f"A run ended with {code}:\n{said.read_text('utf-8', 'replace')}")
    return code != 0, seen


# -------------------------------------------------------------------------------------------------------- what it makes


def made(out: Path) -> dict[str, str]:
    """The hash of every file of a run, without what `TIMED_KEYS` names; of the files that `TIMED` names, the name."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {name: "" if name in TIMED else _hash(path) for path in files if (name := str(path.relative_to(out)))}


def _hash(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as members:
            content = _untimed(members.read("config.json")) + members.read("model.weights.h5")
    elif path.suffix == ".json":
        content = _untimed(content)
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            content = b"".join(
                _untimed(str(array).encode()) if name == "facts" else array.tobytes() for name, array in arrays.items()
            )
    return hashlib.sha256(content).hexdigest()


def _untimed(text: bytes) -> bytes:
    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(inner) for key, inner in value.items() if key not in TIMED_KEYS}
        return [without(inner) for inner in value] if isinstance(value, list) else value

    return json.dumps(without(json.loads(text))).encode()


# --------------------------------------------------------------------------------------------------------- the campaign


def campaign(seed: int, count: int, folder: Path) -> int:
    """Kills until there were `count` kills; prints what happened, and returns how many runs differ in the end."""
    undisturbed, wanted = {}, {}
    for method in METHODS:
        _, undisturbed[method] = run(folder / method, method)
        wanted[method] = made(folder / method)
    random = np.random.default_rng(seed)
    hits: Counter[tuple[str, str, bool]] = Counter()
    runs = bad = 0
    while hits.total() < count:
        method = METHODS[runs % len(METHODS)]
        out, usual = folder / f"run{runs}", undisturbed[method]
        runs += 1
        rest = [name for name in usual.seconds if name]
        while rest and hits.total() < count:
            stage = rest[0]
            chosen = bool(random.random() < 0.5)
            share = None if chosen else float(random.random())
            moment = Moment(stage, share, int(random.integers(0, usual.renames[stage])), bool(random.random() < 0.5))
            killed, seen = run(out, method, moment, (share or 0.0) * usual.seconds[stage])
            # Other work on the machine changes how long a stage takes: the next kill goes by the last time.
            usual.seconds |= {name: seconds for name, seconds in seen.seconds.items() if name not in ("", seen.last)}
            if not killed:
                break
            hits[method, seen.last, chosen] += 1
            rest = rest[rest.index(seen.last) + 1 :]
        run(out, method)
        found = made(out)
        if unequal := [name for name in {**wanted[method], **found} if wanted[method].get(name) != found.get(name)]:
            bad += 1
            print(f"run{runs - 1} ({method}) differs in the end: {', '.join(unequal)}", flush=True)
        else:
            shutil.rmtree(out)
    print(table(hits))
    print(f"\n{hits.total()} kills of {runs} runs; {runs - bad} equal the undisturbed ones in the end, {bad} do not.")
    return bad


def table(hits: Counter[tuple[str, str, bool]]) -> str:
    """The kills in each stage, at random and at chosen moments."""
    lines = ["| stage | ptq, random | ptq, chosen | qat, random | qat, chosen |", "|---|---:|---:|---:|---:|"]
    kinds = [(method, chosen) for method in METHODS for chosen in (False, True)]
    for stage in sorted({stage for _, stage, _ in hits}, key=STAGES.index):
        lines.append(f"| {stage} | " + " | ".join(str(hits[kind[0], stage, kind[1]]) for kind in kinds) + " |")
    totals = [sum(n for (m, _, c), n in hits.items() if (m, c) == kind) for kind in kinds]
    return "\n".join([*lines, f"| all | {' | '.join(map(str, totals))} |"])


def _import_all() -> None:
    """Imports what runs need. Nothing is computed, since threads would not be in the forked processes."""
    import importlib

    from octavo.base.backend import load

    load("tensorflow"), load("keras")
    for name in ("matplotlib.pyplot", "sklearn.datasets", "scipy.stats"):
        importlib.import_module(name)
    for name in ("cli.entry", "runs.stages", "reports", "simulate", "training.baseline", "source.export"):
        importlib.import_module(f"octavo.{name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    _import_all()
    with tempfile.TemporaryDirectory() as folder:
        bad = campaign(arguments.seed, arguments.count, Path(folder))
    print(f"seed {arguments.seed}, {time.perf_counter() - begin:.0f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
