"""Target search on files: the model that meets a wish is written, and all that was tried is kept for a picture."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from octavo import qat
from octavo.calibrate import calibrate
from octavo.convert import convert
from octavo.data.open import open_dataset
from octavo.data.split import calibration, draw_training
from octavo.errors import DataError, ModelError, OctavoError, QuantizationError
from octavo.feed import Feed
from octavo.files import write_bytes, write_json
from octavo.pipeline import load_model, preprocess_for
from octavo.progress import Progress, Silent
from octavo.quantize import Quantized
from octavo.recipe import QatRecipe
from octavo.runtime import Model
from octavo.search import Search, Wish, search
from octavo.sidecar import Sidecar


def search_file(
    model: Path | str,
    data: Path | str,
    out: Path | str,
    wish: Wish,
    *,
    images: int | None = None,
    validation: int | None = None,
    seed: int = 0,
    train: bool = True,
    allow_float: bool = False,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Search:
    """Looks for the cheapest int8 form of a model that meets a wish, and writes it; see `octavo.search`.

    What was tried is written beside it, as ``OUT.search.json``, whether or not the wish was met.

    Args:
        model: A `.keras` or float `.tflite` classifier.
        data: A folder, archive or `.npz` of labelled images. Its training images calibrate and judge (others of them),
            never its test images. Where the model has been trained on them, they judge it too kindly.
        out: The int8 `.tflite` to write; its sidecar goes beside it.
        wish: What the model is to meet.
        images: How many calibration images; 100, or all where there are fewer, when left out.
        validation: How many images judge; a tenth of the training images, and 1,000 at most, when left out.
        seed: Of the choice of both.
        train: Whether training for int8 may be tried when all else fails.
        allow_float: Leave in float what has no int8 form.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        QuantizationError: Nothing that was tried meets the wish; the message says how near it came.
        OctavoError: The model or the images are not as they should be; nothing is written then.
    """
    progress = progress or Silent()
    out = Path(out)
    if out.resolve() == Path(model).resolve():
        raise ModelError("The output would overwrite the model that is read.", "Give another path with -o.")
    if not str(wish):
        raise QuantizationError("A target search needs a target.", "Give a largest drop, size or latency.")
    loaded = load_model(model)
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    training, judges = draw_training(open_dataset("path", Path(data)), validation, seed)
    if judges is None:
        raise DataError(
            f"A target search needs labelled images to judge by, and '{data}' gives none for it.",
            "Give labelled images, ten or more a class.",
        )
    calibrating = calibration(training, images, seed)
    workdir = out.with_name(f".{out.name}.training")

    def trained() -> Quantized:
        from octavo.simulate import Simulation

        feed = Feed(calibrating, preprocess, Model(loaded.graph, workers=1).input)
        simulation = Simulation(loaded.graph, calibrate(loaded.graph, feed), allow_float)
        # The judges choose no epoch: they would then judge their own choice.
        qat.fit(simulation, training, None, preprocess, QatRecipe(), seed, workdir, progress)
        return convert(simulation).quantized

    found = search(
        loaded.graph,
        calibrating,
        judges,
        preprocess,
        wish,
        allow_float=allow_float,
        train=trained if train and _keras() else None,
        progress=progress,
    )
    record = out.with_name(f"{out.name}.search.json")
    write_json(record, {"model": str(model), **found.to_json()})
    if found.chosen is None:
        raise _unmet(found, record)
    write_bytes(out, found.chosen.content)
    classes = loaded.belongs.classes if loaded.belongs is not None else training.classes
    Sidecar(preprocess, classes).write(out)
    shutil.rmtree(workdir, ignore_errors=True)
    return found


def _keras() -> bool:
    from importlib.util import find_spec

    return find_spec("keras") is not None and find_spec("tensorflow") is not None


def _unmet(found: Search, record: Path) -> QuantizationError:
    best = max(found.trials, key=lambda trial: trial.accuracy)
    small = min(found.trials, key=lambda trial: len(trial.content))
    fast = min(found.trials, key=lambda trial: trial.milliseconds)
    details = []
    if found.wish.drop is not None:
        details.append(f"most accurate: {best.way}, {best.against.value * 100:+.2f} points against float")
        details += [f"in the way: {item.op} '{item.name.split(';')[0]}'" for item in found.obstacles]
    if found.wish.size is not None:
        details.append(f"smallest: {small.way}, {len(small.content):,} bytes")
    if found.wish.latency is not None:
        details.append(f"fastest: {fast.way}, {fast.milliseconds:.2f} ms; a smaller or narrower network is the way on")
    return QuantizationError(
        f"Nothing of {len(found.trials)} ways is {found.wish}, on {found.images} validation images.",
        f"Ask for less, or look at what was tried: octavo pareto {record}.",
        details=details,
    )


def points(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What was tried, from the records of searches and from run directories: accuracy, bytes and milliseconds each.

    Raises:
        OctavoError: A path is neither.
    """
    found: list[dict[str, Any]] = []
    for path in paths:
        found += _of_run(path) if path.is_dir() else _of_search(path)
    return found


def _read(path: Path) -> Mapping[str, Any]:
    import json

    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise OctavoError(
            f"'{path}' is no record of a search: {type(error).__name__}.",
            "Give a .search.json that `octavo quantize --max-drop` wrote, or a run directory.",
        ) from error


def _of_search(path: Path) -> list[dict[str, Any]]:
    value = _read(path)
    try:
        rows = [{"name": "float", **value["float"], "kind": "float"}]
        rows += [
            {
                "name": trial["way"],
                "accuracy": trial["accuracy"]["value"],
                "bytes": trial["bytes"],
                "milliseconds": trial["milliseconds"],
                "kind": "int8",
            }
            for trial in value["trials"]
        ]
    except (KeyError, TypeError) as error:
        raise OctavoError(f"'{path}' is no record of a search: it has no {error}.") from error
    return rows


def _of_run(path: Path) -> list[dict[str, Any]]:
    evaluation = _read(path / "evaluation.json")
    rows = []
    for name, model in evaluation["models"].items():
        rows.append(
            {
                "name": f"{path.name}: {name}",
                "accuracy": model["accuracy"]["value"],
                "bytes": (path / model["file"]).stat().st_size,
                "milliseconds": model["latency_ms"]["median"],
                "kind": "float" if name in ("float", "control") else "int8",
            }
        )
    return rows


def front(rows: Sequence[Mapping[str, Any]], cost: str) -> list[Mapping[str, Any]]:
    """The rows that no other one beats in accuracy at no more cost, from the cheapest on (the Pareto front).

    Example:
        >>> rows = [{"accuracy": 0.8, "bytes": 2}, {"accuracy": 0.7, "bytes": 3}, {"accuracy": 0.6, "bytes": 1}]
        >>> [row["accuracy"] for row in front(rows, "bytes")]
        [0.6, 0.8]
    """
    best, kept = -1.0, list[Mapping[str, Any]]()
    for row in sorted(rows, key=lambda row: (row[cost], -row["accuracy"])):
        if row["accuracy"] > best:
            best = row["accuracy"]
            kept.append(row)
    return kept


# What a cost is called along an axis, and its unit.
COSTS = {
    "milliseconds": ("one image on one thread, ms", 1.0),
    "bytes": ("file, MB", 1e6),
    "arena": ("arena of TFLite Micro, MB", 1e6),
}


def picture(rows: Sequence[Mapping[str, Any]], costs: Sequence[str] = ("bytes", "milliseconds")) -> bytes:
    """Accuracy against costs as a PNG file, one panel for each; what is beaten is grey.

    Args:
        rows: What was tried: ``name``, ``kind``, ``accuracy`` and every cost.
        costs: Names in `COSTS`.
    """
    import io

    from matplotlib.figure import Figure

    from octavo.along import FLOAT, INK, INT8, QUIET

    figure = Figure(figsize=(5.5 * len(costs), 4.8), layout="constrained", facecolor="white")
    for axes, cost in zip(figure.subplots(1, len(costs), sharey=True, squeeze=False)[0], costs, strict=True):
        label, unit = COSTS[cost]
        best = front(rows, cost)
        for row in rows:
            colour = QUIET if row not in best else FLOAT if row["kind"] == "float" else INT8
            axes.plot(row[cost] / unit, row["accuracy"] * 100, "o", color=colour, ms=7, mec="white", mew=0.8)
        axes.step(
            [row[cost] / unit for row in best], [row["accuracy"] * 100 for row in best], where="post", color=QUIET, lw=1
        )
        for row in best:
            place = (row[cost] / unit, row["accuracy"] * 100)
            # Beside the point on the side where there is room.
            right = row[cost] > 0.6 * max(other[cost] for other in rows)
            axes.annotate(
                row["name"],
                place,
                (-6 if right else 6, 6),
                textcoords="offset points",
                fontsize=8,
                color=INK,
                ha="right" if right else "left",
            )
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.grid(color="#E8EBEE", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy, %")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()
