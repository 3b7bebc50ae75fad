"""The locks: what `make setup` and its tools install, with a hash for every file, on every supported Python."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PYTHONS = ("3.11", "3.12", "3.13")


def locked(path: Path) -> list[tuple[Requirement, list[str]]]:
    """The requirements of a lock, each with its hashes."""
    text = re.sub(r"^#.*\n|^ +#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE)
    entries = text.replace("\\\n", "").splitlines()
    return [(Requirement(entry.split("--hash")[0].strip()), re.findall(r"--hash=(\S+)", entry)) for entry in entries]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_entry_has_one_version_and_its_hashes(path: Path) -> None:
    entries = locked(path)
    assert len(entries) > 20
    for requirement, hashes in entries:
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), requirement
    # No place to take packages from: that is the user's choice.
    assert not re.search(r"https?:|index-url|find-links|^-", path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_of_pyprojects_requirements(python: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert python in project["tool"]["mypy"]["python_version"] or f":: {python}" in str(
        project["project"]["classifiers"]
    )
    machine = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    found = {
        canonicalize_name(requirement.name): requirement.specifier
        for requirement, _ in locked(ROOT / "requirements" / "setup.lock")
        if requirement.marker is None or requirement.marker.evaluate(machine)
    }
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["project"]["dependencies"],
        *extras["train"],
        *extras["dev"],
        *project["build-system"]["requires"],
    ]
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(machine):
            version = str(found[canonicalize_name(requirement.name)]).removeprefix("==")
            assert version in requirement.specifier, (text, version)
