"""LiteRT on this machine's CPU, once for each kernel family."""

from __future__ import annotations

from octavo.base.errors import ModelError
from octavo.deployment.targets.target import Answer, Trial, agreement, all_outputs, timed
from octavo.runtime.benchmark import undelegated
from octavo.runtime.litert import Kernels, Latency, Model, interpreter, latency


class LiteRT:
    """LiteRT with one kernel family.

    Args:
        kernels: The family.
        known: Milliseconds that a benchmark has already measured; measured here by default.
    """

    def __init__(self, kernels: Kernels, known: Latency | None = None) -> None:
        self.kernels = kernels
        self.known = known
        self.id = f"litert-{kernels}"
        self.name = f"LiteRT CPU, {kernels}"

    def lacks(self) -> str:
        """Nothing: Octavo itself needs LiteRT."""
        return ""

    def takes(self, trial: Trial) -> Answer:
        """Whether tensors could be allocated, and which ops the delegate does not take."""
        try:
            interpreter(trial.graph.content, self.kernels)
        except ModelError as error:
            return Answer(False, str(error).splitlines()[0])
        if self.kernels != "xnnpack":
            return Answer(True, "every op has a kernel")
        left = [str(op) for op in undelegated(trial.graph)]
        taken = len(trial.graph.ops) - len(left)
        about = f"XNNPACK takes {taken} of {len(trial.graph.ops)} ops"
        return Answer(True, about + (f", and leaves {', '.join(left[:3])}" if left else ""), {"undelegated": left})

    def runs(self, trial: Trial) -> Answer:
        """Runs every image."""
        about, facts = agreement(trial, all_outputs(Model(trial.graph, self.kernels), trial.inputs))
        return Answer(True, about, facts)

    def costs(self, trial: Trial) -> Answer:
        """Milliseconds of a run on one thread."""
        return timed(self.known or latency([trial.graph.content], 0.5, self.kernels)[0])
