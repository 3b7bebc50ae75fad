"""The deployment measurements of a run, as stored in its file."""

from __future__ import annotations

from octavo.base.artefact import Artefact, Part
from octavo.deployment.targets.target import Verdict
from octavo.runtime.benchmark import Benchmark, Timing
from octavo.runtime.litert import Kernels


class NotTimed(Part):
    """A kernel family that could not run both models.

    Args:
        kernels: The kernel family.
        about: The reason.
    """

    kernels: Kernels
    about: str


class Deployment(Artefact):
    """Float and int8 timed side by side, and the int8 model on every target.

    Args:
        sha256: The SHA-256 of each model's file, by its name.
        benchmark: Latency, memory and time to load; None if no kernel family ran both models.
        not_timed: Kernel families that could not run both models.
        images: How many images every target ran.
        targets: The targets' answers; None if targets were not requested.
    """

    file = "deployment.json"
    what = "what a run measured of deployment"
    version = 2

    sha256: dict[str, str]
    benchmark: Benchmark | None
    not_timed: list[NotTimed]
    images: int
    targets: list[Verdict] | None

    def pair(self, kernels: Kernels) -> tuple[Timing, Timing] | None:
        """The timings of float and int8 on one kernel family."""
        made = [item for item in self.benchmark.timings if item.kernels == kernels] if self.benchmark else []
        return (made[0], made[1]) if len(made) == 2 else None

    @property
    def families(self) -> list[Kernels]:
        """The kernel families that were timed, in their order."""
        return list(dict.fromkeys(item.kernels for item in self.benchmark.timings)) if self.benchmark else []

    @property
    def pairs(self) -> dict[Kernels, tuple[Timing, Timing]]:
        """The timings of float and int8 on every kernel family that both were timed on, in their order."""
        return {family: pair for family in self.families if (pair := self.pair(family)) is not None}

    def target(self, name: str) -> Verdict | None:
        """The answers of a target, by its id; None if it was not checked."""
        return next((item for item in self.targets or [] if item.id == name), None)
