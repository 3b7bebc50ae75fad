"""Every target, and one model before each of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from octavo.deployment.targets.browser import Browser
from octavo.deployment.targets.edgetpu import EdgeTPU
from octavo.deployment.targets.ethosu import EthosU
from octavo.deployment.targets.litert import LiteRT
from octavo.deployment.targets.micro import Micro
from octavo.deployment.targets.openvino import OpenVINO
from octavo.deployment.targets.target import Answer, Target, Trial, Verdict


def every() -> list[Target]:
    """All targets, in the order they are shown."""
    families = [LiteRT("xnnpack"), LiteRT("builtin"), LiteRT("reference")]
    arm = [EthosU(name) for name in ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")]
    return [*families, Browser(), OpenVINO(), Micro(), *arm, EdgeTPU()]


def ask(trial: Trial, targets: Sequence[Target], say: Callable[[str], None] = lambda text: None) -> list[Verdict]:
    """Puts a model before targets, one after the other.

    A target that fails says so in its answer, and ends nothing: it is other people's software, and the next target
    does not depend on it.

    Args:
        trial: The model, and what it is tried with.
        targets: Which targets.
        say: Told what comes next.
    """
    verdicts = []
    for target in targets:
        say(f"asking {target.name}")
        with warnings.catch_warnings():
            # Other runtimes' deprecations are not the user's to mend.
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
        last = " ".join(str(error).split())[:200]
        return Answer(failed, f"it failed ({type(error).__name__}{f': {last}' if last else ''})")
