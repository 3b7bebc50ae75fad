"""Provenance: when, where and with which versions a run was made, as stored in its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

from octavo.base.artefact import Artefact, Part

_PACKAGES = ("keras", "tensorflow-cpu", "tensorflow", "ai-edge-litert", "litert-quantizer", "numpy", "pillow")


class Host(Part):
    """The machine of a run.

    Args:
        cpu: The processor's name.
        cores: How many cores the system sees.
        python: The version of Python.
        platform: Operating system and architecture.
    """

    cpu: str
    cores: int | None
    python: str
    platform: str


class Stage(Part):
    """One stage of a run.

    Args:
        seconds: How long it took.
        key: The SHA-256 of `inputs`; with the same key and unchanged outputs the stage is not repeated.
        commit: The commit of Octavo's checkout, when it ran from one.
        inputs: Everything that its result depends on.
        outputs: The SHA-256 of every file that it wrote, by the file's name.
    """

    seconds: float
    key: str
    commit: str | None
    inputs: dict[str, Any]
    outputs: dict[str, str]


class Provenance(Artefact):
    """When, where and with which versions a run was made, stage by stage.

    Args:
        octavo: The version of Octavo.
        commit: The commit of its checkout, when it ran from one.
        created: When the run was last started, in UTC.
        recipe: The recipe's name.
        title: Its title.
        seed: Its seed.
        command: The command line.
        machine: The machine.
        versions: The installed versions of the packages that results depend on.
        stages: The inputs and outputs of every stage, by its name.
    """

    file = "manifest.json"
    what = "the manifest of a run"
    remedy = "Delete it to run every stage again, or set `out` to another folder."

    octavo: str
    commit: str | None
    created: str
    recipe: str = ""
    title: str = ""
    seed: int = 0
    command: str = ""
    machine: Host
    versions: dict[str, str]
    stages: dict[str, Stage]


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """The installed versions of the packages that results depend on, without those that are missing."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
