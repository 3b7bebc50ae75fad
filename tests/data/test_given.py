"""Samples that Python code gives, in every form, against the same samples in an `.npz` file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brightness import SIZE, brightness

import octavo
from octavo.base.errors import DataError, OctavoError
from octavo.data import given as module
from octavo.data.columns import Columns
from octavo.data.given import given
from octavo.runtime.litert import Port

RANDOM = np.random.default_rng(0)
N = 24
LABELS = np.arange(N) % 2
PICTURES = (RANDOM.integers(0, 20, (N, SIZE, SIZE, 3)) + np.array([145, 90])[LABELS][:, None, None, None]).astype("u1")
FLOATS = PICTURES.astype(np.float32) / 255
IMAGE = (Port("image", (1, SIZE, SIZE, 3), "float32", None),)
VECTOR = (Port("x", (1, 24), "float32", None),)
TWO = (Port("serving_default_image:0", (1, 4, 4, 1), "float32", None), Port("b", (1, 2), "float32", None, "speed"))


class Batches:
    """What a Keras `PyDataset` offers: batches by their number."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        return PICTURES[6 * number : 6 * number + 6], LABELS[6 * number : 6 * number + 6]


class TensorFlowData:
    """What a `tf.data.Dataset` offers; its own elements are no NumPy arrays."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("tensors would be made")

    def as_numpy_iterator(self) -> Iterator[Any]:
        return iter([(PICTURES[:16], LABELS[:16]), (PICTURES[16:], LABELS[16:])])


def one_buffer() -> Iterator[tuple[np.ndarray, int]]:
    buffer = np.empty_like(PICTURES[0])
    for picture, label in zip(PICTURES, LABELS, strict=True):
        buffer[:] = picture
        yield buffer, int(label)


LABELLED: list[Callable[[], Any]] = [
    lambda: (PICTURES, LABELS),
    lambda: (list(PICTURES), list(LABELS)),
    lambda: (PICTURES, np.eye(2, dtype=np.float32)[LABELS]),
    lambda: list(zip(PICTURES, LABELS, strict=True)),
    lambda: ([picture, label] for picture, label in zip(PICTURES, LABELS, strict=True)),
    lambda: one_buffer,
    lambda: zip(PICTURES.reshape(4, 6, SIZE, SIZE, 3), LABELS.reshape(4, 6), strict=True),
    lambda: Batches(),
    lambda: TensorFlowData(),
    lambda: ({"image": picture} for picture in PICTURES),
    lambda: (PICTURES[k : k + 5] for k in range(0, N, 5)),
    lambda: [[picture[None]] for picture in PICTURES],
    lambda: PICTURES,
]


@pytest.mark.parametrize("place", range(len(LABELLED)))
def test_every_form_holds_the_same_samples(place: int) -> None:
    for ports in (IMAGE, ()) if place != 9 else (IMAGE,):
        split = given(LABELLED[place](), ports).splits["given"]
        found = split.read()
        np.testing.assert_array_equal(np.stack(list(found.images)), PICTURES)
        assert found.ids[3] == "sample[3]" and len(split) == N
        if place < 9:
            assert found.labels is not None and found.labels.tolist() == LABELS.tolist()
            assert found.classes == ("0", "1")
        else:
            assert found.labels is None


@pytest.mark.filterwarnings("ignore::octavo.data.dataset.OctavoWarning")
@pytest.mark.parametrize("images", [PICTURES, FLOATS])
def test_functions_take_samples_as_they_take_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: np.ndarray
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("float.tflite").write_bytes(brightness((0, 1)))
    np.savez("data.npz", x_train=images, y_train=LABELS, x_test=images[:10], y_test=LABELS[:10])
    scale = {"scale": (0.0, 1.0)}
    octavo.quantize("float.tflite", "data.npz", "of_file.tflite", images=N, **scale)  # type: ignore[arg-type]
    pairs = zip(images, LABELS, strict=True)
    octavo.quantize("float.tflite", pairs, "int8.tflite", images=N, **scale)  # type: ignore[arg-type]
    assert Path("int8.tflite").read_bytes() == Path("of_file.tflite").read_bytes()
    assert Path("int8.tflite.json").read_bytes() == Path("of_file.tflite.json").read_bytes()
    # All that were given are evaluated, and none held out.
    wanted = octavo.evaluate("int8.tflite", "data.npz", **scale)  # type: ignore[arg-type]
    found = octavo.evaluate("int8.tflite", (images[:10], LABELS[:10]), **scale)  # type: ignore[arg-type]
    assert len(found) == 10 and repr(found) == repr(wanted)
    compared = octavo.compare("float.tflite", "int8.tflite", list(images), images=8, **scale)  # type: ignore[arg-type]
    assert compared.images == 8
    slimmed = octavo.slim("int8.tflite", "slim.tflite", data=images, **scale)  # type: ignore[arg-type]
    assert slimmed.images.endswith("of the samples given")
    deployed = octavo.deploy("int8.tflite", "device", data=(images[:10], LABELS[:10]), **scale)  # type: ignore[arg-type]
    card = (deployed.folder / "model-card.md").read_text("utf-8")
    assert "of `samples given in Python`" in " ".join(card.split())


def test_samples_of_some_classes_only_are_evaluated(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(brightness((0, 1), outputs=5))
    found = octavo.evaluate(tmp_path / "float.tflite", (PICTURES, LABELS), scale=(0, 1))
    assert found.value(found.metric) == 1.0 and list(found.classes) == ["0", "1", "2", "3", "4"]  # type: ignore[attr-defined]


def test_pictures_may_differ_in_size() -> None:
    found = given([np.zeros((n, 5, 3), np.uint8) for n in (4, 5, 6)], IMAGE).splits["given"].read([2, 0])
    assert [image.shape for image in found.images] == [(6, 5, 3), (4, 5, 3)]


def test_vectors_batches_and_numbers() -> None:
    rows = RANDOM.normal(size=(6, 24))
    for samples in (rows, list(rows), [list(row) for row in rows], [rows[:4], rows[4:]], (row[None] for row in rows)):
        found = given(samples, VECTOR).splits["given"].read().images
        assert isinstance(found, np.ndarray) and found.dtype == np.float32
        np.testing.assert_array_equal(found, rows.astype(np.float32))
    truth = given(zip(rows, rows[:, 0], strict=True), VECTOR).splits["given"].read().truth
    np.testing.assert_array_equal(truth, rows[:, 0])


def test_several_inputs_are_dicts() -> None:
    image, speed = RANDOM.normal(size=(6, 4, 4, 1)).astype("f4"), np.arange(12, dtype=np.float32).reshape(6, 2)
    each = [{"image": image[k], "speed": speed[k]} for k in range(6)]
    parts = [{"speed": speed[part], "image": image[part]} for part in (slice(4), slice(4, 6))]
    batches = list(zip(parts, ([0, 1, 2, 0], [1, 1]), strict=True))
    for samples in ({"image": image, "speed": speed}, each, iter(each), batches):
        found = given(samples, TWO).splits["given"].read()
        assert isinstance(found.images, Columns)
        np.testing.assert_array_equal(found.images.arrays["image"], image)
        np.testing.assert_array_equal(found.images.arrays["speed"], speed)
    assert found.labels is not None and found.labels.tolist() == [0, 1, 2, 0, 1, 1]


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (5, "The data are a int, and neither a path nor samples"),
        ([], "The data give no samples"),
        (iter(()), "A generator gives its samples once"),
        ({}, "an empty dict"),
        ((PICTURES, LABELS, LABELS), r"a tuple of 3 items; \(x, y\) was expected"),
        (((PICTURES, LABELS), LABELS), "labels twice"),
        ((PICTURES, LABELS[:-1]), "should have one label for each of 24"),
        (PICTURES[0], r"one image of shape \(8, 8, 3\)"),
        ([(PICTURES[0], 0, 1.0)], "Item 0 of the samples given has 3 parts"),
        ([(PICTURES[0], 0), PICTURES[1]], "1 of 2 samples given have a label"),
        ([PICTURES[0], FLOATS[1]], "Some samples are uint8 and others are not"),
        ([FLOATS[0], FLOATS[1][:4]], r"differ in shape: \(8, 8, 3\), \(4, 8, 3\)"),
        ([(PICTURES[0], [0, 1]), (PICTURES[1], [1])], "The labels of the samples given differ in shape"),
        ([(PICTURES[:3], LABELS[:2])], r"a batch whose arrays differ in length: \(3, 8, 8, 3\), \(2,\)"),
        (["cat", "dog"], "Item 0 of the samples given has the type <U3"),
        ([[[1, 2], [3]]], "Item 0 of the samples given is no array of numbers"),
        ([{"a": [1.0]}, {"b": [1.0]}], "hold different arrays: .'a'., and .'b'."),
        ({"a": [1.0], "b": [1.0, 2.0]}, "The arrays differ in length"),
    ],
)
def test_other_data_are_refused(samples: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        given(samples, IMAGE)


def test_shapes_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(brightness((0, 1)))
    for samples, said in (
        ([FLOATS[0][:5]], "expects inputs of 8x8x3, but the data have 5x8x3"),
        ([{"speed": [1.0]}], "none for the input 'image'"),
        ([np.full((8, 8, 3), np.nan)], "NaN"),
    ):
        with pytest.raises(DataError, match=said):
            octavo.quantize(tmp_path / "float.tflite", samples, tmp_path / "int8.tflite", images=1)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_GIVEN_BYTES", 1 << 20)

    def endless() -> Iterator[np.ndarray]:
        while True:
            yield np.zeros(24)

    with pytest.raises(DataError, match=r"more than 1 MiB of memory: 2,675 were read\. .*dataset\.take\(1000\)"):
        given(endless(), VECTOR)


def test_a_recipe_needs_a_path() -> None:
    with pytest.raises(OctavoError, match="A recipe names its data by a path"):
        octavo.init(None, [PICTURES])  # type: ignore[arg-type]
