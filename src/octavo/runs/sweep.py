"""Accuracy per millisecond: one recipe at several input sizes and widths, and which of them nothing else beats.

An image of 32 pixels gains nothing in detail from 224, and costs 49 times the arithmetic. What it gains is found by
trying: every variant is a run of its own, in a folder of its own, and resumes as any run does.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octavo.analysis.pareto import front, picture
from octavo.base import notebook
from octavo.base.errors import RecipeError
from octavo.base.files import write_bytes, write_json
from octavo.base.progress import Progress, Silent
from octavo.base.record import Record
from octavo.deployment.targets.arena import lifetimes, peak, plan
from octavo.recipe.schema import load_recipe
from octavo.runs.stages import run
from octavo.runtime.litert import latency
from octavo.tflite.graph import Graph

# What a list of values may be given for: what trades accuracy for time.
SWEPT = {"preprocess.size": "size", "model.alpha": "width"}
# What the picture of a sweep shows accuracy against.
_COSTS = ("milliseconds", "bytes", "arena")


@dataclass(frozen=True)
class Variant:
    """One recipe of a sweep.

    Args:
        name: What is special about it, and its folder: ``size 96, width 0.5``.
        settings: All settings, with one value for each key.
    """

    name: str
    settings: tuple[str, ...]


class Sweep(Record):
    """The int8 models of a recipe's variants, side by side."""

    def __repr__(self) -> str:
        best = next(row for row in self["variants"] if row["name"] == self["recommended"])
        return (
            f"Sweep({len(self['variants'])} variants; recommended: {best['name']}, {best['accuracy']:.2%} of "
            f"{best['images']:,} images, {best['milliseconds']:.3g} ms, {best['bytes']:,} bytes)"
        )

    def _repr_html_(self) -> str:
        alt = "Accuracy against milliseconds, bytes and arena of every variant"
        return notebook.picture(picture(self["variants"], _COSTS), alt) + notebook.table(
            ("variant", "nothing faster is better", "accuracy", "ms", "bytes", "arena"),
            [
                (
                    *(row["name"], "yes" if row["front"] else "no", f"{row['accuracy']:.2%}"),
                    *(f"{row['milliseconds']:.3g}", f"{row['bytes']:,}", f"{row['arena']:,}"),
                )
                for row in self["variants"]
            ],
            repr(self),
            texts=2,
        )


def variants(settings: list[str]) -> list[Variant]:
    """The variants that lists of values make: all of their combinations; one without a name where no list is given.

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
        out: Where the runs go; made if missing.
        progress: Where progress goes.
        command: The command line, for the record.

    Returns:
        What ``sweep.json`` holds: a row for every variant, and the recommended one.

    Raises:
        OctavoError: Something that the user can mend; no variant is run before all recipes are read.

    Example:
        >>> import octavo
        >>> settings = ["preprocess.size=32,48", "train.epochs=1", "data.train=120", "data.test=40"]
        >>> [row["name"] for row in octavo.sweep("digits", settings, out="runs/sizes")["variants"]]
        ['size 32', 'size 48']
    """
    progress, out = progress or Silent(), Path(out)
    made = [(variant, load_recipe(recipe, list(variant.settings))) for variant in variants(settings)]
    for variant, each in made:
        progress.say(f"{variant.name}:")
        run(each, out / _folder(variant), progress, command)
    value = compare_variants([(variant.name, out / _folder(variant)) for variant, _ in made])
    write_json(out / "sweep.json", value.to_json())
    write_bytes(out / "sweep.png", picture(value["variants"], _COSTS))
    return value


def compare_variants(runs: list[tuple[str, Path]]) -> Sweep:
    """The int8 models of finished runs side by side.

    Args:
        runs: What each is called, and its run directory.
    """
    contents = [(path / "int8.tflite").read_bytes() for _, path in runs]
    times = latency(contents, seconds=1.0 * len(contents))
    rows: list[dict[str, Any]] = []
    for (name, path), content, time in zip(runs, contents, times, strict=True):
        evaluation = json.loads((path / "evaluation.json").read_text("utf-8"))
        models = evaluation["models"]
        rows.append(
            {
                "name": name,
                "kind": "int8",
                "run": path.name,
                "images": evaluation["images"],
                "accuracy": models["int8"]["accuracy"]["value"],
                "interval": models["int8"]["accuracy"],
                "float_accuracy": models["float"]["accuracy"]["value"],
                "bytes": len(content),
                "milliseconds": time.median,
                "p90": time.p90,
                "arena": peak(plan(lifetimes(Graph(content)))),
            }
        )
    best = front(rows, "milliseconds")
    for row in rows:
        row["front"] = row in best
    return Sweep({"variants": rows, "recommended": recommended(best)["name"]})


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
