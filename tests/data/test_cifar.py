from __future__ import annotations

import contextlib
import pickle
import struct
import sys
import types

import numpy as np
import pytest
from trees import WRITERS, write_folder, write_tar

from octavo.base.errors import DataError, MissingDependencyError
from octavo.data import draw, open_dataset
from octavo.data.cifar import CLASSES, TEST, TRAIN
from octavo.recipe.schema import DataRecipe

COUNT = 20


def batch(seed):
    """Rows as in the official files, and labels in which every class occurs."""
    rows = np.random.default_rng(seed).integers(0, 256, (COUNT, 3072), np.uint8)
    return rows, [k % 10 for k in range(COUNT)]


def python2_pickle(rows, labels):
    """The opcodes that Python 2's cPickle wrote the official batches with (protocol 2, text as bytes)."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    content = rows.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    array += b"(" + number(1) + number(rows.shape[0]) + number(rows.shape[1]) + b"\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", len(content)) + content + b"tb"
    names = b"](" + b"".join(text(b"x.png") for _ in labels) + b"e"
    return (
        b"\x80\x02}(" + text(b"batch_label") + text(b"batch 1 of 5") + text(b"labels") + b"](" +
        b"".join(number(label) for label in labels) + b"e" + text(b"data") + array + text(b"filenames") + names + b"u."
    )  # fmt: skip


def binary(rows, labels):
    return np.column_stack([np.array(labels, np.uint8), rows]).tobytes()


def archive(version, make):
    suffix, folder = (".bin", "cifar-10-batches-bin/") if version == "binary" else ("", "cifar-10-batches-py/")
    files = {folder + name + suffix: make(*batch(seed)) for seed, name in enumerate(TRAIN + TEST)}
    return files | {folder + "readme.html": b"<html>", folder + "batches.meta": b"any"}


MAKERS = {
    "python 2": ("python", python2_pickle),
    "protocol 2 of today": ("python", lambda rows, labels: pickle.dumps({b"data": rows, b"labels": labels}, 3)),
    "text keys": ("python", lambda rows, labels: pickle.dumps({"data": np.asfortranarray(rows), "labels": labels}, 4)),
    "binary": ("binary", binary),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("container", ["folder", "tar", "tar.gz"])
def test_official_archives(tmp_path, maker, container):
    dataset = open_dataset("cifar10", WRITERS[container](tmp_path, archive(*MAKERS[maker])))
    assert dataset.classes == CLASSES and dataset.name == "cifar10"
    train, test = dataset.splits["train"].read(), dataset.splits["test"].read()
    assert len(train) == 5 * COUNT and len(test) == COUNT
    assert train.ids[COUNT + 3] == "data_batch_2[3]" and test.ids[0] == "test_batch[0]"
    rows, labels = batch(1)
    # The documented layout: the first 1,024 values are the red channel, row by row.
    row, column = 7, 11
    for channel in range(3):
        value = rows[3, channel * 1024 + row * 32 + column]
        assert train.images[COUNT + 3, row, column, channel] == value
    assert train.labels[COUNT : 2 * COUNT].tolist() == labels
    splits = draw(dataset, DataRecipe(source="cifar10", train=50, test=10), 0)
    assert np.bincount(splits.train.labels).tolist() == [5] * 10


def test_python2_pickles_are_what_the_standard_unpickler_reads():
    rows, labels = batch(0)
    value = pickle.loads(python2_pickle(rows, labels), encoding="bytes")
    np.testing.assert_array_equal(value[b"data"], rows)
    assert value[b"labels"] == labels


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Planted:
    pass


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (Evil(exec, "import sys; sys.pwned = True"), r"builtins\.exec"),
        (Evil(getattr, "", "join"), r"builtins\.getattr"),
        (Evil(np.load, "/etc/passwd"), r"numpy\.load"),
        (Planted(), r"copyreg\._reconstructor|test_cifar\.Planted"),
        ({1, 2}, r"builtins\.set"),
        (np.float64(3), r"numpy\._core\.multiarray\.scalar"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_pickle_that_asks_for_anything_else_is_refused_and_not_run(tmp_path, payload, named, protocol):
    files = archive("python", python2_pickle)
    rows, labels = batch(0)
    files["cifar-10-batches-py/data_batch_3"] = pickle.dumps([payload, {b"data": rows, b"labels": labels}], protocol)
    # Protocol 2 writes sets and bytes by way of other globals; what matters is that one is named and none is run.
    with pytest.raises(DataError, match=rf"'data_batch_3' .* asks for '({named}|__builtin__\.\w+|_codecs\.encode)'"):
        open_dataset("cifar10", write_folder(tmp_path / "x", files))
    assert not hasattr(sys, "pwned")


@pytest.mark.parametrize("global_", ["os\nsystem", "builtins\neval", "numpy\nload", "numpy.core.multiarray\n_restore"])
def test_each_way_to_name_a_global_is_refused(tmp_path, global_):
    module, name = global_.split("\n")
    programs = [
        f"c{global_}\n(S'echo'\ntR.".encode(),
        f"(S'echo'\ni{global_}\n.".encode(),
        f"(c{global_}\nS'echo'\no.".encode(),
        b"\x80\x04\x8c"
        + bytes([len(module)])
        + module.encode()
        + b"\x8c"
        + bytes([len(name)])
        + name.encode()
        + b"\x93.",
    ]
    for program in programs:
        files = archive("python", python2_pickle) | {"cifar-10-batches-py/test_batch": program}
        with pytest.raises(DataError, match=f"'{module}.{name}'"):
            open_dataset("cifar10", write_folder(tmp_path / "x", files))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        b"\x80\x02}.",
        b"N.",
        pickle.dumps({b"data": [1, 2], b"labels": [1, 2]}, 2),
        python2_pickle(*batch(0))[:-4000],
        python2_pickle(batch(0)[0][:, :100], batch(0)[1]),
        python2_pickle(batch(0)[0], [0] * (COUNT - 1)),
        python2_pickle(batch(0)[0], [*[0] * (COUNT - 1), 10]),
        python2_pickle(*batch(0)).replace(b"U\x02u1", b"U\x02O8"),
        python2_pickle(*batch(0)).replace(b"labels", b"fine_l"),
        b"cnumpy\nndarray\n.",
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"cnumpy\nndarray\n}U\x05stateK\x01sb.",
    ],
    ids=range(14),
)
def test_damaged_pickles_are_errors(tmp_path, content):
    files = archive("python", python2_pickle) | {"cifar-10-batches-py/data_batch_2": content}
    with pytest.raises(DataError, match="data_batch_2"):
        open_dataset("cifar10", write_folder(tmp_path / "x", files))


def test_random_damage_to_a_pickle_never_raises_anything_else(tmp_path):
    from octavo.data.cifar import _python

    random = np.random.default_rng(0)
    whole = np.frombuffer(python2_pickle(batch(0)[0][:1], [3]), np.uint8)
    code = np.flatnonzero(np.arange(len(whole)) < 400)
    for _ in range(500):
        damaged = whole.copy()
        damaged[random.choice(code, 2)] = random.integers(0, 128, 2)
        with contextlib.suppress(DataError):
            _python(damaged.tobytes(), "The batch")


def test_damaged_binary_batches_are_errors(tmp_path):
    files = archive("binary", binary)
    for content, message in ((b"", "0 bytes"), (bytes(3000), "3,000 bytes"), (b"\x0a" + bytes(3072), "labels from 10")):
        files["cifar-10-batches-bin/test_batch.bin"] = content
        with pytest.raises(DataError, match=message):
            open_dataset("cifar10", write_folder(tmp_path / "x", files))


def test_missing_and_doubled_batches_are_errors(tmp_path):
    files = archive("binary", binary)
    doubled = files | archive("python", python2_pickle)
    with pytest.raises(DataError, match="twice"):
        open_dataset("cifar10", write_tar(tmp_path / "x.tar.gz", doubled))
    del files["cifar-10-batches-bin/data_batch_4.bin"], files["cifar-10-batches-bin/test_batch.bin"]
    with pytest.raises(DataError, match="lacks the CIFAR-10 batches data_batch_4, test_batch"):
        open_dataset("cifar10", write_tar(tmp_path / "x.tar.gz", files))


def fake_keras(monkeypatch, load_data):
    keras, datasets = types.ModuleType("keras"), types.ModuleType("keras.datasets")
    datasets.cifar10 = types.SimpleNamespace(load_data=load_data)
    keras.datasets = datasets
    monkeypatch.setitem(sys.modules, "keras", keras)
    monkeypatch.setitem(sys.modules, "keras.datasets", datasets)


def test_keras_download(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), np.uint8)
    labels = (np.arange(30) % 10).astype(np.uint8)[:, None]
    fake_keras(monkeypatch, lambda: ((pixels[:20], labels[:20]), (pixels[20:], labels[20:])))
    splits = open_dataset("cifar10").splits
    images = splits["train"].read([3])
    np.testing.assert_array_equal(images.images[0], pixels[3])
    assert images.ids == ("x_train[3]",) and splits["test"].labels.tolist() == list(range(10))


def test_a_failed_download_says_what_to_do(monkeypatch):
    def fail():
        raise Exception("URL fetch failure on https://example.org: None -- [Errno -3] no name")

    fake_keras(monkeypatch, fail)
    with pytest.raises(DataError, match=r"URL fetch failure.*\n?.*Set `data` to a local copy"):
        open_dataset("cifar10")


def test_no_keras_says_what_to_install(monkeypatch):
    # A module that is None in sys.modules cannot be imported.
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.setitem(sys.modules, "keras.datasets", None)
    with pytest.raises(MissingDependencyError, match=r"\[train\]"):
        open_dataset("cifar10")
