"""What two processes cost against one: CPU time of each process, measured in pairs.

    python bench/jobs.py MODEL DATA --pairs 3 --backend loky

The time on the wall says little on a machine that does other work too. CPU time says how much work there was, and in
which process: with N processes on cores of their own, the time cannot be below that of the process that was started,
while it works alone, and of the slowest other one after it. The efficiency is the CPU time of one process, divided by N
times this bound.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def measured(command: list[str]) -> tuple[float, list[float], float, str]:
    """The CPU seconds of a command and of each process that it started, its seconds, and what it printed."""
    start = time.monotonic()
    used: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None:
            used.update(_used(process.pid))
            time.sleep(0.5)
        if process.returncode:
            raise SystemExit(f"failed: {' '.join(command)}")
        out.seek(0)
        own = used.pop(process.pid)
        return own, list(used.values()), time.monotonic() - start, out.read()


def _used(session: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICK
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--backend", default="loky")
    given = parser.parse_args()
    rows = []
    for _ in range(given.pairs):
        words = ("evaluate", given.model, "--data", given.data, "--images", str(given.images), "--json")
        base = [sys.executable, "-W", "ignore", "-m", "octavo.cli", *words]
        own, more, wall, said = measured([*base, "--jobs", "1"])
        alone = own + sum(more)
        shared = ("--jobs", str(given.jobs), "--backend", given.backend)
        first, others, shared_wall, also = measured([*base, *shared])
        assert json.loads(said) == json.loads(also), "the results differ"
        efficiency = alone / (given.jobs * (first + max(others)))
        rows.append((alone, first + sum(others), first, max(others), efficiency))
        print(
            f"alone {alone:.1f} s CPU in {wall:.0f} s; shared {first + sum(others):.1f} s CPU in {shared_wall:.0f} s: "
            f"started {first:.1f}, others {', '.join(f'{each:.1f}' for each in others)}; efficiency {efficiency:.0%}",
            flush=True,
        )
    print("median", *(f"{statistics.median(column):.2f}" for column in zip(*rows, strict=True)))


if __name__ == "__main__":
    main()
