"""Sweep: one recipe with many values of its keys, all combinations of them or those that a search chooses.

Every trial is a run in its own directory, and resumes like any run. The trials are a study of Optuna, so that several
processes and machines can share them; this process runs what nobody else runs, waits for the rest, and compares.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from octavo.analysis.pareto import front
from octavo.base.errors import OctavoError, RecipeError
from octavo.base.files import check_results
from octavo.base.progress import Progress, Silent
from octavo.recipe.axes import Range, divided
from octavo.recipe.axes import settings as written
from octavo.recipe.schema import load_recipe
from octavo.reports import facts
from octavo.reports.compare_runs import differences
from octavo.reports.sweep import PAGE, PICTURE, OtherTrial, Sweep, TrialRow, recommended, write_sweep
from octavo.runs.plan import JOURNAL, OBJECTIVES, PRUNERS, SAMPLERS, Objective, Plan, Pruner, Sampler, located
from octavo.runs.trials import LOOKS, Trials, quiet_optuna, without_password
from octavo.runs.worker import costs_of, score_of, work
from octavo.runtime.litert import latency


class Options(TypedDict, total=False):
    """How a sweep chooses values, and what it improves; see `sweep`."""

    search: int | None
    sampler: Sampler
    pruner: Pruner
    objectives: Sequence[Objective]
    max_size: float | None
    max_latency: float | None
    max_arena: float | None
    storage: str | None


def sweep(
    recipe: Path | str,
    settings: Sequence[str] = (),
    out: Path | str | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Unpack[Options],
) -> Sweep:
    """Runs a recipe with many values of its keys, and compares the int8 models.

    Several values of a key (``preprocess.size=96,128``) are all tried, in all combinations. With `search`, Optuna
    chooses among them and within ranges (``train.learning_rate=1e-4:1e-2:log``). Trials are compared on validation
    images where the recipe has some; a search needs them. Latencies are measured at the end, side by side.
    `sweep.html`, `sweep.json` and `sweep.png` are written into `out`, beside the trials' run directories.

    A second call continues: finished trials are not repeated, and failed ones are tried again. Other processes and
    machines help with `octavo.worker`.

    Args:
        recipe: The name or path of a recipe, or the path of a trained model. Or the folder of a sweep, to continue it.
        settings: ``key=value`` texts, for any key of the recipe: one value, several values or a range.
        out: The folder of the sweep; made if missing. None continues that of `recipe`.
        progress: Receives progress messages.
        command: The command line, for the record.
        **options: `search` is the number of trials; without it all combinations are tried. `sampler` is Optuna's:
            `tpe`, `random`, `qmc`, `nsga2` or `gp`. `pruner` stops trials that promise little after an epoch: `none`,
            `median`, `hyperband` or `halving`. `objectives` are what a search improves: `score`, `bytes`, `median_ms`,
            `arena`; several make a front. `max_size` (bytes), `max_latency` (milliseconds) and `max_arena` (bytes) are
            limits. `storage` is where Optuna keeps the study: the path of a journal file, an address of a database, or
            ``grpc://host:port``; by default a journal in `out`.

    Returns:
        The content of `sweep.json`: a row for every trial, and the recommended one.

    Raises:
        OctavoError: A problem that the user can fix; all recipes are read before the first trial runs.

    Example:
        >>> import octavo
        >>> settings = ["quantize.observer=minmax,mse", "data.path=photos", "deployment.targets=false"]
        >>> made = octavo.sweep("float.tflite", settings, out="runs/observers")
        >>> [row.name for row in made.variants], made.chosen_on
        (['observer minmax', 'observer mse'], 'test')
    """
    progress = progress or Silent()
    folder, plan = prepare(recipe, settings, out, **options)
    storage = located(options.get("storage"))
    command = command.replace(storage, without_password(storage)) if storage else command
    with quiet_optuna():
        trials = Trials(plan, folder, storage)
        waiting = False
        while True:
            work(plan, folder, trials, progress, command, alone=not trials.lockable)
            left = [each for each in trials.outcomes() if each.state in ("waiting", "running")]
            if not left:
                break
            if not waiting:
                progress.say(f"{len(left)} trials are with other workers: waiting for them")
            waiting = True
            time.sleep(LOOKS)
        made = compare(plan, folder, trials)
        with trials.parallel() as figure:
            write_sweep(made, folder, figure)
    return made


def prepare(
    recipe: Path | str, settings: Sequence[str], out: Path | str | None, **options: Unpack[Options]
) -> tuple[Path, Plan]:
    """Writes the plan of a sweep and adds its trials to the study, for workers to run; see `sweep`.

    Returns:
        The folder of the sweep, and its plan.
    """
    known = Path(recipe)
    continues = (known / Plan.file).is_file()
    if continues and (settings or set(options) - {"storage"} or (out is not None and Path(out) != known)):
        raise OctavoError(f"'{known}' is a sweep, which has its plan.", "Give nothing else to continue it.")
    folder = known if continues else Path(out) if out is not None else None
    if folder is None:
        raise OctavoError("A sweep needs a folder.", "Set `out`.")
    check_results(folder, [Sweep.file, PAGE, PICTURE, Plan.file])
    storage = located(options.get("storage"))
    made = Plan.read(folder / Plan.file) if continues else _planned(recipe, settings, options)
    with quiet_optuna():
        folder.mkdir(parents=True, exist_ok=True)
        with Trials.planning(folder):
            made = _merged(made, folder, storage is not None)
            Trials(made, folder, storage).fill()
            made.write(folder / Plan.file)
    return folder, made


def _planned(recipe: Path | str, settings: Sequence[str], options: Options) -> Plan:
    single, axes = divided(settings)
    search = options.get("search")
    if not axes:
        raise RecipeError("A sweep needs a key with several values.", "Write --set preprocess.size=96,128.")
    for axis in axes:
        if search is None and isinstance(axis, Range):
            raise RecipeError(
                f"{axis.key} has a range, from which only a search draws.",
                "Set `search` to a number of trials, or list the values: a,b,c.",
            )
    for name in ("sampler", "objectives"):
        if search is None and name in options:
            raise OctavoError(f"`{name}` is for a search.", "Set `search` to a number of trials, or leave it out.")
    objectives = list(dict.fromkeys(options.get("objectives", ("score",))))
    for name, known, given in (
        ("objectives", OBJECTIVES, objectives),
        ("sampler", SAMPLERS, [options.get("sampler", "tpe")]),
        ("pruner", PRUNERS, [options.get("pruner", "none")]),
    ):
        if not given or not set(given) <= set(known):
            raise OctavoError(f"`{name}` should be of {', '.join(known)}, and is {', '.join(given) or 'empty'}.")
    if search is not None and search < 1:
        raise OctavoError("A search has one trial or more.", "Set `search` to a number of trials.")
    storage = located(options.get("storage"))
    limits = {
        "bytes": options.get("max_size"),
        "median_ms": options.get("max_latency"),
        "arena": options.get("max_arena"),
    }
    if any(limit is not None and limit <= 0 for limit in limits.values()):
        raise OctavoError("A limit of size, latency or arena is above 0.")
    first = {axis.key: axis.ends[0] if isinstance(axis, Range) else axis.texts[0] for axis in axes}
    start = load_recipe(recipe, [*single, *written(first)])
    plan = Plan(
        recipe=start.model_dump(mode="json", exclude_unset=True),
        title=f"recipe '{recipe}'",
        start=str(Path.cwd()),
        axes=axes,
        trials=search or 0,
        sampler=None if search is None else options.get("sampler", "tpe"),
        pruner=options.get("pruner", "none"),
        objectives=objectives,
        limits={cost: limit for cost, limit in limits.items() if limit is not None},
        storage=JOURNAL if storage is None else without_password(storage),
        study=f"octavo-{start.name}-{uuid.uuid4().hex[:8]}",
    )
    if search is None:
        plan = plan.model_copy(update={"trials": sum(1 for _ in plan.combinations())})
    plan.check()
    return plan


def _merged(made: Plan, folder: Path, moved: bool) -> Plan:
    """The plan of a folder, with the trials that a new one of the same sweep adds.

    Raises:
        OctavoError: The folder has the plan of another sweep.
    """
    if not (folder / Plan.file).is_file():
        return made
    known = Plan.read(folder / Plan.file)
    free = {"recipe": {}, "title": "", "start": "", "trials": 0, "storage": "", "study": ""}
    same = known.model_copy(update=free) == made.model_copy(update=free)
    if not same or [known.recipe_of(each) for each in known.ends()] != [made.recipe_of(each) for each in made.ends()]:
        raise OctavoError(f"'{folder}' has the plan of another sweep.", "Set `out` to another folder.")
    if moved and known.storage != made.storage:
        raise OctavoError(
            f"The study of '{folder}' is in '{known.storage}'.", "Set `storage` to that, or leave it out."
        )
    return known.model_copy(update={"trials": max(known.trials, made.trials)})


def compare(plan: Plan, folder: Path, trials: Trials) -> Sweep:
    """The int8 models of the finished trials side by side.

    Raises:
        OctavoError: No trial has a result.
    """
    outcomes = trials.outcomes()
    done = [each for each in outcomes if each.state == "complete"]
    if not done:
        why = list(dict.fromkeys(each.error or each.state for each in outcomes))
        raise OctavoError("No trial has a result.", details=why[:10])
    paths = [folder / plan.folder_of(each.place) for each in done]
    known = [facts.read(path) for path in paths]
    contents = [(path / "int8.tflite").read_bytes() for path in paths]
    metric = known[0].evaluation.metric
    if any(fact.evaluation.metric != metric for fact in known):
        raise OctavoError("The trials have scores of different kinds.", "Vary no key that changes the task.")
    rows: list[dict[str, Any]] = []
    for each, path, fact, content, timed in zip(
        done, paths, known, contents, latency(contents, seconds=1.0 * len(contents)), strict=True
    ):
        costs = {**costs_of(content), "median_ms": timed.median_ms}
        choice = score_of(each.kept)
        rows.append(
            {
                "name": plan.name_of(each.values),
                "run": path.name,
                "settings": {key: str(value) for key, value in each.values.items()},
                "choice": choice,
                "images": fact.evaluation.images,
                "score": fact.scores[1],
                "float_score": fact.scores[0].value,
                "p90_ms": timed.p90_ms,
                "within": all(costs[name] <= limit for name, limit in plan.limits.items()),
                **costs,
            }
        )
    ranked = [{"score": row["choice"].value, "median_ms": row["median_ms"], "run": row["run"]} for row in rows]
    best = {row["run"] for row in front(ranked, "median_ms", metric.higher)}
    chosen = recommended(rows, metric.higher)
    place = next((number for number, row in enumerate(rows) if row is chosen), None)
    gaps = [None] * len(rows) if place is None else differences(paths, known, place)
    return Sweep(
        metric=metric,
        chosen_on=done[0].kept["on"],
        chosen_images=done[0].kept["images"],
        limits=plan.limits,
        variants=[
            TrialRow.model_validate({**row, "difference": gap, "front": row["run"] in best})
            for row, gap in zip(rows, gaps, strict=True)
        ],
        recommended=None if chosen is None else chosen["run"],
        others=[
            OtherTrial(
                name=plan.name_of(each.values), run=plan.folder_of(each.place), state=each.state, error=each.error
            )
            for each in outcomes
            if each.state != "complete"
        ],
    )
