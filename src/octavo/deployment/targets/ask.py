"""Checks a model on every target."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from octavo.base.border import cause
from octavo.deployment.targets.apart import Apart
from octavo.deployment.targets.browser import Browser
from octavo.deployment.targets.edgetpu import EdgeTPU
from octavo.deployment.targets.ethosu import EthosU
from octavo.deployment.targets.litert import LiteRT
from octavo.deployment.targets.micro import Micro
from octavo.deployment.targets.openvino import OpenVINO
from octavo.deployment.targets.target import Answer, Target, TargetError, Trial, Verdict


def every() -> list[Target]:
    """All targets, in the order they are shown."""
    families = [LiteRT("xnnpack"), LiteRT("builtin"), LiteRT("reference")]
    arm = [EthosU(name) for name in ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")]
    return [*families, Browser(), Apart(OpenVINO()), Apart(Micro()), *arm, EdgeTPU()]


def ask(trial: Trial, targets: Sequence[Target], say: Callable[[str], None] = lambda text: None) -> list[Verdict]:
    """Checks a model on targets, one after the other.

    If a target fails, its answer says so and the next one is checked: targets are other people's software and do not
    depend on each other.

    Args:
        trial: The model and its inputs.
        targets: Which targets.
        say: Called with a line before each target.
    """
    verdicts = []
    for target in targets:
        say(f"checking {target.name}")
        with warnings.catch_warnings():
            # The user cannot fix deprecation warnings of other runtimes.
            warnings.simplefilter("ignore")
            takes = _answer(target.takes, trial, None)
            runs = _answer(target.runs, trial, False) if takes.answer else None
            costs = _answer(target.costs, trial, None) if takes.answer else None
        verdicts.append(Verdict(target.id, target.name, takes, runs, costs))
    return verdicts


def _answer(question: Callable[[Trial], Answer], trial: Trial, failed: bool | None) -> Answer:
    try:
        return question(trial)
    except Exception as error:
        return Answer(failed, f"it failed ({error if isinstance(error, TargetError) else cause(error)})")
