"""Shards: the images of a folder, whatever holds them; how splits and labels are told; and files of a stranger."""

from __future__ import annotations

import gzip
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from brightness import CLASSES, SIZE, brightness, write_pictures
from sharded import SHARDS, parquets, tars, write_tar
from shell import octavo as shell
from shell import refused
from trees import encode, picture

import octavo
from octavo.base.address import address, expanded
from octavo.base.errors import DataError, MissingDependencyError
from octavo.base.jobs import Jobs
from octavo.data import opener
from octavo.data import parquet as parquet_file
from octavo.data import shards as module
from octavo.data.dataset import Dataset, OctavoWarning
from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.shards import ShardStore, shards_of
from octavo.data.split import draw_test
from octavo.data.streamed import HELD, divided
from octavo.runs.manifest import fingerprint
from octavo.source.sidecar import Sidecar

COUNT = 2 * HELD + 6
PNG = encode(picture(0))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a folder of images, and the same images as `.tar` shards."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "model.tflite").write_bytes(brightness((-1.0, 1.0)))
    Sidecar(Preprocess((SIZE, SIZE)), CLASSES).write(folder / "model.tflite")
    for split in ("train", "test"):
        write_pictures(folder / "photos" / split, COUNT)
        tars(folder / "photos", folder / "tars", CLASSES, split)
    return folder


@pytest.fixture(scope="module")
def tables(files: Path) -> Path:
    """The same images in Parquet."""
    pytest.importorskip("pyarrow", reason="PyArrow is not installed: pip install -e '.[shards]'")
    for split in ("train", "test"):
        parquets(files / "photos", files / "tables", CLASSES, split)
    return files / "tables"


def read(dataset: Dataset, split: str) -> tuple[list[bytes], list[str]]:
    """The images of a split and the names of their classes, in order."""
    images = dataset.splits[split].read()
    assert images.labels is not None
    return images.fingerprints(), [images.classes[label] for label in images.labels]


def opened(place: Path | str, **options: object) -> Dataset:
    return open_dataset("path", place, **options)  # type: ignore[arg-type]


def same(files: Path, place: Path | str, names: tuple[str, ...] = CLASSES) -> None:
    plain, found = opened(files / "photos"), opened(place)
    assert found.splits.keys() == plain.splits.keys() == {"train", "test"}
    for split in found.splits:
        images, labels = read(plain, split)
        assert read(found, split) == (images, [names[CLASSES.index(label)] for label in labels])


def test_tar_shards_are_the_folder(files: Path) -> None:
    same(files, files / "tars", ("0", "1"))
    same(files, files / "tars" / "{train,test}-{000000..000002}.tar", ("0", "1"))
    one = opened(files / "tars" / "test-000001.tar")
    assert list(one.splits) == ["test"] and one.splits["test"].ids[0].startswith("test-000001.tar/bright-")
    assert one.name == "test-000001"


def test_parquet_shards_are_the_folder(files: Path, tables: Path) -> None:
    same(files, tables)
    one = opened(tables / f"test-00001-of-{SHARDS:05}.parquet")
    split = one.splits["test"]
    assert split.ids[7] == f"test-00001-of-{SHARDS:05}.parquet[7]"
    # Backwards and twice, over the bounds of row groups.
    places = np.array([20, 3, 8, 3, 15])
    whole = split.read().fingerprints()
    assert split.read(places).fingerprints() == [whole[place] for place in places]


def test_urls_are_read_through_fsspec(files: Path, tables: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install -e '.[shards]'")
    memory = fsspec.filesystem("memory")
    memory.put(str(files / "tars"), "/octavo/tars", recursive=True)
    memory.put(str(tables), "/octavo/tables", recursive=True)
    try:
        same(files, "memory://octavo/tars", ("0", "1"))
        same(files, "memory://octavo/tars/{train,test}-{000000..000002}.tar", ("0", "1"))
        same(files, "memory://octavo/tables")
        same(files, "simplecache::memory://octavo/tables")
        mark = fingerprint("memory://octavo/tars")
        memory.pipe("/octavo/tars/test-000000.tar", b"other")
        assert fingerprint("memory://octavo/tars") != mark
        with pytest.raises(DataError, match=r"'memory:///octavo/tars/test-000000\.tar' cannot be read whole"):
            opened("memory://octavo/tars")
        with pytest.raises(DataError, match="There is nothing at 'memory://octavo/nowhere'"):
            opened("memory://octavo/nowhere")
        with pytest.raises(DataError, match="no shards at 'file://"):
            opened(f"file://{files / 'photos'}")
        with pytest.raises(DataError, match=r"cannot be read .*Protocol not known: nowhere"):
            opened("nowhere://octavo")
    finally:
        memory.rm("/octavo", recursive=True)


@pytest.mark.parametrize("kind", ["tars", "tables"])
def test_scores_and_files_are_those_of_the_folder(
    kind: str, files: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data, shared = (files / "tars", 2) if kind == "tars" else (request.getfixturevalue("tables"), 1)
    made: list[bytes] = []
    scores: list[list[object]] = []
    for place, jobs in ((files / "photos", None), (data, None), (data, shared)):
        out = tmp_path / "out.tflite"
        octavo.quantize(files / "model.tflite", place, out, images=COUNT, observer="mse", jobs=jobs)
        made.append(out.read_bytes())
        found = octavo.evaluate(files / "model.tflite", place, jobs=jobs)
        scores.append([found.figures(), found.arrays()["answers"].tobytes()])
    assert made[0] == made[1] == made[2]
    assert scores[0] == scores[1] == scores[2]


def test_a_part_goes_to_a_process_as_a_few_numbers(files: Path) -> None:
    split = opened(files / "tars", jobs=Jobs(2)).splits["test"]
    store = split.store
    assert isinstance(store, ShardStore)
    part, positions = store.part(split.positions[:10])
    assert len(part.shards) == 1 and len(pickle.dumps((part, positions))) < 2000
    again = pickle.loads(pickle.dumps(part))
    assert all(np.array_equal(a, b) for a, b in zip(again.fetch(positions), split.some(COUNT)[:10], strict=True))


def test_work_is_divided_where_a_shard_ends(files: Path) -> None:
    split = opened(files / "tars").splits["test"]
    sizes = [len(part) for part in np.array_split(np.arange(COUNT), SHARDS)]
    assert isinstance(split.store, ShardStore)
    ends = [end for _, end in divided(split.store, split.positions, SHARDS)]
    assert ends == np.cumsum(sizes).tolist()
    # More parts than shards: anywhere.
    assert len(divided(split.store, split.positions, 16)) == -(-COUNT // HELD)


def test_a_shard_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.png": PNG, "1.cls": b"0", "2.png": encode(picture(1)), "2.cls": b"1"})
    split = opened(path).splits["all"]
    write_tar(path, {"3.png": PNG, "3.cls": b"0", "4.png": encode(picture(1)), "4.cls": b"1"})
    with pytest.raises(DataError, match=r"a.tar' does not hold the files here that it held"):
        split.read()
    path.unlink()
    with pytest.raises(DataError, match=r"a.tar' cannot be read \(No such file"):
        split.read()


def test_labels_of_a_tar(tmp_path: Path) -> None:
    """Names and numbers, in `.cls` and in JSON; what says nothing is left out by name."""
    shard = write_tar(
        tmp_path / "shards" / "0.tar",
        {
            **{f"{place}.png": PNG for place in "abcdef"},
            "a.cls": b" cat\n",
            "b.json": json.dumps({"label": "dog", "width": 6}).encode(),
            "c.json": b'{"cls": "cat"}',
            "d.cls": b"\xff",
            "e.json": b"[",
            "f.txt": b"a caption",
            "._a.png": b"of macOS",
        },
    )
    dataset = opened(shard.parent)
    assert (dataset.name, dataset.classes) == ("shards", ("cat", "dog"))
    with pytest.warns(OctavoWarning) as caught:
        images = dataset.splits["all"].read()
    assert images.ids == ("0.tar/a.png", "0.tar/b.png", "0.tar/c.png")
    assert images.labels is not None and images.labels.tolist() == [0, 1, 0]
    (said,) = [str(one.message) for one in caught]
    for text in ("d.cls: UnicodeDecodeError", "e.json: JSONDecodeError", "1 files *.txt", "3 images of all without a"):
        assert text in said
    numbers = write_tar(tmp_path / "n.tar", {"1.png": PNG, "1.cls": b"2", "2.png": PNG, "2.cls": b"0"})
    assert opened(numbers).classes == ("0", "1", "2")
    # Nothing is known of any: they calibrate.
    assert opened(write_tar(tmp_path / "u" / "u.tar", {"1.png": PNG}).parent).splits["all"].labels is None
    # Class folders, with notes of another tool beside the images, are no shard.
    tree = write_tar(tmp_path / "t.tar", {"cat/1.png": PNG, "dog/1.png": PNG, "cat/1.json": b"{}"})
    assert opened(tree).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("x/train-00000-of-00001.parquet", "train"),
        ("x/imagenet-val-000003.tar", "validation"),
        ("x/test/0001.tar", "test"),
        ("test/0001.tar", "test"),
        ("test/x/0001.tar", "all"),
        ("x/training_data.tar", "train"),
        ("x/0001.tar", "all"),
        ("x/contest.tar", "all"),
    ],
)
def test_the_split_is_in_the_name(name: str, split: str) -> None:
    (shown,) = module._shown([Path("/data") / name])
    assert module._split(Path("/data") / name, shown) == split


def test_splits_as_of_a_folder(tmp_path: Path) -> None:
    content = {"1.png": PNG, "1.cls": b"0", "2.png": PNG, "2.cls": b"1"}
    for name in ("validation-0", "test-0", "notes"):
        write_tar(tmp_path / f"{name}.tar", content)
    dataset = opened(tmp_path)
    assert set(dataset.splits) == {"train", "test"}
    with pytest.warns(OctavoWarning, match=r"\n  notes.tar$"):
        draw_test(dataset, None, 0)


def test_what_is_no_shard(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "a" / "a.tar", {"1.png": PNG, "1.cls": b"0"})
    (one.parent / "b.png").write_bytes(PNG)
    assert opened(one.parent).splits["all"].ids == ("b.png",), "a folder of images, beside which an archive lies"
    with pytest.raises(DataError, match=r"no images in the shards of .*Images in a \.tar end in"):
        opened(write_tar(tmp_path / "b" / "b.tar", {"1.txt": b"x"}).parent)
    with pytest.raises(DataError, match=r"There is no file or folder '.*nothing.tar'"):
        opened(tmp_path / "nothing.tar")
    with pytest.raises(DataError, match=r"a-2.tar' cannot be read \(No such file or directory\)"):
        opened(write_tar(tmp_path / "c" / "a-1.tar", {"1.png": PNG}).parent / "a-{1..2}.tar")


def test_archives_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(files: dict[str, bytes], pattern: str) -> None:
        with pytest.raises(DataError, match=pattern):
            opened(write_tar(tmp_path / "shards" / "a.tar", files).parent)

    refusal({"1.png": PNG, "../1.cls": b"0"}, "points outside of it")
    refusal({"1.png": PNG, "1.jpg": PNG}, "two images with the key '1'")
    refusal({"1.png": PNG, "1.cls": b"70000"}, r"of 70,001 classes; Octavo takes up to 65,536")
    path = write_tar(tmp_path / "a.tar", {"1.png": PNG, "1.cls": b"0"})
    (tmp_path / "packed.tar").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"it is compressed.*gunzip"):
        opened(tmp_path / "packed.tar")
    monkeypatch.setattr("octavo.data.tar_shard.MOST_NOTE_BYTES", 3)
    with pytest.warns(OctavoWarning, match="1.cls: 4 bytes; the limit of a label is 3"):
        opened(write_tar(path, {"1.png": PNG, "1.cls": b"long", "2.png": PNG, "2.cls": b"cat"})).splits["all"].read()
    monkeypatch.setattr(module, "MOST_SHARDS", 1)
    for name in "ab":
        write_tar(tmp_path / "many" / f"{name}.tar", {"1.png": PNG})
    with pytest.raises(DataError, match="has 2 shards; the limit is 1"):
        shards_of(tmp_path / "many")


def test_patterns_and_urls_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [str(one) for one in expanded(Path("a/{x,y}-{9..11}.tar"))] == [
        f"a/{letter}-{number}.tar" for letter in "xy" for number in (9, 10, 11)
    ]
    for text in ("x-{0..9999999}.tar", "{0..999}{0..999}.tar"):
        with pytest.raises(DataError, match="files; the limit is 100,000"):
            expanded(Path(text))
    assert expanded(Path("{photos}/{3..1}.tar")) == []
    for text in ("s3://key:secret@bucket/a.tar", "simplecache::ftp://me:secret@host/a.tar"):
        with pytest.raises(DataError, match="holds a password") as caught:
            address(text)
        assert "secret" not in str(caught.value)
    assert address("ftp://me@host/a.tar") == "ftp://me@host/a.tar"


class TestParquet:
    """Tables that are not as `datasets` writes them."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("pyarrow", reason="PyArrow is not installed: pip install -e '.[shards]'")

    @staticmethod
    def write(path: Path, **columns: object) -> Path:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), path, compression="zstd")
        return path

    def test_columns_by_their_usual_names(self, tmp_path: Path) -> None:
        made = opened(self.write(tmp_path / "a.parquet", img=[PNG, PNG], cls=["cat", "dog"], more=[1, 2]))
        assert made.classes == ("cat", "dog") and len(made.splits["all"].read()) == 2
        made = opened(self.write(tmp_path / "a.parquet", image=[PNG, PNG, PNG], label=[1, -1, None]))
        assert len(made.splits["all"]) == 1
        assert opened(self.write(tmp_path / "a.parquet", image=[PNG], label=[-1])).splits["all"].labels is None
        assert opened(self.write(tmp_path / "a.parquet", image=[PNG])).splits["all"].labels is None
        two = self.write(tmp_path / "a.parquet", image=[PNG], cls=[0], target=[1])
        with pytest.raises(
            DataError, match=r"several columns of one kind: 'cls', 'target'\. Name the one to use `label`"
        ):
            opened(two)
        with pytest.raises(DataError, match="has no column of images; its columns are 'image', 'label'"):
            opened(self.write(tmp_path / "a.parquet", image=["a.png"], label=[0]))

    def test_an_image_that_is_not_there_is_left_out(self, tmp_path: Path) -> None:
        # The path of a file that exists: nothing but the table is read.
        (tmp_path / "1.png").write_bytes(PNG)
        images = [{"bytes": PNG, "path": None}, {"bytes": None, "path": str(tmp_path / "1.png")}, {"bytes": b"x"}]
        split = opened(self.write(tmp_path / "a.parquet", image=images, label=[0, 0, 0])).splits["all"]
        with pytest.warns(OctavoWarning, match=r"\[1\]: the file does not hold it.*\n.*\[2\]: not an image"):
            assert split.read().ids == ("a.parquet[0]",)

    @pytest.mark.filterwarnings("ignore::octavo.data.dataset.OctavoWarning")
    def test_damage_is_one_message(self, tmp_path: Path) -> None:
        content = self.write(tmp_path / "a.parquet", image=[PNG] * 9, label=[0] * 9).read_bytes()
        random, refused = np.random.default_rng(0), 0
        for _ in range(60):
            damaged = bytearray(content[: int(random.integers(4, len(content) + 1))])
            for place in random.integers(4, len(damaged), 3) if len(damaged) > 4 else []:
                damaged[place] = random.integers(0, 256)
            (tmp_path / "b.parquet").write_bytes(damaged)
            try:
                opened(tmp_path / "b.parquet").splits["all"].read()
            except DataError:
                refused += 1
        assert refused > 30

    def test_a_file_that_claims_too_much_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bomb = self.write(
            tmp_path / "a.parquet", image=[bytes([place]) * (16 << 20) for place in range(5)], label=[0] * 5
        )
        assert bomb.stat().st_size < 1 << 23
        with pytest.raises(DataError, match=r"claims .* bytes, too many for a file of"):
            opened(bomb)
        monkeypatch.setattr(parquet_file, "MOST_MEMBERS", 4)
        with pytest.raises(DataError, match="claims 5 rows; the limit is 4"):
            opened(bomb)

    def test_shards_of_two_data_sets_are_refused(self, files: Path, tables: Path, tmp_path: Path) -> None:
        parquets(files / "photos", tmp_path, CLASSES, "test")
        parquets(files / "photos", tmp_path, ("x", "y", *CLASSES), "train")
        with pytest.raises(DataError, match="name different classes"):
            opened(tmp_path)

    def test_a_table_that_changed_meanwhile_is_refused(self, tmp_path: Path) -> None:
        split = opened(self.write(tmp_path / "a.parquet", image=[PNG, PNG])).splits["all"]
        self.write(tmp_path / "a.parquet", image=[PNG, PNG, PNG])
        with pytest.raises(DataError, match="does not hold the files here"):
            split.read()


@pytest.mark.parametrize(("module", "place"), [("pyarrow", "{}/a.parquet"), ("fsspec", "memory://octavo/a.tar")])
def test_what_is_missing_is_named(module: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(100))
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"needs {module}.*\.\[shards\]"):
        opened(address(place.format(tmp_path)))


def test_the_command_line_takes_a_url(files: Path) -> None:
    said = refused(shell("evaluate", files / "model.tflite", "--data", "s3://key:secret@bucket/a.tar"))
    assert "holds a password" in said and "secret" not in said
    assert octavo.load_recipe(files / "model.tflite", ["data.path=s3://bucket/x"]).data.path == "s3://bucket/x"


@pytest.mark.slow
def test_a_run_takes_a_pattern_and_knows_when_its_files_change(files: Path, tmp_path: Path) -> None:
    pattern = files / "tars" / "{train,test}-{000000..000002}.tar"
    quick = ("--set", "deployment.seconds=0.05", "--set", "deployment.targets=false")
    words = ("run", files / "model.tflite", "--data", pattern, "--out", tmp_path / "run", *quick)
    assert shell(*words).returncode == 0
    assert "data: unchanged" in shell(*words).stderr
    recipe = octavo.load_recipe(tmp_path / "run" / "recipe.yaml")
    assert recipe.data.path == pattern
    # Two processes make the same files, but for times; what one made is not made again.
    shared = ("run", files / "model.tflite", "--data", pattern, "--out", tmp_path / "shared", *quick)
    assert shell(*shared, "--jobs", 2).returncode == 0
    for name in ("data.json", "ranges.json", "int8.tflite", "compare.json", "distributions.json", "predictions.npz"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name
    assert shell(*shared).stderr.count(": unchanged") == 6
    (files / "tars" / "test-000000.tar").touch()
    assert "data: unchanged" not in shell(*words).stderr


@pytest.mark.slow
def test_nothing_is_imported_without_such_a_source(files: Path) -> None:
    code = (
        "import sys, octavo; octavo.evaluate(sys.argv[1], sys.argv[2], images=4); "
        "print([name for name in ('pyarrow', 'fsspec') if name in sys.modules])"
    )
    words = [sys.executable, "-W", "ignore", "-c", code, files / "model.tflite", files / "tars"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_server_that_gives_no_parts_of_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Whole:
        def cat_ranges(self, paths: list[str], starts: list[int], ends: list[int], on_error: str) -> list[bytes]:
            return [bytes(100) for _ in paths]

    monkeypatch.setattr(opener, "_system", lambda url: (Whole(), url))
    assert list(opener.ranges("http://host/a.tar", [0], [100])) == [bytes(100)]
    with pytest.raises(DataError, match=r"Of 'http://host/a\.tar' only the whole file can be had"):
        list(opener.ranges("http://host/a.tar", [10], [20]))
