"""The time to load a model, and its memory, measured in a separate process."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octavo.base import child
from octavo.base.errors import ModelError
from octavo.runtime.litert import Kernels, interpreter


@dataclass(frozen=True)
class Footprint:
    """The measurements of one process.

    Args:
        load_ms: Milliseconds from the bytes of the file to an allocated interpreter.
        first_ms: Milliseconds of the first run.
        memory: Peak resident bytes of loading and running, above those of the process with LiteRT imported; None
            if the system does not provide it.
    """

    load_ms: float
    first_ms: float
    memory: int | None

    def __post_init__(self) -> None:
        if min(self.load_ms, self.first_ms) <= 0:
            raise ValueError("a time is above 0")


def footprint(path: Path, kernels: Kernels = "xnnpack", threads: int = 1, processes: int = 3) -> Footprint:
    """Loads and runs a model in fresh processes, and returns the medians.

    Raises:
        ModelError: LiteRT cannot run the model.
    """
    command = child.module_command("octavo.runtime.footprint", path, kernels, threads)
    seen = []
    for _ in range(processes):
        done = child.run(command)
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ModelError(f"'{path}' could not be loaded by itself: {last[0]}.")
        seen.append(json.loads(done.stdout))
    load, first, memory = zip(*seen, strict=True)
    peak = None if None in memory else int(np.median(memory))
    return Footprint(float(np.median(load)), float(np.median(first)), peak)


def _resident(field: str) -> int | None:
    """A line of Linux' status of this process, in bytes; the peak of getrusage would include the parent's."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _look(path: str, kernels: Kernels, threads: int) -> list[float | None]:
    import ai_edge_litert.interpreter  # noqa: F401

    before = _resident("VmRSS")
    content = Path(path).read_bytes()
    start = time.perf_counter()
    made = interpreter(content, kernels, threads)
    loaded = time.perf_counter()
    for detail in made.get_input_details():
        # Zeros are valid indices, and what new memory holds may be none.
        made.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    began = time.perf_counter()
    made.invoke()
    end = time.perf_counter()
    for _ in range(3):
        made.invoke()
    peak = _resident("VmHWM")
    memory = None if before is None or peak is None else max(peak - before, 0)
    return [(loaded - start) * 1e3, (end - began) * 1e3, memory]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_look(sys.argv[1], sys.argv[2], int(sys.argv[3]))))  # type: ignore[arg-type]
