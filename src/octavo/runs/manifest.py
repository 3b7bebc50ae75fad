"""The manifest of a run: inputs and outputs of each stage, so that only stages with changed inputs are repeated."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from octavo import __version__
from octavo.base.address import Address, is_pattern
from octavo.base.files import sha256
from octavo.base.provenance import Host, Provenance, Stage, versions
from octavo.data.opener import state_of
from octavo.data.shards import shards_of


class Manifest:
    """The manifest of one run directory, written after every stage.

    Args:
        folder: The run directory.
        facts: Facts of the whole run: recipe name, seed, command.

    Raises:
        OctavoError: The folder holds a `manifest.json` that is not a manifest.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self._path = folder / Provenance.file
        self._stages = dict(Provenance.read(self._path).stages) if self._path.exists() else {}
        self._made = Provenance(
            octavo=__version__,
            commit=_commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=Host(
                cpu=_cpu(),
                cores=os.cpu_count(),
                python=platform.python_version(),
                platform=f"{platform.system()}-{platform.machine()}",
            ),
            versions=versions(),
            stages={},
            **facts,
        )

    def hash_of(self, name: str) -> str:
        """The recorded hash of an artefact that an earlier stage wrote."""
        return next(stage.outputs[name] for stage in self._stages.values() if name in stage.outputs)

    def stage(self, name: str, inputs: Mapping[str, Any], outputs: list[str], work: Callable[[], None]) -> bool:
        """Does a stage's work, unless its outputs were already made from the same inputs.

        Args:
            name: The stage.
            inputs: Everything its result depends on, as a JSON value.
            outputs: The files it writes into the run directory.
            work: Writes them.

        Returns:
            Whether there was work to do.
        """
        everything = {**inputs, "octavo": __version__}
        key = hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()
        known = self._stages.get(name)
        if (
            known is not None
            and known.key == key
            and all(
                (self.folder / file).is_file() and sha256(self.folder / file) == known.outputs.get(file)
                for file in outputs
            )
        ):
            return False
        # Also the stages of an earlier recipe that wrote the same files.
        self._stages = {
            other: made for other, made in self._stages.items() if other != name and not {*made.outputs} & {*outputs}
        }
        start = time.perf_counter()
        work()
        self._stages[name] = Stage(
            seconds=round(time.perf_counter() - start, 3),
            key=key,
            commit=self._made.commit,
            inputs=json.loads(json.dumps(everything, default=str)),
            outputs={file: sha256(self.folder / file) for file in outputs},
        )
        self.write()
        return True

    def write(self) -> None:
        """Writes `manifest.json`."""
        self._made.model_copy(update={"stages": self._stages}).write(self._path)


def fingerprint(path: Address | None) -> str | None:
    """The identity of a source of images, without decoding it: a hash of the file, or of a folder's listing."""
    if path is None:
        return None
    if isinstance(path, str) or (is_pattern(path) and not path.expanduser().exists()):
        states = "\n".join(f"{one}\t{state_of(one)}" for one in shards_of(path))
        return hashlib.sha256(states.encode("utf-8", "surrogateescape")).hexdigest()
    path = path.expanduser()
    if path.is_file():
        return sha256(path)
    entries = sorted(p for p in path.rglob("*") if p.is_file())
    listing = "\n".join(f"{p.relative_to(path)}\t{(s := p.stat()).st_size}\t{s.st_mtime_ns}" for p in entries)
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def _commit() -> str | None:
    """The commit of Octavo's own checkout, when it runs from one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        )
        ours = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", "manifest.py"], capture_output=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 and ours.returncode == 0 else None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
