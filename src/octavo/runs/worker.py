"""The worker of a sweep: runs trials until none is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from octavo.analysis.evaluation import Evaluation
from octavo.base.border import border
from octavo.base.errors import MissingDependencyError, OctavoError
from octavo.base.progress import Progress, Silent
from octavo.base.stats import Interval
from octavo.data.open import is_there
from octavo.deployment.targets import arena
from octavo.recipe.schema import Recipe
from octavo.runs.plan import Plan, located
from octavo.runs.stages import run, validate
from octavo.runs.trials import Taken, Trials, quiet_optuna
from octavo.tflite.graph import Graph

# A storage that was there at the start, and is not any more.
_LOST = ("The study cannot be reached", "Repeat the command once it can: a trial is taken up where it stopped.")


@dataclass(frozen=True)
class Work:
    """What a worker did.

    Args:
        complete: How many trials it ran to their result.
        pruned: How many it stopped because they promised little.
        failed: How many could not be run.
        running: How many trials other workers still had when it ended.
    """

    complete: int
    pruned: int
    failed: int
    running: int

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        return asdict(self)


def worker(study: Path | str, storage: str | None = None, progress: Progress | None = None, command: str = "") -> Work:
    """Runs trials of a sweep until none is left that nobody works on.

    Any number of workers may run at once, on any machine that sees the sweep's folder, its storage and the images. No
    two run the same trial. A trial whose worker died is taken up where its run directory stopped.

    Args:
        study: The folder of the sweep: `octavo.sweep`, or `octavo sweep --plan`, made it.
        storage: The address of the study's storage, where it has a password, which the folder does not keep.
        progress: Receives progress messages.
        command: The command line, for the record.

    Raises:
        OctavoError: There is no such sweep, or its storage cannot be reached.

    Example:
        >>> import octavo
        >>> settings = ["quantize.observer=minmax,mse", "data.path=photos", "deployment.targets=false"]
        >>> _ = octavo.sweep("float.tflite", settings, out="runs/observers")
        >>> octavo.worker("runs/observers")
        Work(complete=0, pruned=0, failed=0, running=0)
    """
    folder = Path(study)
    if not (folder / Plan.file).is_file():
        raise OctavoError(
            f"'{folder}' is not the folder of a sweep: it has no {Plan.file}.",
            "Make one: octavo sweep RECIPE --set KEY=A,B --plan --out FOLDER",
        )
    plan = Plan.read(folder / Plan.file)
    first = plan.recipe_of(next(plan.ends()))
    for path in first.files.values():
        # A machine that cannot see them would fail every trial.
        if not is_there(path):
            raise OctavoError(f"This machine has no '{path}', which the sweep needs.", "Mount it at the same path.")
    with quiet_optuna():
        trials = Trials(plan, folder, located(storage))
        if not trials.lockable:
            raise OctavoError(
                f"The file system of '{folder}' has no locks, so workers could not tell whether a trial has one.",
                f"Run one process alone: octavo sweep {folder}",
            )
        done = work(plan, folder, trials, progress or Silent(), command)
        running = sum(each.state == "running" for each in trials.outcomes())
    return Work(done["complete"], done["pruned"], done["failed"], running)


def work(
    plan: Plan, folder: Path, trials: Trials, progress: Progress, command: str, alone: bool = False
) -> Counter[str]:
    """Runs trials until none is left that nobody works on.

    Args:
        plan: The plan of the sweep.
        folder: Its folder.
        trials: Its trials.
        progress: Receives progress messages.
        command: The command line, for the record.
        alone: As for `Trials.take`.

    Returns:
        How many trials came to which end.
    """
    ends: Counter[str] = Counter()
    while True:
        with border(*_LOST):
            taken = trials.take(alone)
        if taken is None:
            return ends
        with taken:
            progress.say(f"trial {taken.place + 1} of {plan.trials}: {plan.name_of(taken.values)}")
            ends[_end(plan, folder, trials, taken, progress, command)] += 1


class _Pruned(Exception):  # noqa: N818
    """Ends a run that promises too little."""


def _end(plan: Plan, folder: Path, trials: Trials, taken: Taken, progress: Progress, command: str) -> str:
    """Runs one trial to its end, and says which it was. Of any other exception it is the next worker's to resume."""
    out = folder / plan.folder_of(taken.place)
    try:
        recipe = plan.recipe_of(taken.values)
        run(recipe, out, progress, command, partial(_report, plan, recipe, taken))
        values, excess, kept = _result(plan, recipe, out)
    except MissingDependencyError:
        # It is this machine that lacks something: the trial is another worker's.
        raise
    except _Pruned:
        with border(*_LOST):
            trials.prune(taken)
        progress.say(f"trial {taken.place + 1}: stopped, as it promises less than the others")
        return "pruned"
    except OctavoError as error:
        with border(*_LOST):
            trials.fail(taken, str(error))
        progress.say(f"trial {taken.place + 1}: failed. {error}")
        return "failed"
    with border(*_LOST):
        trials.complete(taken, values, excess, kept)
    return "complete"


def _report(plan: Plan, recipe: Recipe, taken: Taken, title: str, row: Mapping[str, Any]) -> None:
    """Reports an epoch to the pruner: those of the float baseline first, then those of training for int8."""
    if plan.pruner == "none" or title == "control" or row["val_accuracy"] is None:
        return
    before = recipe.train.epochs if title == "qat" and recipe.model.path is None else 0
    with border(*_LOST):
        pruned = taken.report(before + row["epoch"] - 1, row["val_accuracy"])
    if pruned:
        raise _Pruned


def _result(plan: Plan, recipe: Recipe, out: Path) -> tuple[list[float], dict[str, float], dict[str, Any]]:
    """Of a finished run: its figure for each objective, by what share it is above each limit, and what is kept."""
    evaluation = Evaluation.read(out / Evaluation.file)
    score, images, on = evaluation.models["int8"].score, evaluation.images, "test"
    if (validated := validate(recipe, out)) is not None:
        score, images, on = validated.score(), len(validated), "validation"
    if score is None:
        raise OctavoError("The trials have no scores: their samples have no labels.", "Give labelled samples.")
    costs = costs_of((out / "int8.tflite").read_bytes())
    costs["median_ms"] = evaluation.models["int8"].latency.median_ms
    figures = costs | {"score": score.value if evaluation.metric.higher else -score.value}
    excess = {name: costs[name] / limit - 1 for name, limit in plan.limits.items()}
    kept = {"score": [score.value, score.low, score.high], "images": images, "on": on}
    return [figures[name] for name in plan.objectives], excess, kept


def costs_of(content: bytes) -> dict[str, float]:
    """The bytes of a model, and of TFLite Micro's arena for its activations."""
    return {"bytes": len(content), "arena": arena.peak(arena.plan(arena.lifetimes(Graph(content))))}


def score_of(kept: Mapping[str, Any]) -> Interval:
    """The score that a worker kept."""
    return Interval(*kept["score"])
