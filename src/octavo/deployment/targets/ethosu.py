"""Arm's Ethos-U: compiles a model with Vela, Arm's compiler; cycles and memory are Vela's estimates.

Vela is an optional package. It exits with 0 even if it could not map any op, so its printed summary is read.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octavo.base import child
from octavo.base.extras import EXTRAS
from octavo.deployment.targets.target import Answer, Trial

_EXTRA = EXTRAS["vela"]
_MISSING = Answer(None, f"Vela is not installed: {_EXTRA.install}")
# On a U65 or U85 the default memory mode keeps weights and activations in DRAM, and SRAM is a cache of it.
_MEMORIES = {"sram": "SRAM", "dram": "DRAM", "on_chip_flash": "on-chip flash", "off_chip_flash": "off-chip flash"}
# Vela's package has no `__main__`; this is what its console script does.
_VELA = "import sys; from ethosu.vela.vela import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Compiled:
    """Vela's output.

    Args:
        cpu: Ops left to the CPU.
        npu: Ops for the Ethos-U, as Vela counts them.
        reasons: For each op that Vela does not support, its name and why.
        summary: The row of its summary file; empty where it wrote none.
        error: Its last lines if it failed, else empty.
    """

    cpu: int
    npu: int
    reasons: tuple[str, ...]
    summary: dict[str, str]
    error: str


class EthosU:
    """One configuration of an Ethos-U.

    Args:
        accelerator: Vela's name of it: ``ethos-u55-`` and 32, 64, 128 or 256 multiply-accumulates a cycle,
            ``ethos-u65-`` and 256 or 512, ``ethos-u85-`` and 128, 256, 512, 1024 or 2048.
    """

    def __init__(self, accelerator: str) -> None:
        self.accelerator = accelerator
        self.id = accelerator
        self.name = f"Arm {accelerator} (Vela)"
        self._found: dict[Path, Compiled] = {}

    def lacks(self) -> str:
        """The command that installs Vela, or nothing."""
        return _EXTRA.install if _EXTRA.missing else ""

    def takes(self, trial: Trial) -> Answer:
        """Whether Vela maps the model to it, and what it leaves to the CPU."""
        if _EXTRA.missing:
            return _MISSING
        found = self._found[trial.path] = compiled(trial.path.resolve(), self.accelerator)
        if found.error:
            return Answer(False, f"Vela fails: {found.error}")
        facts = {"npu": found.npu, "cpu": found.cpu, "reasons": list(found.reasons)}
        why = f": {'; '.join(found.reasons[:2])}" if found.reasons else ""
        if not found.npu:
            return Answer(False, f"Vela leaves all {found.cpu} ops to the CPU{why}", facts)
        left = f"leaves {found.cpu} to the CPU{why}" if found.cpu else "leaves none to the CPU"
        return Answer(True, f"Vela maps {found.npu} ops and {left}", facts)

    def runs(self, trial: Trial) -> Answer:
        """Never here."""
        return Answer(False, "compiled, not run: it needs the device, or Arm's simulator")

    def costs(self, trial: Trial) -> Answer:
        """Vela's estimates, at its default system configuration and memory mode for the accelerator."""
        found = self._found.get(trial.path) or compiled(trial.path.resolve(), self.accelerator)
        facts = estimates(found.summary)
        memory = [f"{facts[key]:,} bytes of {name}" for key, name in _MEMORIES.items() if facts[key]]
        about = (
            f"{facts['cycles']:,} cycles, {facts['estimated_ms']:.2f} ms at {facts['clock'] / 1e6:.0f} MHz, "
            f"{', '.join(memory)} (Vela's estimates, {facts['system']}, {facts['memory_mode']})"
        )
        return Answer(False, about, facts)


def estimates(row: Mapping[str, str]) -> dict[str, Any]:
    """The figures of a row of Vela's summary: cycles, milliseconds, hertz, bytes of each memory.

    Args:
        row: Of its summary file, which gives memory in KiB and seconds.
    """
    return {
        "cycles": int(float(row["cycles_total"])),
        "estimated_ms": 1e3 * float(row["inference_time"]),
        "clock": float(row["core_clock"]),
        **{key: int(1024 * float(row[f"{key}_memory_used"])) for key in _MEMORIES},
        "macs": int(float(row["nn_macs"])),
        "system": row["system_config"],
        "memory_mode": row["memory_mode"],
    }


def compiled(path: Path, accelerator: str) -> Compiled:
    """Compiles a file in a separate process and a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--output-dir", folder, "--accelerator-config", accelerator]
        done = child.run(child.code_command(_VELA, path, *options))
        texts = [file.read_text("utf-8") for file in Path(folder).glob("*_summary_*.csv")]
        rows = [row for text in texts for row in csv.DictReader(text.splitlines())]
    return read(done.stdout + done.stderr, rows[0] if rows else {})


def read(text: str, summary: dict[str, str]) -> Compiled:
    """Parses Vela's printed output.

    Example:
        >>> read("CPU operators = 1 (50.0%) NPU operators = 1 (50.0%)", {}).cpu
        1
    """
    counts = dict(re.findall(r"(CPU|NPU) operators = (\d+)", text))
    if len(counts) != 2:
        last = text.strip().splitlines()[-1:] or ["no message"]
        return Compiled(0, 0, (), {}, last[0][:200])
    pattern = r"Warning \(supported operators\) operator: (\w+)[^\n]*\nReason: ([^\n]+)"
    reasons = tuple(f"{kind}, {why.strip()}" for kind, why in re.findall(pattern, text))
    return Compiled(int(counts["CPU"]), int(counts["NPU"]), reasons, summary, "")
