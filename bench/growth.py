"""The cost of growth: CPU time and memory of each kind of work against images, network size and input size.

    python bench/growth.py                         # all of it: half an hour on 2 cores
    python bench/growth.py --jobs compare --axes images

The networks have random weights and ten classes, and the images are made up. Each cell runs in a process of its own,
and is written to a JSON file at once, so that a run that was stopped goes on. The cost is the CPU time of the process
and its children, without imports: other work on the machine changes it little. Cells of less than 2 seconds run twice,
and the least counts. Memory is the peak of the process, less what its imports take.

An exponent is the slope of a straight line through the logarithms of the points (least squares); "end" is that
between the last two points, where what is done once counts least. Along networks and input sizes, costs are fitted
to that of the work: the float forward pass of the same images on LiteRT, and for sensitivity that of all its files.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from usage import cpu, peak

# For each network its class in `keras.applications`, and how it is made.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "MobileNetV2-0.35": ("MobileNetV2", {"alpha": 0.35}),
    "MobileNetV2": ("MobileNetV2", {}),
    "NASNetMobile": ("NASNetMobile", {}),
    "ResNet50": ("ResNet50", {}),
    "ConvNeXtTiny": ("ConvNeXtTiny", {}),
    "ConvNeXtBase": ("ConvNeXtBase", {}),
}
JOBS = {
    "forward": "float forward pass",
    "quantize": "`octavo.quantize`",
    "evaluate": "`octavo.evaluate`",
    "compare": "`octavo.compare`",
    "sensitivity": "`octavo.sensitivity`",
    "search": "`octavo.search`",
    "step": "a QAT step",
}
SMALL, WIDE = "MobileNetV2-0.35", "MobileNetV2"
FEW = (SMALL, WIDE, "ResNet50")
MOST = (SMALL, WIDE, "NASNetMobile", "ResNet50", "ConvNeXtTiny")
SCALE = (-1.0, 1.0)
# Stored images are as small as CIFAR's where their number grows, so that all of them fit into memory.
STORED = 32
# Images beside those that a job is given: they calibrate where it measures on others.
OTHERS = 250
REPEATED_BELOW = 2.0
# Seconds and megabytes below which a figure is noise.
LEAST = {"seconds": 0.01, "megabytes": 5.0}


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Args:
        job: A key of `JOBS`.
        network: A key of `NETWORKS`.
        side: Height and width of the network's input.
        images: How many images the job is given; of a QAT step, its batch.
        stored: Height and width of the images in the file.
    """

    job: str
    network: str
    side: int
    images: int
    stored: int

    @property
    def key(self) -> str:
        """Its name in the file of results."""
        return f"{self.job} {self.network} {self.side} {self.images}"


def axes() -> dict[str, dict[str, list[Cell]]]:
    """The cells of each job along each axis, from the smallest to the largest."""
    counts = {
        "forward": (100, 1_000, 10_000, 100_000),
        "quantize": (100, 1_000, 10_000),
        "evaluate": (100, 1_000, 10_000, 100_000),
        "compare": (100, 1_000, 3_000),
        "sensitivity": (100, 1_000, 3_000),
        "search": (100, 1_000, 3_000),
        "step": (8, 16, 32, 64, 128),
    }
    # So many images where their number does not grow: little work for a job that runs each of them many times.
    fixed = {"forward": 32, "quantize": 32, "evaluate": 32, "compare": 32, "sensitivity": 8, "search": 32, "step": 8}
    names = {job: FEW if job in ("sensitivity", "search", "step") else MOST for job in JOBS}
    names |= {"forward": tuple(NETWORKS), "quantize": tuple(NETWORKS)}
    sides = {job: (96, 224, 384) if job == "sensitivity" else (96, 160, 224, 384) for job in JOBS}
    return {
        "images": {job: [Cell(job, SMALL, 96, count, STORED) for count in counts[job]] for job in JOBS},
        "network": {job: [Cell(job, name, 224, fixed[job], 224) for name in names[job]] for job in JOBS},
        "input size": {job: [Cell(job, WIDE, side, fixed[job], side) for side in sides[job]] for job in JOBS},
    }


def model(folder: Path, network: str, side: int) -> Path:
    """The float file of a network; its int8 file lies beside it."""
    path = folder / f"{network}-{side}.tflite"
    if not path.exists():
        _child("make", folder, json.dumps([network, side]))
    return path


def make(folder: Path, network: str, side: int) -> None:
    """Writes the float file of a network and the int8 file of it."""
    import keras

    import octavo
    from octavo.source.export import to_float_tflite

    keras.utils.set_random_seed(0)
    maker, options = NETWORKS[network]
    made = getattr(keras.applications, maker)(weights=None, classes=10, input_shape=(side, side, 3), **options)
    content = to_float_tflite(made)
    path = folder / f"{network}-{side}.tflite"
    float_file = folder / "float.tflite"
    float_file.write_bytes(content)
    images, int8 = data(folder, 20, side), path.with_suffix(".int8.tflite")
    octavo.quantize(float_file, images, int8, scale=SCALE, tune=(), force=True)
    float_file.rename(path)


def data(folder: Path, count: int, stored: int) -> Path:
    """An `.npz` of made-up images of ten classes: so many to test, and as many and some more to train."""
    path = folder / f"images-{count}-{stored}.npz"
    if not path.exists():
        random = np.random.default_rng(0)

        def drawn(number: int) -> np.ndarray:
            # Each image has a brightness and a contrast of its own, so that ranges do not hang on a few images.
            shape = (number, stored, stored, 3)
            return np.frombuffer(random.bytes(math.prod(shape)), np.uint8).reshape(shape)

        labels = random.integers(0, 10, 2 * count + OTHERS)
        np.savez(
            path,
            x_train=drawn(count + OTHERS),
            y_train=labels[: count + OTHERS],
            x_test=drawn(count),
            y_test=labels[count + OTHERS :],
        )
    return path


def ready(cell: Cell, folder: Path) -> Callable[[], object]:
    """The work of a cell, with everything imported that it needs."""
    import octavo

    file, images = folder / f"{cell.network}-{cell.side}.tflite", folder / f"images-{cell.images}-{cell.stored}.npz"
    int8, out = file.with_suffix(".int8.tflite"), folder / "out.tflite"
    if cell.job == "forward":
        return _forward(file, images, cell)
    if cell.job == "step":
        return _step(file, cell)
    # What a first call imports and loads is not the work of this one.
    octavo.quantize(folder / f"{SMALL}-96.tflite", folder / "images-20-96.npz", out, scale=SCALE, force=True)
    jobs: dict[str, Callable[[], object]] = {
        "quantize": lambda: octavo.quantize(file, images, out, images=cell.images, scale=SCALE, force=True),
        "evaluate": lambda: octavo.evaluate(int8, images),
        "compare": lambda: octavo.compare(file, int8, images, images=cell.images),
        "sensitivity": lambda: octavo.sensitivity(file, images, images=cell.images, scale=SCALE),
        # Every file is small enough, so that each way is tried once, and none for longer on another network.
        "search": lambda: octavo.search(
            file,
            images,
            out,
            octavo.Goal(size=1 << 40),
            validation=cell.images,
            train=False,
            scale=SCALE,
            images=100,
            force=True,
        ),
    }
    return jobs[cell.job]


def _forward(file: Path, images: Path, cell: Cell) -> Callable[[], object]:
    from octavo.data.dataset import ImageSet
    from octavo.data.encoded_inputs import Feed
    from octavo.data.preprocess import Preprocess
    from octavo.runtime.litert import Model, inputs_of
    from octavo.tflite.graph import Graph

    graph = Graph.read(file)
    drawn = np.load(images)["x_test"]
    feed = Feed(
        ImageSet(drawn, None, (), tuple(map(str, range(len(drawn))))),
        Preprocess((cell.side, cell.side), scale=SCALE),
        inputs_of(graph),
    )
    ran = Model(graph)
    ran.each(feed[:4], lambda place, outputs: None)
    return lambda: ran.run(feed)


def _step(file: Path, cell: Cell) -> Callable[[], object]:
    from octavo.base.backend import load
    from octavo.quantization.calibrate import calibrate
    from octavo.rewrite.integer_forms import integer_forms
    from octavo.simulate import Simulation
    from octavo.tflite.graph import Graph

    keras = load("keras")
    graph = integer_forms(Graph.read(file)).graph
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (cell.images, cell.side, cell.side, 3)).astype(np.float32)
    labels = random.integers(0, 10, cell.images)
    simulation = Simulation(graph, calibrate(graph, images[:8]))
    simulation.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")
    # The first step traces the graph.
    simulation.train_on_batch(images, labels)
    return lambda: simulation.train_on_batch(images, labels)


def measure(cell: Cell, folder: Path) -> dict[str, float]:
    """What a cell costs, in this process."""
    warnings.simplefilter("ignore")
    imported(cell)
    imports = peak()
    work = ready(cell, folder)
    before = cpu()
    work()
    return {"seconds": cpu() - before, "megabytes": peak() - imports}


def imported(cell: Cell) -> None:
    """Imports what a cell needs."""
    import octavo

    if cell.job == "step":
        from octavo.base.backend import load
        from octavo.simulate import Simulation

        del Simulation
        load("keras")
    elif cell.job != "forward":
        getattr(octavo, cell.job)


def _child(what: str, folder: Path, given: str) -> str:
    command = [sys.executable, "-W", "ignore", __file__, "--folder", str(folder), "--child", what, given]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{what} {given}:\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1] if done.stdout.strip() else ""


def run(cells: Sequence[Cell], folder: Path, results: Path) -> dict[str, dict[str, float]]:
    """Measures every cell that is not measured yet, and returns all results."""
    for cell in cells:
        if cell.key in read(results):
            continue
        data(folder, 20, 96)
        model(folder, SMALL, 96)
        model(folder, cell.network, cell.side)
        if cell.job != "step":
            data(folder, cell.images, cell.stored)
        runs: list[dict[str, float]] = []
        while len(runs) < (2 if not runs or runs[0]["seconds"] < REPEATED_BELOW else 1):
            runs.append(json.loads(_child("measure", folder, json.dumps(asdict(cell)))))
        least = {name: min(one[name] for one in runs) for name in runs[0]}
        results.write_text(json.dumps(read(results) | {cell.key: least}, indent=2) + "\n", "utf-8")
        print(f"{cell.key:44} {least['seconds']:9.2f} s {least['megabytes']:8.0f} MB", flush=True)
    return read(results)


def read(results: Path) -> dict[str, dict[str, float]]:
    """What is measured already."""
    return dict(json.loads(results.read_text("utf-8"))) if results.exists() else {}


def slope(x: Sequence[float], y: Sequence[float], least: float) -> str:
    """The exponent of a power law through all points, and that between the last two; a dash where there is no cost."""
    if min(y) < least:
        return "–"
    one, two = np.log(x), np.log(y)
    return f"{np.polyfit(one, two, 1)[0]:.2f}, {(two[-1] - two[-2]) / (one[-1] - one[-2]):.2f}"


def table(axis: str, jobs: dict[str, list[Cell]], found: dict[str, dict[str, float]], folder: Path) -> list[str]:
    """One axis as a table of Markdown."""
    lines = [f"| by {axis} | CPU seconds | exponent, end | MB | exponent, end |", "|---|---|---|---|---|"]
    for job, cells in jobs.items():
        cells = [cell for cell in cells if cell.key in found]
        if len(cells) < 2:
            continue
        if axis == "images":
            size = [float(cell.images) for cell in cells]
        else:
            size = [work(axis, cell, found, folder) for cell in cells]
        order = np.argsort(size)
        figures = [f"| {JOBS[job]} "]
        for name, digits in (("seconds", 2), ("megabytes", 0)):
            values = [found[cell.key][name] for cell in cells]
            shown = ", ".join(f"{value:.{digits}f}" for value in values)
            figures.append(
                f"| {shown} | {slope([size[at] for at in order], [values[at] for at in order], LEAST[name])} "
            )
        lines.append("".join(figures) + "|")
    return lines


def work(axis: str, of: Cell, found: dict[str, dict[str, float]], folder: Path) -> float:
    """The work that a cell along an axis cannot do without: CPU seconds of float forward passes."""
    forward = axes()[axis]["forward"]
    cell = next(one for one in forward if (one.network, one.side) == (of.network, of.side))
    seconds = found[cell.key]["seconds"]
    if of.job != "sensitivity":
        return seconds
    from octavo.tflite.graph import Graph

    return seconds * len(Graph.read(model(folder, cell.network, cell.side)).ops)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS), help="some kinds of work")
    parser.add_argument("--axes", nargs="+", choices=axes(), default=list(axes()), help="some axes")
    parser.add_argument("--folder", type=Path, default=Path("build/growth"), help="where networks and images are kept")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    if given.child:
        what, value = given.child[0], json.loads(given.child[1])
        if what == "make":
            make(folder, *value)
        else:
            print(json.dumps(measure(Cell(**value), folder)))
        return
    wanted = {axis: {job: cells for job, cells in axes()[axis].items() if job in given.jobs} for axis in given.axes}
    # Along networks and input sizes all costs are shown beside the forward pass.
    passes = [cell for axis in given.axes if axis != "images" for cell in axes()[axis]["forward"]]
    cells = [*passes, *(cell for jobs in wanted.values() for cells in jobs.values() for cell in cells)]
    found = run(cells, folder, folder / "cells.json")
    for axis, jobs in wanted.items():
        print("\n" + "\n".join(table(axis, jobs, found, folder)))


if __name__ == "__main__":
    main()
