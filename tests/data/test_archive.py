from __future__ import annotations

import gzip
import io
import stat
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from trees import tree, write_tar, write_zip

from octavo.base.errors import DataError
from octavo.data import archive as module
from octavo.data.archive import Tar, Zip

KINDS = {
    "tar": lambda path, files: Tar(write_tar(path / "x.tar", files, "w:")),
    "tar.gz": lambda path, files: Tar(write_tar(path / "x.tar.gz", files)),
    "zip": lambda path, files: Zip(write_zip(path / "x.zip", files)),
}


@pytest.fixture(params=KINDS)
def pack(request, tmp_path):
    return lambda files: KINDS[request.param](tmp_path, files)


def test_everything_is_read_back(pack):
    files = tree()
    archive = pack(files)
    assert archive.names == tuple(files)
    places = np.array([3, 0, 15, 3])
    got = dict(archive.read(places))
    assert got == {place: files[archive.names[position]] for place, position in enumerate(places)}


def test_reading_goes_forwards(pack):
    archive = pack(tree())
    assert [place for place, _ in archive.read(np.array([9, 2, 5]))] == [1, 2, 0]


def test_dots_and_doubled_slashes_are_cleaned(pack):
    assert pack({"./train//a/1.png": b"1"}).names == ("train/a/1.png",)


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png", "a\\..\\x.png", "C:/x.png", "\\x.png"])
def test_paths_outside_are_refused(pack, name):
    with pytest.raises(DataError, match="points outside"):
        pack({"a/1.png": b"1", name: b"2"})


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused(pack):
    with pytest.raises(DataError, match=r"'a/1\.png' 2 times"):
        pack({"a/1.png": b"1", "./a/1.png": b"2"})


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S"])
def test_links_devices_and_sparse_files_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a/1.png")
        member.type = kind
        member.linkname = "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataError, match=r"'a/1\.png' is a link, a device or a sparse file"):
        Tar(tmp_path / "x.tar")


def test_links_in_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        member = zipfile.ZipInfo("a/1.png")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(DataError, match=r"'a/1\.png' is a link"):
        Zip(tmp_path / "x.zip")


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a/1.png": b"1"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"'a/1\.png' is encrypted"):
        Zip(path)


def test_too_many_or_too_large_members_are_refused(pack, monkeypatch):
    monkeypatch.setattr(module, "MOST_MEMBERS", 3)
    with pytest.raises(DataError, match="more than 3 files"):
        pack(dict.fromkeys("abcd", b"1"))
    monkeypatch.setattr(module, "MOST_MEMBER_BYTES", 1024)
    with pytest.raises(DataError, match="'a' claims 1,025 bytes"):
        pack({"a": bytes(1025)})


def test_too_much_in_all_is_refused(pack, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 20_000)
    with pytest.raises(DataError, match="unpacks to more than 20,000 bytes"):
        pack({str(number): bytes(1000) for number in range(30)})


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_bomb_is_met_before_it_goes_off(tmp_path, kind):
    zeros = bytes(8 << 20)
    files = {f"a/{k}.png": zeros for k in range(12)}  # 96 MiB in about 100 kB.
    tracemalloc.start()
    with pytest.raises(DataError, match="refused"):
        if kind == "zip":
            path = write_zip(tmp_path / "x.zip", files)
            tracemalloc.reset_peak()
            Zip(path)
        else:
            path = write_tar(tmp_path / "x.tar.gz", files)
            tracemalloc.reset_peak()
            Tar(path)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20  # `zeros` itself, and little more.
    tracemalloc.stop()


def test_a_zip_that_lies_about_a_size_reads_no_more_than_it_declared(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a.png": bytes(1 << 20)})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")
    content[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    (_, reason), *_ = Zip(path).read(np.array([0]))
    assert isinstance(reason, str) and "damaged" in reason


@pytest.mark.parametrize("size", [1 << 33, -512])
def test_an_extended_header_that_is_a_bomb_is_refused(tmp_path, size):
    member = tarfile.TarInfo("x")
    member.type = tarfile.XHDTYPE
    member.size = size
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    with pytest.raises(DataError, match=r"claims|cannot be read whole"):
        Tar(path)


def test_a_truncated_archive_is_an_error(pack, tmp_path):
    archive = pack(tree())
    content = archive.path.read_bytes()
    for share in (0.3, 0.5, 0.7):
        archive.path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DataError, match="cannot be read whole"):
            list(type(archive)(archive.path).read(np.arange(16)))


def test_a_damaged_header_in_the_middle_of_a_tar_is_an_error(tmp_path):
    path = write_tar(tmp_path / "x.tar", tree(), "w:")
    content = bytearray(path.read_bytes())
    second = content.index(b"train/a/0001.png")
    content[second + 150] ^= 1  # In the checksum.
    path.write_bytes(content)
    with pytest.raises(DataError, match="no end mark after file 1"):
        Tar(path)


def test_damage_inside_one_member_of_a_zip_costs_only_that_member(tmp_path):
    files = tree()
    path = write_zip(tmp_path / "x.zip", files)
    content = bytearray(path.read_bytes())
    content[content.index(b"train/a/0001.png") + 60] ^= 0xFF
    path.write_bytes(content)
    got = dict(Zip(path).read(np.arange(len(files))))
    assert isinstance(got[1], str) and "damaged in the archive" in got[1]
    assert [got[k] for k in range(len(files)) if k != 1] == [files[n] for k, n in enumerate(files) if k != 1]


def test_nothing_is_extracted(pack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = pack(tree())
    list(archive.read(np.arange(4)))
    assert [path.name for path in tmp_path.iterdir()] == [archive.path.name]


def test_a_gzip_of_something_else_is_an_error(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(b"hello " * 1000))
    with pytest.raises(DataError, match="cannot be read whole"):
        Tar(path)


def test_memory_does_not_grow_with_the_content(tmp_path):
    stream = io.BytesIO(np.random.default_rng(0).bytes(1 << 20))
    path = write_tar(tmp_path / "x.tar.gz", {f"{k}.png": stream.getvalue() for k in range(8)})
    tracemalloc.start()
    Tar(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
