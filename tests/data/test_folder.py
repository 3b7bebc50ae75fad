from __future__ import annotations

import os

import numpy as np
import pytest
from trees import write_folder

from octavo.base.errors import DataError
from octavo.data.folder import Folder


def test_names_are_sorted_relative_and_say_which_folders_are_empty(tmp_path):
    write_folder(tmp_path, {"b/1.png": b"1", "a/2.png": b"2", "0.txt": b"3"})
    (tmp_path / "empty").mkdir()
    assert Folder(tmp_path).names == ("0.txt", "a/2.png", "b/1.png", "empty/")


def test_relative_roots(tmp_path, monkeypatch):
    write_folder(tmp_path / "in" / "a" / "b", {"1.png": b"1"})
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    assert Folder(Path()).names == ("in/a/b/1.png",)
    assert Folder(Path("in")).names == ("a/b/1.png",)


def test_read_yields_every_place(tmp_path):
    write_folder(tmp_path, {"a": b"1", "b": b"2", "c": b"3"})
    assert dict(Folder(tmp_path).read(np.array([2, 0, 2]))) == {0: b"3", 1: b"1", 2: b"3"}


def test_links_are_followed(tmp_path):
    write_folder(tmp_path / "real", {"1.png": b"1"})
    write_folder(tmp_path / "data", {"b/1.png": b"2"})
    (tmp_path / "data" / "a").symlink_to(tmp_path / "real")
    folder = Folder(tmp_path / "data")
    assert folder.names == ("a/1.png", "b/1.png")
    assert dict(folder.read(np.array([0]))) == {0: b"1"}


def test_a_circle_of_links_is_an_error(tmp_path):
    write_folder(tmp_path, {"a/1.png": b"1"})
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    with pytest.raises(DataError, match="link to a folder that contains it"):
        Folder(tmp_path)


def test_broken_links_and_pipes_are_reasons(tmp_path):
    os.mkfifo(tmp_path / "1.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "nowhere")
    write_folder(tmp_path, {"3.png": b"gone soon"})
    folder = Folder(tmp_path)
    (tmp_path / "3.png").unlink()
    assert set(dict(folder.read(np.arange(3))).values()) == {"not a regular file"}
