from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import octavo
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


# Answers each line with its own process and the line, or does what it says.
ATTENDANT = """
import os, sys, time
sys.path.append(sys.argv[1])
from octavo.base import child, trial

def answer(line):
    word = line.strip()
    if word == "crash":
        os.abort()
    if word == "grow":
        trial.confine(100 << 20)
        bytearray(200 << 20)
    if word == "sleep":
        time.sleep(60)
    if word == "raise":
        import absent
    os.write(1, b"a notice of native code")
    return f"{os.getpid()} {word}"

child.answer_all(answer)
"""


def _attendant() -> trial.Attendant:
    return trial.Attendant(child.code_command(ATTENDANT, Path(octavo.__file__).parents[1]))


def test_an_attendant_answers_until_its_block_ends() -> None:
    with _attendant() as attendant:
        pid, word = attendant.ask("one", "'m'", 60).split()
        assert [attendant.ask("two", "'m'", 60), word] == [f"{pid} two", "one"]
    assert not _is_alive(int(pid))


def test_the_death_of_an_attendant_is_an_error_and_another_follows() -> None:
    with _attendant() as attendant:
        first = attendant.ask("one", "'m'", 60).split()[0]
        with pytest.raises(ModelError, match=r"LiteRT crashed on 'm' \(signal SIGABRT\)"):
            attendant.ask("crash", "'m'", 60)
        second = attendant.ask("one", "'m'", 60).split()[0]
        with pytest.raises(ModelError, match=r"'n' could not be tried .* No module named 'absent'"):
            attendant.ask("raise", "'n'", 60)
        if sys.platform == "linux":
            with pytest.raises(ModelError, match="'n' needs more memory"):
                attendant.ask("grow", "'n'", 60)
        with pytest.raises(ModelError, match="'n' was given up"):
            attendant.ask("sleep", "'n'", 0.2)
    assert not _is_alive(int(first)) and not _is_alive(int(second))


@pytest.mark.parametrize("word", ["one", "sleep"])
def test_an_attendant_ends_when_its_parent_is_killed(word: str) -> None:
    """While it waits; or else its work is ended by its limit of time, or by Ctrl-C."""
    code = (
        "import os, sys; sys.path.append(sys.argv[1]); from octavo.base import child, trial; "
        "attendant = trial.Attendant(child.code_command(sys.argv[2], sys.argv[1])); "
        "print(attendant.ask('one', 'm', 60), flush=True); sys.stdin.readline(); attendant.ask(sys.argv[3], 'm', 60)"
    )
    command = child.code_command(code, Path(octavo.__file__).parents[1], ATTENDANT, word)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        if word == "one":
            parent.kill()
        else:
            parent.stdin.write("\n")
            parent.stdin.flush()
            time.sleep(0.2)
            # Ctrl-C is a signal to the whole group.
            os.killpg(parent.pid, signal.SIGINT)
    end = time.monotonic() + 30
    while _is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody waits for an orphan where the first process of a container does not.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_child_cannot_take_all_memory() -> None:
    # Untouched memory counts too, before a page of it is used.
    with pytest.raises(ModelError, match="more memory"):
        trial.survived(child.code_command(CONFINED + "bytearray(200 << 20)"), "'m'", 60)
    assert trial.survived(child.code_command(CONFINED + "bytearray(50 << 20)"), "'m'", 60).returncode == 0
