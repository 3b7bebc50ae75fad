"""Runs: from a recipe, or from a model of your own, to the report."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from octavo.base.address import address
from octavo.base.errors import OctavoError
from octavo.base.units import milliseconds
from octavo.cli.app import command
from octavo.cli.launch import part
from octavo.cli.options import (
    BackendFlag,
    DeterministicFlag,
    Flags,
    JobsFlag,
    JsonFlag,
    LaunchFlag,
    LogFlag,
    names,
    trackers,
)
from octavo.cli.output import Shown, print_diagnosis, print_json, print_run, say
from octavo.recipe.options import Inputs

# The key of a recipe that each flag of the inputs sets.
_KEYS = {
    "data": "data.path",
    "images": "calibrate.images",
    "seed": "seed",
    "signature": "model.signature",
    "labels": "model.labels",
    "scale": "preprocess.scale",
    "interpolation": "preprocess.interpolation",
    "channels": "preprocess.channels",
    "window_step": "preprocess.window_step",
    "task": "evaluate.task",
    "output": "evaluate.output",
}


WeightsFlag = Annotated[str | None, typer.Option("--weights", help="Sets model.weights: a .weights.h5 file.")]


def _flags(seed: str) -> Flags:
    """The flags of the inputs of a run, and of a sweep of runs; `seed` is the help of --seed."""
    return Flags(
        help={
            "data": "Folder or archive (.tar, .tar.gz, .zip) of images, CSV or WAV files; or an .npz.",
            "images": "Calibration images, of the training images.",
            "seed": seed,
        },
        without=("size",),
        default={"seed": None},
    )


@command("octavo run model.keras --data photos/ --out runs/mine")
def run(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE_OR_MODEL",
            help="A built-in recipe, the path of a YAML file, or a trained model of your own: .keras, .h5, .tflite, "
            ".onnx, or a SavedModel folder.",
        ),
    ],
    inputs: Annotated[
        Inputs,
        _flags("Seed of the choice of images, and of training."),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Run directory; runs/NAME when left out.")] = None,
    weights: WeightsFlag = None,
    deterministic: DeterministicFlag = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Sets any key of the recipe; repeatable. Several values of preprocess.size or model.alpha, such as "
            "96,128,224, make a sweep: see `octavo sweep`.",
        ),
    ] = None,
    log: LogFlag = None,
    jobs: JobsFlag = None,
    backend: BackendFlag = "loky",
    launch: LaunchFlag = None,
    json_: JsonFlag = False,
) -> None:
    """Run a recipe, or start from your own model: to the int8 model and a report. Resumes where it was stopped."""
    from octavo.recipe.schema import load_recipe
    from octavo.runs import stages

    given = _settings(inputs, weights, settings)
    if log is not None:
        given.append(f"log={json.dumps(trackers(log))}")
    if deterministic:
        given.append("deterministic=true")
    command = shlex.join(["octavo", *sys.argv[1:]])
    if _several(given):
        if jobs is not None:
            raise OctavoError("The runs of a sweep are shared by `octavo worker`.", "Leave out `jobs`.")
        _sweep(recipe, given, out, command, json_)
        return
    made = load_recipe(recipe, given)
    folder = out if out is not None else Path("runs") / made.name
    place = part(launch)
    stages.run(made, folder, Shown(), command, jobs=jobs, backend=backend, place=place)
    if not place.rank:
        print_run(folder, json_)


def _settings(inputs: Inputs, weights: str | None, settings: list[str] | None) -> list[str]:
    """All settings of a recipe, in the order in which they apply."""
    said = {key: getattr(inputs, name) for name, key in _KEYS.items()} | {"model.weights": weights}
    more = [f"{key}={json.dumps(value, default=str)}" for key, value in said.items() if value is not None]
    return [*(settings or []), *more]


def _several(settings: list[str]) -> bool:
    """Whether a setting has several values where a text with commas cannot be meant as one."""
    from octavo.recipe.axes import Values, divided

    _, axes = divided(settings)
    return any(isinstance(axis, Values) and axis.key in ("preprocess.size", "model.alpha") for axis in axes)


@command("octavo sweep digits --set train.learning_rate=1e-4:1e-2:log --set model.alpha=0.35,0.5 --search 20")
def sweep(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE_OR_MODEL",
            help="As for `octavo run`; or the folder of a sweep, to continue it.",
        ),
    ],
    inputs: Annotated[
        Inputs,
        _flags("Seed of the choice of images, of training, and of a search."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder of the sweep; runs/NAME-sweep when left out.")
    ] = None,
    weights: WeightsFlag = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUES",
            help="Sets any key of the recipe; repeatable. Several values, as in seed=0,1,2, are all tried, in all "
            "combinations. A search also draws from a range: LOW:HIGH, LOW:HIGH:log or LOW:HIGH:STEP.",
        ),
    ] = None,
    search: Annotated[
        int | None,
        typer.Option("--search", min=1, metavar="TRIALS", help="Let Optuna choose the values of so many trials."),
    ] = None,
    sampler: Annotated[
        Literal["tpe", "random", "qmc", "nsga2", "gp"] | None,
        typer.Option("--sampler", help="Optuna's sampler, for a search; tpe when left out."),
    ] = None,
    pruner: Annotated[
        Literal["none", "median", "hyperband", "halving"] | None,
        typer.Option("--pruner", help="Optuna's pruner: stops trials that promise little after an epoch."),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            "--objectives",
            metavar="NAMES",
            help="What a search improves, separated by commas: score, bytes, median_ms, arena. Several make a front.",
        ),
    ] = None,
    max_size: Annotated[
        float | None, typer.Option("--max-size", min=1, metavar="BYTES", help="The largest file.")
    ] = None,
    max_latency: Annotated[
        float | None, typer.Option("--max-latency", min=0, metavar="MS", help="The longest latency, on one thread.")
    ] = None,
    max_arena: Annotated[
        float | None, typer.Option("--max-arena", min=1, metavar="BYTES", help="The largest arena of TFLite Micro.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="ADDRESS",
            help="Where Optuna keeps the study: a journal file, a database (sqlite:///FILE, postgresql://…, mysql://…) "
            "or grpc://HOST:PORT; a journal file in the folder when left out.",
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only write the plan: `octavo worker` runs the trials.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Run a recipe with many values of its keys, or search for good ones, and compare the int8 models."""
    given = {
        "search": search,
        "sampler": sampler,
        "pruner": pruner,
        "objectives": None if objectives is None else names("objectives", objectives),
        "max_size": max_size,
        "max_latency": max_latency,
        "max_arena": max_arena,
        "storage": storage,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = _settings(inputs, weights, settings)
    if plan:
        from octavo.runs.sweep import prepare

        folder, made = prepare(recipe, settings, _sweep_folder(recipe, settings, out), **options)
        if json_:
            print_json({"folder": str(folder), **made.to_json()})
            return
        say(f"wrote   {folder / made.file}")
        say(f"trials  {made.trials}")
        say(f"run it  octavo worker {shlex.quote(str(folder))}    as many processes as you like")
        say(f"end it  octavo sweep {shlex.quote(str(folder))}")
        return
    _sweep(recipe, settings, out, shlex.join(["octavo", *sys.argv[1:]]), json_, **options)


def _sweep_folder(recipe: str, settings: list[str], out: Path | None) -> Path | None:
    """The folder of a sweep if none is given; None where it is that of a sweep to continue."""
    from octavo.recipe.axes import divided
    from octavo.recipe.schema import load_recipe
    from octavo.runs.plan import Plan

    if out is not None or (Path(recipe) / Plan.file).is_file():
        return out
    return Path("runs") / f"{load_recipe(recipe, divided(settings)[0]).name}-sweep"


def _sweep(recipe: str, settings: list[str], out: Path | None, command: str, json_: bool, **options: Any) -> None:
    from octavo.runs.sweep import sweep as run_all

    folder = _sweep_folder(recipe, settings, out)
    made = run_all(recipe, settings, folder, Shown(), command, **options)
    if json_:
        print_json(made.to_json())
        return
    wide = max(len(row.name) for row in made.variants)
    for row in made.variants:
        mark = "*" if row is made.best else " " if row.front else "-"
        over = "" if row.within else "  over a limit"
        say(
            f"{mark} {row.name:{wide}}  {made.metric.between(row.score)}  {milliseconds(row.median_ms)}  "
            f"{row.bytes:>12,} bytes  arena {row.arena:>12,} bytes{over}"
        )
    for other in made.others:
        say(f"! {other.name or other.run}  {other.state}{f': {other.error}' if other.error else ''}")
    say(
        f"*: the fastest whose {made.metric.title} on {made.chosen_on} images lies in the interval of the best. "
        "-: another is faster and no worse."
    )
    say(f"wrote   {(folder or Path(recipe)) / 'sweep.html'}")


@command("octavo worker runs/digits-sweep")
def worker(
    study: Annotated[Path, typer.Argument(help="The folder of a sweep.")],
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="ADDRESS", help="Where the study is, if its address has a password."),
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Run trials of a sweep until none is left that nobody works on. As many at once, and where, as you like."""
    from octavo.runs.worker import worker as work

    done = work(study, storage, Shown(), shlex.join(["octavo", "worker", str(study)]))
    if json_:
        print_json(done.to_json())
        return
    say(f"complete {done.complete}, pruned {done.pruned}, failed {done.failed}; with other workers {done.running}")
    if not done.running:
        say(f"compare them: octavo sweep {shlex.quote(str(study))}")


@command("octavo init model.keras --data photos/ --scale 0 255 -o mine.yaml")
def init(
    inputs: Annotated[
        Inputs, Flags(help={"images": "Calibration images; 100 when left out."}, without=("size",), default={"seed": 0})
    ],
    model: Annotated[
        Path | None, typer.Argument(help="A trained model; without one the recipe trains a float baseline.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The YAML file to write; named as the model when left out.")
    ] = None,
    method: Annotated[
        Literal["ptq", "qat"] | None,
        typer.Option("--method", help="Post-training quantization (the default), or training for int8 after it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a recipe for your own images and model, with comments. Asks for what is missing if there is a terminal."""
    from octavo.api.init import init as write_recipe

    if sys.stdin.isatty():
        if model is None:
            given = typer.prompt("Trained model (empty: train a float baseline)", default="", show_default=False)
            model = Path(given) if given else None
        if inputs.data is None:
            inputs = replace(inputs, data=address(typer.prompt("Images (folder, archive or .npz)")))
        if method is None:
            method = "qat" if typer.confirm("Also train for int8 (quantization-aware training)?") else "ptq"
    path = write_recipe(model, inputs, out, method=method or "ptq", force=force)
    say(f"wrote   {path}")
    say(f"run it  octavo run {shlex.quote(str(path))}")


@command("octavo report model_int8.tflite --float model.keras --data photos/ --out runs/measured")
def report(
    run_or_int8: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_INT8", help="A directory that `octavo run` wrote, or an int8 .tflite file of any converter."
        ),
    ],
    inputs: Annotated[
        Inputs,
        Flags(
            help={"data": "Labelled images to measure an int8 file on.", "seed": "Seed of the choice of images."},
            without=("images", "size", "signature"),
        ),
    ],
    float_: Annotated[
        Path | None, typer.Option("--float", help="The float model that the int8 file was made from.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run directory for an int8 file; runs/NAME when left out.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Sets a key of the recipe; repeatable.")
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Write a run's report again, or measure an int8 file and report: report.html, report.md, report.json."""
    from octavo import reports

    if run_or_int8.is_dir():
        if out is not None or float_ is not None or settings or inputs != Inputs():
            raise OctavoError(
                f"'{run_or_int8}' is a run directory, which holds all that its report shows.",
                "Give no option but --json; or give an int8 file.",
            )
        reports.write(run_or_int8)
        if json_:
            say((run_or_int8 / "report.json").read_text("utf-8").rstrip())
        else:
            say(f"report  {run_or_int8 / 'report.html'}")
        return
    from octavo.recipe.own import own_recipe
    from octavo.runs import stages

    if not run_or_int8.is_file():
        raise OctavoError(f"There is no run directory or file '{run_or_int8}'.")
    if float_ is None:
        raise OctavoError("An int8 file is compared with the float model that it was made from.", "Set `float`.")
    made = own_recipe(float_, inputs, {"quantize": {"path": run_or_int8}}, settings)
    folder = out if out is not None else Path("runs") / run_or_int8.stem
    stages.run(made, folder, Shown(), shlex.join(["octavo", *sys.argv[1:]]))
    print_run(folder, json_)


@command("octavo compare-runs runs/digits runs/digits-qat --out compared")
def compare_runs(
    runs: Annotated[
        list[Path], typer.Argument(help="Directories of finished runs; others are compared with the first.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder for the page.")] = Path("compared"),
    json_: JsonFlag = False,
) -> None:
    """Compare runs on one page: recipes, accuracy on the same images, size, latency, and their Pareto front."""
    from octavo.reports.compare_runs import compare_runs as compare

    made = compare(runs, out)
    if json_:
        print_json(made.to_json())
        return
    for row in made.runs:
        say(f"{row.name:24} {made.metric.text(row.score.value)}  {row.bytes:>12,} bytes  {row.median_ms:7.3g} ms")
        if row.difference is not None:
            say(f"{'minus the first':24} {made.metric.changes(row.difference)}")
    say(f"wrote   {out / 'compare-runs.html'}")


@command("octavo doctor")
def doctor(json_: JsonFlag = False) -> None:
    """Show what is installed, which kinds of models and targets can be used here, and what installs the others."""
    from octavo.api.doctor import doctor as diagnose

    print_diagnosis(diagnose(), json_)


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
