"""Arm's Ethos-U: what Vela, its compiler, makes of a model; cycles and memory are Vela's own estimates.

Vela is an optional package. Its exit code is 0 also when it could map nothing, so its printed summary is read.
"""

from __future__ import annotations

import csv
import importlib.util
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octavo.targets.target import Answer, Trial

_MISSING = Answer(None, "Vela is not installed: pip install ethos-u-vela")
# Vela's package has no `__main__`; this is what its console script does.
_VELA = "import sys; from ethosu.vela.vela import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Compiled:
    """What Vela said.

    Args:
        cpu: Ops left to the CPU.
        npu: Ops for the Ethos-U, as Vela counts them.
        reasons: For each op that Vela does not support, its name and why.
        summary: The row of its summary file; empty where it wrote none.
        error: Its last words where it failed, else empty.
    """

    cpu: int
    npu: int
    reasons: tuple[str, ...]
    summary: dict[str, str]
    error: str


class EthosU:
    """One configuration of an Ethos-U.

    Args:
        accelerator: Vela's name of it, such as ``ethos-u55-128``.
    """

    def __init__(self, accelerator: str) -> None:
        self.accelerator = accelerator
        self.name = f"Arm {accelerator} (Vela)"
        self._found: dict[Path, Compiled] = {}

    def takes(self, trial: Trial) -> Answer:
        """Whether Vela maps the model to it, and what it leaves to the CPU."""
        if importlib.util.find_spec("ethosu") is None:
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
        """Vela's estimates, at its default system configuration."""
        found = self._found.get(trial.path) or compiled(trial.path.resolve(), self.accelerator)
        row = found.summary
        kib = {"sram": float(row["sram_memory_used"]), "flash": float(row["off_chip_flash_memory_used"])}
        facts: dict[str, Any] = {
            "cycles": int(float(row["cycles_total"])),
            "milliseconds": 1e3 * float(row["inference_time"]),
            "clock": float(row["core_clock"]),
            "sram": int(1024 * kib["sram"]),
            "off_chip_flash": int(1024 * kib["flash"]),
            "macs": int(float(row["nn_macs"])),
            "system": row["system_config"],
        }
        about = (
            f"{facts['cycles']:,} cycles, {facts['milliseconds']:.2f} ms at {facts['clock'] / 1e6:.0f} MHz, "
            f"{facts['sram']:,} bytes of SRAM (Vela's estimates, {facts['system']})"
        )
        return Answer(False, about, facts)


def compiled(path: Path, accelerator: str) -> Compiled:
    """Compiles a file, in a process of its own and a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--output-dir", folder, "--accelerator-config", accelerator]
        done = subprocess.run(
            [sys.executable, "-c", _VELA, str(path), *options], capture_output=True, text=True, check=False
        )
        texts = [file.read_text("utf-8") for file in Path(folder).glob("*_summary_*.csv")]
        rows = [row for text in texts for row in csv.DictReader(text.splitlines())]
    return read(done.stdout + done.stderr, rows[0] if rows else {})


def read(text: str, summary: dict[str, str]) -> Compiled:
    """Reads what Vela printed.

    Example:
        >>> read("CPU operators = 1 (50.0%) NPU operators = 1 (50.0%)", {}).cpu
        1
    """
    counts = dict(re.findall(r"(CPU|NPU) operators = (\d+)", text))
    if len(counts) != 2:
        last = text.strip().splitlines()[-1:] or ["it said nothing"]
        return Compiled(0, 0, (), {}, last[0][:200])
    pattern = r"Warning \(supported operators\) operator: (\w+)[^\n]*\nReason: ([^\n]+)"
    reasons = tuple(f"{kind}, {why.strip()}" for kind, why in re.findall(pattern, text))
    return Compiled(int(counts["CPU"]), int(counts["NPU"]), reasons, summary, "")
