"""The output of the commands: progress on standard error, results on standard output."""

from __future__ import annotations

import functools
import inspect
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from octavo.base.errors import OctavoError
from octavo.base.formats import DEFAULT, FORMATS
from octavo.base.progress import Advance
from octavo.base.units import milliseconds

if TYPE_CHECKING:
    from octavo.analysis.target_search import SearchRecord
    from octavo.api.doctor import Ability, Diagnosis

# How much a command says: results and errors only, also warnings and progress, or everything with its time.
Talk = Literal["quiet", "usual", "verbose"]
talk: ContextVar[Talk] = ContextVar("talk", default="usual")
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Show results and errors only.")]
VerboseFlag = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also show the time of each step, and other packages' warnings.")
]
# Replaces the names of arguments in backticks by the flags of the command that runs: `octavo.cli.app.Command` sets it.
in_flags: ContextVar[Callable[[str], str]] = ContextVar("in_flags", default=str)
# The seconds between two lines of progress if there is no terminal.
SECONDS_PER_LINE = 10.0


def talking(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the flags --quiet and --verbose."""

    @functools.wraps(function)
    def command(*, quiet: bool, verbose: bool, **given: Any) -> None:
        if quiet and verbose:
            raise OctavoError("`quiet` and `verbose` contradict each other.", "Leave out one of them.")
        said = talk.set("quiet" if quiet else "verbose" if verbose else "usual")
        try:
            function(**given)
        finally:
            talk.reset(said)

    own = inspect.signature(function)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=flag)
        for name, flag in (("quiet", QuietFlag), ("verbose", VerboseFlag))
    ]
    command.__signature__ = own.replace(parameters=[*own.parameters.values(), *more])  # type: ignore[attr-defined]
    command.__annotations__ = {**function.__annotations__, "quiet": QuietFlag, "verbose": VerboseFlag}
    return command


class Shown:
    """Shows progress on standard error; nothing if the command is quiet."""

    def __init__(self) -> None:
        from rich.console import Console

        self.talk = talk.get()
        self.console = Console(stderr=True, highlight=False, quiet=self.talk == "quiet")
        self.start = time.monotonic()

    def say(self, text: str) -> None:
        """Prints one line, with flags instead of the arguments that it names."""
        at = f"[{time.monotonic() - self.start:6.1f} s] " if self.talk == "verbose" else ""
        self.console.print(at + in_flags.get()(text), markup=False, soft_wrap=True)

    @contextmanager
    def track(self, text: str, total: int) -> Iterator[Advance]:
        """Shows a progress bar, or lines if there is no terminal: see `octavo.base.progress.Progress`."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if not self.console.is_terminal:
            yield self._lines(text, total)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(text, total=total)
            yield lambda done: bars.advance(task, done)

    def _lines(self, text: str, total: int) -> Advance:
        """Prints a line of progress every `SECONDS_PER_LINE`, as for a log file. Quick work prints none."""
        done, last = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            if done < total and time.monotonic() - last >= SECONDS_PER_LINE:
                last = time.monotonic()
                self.say(f"{text}: {done} of {total}")

        return advance


def say(text: str) -> None:
    """Writes one line to standard output."""
    sys.stdout.write(text + "\n")


def print_json(value: Any) -> None:
    """Writes one JSON value to standard output."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def print_written(result: Any, json_: bool) -> None:
    """Prints the results of `quantize` and `qat` for the file that they wrote."""
    proof = result.proof
    if json_:
        tuning = [step.to_json() for step in result.steps]
        found = {
            "float_bytes": result.float_bytes,
            "undelegated": result.undelegated,
            "slowdown": result.slowdown,
            "tuning": tuning,
        }
        answers = {} if result.answers is None else {"answers": result.answers.to_json()}
        print_json({"path": str(result.path), **found, **proof.to_json(), **answers})
        return
    for port, facts in (("input", proof.input), ("output", proof.output)):
        grid = "" if facts.scale is None else f"  scale {facts.scale}  zero point {facts.zero_point}"
        say(f"{port:6}  {facts.dtype} {facts.shape}{grid}")
    say(f"ops     {', '.join(f'{count} {kind}' for kind, count in proof.ops.items())}")
    for step in result.steps:
        say(f"tuned   {step.name}: {step.tuned.summary}")
        for item in step.tuned.unchanged:
            say(f"        {item}")
    for item in proof.kept_in_float:
        say(f"float   {item}")
    for precision, count in Counter(proof.precision.values()).items():
        if precision != DEFAULT and FORMATS[precision].integer:
            say(f"{precision:7} {count} op{'s' if count > 1 else ''}")
    if result.slow:
        kinds = Counter(op.split(" #")[0] for op in result.slow)
        left = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        took = (
            ""
            if result.slowdown is None
            else f"; int8 took {result.slowdown:.2f} times as long as float on this machine"
        )
        say(f"slow    XNNPACK leaves {left} of {sum(proof.ops.values())} ops to LiteRT's own, slower kernels{took}")
    for item in proof.widened:
        say(f"widened {item.channels} weight scales of '{item.tensor}', to keep its bias from overflowing")
    ratio = result.float_bytes / proof.bytes
    say(f"size    {result.float_bytes:,} -> {proof.bytes:,} bytes ({ratio:.2f} times smaller)")
    say(f"proof   {len(proof.checks)} checks passed: the file holds what was computed")
    if result.answers is not None:
        first, *advice = result.answers.describe()
        say(f"answers {first.removeprefix('the answers ')}")
        for line in advice:
            say(f"        {in_flags.get()(line)}")
    say(f"wrote   {result.path} and its sidecar")


def print_diagnosis(found: Diagnosis, json_: bool) -> None:
    """Prints what is installed, and what can run here."""
    if json_:
        print_json(found.to_json())
        return
    say(f"octavo {found.octavo}, Python {found.python}, {found.platform}")
    parts = {
        "packages": [(name, version or "–") for name, version in found.versions.items()],
        "ways in": [(way.name, _state(way)) for way in found.ways_in],
        "training": [(found.training.name, _state(found.training))],
        "sweeps": [(found.sweeps.name, _state(found.sweeps))],
        "processes": [(engine.name, _state(engine)) for engine in found.engines],
        "data": [(kind.name, _state(kind)) for kind in found.data],
        "scores": [(score.name, _state(score)) for score in found.scores],
        "logging": [(tracker.name, _state(tracker)) for tracker in found.trackers],
        "targets": [(target.name, _state(target)) for target in found.targets],
    }
    width = max(len(name) for rows in parts.values() for name, _ in rows)
    for title, rows in parts.items():
        say(f"{title}:")
        for name, state in rows:
            say(f"  {name:{width}}  {state}")


def _state(ability: Ability) -> str:
    return "ready" if ability.ready else f"install: {ability.install}"


def print_run(folder: Path, json_: bool) -> None:
    """Prints the results of a run, from its directory."""
    from octavo.analysis.evaluation import Evaluation, PairComparison

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
    if evaluation.trained_in_vain:
        say(
            "Training for int8 was not needed: post-training quantization is within the margin of float too, and "
            f"training is not shown to be better. Its model is {folder / 'ptq.tflite'}"
        )
    say(f"report  {folder / 'report.html'}")


def print_search(found: SearchRecord, out: Path, json_: bool) -> None:
    """Prints the trials of a target search, and its choice."""
    if json_:
        print_json({"path": str(out), **found.to_json()})
        return
    metric = found.metric
    say(f"float   {metric.title} {metric.text(found.before.score)} on {found.images} validation images")
    for trial in found.trials:
        say(
            f"{'chosen' if trial.way == found.chosen else 'tried':7} {metric.changes(trial.against_float)}  "
            f"{trial.bytes:>10,} bytes  "
            f"{milliseconds(trial.median_ms)}  {trial.seconds:6.1f} s  {trial.way}"
        )
    if found.verdict is not None:
        say(f"verdict {in_flags.get()(found.verdict)}")
    say(f"wrote   {out}, its sidecar, and {out}.search.json")
