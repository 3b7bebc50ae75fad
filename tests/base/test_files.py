from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from octavo.base.errors import OctavoError
from octavo.base.files import check_file, check_folder, replacing, sha256, write_bytes, write_json, write_text


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
