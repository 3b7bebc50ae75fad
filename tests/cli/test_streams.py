"""Standard streams that are closed, full, or a pipe without a reader: the work is done, and exit codes are right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shell import started
from tiny import tiny_int8, tiny_tflite, write_folder

from octavo.base.files import sha256

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
# Closed, on a full device, without a reader. The last word says whether a case is left to `make nightly`.
STREAMS = [
    *((">&- 2>&-", False), (">/dev/full", False), ("2>/dev/full", False), ("> >(exec true)", False)),
    *((">&-", True), ("2>&-", True), ("<&- >&- 2>&-", True), (">/dev/full 2>/dev/full", True)),
    ("2> >(exec true)", True),
]


def shell(command: str, redirection: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = f"{sys.executable} -m octavo.cli"
    # A reader that leaves has left before the first word is written.
    wait = "sleep 0.2; " if "exec true" in redirection else ""
    line = f"{{ {wait}{program} {command}; }} {redirection}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=cwd, timeout=120)


@pytest.mark.parametrize(
    "redirection", [pytest.param(text, marks=[pytest.mark.slow] if slow else []) for text, slow in STREAMS]
)
def test_exit_codes_are_right(tmp_path: Path, redirection: str) -> None:
    lost = redirection.startswith(">/dev/full")
    for command, code in (("recipes --json", 2 if lost else 0), ("inspect none.tflite", 2)):
        done = shell(command, redirection, tmp_path)
        assert done.returncode == code, (command, done)
        assert "Traceback" not in done.stderr and "Error" not in done.stderr
        if code == 2 and "2>" not in redirection:
            said = "Standard output could not be written: No space left" if lost and "rec" in command else "no file"
            assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_nothing_but_the_model_is_written_into_the_model(tmp_path: Path) -> None:
    """Without standard streams, the next file to be opened has their number, and native notices go there."""
    (tmp_path / "int8.tflite").write_bytes(tiny_int8().content)
    started("slim", "int8.tflite", "-o", "plain.tflite", cwd=tmp_path)
    done = shell("slim int8.tflite -o closed.tflite", "<&- >&- 2>&-", tmp_path)
    assert done.returncode == 0, done
    assert sha256(tmp_path / "closed.tflite") == sha256(tmp_path / "plain.tflite")


@pytest.mark.slow
def test_the_work_is_done(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(tiny_tflite())
    write_folder(tmp_path / "photos", 30)
    command = "quantize float.tflite --data photos --images 12 -o {}"
    assert shell(command.format("plain.tflite"), "", tmp_path).returncode == 0
    reader = "| head -c1 >/dev/null; exit ${PIPESTATUS[0]}"
    cases = ((">&-", 0), ("<&- >&- 2>&-", 0), (">/dev/full 2>/dev/full", 2), ("2>/dev/full", 0), (reader, 0))
    for number, (redirection, code) in enumerate(cases):
        done = shell(command.format(f"{number}.tflite"), redirection, tmp_path)
        assert done.returncode == code, (redirection, done)
        assert "Traceback" not in done.stderr
        assert sha256(tmp_path / f"{number}.tflite") == sha256(tmp_path / "plain.tflite")


def test_names_that_cannot_be_encoded_are_shown_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.tflite")
    command = [sys.executable, "-m", "octavo.cli", "inspect", name]
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(b"octavo: There is no file 'caf\\udce9.tflite'.")
