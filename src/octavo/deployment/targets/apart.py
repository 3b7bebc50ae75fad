"""A target in a child process: a runtime that reads a stranger's model may crash on it, and ends only the child."""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from pathlib import Path

from octavo.base import child, limits, trial
from octavo.base.border import cause
from octavo.deployment.targets.target import Answer, Target, TargetError, Trial

# Besides the time for the model itself, since each image runs, some on unoptimized kernels.
_SECONDS_PER_IMAGE = 5


class Apart:
    """Another target, each of whose answers a child process gives.

    Args:
        target: The target.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.id = target.id
        self.name = target.name

    def lacks(self) -> str:
        """As the target itself."""
        return self._target.lacks()

    def takes(self, trial: Trial) -> Answer:
        """As the target itself."""
        return self._ask("takes", trial)

    def runs(self, trial: Trial) -> Answer:
        """As the target itself."""
        return self._ask("runs", trial)

    def costs(self, trial: Trial) -> Answer:
        """As the target itself."""
        return self._ask("costs", trial)

    def _ask(self, question: str, asked: Trial) -> Answer:
        seconds = limits.model_seconds(len(asked.graph.content)) + _SECONDS_PER_IMAGE * len(asked.inputs)
        with tempfile.TemporaryDirectory() as folder:
            # What is pickled here is read only by the child.
            given, answer = Path(folder) / "asked", Path(folder) / "answer"
            given.write_bytes(pickle.dumps((self._target, question, asked)))
            command = child.module_command("octavo.deployment.targets.apart", given, answer)
            if trial.survived(command, "the model", seconds, self.name).returncode:
                raise TargetError(answer.read_text("utf-8"))
            return Answer(*json.loads(answer.read_text("utf-8")))


def _answer(given: str, answer: str) -> int:
    target, question, asked = pickle.loads(Path(given).read_bytes())
    try:
        made = getattr(target, question)(asked)
    except Exception as error:  # as in `octavo.deployment.targets.ask`
        Path(answer).write_text(cause(error), "utf-8")
        return 2
    Path(answer).write_text(json.dumps([made.answer, made.about, made.facts]), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(_answer(*sys.argv[1:]))
