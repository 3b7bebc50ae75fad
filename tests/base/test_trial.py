from __future__ import annotations

import os
import sys
import time

import pytest

from octavo.base import child, trial
from octavo.base.errors import ModelError

CONFINED = "from octavo.base import trial; trial.confine(100 << 20); "


def test_a_child_that_refuses_is_not_dead() -> None:
    assert trial.survived(child.code_command("import sys; sys.exit(2)"), "'m'", 60).returncode == 2
    assert trial.survived(child.code_command("print('ok')"), "'m'", 60).stdout == "ok\n"


def test_a_crash_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"LiteRT crashed on 'm' \(signal SIGABRT\)"):
        trial.survived(child.code_command("import os; os.abort()"), "'m'", 60)


def test_an_error_of_python_is_no_crash_of_the_model() -> None:
    """A package that only this process can import, such as by PYTHONPATH."""
    with pytest.raises(ModelError, match="child process: ModuleNotFoundError: No module named 'absent'") as caught:
        trial.survived(child.code_command("import absent"), "'m'", 60)
    assert "PYTHONPATH" in caught.value.todo


def test_a_child_that_goes_on_for_ever_is_killed() -> None:
    begin = time.perf_counter()
    with pytest.raises(ModelError, match="'m' was given up"):
        trial.survived(child.code_command("import time; time.sleep(60)"), "'m'", 1)
    assert time.perf_counter() - begin < 30


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say how busy it is")
def test_a_busy_machine_gets_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    command = child.code_command("import time; time.sleep(2)")
    monkeypatch.setattr(os, "getloadavg", lambda: (100.0 * (os.cpu_count() or 1), 0.0, 0.0))
    assert trial.survived(command, "'m'", 1).returncode == 0
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    with pytest.raises(ModelError, match="'m' was given up after 1 seconds"):
        trial.survived(command, "'m'", 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_child_cannot_take_all_memory() -> None:
    # Untouched memory counts too, before a page of it is used.
    with pytest.raises(ModelError, match="more memory"):
        trial.survived(child.code_command(CONFINED + "bytearray(200 << 20)"), "'m'", 60)
    assert trial.survived(child.code_command(CONFINED + "bytearray(50 << 20)"), "'m'", 60).returncode == 0
