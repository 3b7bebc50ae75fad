"""Jobs: the results of two processes, in order; a process that is killed; modules that lie in the current folder."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from octavo.base import extras
from octavo.base.errors import DataError, MissingDependencyError, OctavoError
from octavo.base.jobs import Jobs


def _square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def _refuse(number: int) -> int:
    raise DataError(f"{number} is refused.", "Give another.", ["one", "two"])


def _end(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_two_processes_give_their_results_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OctavoError, match=r"ended before its work was done.*`jobs` below 2"):
        list(Jobs(2).map(_end, [1, 2, 3]))
    # The processes that start next would find this module first.
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    found = list(Jobs(2).map(_square, range(20)))
    assert [square for square, _ in found] == [number * number for number in range(20)]
    assert os.getpid() not in {pid for _, pid in found}
    assert "PYTHONSAFEPATH" not in os.environ
    with pytest.raises(DataError, match="is refused") as caught:
        list(Jobs(2).map(_refuse, [7]))
    assert caught.value.details == ("one", "two")


def test_one_process_is_this_one() -> None:
    assert list(Jobs().map(_square, [3])) == [(9, os.getpid())]


def test_what_cannot_be() -> None:
    with pytest.raises(OctavoError, match="`jobs` should be 1 or more, and is 0"):
        Jobs(0)
    with pytest.raises(OctavoError, match="no engine 'spark'"):
        Jobs(2, "spark")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_that_is_missing_is_named_with_its_installation(name: str, module: str) -> None:
    if not extras.EXTRAS[name].missing:
        pytest.skip(f"{module} is installed")
    with pytest.raises(MissingDependencyError, match=rf"needs {module}.*\n?.*\.\[distributed\]"):
        list(Jobs(2, name).map(_square, [1]))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dask", "ray"])
def test_an_engine_gives_what_one_process_gives(name: str) -> None:
    pytest.importorskip({"dask": "distributed"}.get(name, name))
    found = list(Jobs(2, name).map(partial(pow, 2), range(20)))  # type: ignore[arg-type]
    assert found == [2**number for number in range(20)]
