"""The deployment stage of a run: times float and int8 side by side, and checks the int8 model on every target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from octavo.base.errors import OctavoError
from octavo.base.files import sha256
from octavo.data.encoded_inputs import Feed
from octavo.deployment.measured import Deployment, NotTimed
from octavo.deployment.targets.ask import ask, every
from octavo.deployment.targets.browser import Browser
from octavo.deployment.targets.litert import LiteRT
from octavo.deployment.targets.target import Answer, Target, Verdict, trial_of
from octavo.recipe.schema import DeploymentRecipe
from octavo.runtime.benchmark import Benchmark, benchmark
from octavo.runtime.litert import Kernels
from octavo.tflite.graph import Graph

# The packages that targets need besides LiteRT: another version can give another answer.
TOOLS = ("openvino", "ethos-u-vela", "tflite-micro")


def measure(
    before: Path,
    after: Path,
    feed: Feed,
    asked: DeploymentRecipe,
    classes: int | None = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Deployment:
    """Times two models side by side, and checks the second on the targets.

    A kernel family that cannot run a model, or a target that fails, is no error: the result gives the reason.

    Args:
        before: The float `.tflite`; ratios are to it.
        after: The int8 `.tflite`.
        feed: Images to run on the targets, encoded for `after`.
        asked: What to measure.
        classes: Which output tells classes apart; None if none does.
        say: Called with a line before each step.
    """
    paths = [before, after]
    models = [(path, Graph.read(path)) for path in paths]
    timed, failed = _timed(models, asked, say)
    targets = _targets(timed, after.name, asked.browser)
    return Deployment(
        sha256={path.name: sha256(path) for path in paths},
        benchmark=timed,
        not_timed=failed,
        images=len(feed),
        targets=_asked(models[1], feed, targets, classes, say) if asked.targets else None,
    )


def _timed(
    models: Sequence[tuple[Path, Graph]], asked: DeploymentRecipe, say: Callable[[str], None]
) -> tuple[Benchmark | None, list[NotTimed]]:
    """Times every kernel family separately, so that one that lacks an op does not stop the others."""
    made: Benchmark | None = None
    failed = []
    for family in asked.kernels:
        try:
            one = benchmark(models, families=[family], seconds=asked.seconds, say=say)
        except OctavoError as error:
            failed.append(NotTimed(kernels=family, about=str(error).splitlines()[0]))
            continue
        one = replace(
            one,
            files={Path(path).name: facts for path, facts in one.files.items()},
            timings=[replace(timing, model=Path(timing.model).name) for timing in one.timings],
        )
        made = one if made is None else replace(made, timings=[*made.timings, *one.timings])
    return made, failed


def _targets(timed: Benchmark | None, name: str, browser: bool) -> list[Target]:
    """All targets; LiteRT with the latencies of the benchmark, and the browser only if requested."""
    known: dict[Kernels, Any] = {t.kernels: t.latency for t in timed.timings if t.model == name} if timed else {}
    return [
        LiteRT(target.kernels, known.get(target.kernels)) if isinstance(target, LiteRT) else target
        for target in every()
        if browser or not isinstance(target, Browser)
    ]


def _asked(
    model: tuple[Path, Graph], feed: Feed, targets: Sequence[Target], classes: int | None, say: Callable[[str], None]
) -> list[Verdict]:
    path, graph = model
    inputs = feed[:]
    # Some of the images may have trained the model, so labels are left out: only agreement with LiteRT is checked.
    trial = trial_of(path, graph, inputs, classes, labels=None)
    verdicts = ask(trial, targets, say)
    if any(isinstance(target, Browser) for target in targets):
        return verdicts
    about = f"a run starts a browser only if deployment.browser is set; `octavo targets {path.name}` starts one"
    place = next(place for place, target in enumerate(every()) if isinstance(target, Browser))
    verdicts.insert(place, Verdict(Browser.id, Browser.name, Answer(None, about), None, None))
    return verdicts
