"""What a run measured of deployment, as its file holds it."""

from __future__ import annotations

from octavo.base.artefact import Artefact, Part
from octavo.deployment.targets.target import Verdict
from octavo.runtime.benchmark import Benchmark, Timing
from octavo.runtime.litert import Kernels


class NotTimed(Part):
    """A kernel family that could not run both models.

    Args:
        kernels: The kernel family.
        about: Why not.
    """

    kernels: Kernels
    about: str


class Deployment(Artefact):
    """Float and int8 timed side by side, and what every target makes of the int8 model.

    Args:
        sha256: Of each model's file, by its name.
        benchmark: Latency, memory and time to load; None where no kernel family ran both models.
        not_timed: Kernel families that could not run both models.
        images: How many images every target ran.
        targets: The targets' answers; None where none was to be asked.
    """

    file = "deployment.json"
    what = "what a run measured of deployment"

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
        """The answers of a target, by its id; None where it was not asked."""
        return next((item for item in self.targets or [] if item.id == name), None)
