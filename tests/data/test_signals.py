"""Folders of CSV and WAV files: one file is one sample."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from handmade import File
from scipy.io import wavfile

from octavo.api.evaluate import evaluate
from octavo.api.quantize import quantize
from octavo.api.slim import slim
from octavo.api.targets import targets
from octavo.base.errors import DataError, ModelError
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.data.encoded_inputs import Feed
from octavo.data.open import open_dataset
from octavo.data.signals import decode_csv, decode_wav
from octavo.deployment.targets.litert import LiteRT
from octavo.runtime.litert import Port
from octavo.tflite.graph import Graph


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("x,y\n1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1;2\r\n3;4\r\n", [[1, 2], [3, 4]]),
        ("1\t2\n3\t4", [[1, 2], [3, 4]]),
        ("1 2\n3 4", [[1, 2], [3, 4]]),
        ("\ufeff1,2,-3e-1\n", [1, 2, -0.3]),
        ("value\n1\n2\n", [1, 2]),
    ],
)
def test_csv_files_are_numbers(text: str, wanted: list[object]) -> None:
    found = decode_csv(text.encode())
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty file"),
        (b"a,b\n", "no numbers"),
        (b"1,2\n3\n", "number of columns changed from 2 to 1"),
        (b"1,2\n3,x\n", "could not convert string 'x'"),
        (b"1,nan\n", "NaN or infinite values"),
        (b"1,1e300\n", "NaN or infinite values"),
        (b"\xff\xfe\x00", "can't decode byte"),
    ],
)
def test_other_files_give_a_reason(content: bytes, said: str) -> None:
    found = decode_csv(content)
    assert isinstance(found, str) and said in found


def wav(samples: np.ndarray) -> bytes:
    stream = io.BytesIO()
    wavfile.write(stream, 8000, samples)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "low", "zero"), [("uint8", 0, 128), ("int16", -(2**15), 0), ("int32", -(2**31), 0), ("float32", -1, 0)]
)
def test_wav_files_are_floats_from_minus_one(kind: str, low: int, zero: int) -> None:
    found = decode_wav(wav(np.array([low, zero, (low + zero) // 2 if kind != "float32" else -0.5], kind)))
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    assert found.tolist() == [-1.0, 0.0, -0.5]


def test_wav_files_of_24_bits_are_those_of_32() -> None:
    body = b"".join(struct.pack("<i", code)[:3] for code in (-(2**23), 2**22, 0))
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 24000, 3, 24) + b"data" + struct.pack("<I", len(body))
    found = decode_wav(b"RIFF" + struct.pack("<I", len(head + body)) + head + body)
    assert isinstance(found, np.ndarray) and found.tolist() == [-1.0, 0.5, 0.0]


def test_other_sounds_give_a_reason() -> None:
    assert decode_wav(wav(np.zeros((5, 2), np.int16))) == "2 channels, and one was expected"
    whole = wav(np.arange(50, dtype=np.int16))
    for cut in range(0, len(whole), 7):
        found = decode_wav(whole[:cut])
        assert isinstance(found, str) or len(found) <= 50
    huge = whole[:40] + struct.pack("<I", 2**31 - 1) + whole[44:]
    assert isinstance(decode_wav(huge), str | np.ndarray)


def classifier(shape: tuple[int, ...]) -> Graph:
    """Two classes by the sign of a sum, with a softmax."""
    file = File()
    count = int(np.prod(shape))
    x, flat = file.tensor("x", (1, *shape)), file.tensor("flat", (1, count))
    logits, y = file.tensor("logits", (1, 2)), file.tensor("y", (1, 2))
    file.op("RESHAPE", [x, file.constant("s", np.array([1, count], np.int32))], [flat], "Reshape", newShape=[1, count])
    file.dense(flat, file.constant("w", 0.05 * np.stack([-np.ones(count), np.ones(count)]).astype(np.float32)), logits)
    file.op("SOFTMAX", [logits], [y], "Softmax", beta=1.0)
    return file.ports([x], [y]).graph()


def write_tree(root: Path, suffix: str, shape: tuple[int, ...], each: int = 12) -> None:
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, sign in (("falling", -1), ("rising", 1)):
            (root / split / name).mkdir(parents=True)
            for k in range(each):
                values = np.clip(random.normal(0.4 * sign, 0.2, shape), -1, 1)
                path = root / split / name / f"{k:02}{suffix}"
                if suffix == ".csv":
                    np.savetxt(path, values, delimiter=",")
                else:
                    path.write_bytes(wav(np.rint(values.ravel() * 32767).astype(np.int16)))


@pytest.mark.filterwarnings("ignore::octavo.data.dataset.OctavoWarning")
@pytest.mark.parametrize(
    ("suffix", "files", "shape"),
    [(".csv", (6, 4), (6, 4, 1)), (".csv", (6, 4), (24,)), (".wav", (24,), (24, 1)), (".wav", (24,), (1, 24, 1))],
)
def test_folders_of_files_calibrate_and_evaluate(
    tmp_path: Path, suffix: str, files: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    write_tree(tmp_path / "data", suffix, files)
    (tmp_path / "float.tflite").write_bytes(classifier(shape).content)
    quantize(tmp_path / "float.tflite", tmp_path / "data", tmp_path / "int8.tflite")
    for name in ("float.tflite", "int8.tflite"):
        scores = evaluate(tmp_path / name, tmp_path / "data")
        assert len(scores) == 24 and scores.value(scores.metric) == 1.0 and scores.arrays()["truth"].sum() == 12
    found = targets(tmp_path / "int8.tflite", tmp_path / "data", [LiteRT("reference")])
    assert found[0].runs is not None and "on 16 of 16" in found[0].runs.about
    made = slim(tmp_path / "int8.tflite", tmp_path / "slim.tflite", data=tmp_path / "data")
    assert all(item.equal and item.distinct > 5 for step in made.steps for item in step.equality)


def test_unreadable_files_are_named_and_left_out(tmp_path: Path) -> None:
    write_tree(tmp_path, ".csv", (3, 2), each=3)
    (tmp_path / "train" / "rising" / "01.csv").write_text("1,2\n3\n")
    (tmp_path / "train" / "rising" / "notes.txt").write_text("words")
    with pytest.warns(OctavoWarning, match=r"train/rising/01\.csv: (.|\n)*train/rising/notes\.txt"):
        found = open_dataset("path", tmp_path).splits["train"].read()
    assert len(found) == 5 and isinstance(found.images, np.ndarray) and found.images.shape == (5, 3, 2)


def test_archives_and_flat_folders_hold_files_too(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for k in range(3):
        (tmp_path / "flat" / f"{k}.csv").write_text(f"{k},1,2\n")
    assert open_dataset("path", tmp_path / "flat").splits["all"].read().images[2].tolist() == [2, 1, 2]
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr("a/1.csv", "1,2\n")
        archive.writestr("b/1.csv", "3,4\n")
    found = open_dataset("path", tmp_path / "made.zip")
    assert found.classes == ("a", "b") and found.splits["all"].read().images.tolist() == [[1, 2], [3, 4]]
    # Beside images, tables are notes.
    assert "1.csv" in found.splits["all"].ids[0]


def test_files_that_do_not_fit_the_input_are_refused() -> None:
    port = Port("x", (1, 6, 4), "float32", None)
    for shape, said in (((4, 6), "6x4, but the data have 4x6"), ((30,), "6x4, but the data have 30")):
        with pytest.raises(DataError, match=said):
            Feed(ImageSet(np.zeros((2, *shape), np.float32), None, (), ("a", "b")), None, [port])
    # Lengths may differ from file to file: each is looked at.
    mixed = ImageSet([np.zeros(24, np.float32), np.zeros(23, np.float32)], None, (), ("a", "b"))
    feed = Feed(mixed, None, [port])
    assert feed[0].shape == (6, 4)
    with pytest.raises(DataError, match="but the data have 23"):
        feed[1]


@pytest.mark.filterwarnings("ignore::octavo.data.dataset.OctavoWarning")
def test_pixels_cannot_be_proved_on_numbers(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", ".csv", (6, 4))
    (tmp_path / "float.tflite").write_bytes(classifier((6, 4, 1)).content)
    quantize(tmp_path / "float.tflite", tmp_path / "data", tmp_path / "int8.tflite", scale=(-1, 1))
    with pytest.raises(ModelError, match="needs images"):
        slim(tmp_path / "int8.tflite", tmp_path / "slim.tflite", pixels="int8", data=tmp_path / "data")
