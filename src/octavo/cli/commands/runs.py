"""Runs: a recipe from images to the report."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octavo.cli.app import command
from octavo.cli.options import JsonFlag
from octavo.cli.output import Shown, print_json, say, share

if TYPE_CHECKING:
    from octavo.runs.sweep import Sweep


@command("octavo run cifar10 --data cifar-10-python.tar.gz --out runs/cifar10 --set train.epochs=3")
def run(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe, or the path of a YAML file.")],
    out: Annotated[Path | None, typer.Option("--out", help="Run directory; runs/RECIPE by default.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Sets data.path: folder, archive or .npz.")] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="Sets model.weights: a .weights.h5 file.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Sets any key of the recipe; repeatable. With several values of preprocess.size or model.alpha, such "
            "as 96,128,224, each is run, and their accuracy and latency are compared.",
        ),
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Run a recipe, from images to float baseline, int8 model and report. Resumes an interrupted run."""
    from octavo.analysis.evaluation import Evaluation, PairComparison
    from octavo.recipe.schema import load_recipe
    from octavo.runs import stages
    from octavo.runs.sweep import sweep, variants

    given = list(settings or [])
    if data is not None:
        given.append(f"data.path={json.dumps(str(data))}")
    if weights is not None:
        given.append(f"model.weights={json.dumps(weights)}")
    command = shlex.join(["octavo", *sys.argv[1:]])
    shown = Shown()
    every = variants(given)
    made = load_recipe(recipe, list(every[0].settings))
    folder = out if out is not None else Path("runs") / made.name
    if len(every) > 1:
        _print_sweep(sweep(recipe, given, folder, shown, command), folder, json_)
        return
    report = stages.run(made, folder, shown, command)
    if json_:
        print_json(json.loads((folder / "report.json").read_text("utf-8")))
        return
    evaluation = Evaluation.read(folder / Evaluation.file)
    metric, likeness = evaluation.metric, evaluation.likeness
    for name, model in evaluation.models.items():
        score = "" if model.score is None else f"{metric.title} {metric.between(model.score)}  "
        say(f"{name:7}  {score}{(folder / model.file).stat().st_size:>12,} bytes")
    for pair in (PairComparison(before="float", after="int8", **dict(evaluation.comparison)), *evaluation.pairs):
        if pair.after == "int8" and pair.difference is not None:
            say(f"int8 minus {pair.before:7}  {metric.changes(pair.difference)}")
    say(f"int8 against float  {likeness.title} {likeness.text(evaluation.comparison.agreement)}")
    say(f"report  {report}")


def _print_sweep(made: Sweep, folder: Path, json_: bool) -> None:
    if json_:
        print_json(made.to_json())
        return
    for row in made.variants:
        mark = "*" if row.name == made.recommended else " " if row.front else "-"
        say(
            f"{mark} {row.name:24} {share(row.interval)}  {row.median_ms:7.2f} ms  "
            f"{row.bytes:>12,} bytes  arena {row.arena:>12,} bytes"
        )
    say("*: the fastest whose accuracy lies in the interval of the best. -: another is faster and no less accurate.")
    say(f"wrote   {folder / 'sweep.json'} and {folder / 'sweep.png'}")


@command("octavo report runs/digits")
def report(
    run_dir: Annotated[Path, typer.Argument(help="A directory that `octavo run` wrote.")],
    json_: JsonFlag = False,
) -> None:
    """Write a run's report again: report.html, report.md, report.json."""
    from octavo import reports

    reports.write(run_dir)
    if json_:
        say((run_dir / "report.json").read_text("utf-8").rstrip())
    else:
        say(f"report  {run_dir / 'report.html'}")


@command("octavo recipes")
def recipes(json_: JsonFlag = False) -> None:
    """List the built-in recipes."""
    from octavo.api.recipes import recipes as built_in

    found = built_in()
    if json_:
        print_json(found)
        return
    for name, title in found.items():
        say(f"{name:16}  {title}")
