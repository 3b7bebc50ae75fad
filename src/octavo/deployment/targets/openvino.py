"""OpenVINO: an implementation that shares no code with LiteRT, and reads `.tflite` files itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo.base.extras import EXTRAS
from octavo.deployment.targets.target import Answer, Trial, agreement, timed
from octavo.runtime.litert import Latency, outputs_of

_EXTRA = EXTRAS["openvino"]
_MISSING = Answer(None, f"OpenVINO is not installed: {_EXTRA.install}")


class OpenVINO:
    """OpenVINO's CPU plugin, on one thread."""

    id = "openvino-cpu"
    name = "OpenVINO CPU"

    def lacks(self) -> str:
        """The command that installs OpenVINO, or nothing."""
        return _EXTRA.install if _EXTRA.missing else ""

    def takes(self, trial: Trial) -> Answer:
        """Whether it compiles the model."""
        if _EXTRA.missing:
            return _MISSING
        try:
            _compiled(trial)
        except RuntimeError as error:
            return Answer(False, f"it refuses the model: {' '.join(str(error).split())[:200]}")
        return Answer(True, "it compiles the model")

    def runs(self, trial: Trial) -> Answer:
        """Runs every image."""
        if _EXTRA.missing:
            return _MISSING
        compiled = _compiled(trial)
        found = [compiled(trial.fed(place)) for place in range(len(trial.inputs))]
        outputs = [
            port.decode(np.array([np.asarray(one[at]).ravel() for one in found]))
            for at, port in enumerate(outputs_of(trial.graph))
        ]
        about, facts = agreement(trial, outputs)
        return Answer(True, about, facts)

    def costs(self, trial: Trial) -> Answer:
        """Milliseconds of a run on one thread."""
        if _EXTRA.missing:
            return _MISSING
        import time

        compiled = _compiled(trial)
        times = []
        for place in range(25):
            values = trial.fed(place)
            start = time.perf_counter()
            compiled(values)
            times.append((time.perf_counter() - start) * 1e3)
        # The first runs include preparation.
        return timed(Latency.of(np.array(times[5:])))


def _compiled(trial: Trial) -> Any:
    import openvino

    core = openvino.Core()
    return core.compile_model(core.read_model(str(trial.path)), "CPU", {"INFERENCE_NUM_THREADS": 1})
