from __future__ import annotations

from pathlib import Path

import pytest
from rundir import MakeRun, write_run

from octavo import reports


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run directory; arguments change or leave out its files."""
    return lambda **changes: write_run(tmp_path / "run", **changes)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with its report, to look at only."""
    folder = write_run(tmp_path_factory.mktemp("report") / "run")
    reports.write(folder)
    return folder
