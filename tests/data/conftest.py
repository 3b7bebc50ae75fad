"""One fixture: the same tree of files in each kind of container."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from trees import WRITERS, Tree


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Tree], Path]:
    """Writes a tree as each kind of container in turn."""
    writer = WRITERS[request.param]
    return lambda files: writer(tmp_path, files)
