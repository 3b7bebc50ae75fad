"""Sweep: accuracy against time of one recipe at several input sizes and widths, with their Pareto front.

Enlarging an image from 32 to 224 pixels adds no detail, but costs 49 times the arithmetic. Whether it helps accuracy
has to be measured. Every variant is a separate run in its own folder, and resumes like any run.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octavo.analysis.evaluation import Evaluation
from octavo.analysis.pareto import front, picture
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.base import notebook
from octavo.base.artefact import Artefact, Part
from octavo.base.errors import RecipeError
from octavo.base.files import check_results, write_bytes
from octavo.base.progress import Progress, Silent
from octavo.base.stats import Interval
from octavo.deployment.targets.arena import lifetimes, peak, plan
from octavo.recipe.schema import load_recipe
from octavo.runs.stages import run
from octavo.runtime.litert import latency
from octavo.tflite.graph import Graph

# The keys that can have a list of values: they trade accuracy for time.
SWEPT = {"preprocess.size": "size", "model.alpha": "width"}
# The costs in the picture of a sweep.
_COSTS = ("median_ms", "bytes", "arena")


class VariantRecord(Part):
    """The int8 model of one variant.

    Args:
        name: The values that distinguish the variant.
        kind: What kind of model it is: ``int8``.
        run: Its run directory.
        images: How many held-out images evaluated it.
        accuracy: On these, as a share.
        interval: The same with its interval.
        float_accuracy: The float model's accuracy on them, as a share.
        bytes: The size of its file.
        median_ms: Median time of one image on one thread, in milliseconds, all variants in turns.
        p90_ms: 90th percentile of the same, in milliseconds.
        arena: Size of TFLite Micro's arena for activations, in bytes.
        front: Whether no other variant is faster and no less accurate.
    """

    name: str
    kind: str
    run: str
    images: int
    accuracy: float
    interval: Interval
    float_accuracy: float
    bytes: int
    median_ms: float
    p90_ms: float
    arena: int
    front: bool


class Sweep(Artefact):
    """The int8 models of a sweep side by side.

    Args:
        variants: One row per variant.
        recommended: The fastest variant whose accuracy lies inside the interval of the most accurate one.
    """

    file = "sweep.json"
    what = "the comparison of a sweep"
    remedy = "Repeat the command that made the sweep: finished runs are not repeated."

    variants: list[VariantRecord]
    recommended: str

    def picture(self) -> bytes:
        """Accuracy against time, bytes and arena of every variant, as a PNG file."""
        return picture(
            [row.model_dump() | {"score": row.accuracy} for row in self.variants], SingleLabelScores.metric, _COSTS
        )

    def __repr__(self) -> str:
        best = next(row for row in self.variants if row.name == self.recommended)
        return (
            f"Sweep({len(self.variants)} variants; recommended: {best.name}, {best.accuracy:.2%} of "
            f"{best.images:,} images, {best.median_ms:.3g} ms, {best.bytes:,} bytes)"
        )

    def _repr_html_(self) -> str:
        alt = "Accuracy against milliseconds, bytes and arena of every variant"
        return notebook.picture(self.picture(), alt) + notebook.table(
            ("variant", "nothing faster is better", "accuracy", "ms", "bytes", "arena"),
            [
                (
                    *(row.name, "yes" if row.front else "no", f"{row.accuracy:.2%}"),
                    *(f"{row.median_ms:.3g}", f"{row.bytes:,}", f"{row.arena:,}"),
                )
                for row in self.variants
            ],
            repr(self),
            texts=2,
        )


@dataclass(frozen=True)
class Variant:
    """One recipe of a sweep.

    Args:
        name: The values that distinguish it, also the name of its folder: ``size 96, width 0.5``.
        settings: All settings, with one value for each key.
    """

    name: str
    settings: tuple[str, ...]


def variants(settings: list[str]) -> list[Variant]:
    """The variants for lists of values: all their combinations; one variant without a name if there is no list.

    Args:
        settings: ``key=value`` texts; ``preprocess.size`` and ``model.alpha`` can have several values.

    Raises:
        RecipeError: A list is empty, or is given for another key.

    Example:
        >>> [made.name for made in variants(["train.epochs=3", "preprocess.size=96,128", "model.alpha=0.5,1"])]
        ['size 96, width 0.5', 'size 96, width 1', 'size 128, width 0.5', 'size 128, width 1']
    """
    lists: dict[str, list[str]] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        key = key.strip()
        if key in SWEPT and ("," in text or text.strip().startswith("[")):
            values = [value.strip() for value in text.strip().strip("[]").split(",") if value.strip()]
            if not values:
                raise RecipeError(f"'{setting}' gives no value.", f"Write {key}=96,128.")
            lists[key] = list(dict.fromkeys(values))
    single = [setting for setting in settings if setting.partition("=")[0].strip() not in lists]
    made = []
    for combination in itertools.product(*lists.values()):
        chosen = dict(zip(lists, combination, strict=True))
        name = ", ".join(f"{SWEPT[key]} {value}" for key, value in chosen.items())
        made.append(Variant(name, (*single, *(f"{key}={value}" for key, value in chosen.items()))))
    return made


def sweep(
    recipe: Path | str, settings: list[str], out: Path | str, progress: Progress | None = None, command: str = ""
) -> Sweep:
    """Runs every variant of a recipe, and compares their int8 models.

    Latencies are measured at the end, side by side. ``sweep.json`` and ``sweep.png`` are written into `out`, beside the
    variants' run directories.

    Args:
        recipe: The name or path of a recipe.
        settings: ``key=value`` texts; see `variants`.
        out: The folder for the runs; made if missing.
        progress: Receives progress messages.
        command: The command line, for the record.

    Returns:
        The content of ``sweep.json``: a row for every variant, and the recommended one.

    Raises:
        OctavoError: A problem that the user can fix; all recipes are read before the first variant runs.

    Example:
        >>> import octavo
        >>> settings = ["preprocess.size=32,48", "train.epochs=1", "data.train=120", "data.test=40"]
        >>> [row["name"] for row in octavo.sweep("digits", settings, out="runs/sizes")["variants"]]
        ['size 32', 'size 48']
    """
    progress, out = progress or Silent(), Path(out)
    check_results(out, [Sweep.file, "sweep.png"])
    made = [(variant, load_recipe(recipe, list(variant.settings))) for variant in variants(settings)]
    for variant, each in made:
        progress.say(f"{variant.name}:")
        run(each, out / _folder(variant), progress, command)
    compared = compare_variants([(variant.name, out / _folder(variant)) for variant, _ in made])
    compared.write(out / compared.file)
    write_bytes(out / "sweep.png", compared.picture())
    return compared


def compare_variants(runs: list[tuple[str, Path]]) -> Sweep:
    """The int8 models of finished runs side by side.

    Args:
        runs: The name of each run, and its directory.
    """
    contents = [(path / "int8.tflite").read_bytes() for _, path in runs]
    times = latency(contents, seconds=1.0 * len(contents))
    rows: list[dict[str, Any]] = []
    for (name, path), content, time in zip(runs, contents, times, strict=True):
        evaluation = Evaluation.read(path / Evaluation.file)
        before, after = (evaluation.models[name].score for name in ("float", "int8"))
        # The variants of a sweep train their own classifier, on labelled images.
        assert before is not None and after is not None
        rows.append(
            {
                "name": name,
                "kind": "int8",
                "run": path.name,
                "images": evaluation.images,
                "accuracy": after.value,
                "score": after.value,
                "interval": vars(after),
                "float_accuracy": before.value,
                "bytes": len(content),
                "median_ms": time.median_ms,
                "p90_ms": time.p90_ms,
                "arena": peak(plan(lifetimes(Graph(content)))),
            }
        )
    best = front(rows, "median_ms")
    made = [VariantRecord.model_validate({**row, "front": row in best}) for row in rows]
    return Sweep(variants=made, recommended=recommended(best)["name"])


def recommended(best: list[Any]) -> Any:
    """The fastest whose accuracy is inside the interval of the most accurate one.

    Example:
        >>> rows = [{"name": "96", "accuracy": 0.80}, {"name": "128", "accuracy": 0.84},
        ...         {"name": "224", "accuracy": 0.85, "interval": {"low": 0.83, "high": 0.87}}]
        >>> recommended(rows)["name"]
        '128'
    """
    top = max(best, key=lambda row: row["accuracy"])
    return next(row for row in best if row["accuracy"] >= top["interval"]["low"])


def _folder(variant: Variant) -> str:
    return variant.name.replace(", ", "-").replace(" ", "")
