from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from octavo.base.errors import OctavoError
from octavo.base.files import (
    check_file,
    check_folder,
    check_new_folder,
    check_results,
    making_folder,
    replacing,
    sha256,
    write_bytes,
    write_json,
    write_text,
)
from octavo.base.lock import Lock


def test_a_failed_block_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_an_interrupted_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OctavoError, match="No space left on device"), replacing(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_and_suffixes_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.keras"
    with replacing(path) as temporary:
        assert temporary.suffix == ".keras"
        temporary.write_text("x")
    assert path.read_text() == "x"


def test_json_refuses_what_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_sha256_of_a_published_vector(tmp_path: Path) -> None:
    write_text(tmp_path / "abc", "abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.skipif(sys.platform == "win32", reason="no such files on Windows")
def test_only_regular_files_are_written_and_nothing_else_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target.tflite"
    target.write_bytes(b"model")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path / "link": "is a link",
        tmp_path / "dangling": "is a link",
        tmp_path / "folder": "is a folder",
        tmp_path / "pipe": "not a regular file",
        Path("/dev/null"): "not a regular file",
        tmp_path / ("x" * 300): "too long",
        target / "below": "not a folder",
    }
    for path, said in cases.items():
        for write in (check_file, lambda path: write_bytes(path, b"other")):
            with pytest.raises(OctavoError, match=said):
                write(path)
    assert target.read_bytes() == b"model" and (tmp_path / "link").is_symlink()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    check_file(target)
    check_file(tmp_path / "new" / "deep" / "file")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_found_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        for check in (check_file, check_folder):
            with pytest.raises(OctavoError, match="cannot be written to"):
                check(tmp_path / "a" / "b")
    finally:
        tmp_path.chmod(0o700)


needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="no such locks, files and signals on Windows")
# Writes half of a file or folder, says so, and waits to be killed.
_WRITER = """
import sys, time
from pathlib import Path
from octavo.base.files import making_folder, replacing
writing = making_folder if sys.argv[1] == "folder" else replacing
with writing(Path(sys.argv[2])) as temporary:
    (temporary / "inside" if sys.argv[1] == "folder" else temporary).write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


def writer(kind: str, path: Path) -> subprocess.Popen[str]:
    """A process that has written half, and still runs."""
    command = [sys.executable, "-c", _WRITER, kind, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "half\n"
    return process


@needs_posix
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_writer_clears_what_a_killed_one_left_and_nothing_else(tmp_path: Path, kind: str) -> None:
    kept = [".octavo-notes.txt", ".octavo-abcdefgh.tar.gz", ".bashrc"]
    for name in kept:
        (tmp_path / name).write_text("the user's")
    living, killed = writer(kind, tmp_path / "a"), writer(kind, tmp_path / "b")
    with living, killed:
        killed.kill()
        killed.wait(timeout=20)
        left = {entry.name for entry in tmp_path.iterdir()} - set(kept)
        assert len(left) == 2
        write_text(tmp_path / "c", "whole")
        rest = {entry.name for entry in tmp_path.iterdir()} - set(kept) - {"c"}
        # The living writer's is still there.
        assert len(rest) == 1 and rest < left
        living.terminate()
        living.wait(timeout=20)
    with making_folder(tmp_path / "d") as temporary:
        (temporary / "x").write_text("whole")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*kept, "c", "d"])
    assert [entry.name for entry in (tmp_path / "d").iterdir()] == ["x"]


@needs_posix
def test_many_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom octavo.base.files import write_text\n"
        "for turn in range(60): write_text(Path(sys.argv[1]), sys.argv[2] * 5000)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    writers = [subprocess.Popen([*command, letter], stderr=subprocess.PIPE, text=True) for letter in "abc"]
    seen = set()
    while any(process.poll() is None for process in writers):
        if (tmp_path / "a").exists():
            seen.add((tmp_path / "a").read_text())
    assert [process.communicate()[1] for process in writers] == ["", "", ""]
    assert seen <= {letter * 5000 for letter in "abc"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@needs_posix
def test_new_files_and_folders_have_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
        with making_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "b")]
    assert modes == [0o640, 0o750]


@needs_posix
def test_a_folder_is_made_only_where_there_is_none_or_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "inside").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(tmp_path)  # The names of sockets have to be short.
        bound.bind("socket")
        os.chdir(here)
        cases = {
            "full": "not empty",
            "file": "not a folder",
            "link": "a link",
            "dangling": "a link",
            "pipe": "not a folder",
            "socket": "not a folder",
            "x" * 300: "too long",
            "new/" + "x" * 300 + "/a": "too long",
            "file/below": "not a folder",
            "..": "one that is there",
        }
        before = sorted(tmp_path.iterdir())
        for name, said in cases.items():
            with pytest.raises(OctavoError, match=said):
                check_new_folder(tmp_path / name)
            with pytest.raises(OctavoError, match=said), making_folder(tmp_path / name):
                pass
        with pytest.raises(OctavoError, match="not a regular file"):
            check_file(tmp_path / "socket")
        assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(RuntimeError), making_folder(tmp_path / "empty") as temporary:
        (temporary / "half").write_text("")
        raise RuntimeError
    assert sorted(tmp_path.iterdir()) == before and not list((tmp_path / "empty").iterdir())
    with making_folder(tmp_path / "empty") as temporary:
        (temporary / "a").write_text("whole")
    assert [entry.name for entry in (tmp_path / "empty").iterdir()] == ["a"]


@needs_posix
def test_results_are_looked_at_each_under_its_name(tmp_path: Path) -> None:
    check_results(tmp_path / "new", ["a.json", "b.png"])
    assert not (tmp_path / "new").exists()
    (tmp_path / "b.png").mkdir()
    with pytest.raises(OctavoError, match=r"b\.png' is a folder"):
        check_results(tmp_path, ["a.json", "b.png"])
    for path in (tmp_path / "new" / ("x" * 300), tmp_path / ("x" * 300) / "a", tmp_path / "n" / ("x" * 300) / "a"):
        with pytest.raises(OctavoError, match="too long"):
            check_file(path)
    # A name of the greatest length can be written, too.
    longest = tmp_path / ("y" * 250 + ".json")
    check_file(longest)
    write_text(longest, "x")
    assert longest.read_text() == "x"


@needs_posix
def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = "import sys, time\nfrom pathlib import Path\nfrom octavo.base.lock import Lock\n"
    code += "lock = Lock(Path(sys.argv[1]))\nprint(lock.held, flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        with Lock(tmp_path) as lock:
            assert lock.taken and not lock.held
        other.send_signal(signal.SIGKILL)
        other.wait(timeout=20)
        with Lock(tmp_path) as lock:
            assert lock.held and not lock.taken
    assert list(tmp_path.iterdir()) == []
