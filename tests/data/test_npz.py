from __future__ import annotations

import zipfile

import numpy as np
import pytest

from octavo.base.errors import DataError
from octavo.data import OctavoWarning, Preprocess, calibration, draw, draw_calibration, open_dataset
from octavo.recipe.schema import DataRecipe

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 5, 3), np.uint8)
LABELS = np.arange(12) % 3


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez_compressed(tmp_path / "photos.npz", **arrays)
        return open_dataset("path", tmp_path / "photos.npz")

    return save


def test_all_four_arrays(save):
    dataset = save(x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:6] ^ 1, y_test=LABELS[:6])
    assert dataset.name == "photos" and dataset.classes == ("0", "1", "2")
    train = dataset.splits["train"].read([7, 2])
    np.testing.assert_array_equal(train.images, IMAGES[[7, 2]])
    assert train.ids == ("x_train[7]", "x_train[2]") and train.labels.tolist() == [1, 2]
    splits = draw(dataset, DataRecipe(), 0)
    assert len(splits.train) == 12 and len(splits.test) == 6 and splits.validation is None


def test_calibration_needs_x_train_only(save):
    dataset = save(x_train=IMAGES)
    assert dataset.classes == () and set(dataset.splits) == {"train"}
    chosen = draw_calibration(dataset, 5, seed=0)
    assert len(chosen) == 5 and chosen.labels is None
    assert calibration(dataset.splits["train"].read(), 5, seed=0).ids == chosen.ids
    assert draw(dataset, DataRecipe(), 0).test.labels is None


def test_test_images_never_calibrate(save):
    with pytest.raises(DataError, match="only test images"):
        draw_calibration(save(x_test=IMAGES, y_test=LABELS), 5, seed=0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_are_the_models_input(save, dtype):
    arrays = np.random.default_rng(0).normal(size=(12, 4, 5, 2)).astype(dtype)
    images = save(x_train=arrays).splits["train"].read()
    assert images.images.dtype == np.float32
    np.testing.assert_array_equal(images.images, arrays.astype(np.float32))
    three = save(x_train=IMAGES / 255.0).splits["train"].read().images
    np.testing.assert_array_equal(Preprocess((4, 5)).apply(three), three)


@pytest.mark.parametrize("gray", [IMAGES[..., 0], IMAGES[..., :1]])
def test_gray_images_become_rgb(save, gray):
    images = save(x_train=gray).splits["train"].read().images
    np.testing.assert_array_equal(images, np.repeat(IMAGES[..., :1], 3, -1))


@pytest.mark.parametrize(
    "truth",
    [LABELS.astype(float), np.eye(3)[LABELS] / 2, np.ones((12, 3)), np.zeros((12, 2, 2), int), np.linspace(0, 1, 12)],
)
def test_what_is_no_class_is_the_truth_of_another_task(save, truth):
    split = save(x_test=IMAGES, y_test=truth).splits["test"]
    assert split.labels is None and split.classes == ()
    read = split.read([3, 1])
    np.testing.assert_array_equal(read.truth, truth[[3, 1]])
    np.testing.assert_array_equal(read.take([1]).truth, truth[[1]])
    assert read.digest() != split.read([1, 3]).digest()


def test_x_and_y_alone_are_one_split(save):
    dataset = save(x=IMAGES, y=LABELS)
    assert set(dataset.splits) == {"all"} and dataset.splits["all"].labels.tolist() == LABELS.tolist()


def test_columns_with_endings_are_splits(save):
    dataset = save(
        a_train=np.zeros((12, 2)), b_train=np.ones((12, 1)), a_test=np.zeros((3, 2)), b_test=np.ones((3, 1)),
        y_train=LABELS, y_test=LABELS[:3],
    )  # fmt: skip
    assert {key: len(split) for key, split in dataset.splits.items()} == {"train": 12, "test": 3}
    assert sorted(dataset.splits["test"].read([0]).images[0]) == ["a", "b"]


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.astype(np.uint8),
        LABELS[:, None],
        np.eye(3)[LABELS],
        np.eye(3, dtype=bool)[LABELS],
        np.eye(3, dtype=int)[LABELS],
    ],
)
def test_every_form_of_labels(save, labels):
    split = save(x_train=IMAGES, y_train=labels).splits["train"]
    assert split.labels.dtype == np.int64 and split.labels.tolist() == LABELS.tolist()
    assert split.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "labels",
    [
        LABELS - 1,
        LABELS[:11],
        np.eye(3)[LABELS] * np.nan,
        np.array(["a"] * 12),
        np.array(3),
        np.zeros((12, 0)),
    ],
)
def test_other_labels_are_errors(save, labels):
    with pytest.raises(DataError, match=r"y_train of '.*photos\.npz'"):
        save(x_train=IMAGES, y_train=labels)


def test_classes_may_be_named(save):
    dataset = save(x_train=IMAGES, y_train=LABELS, classes=["ant", "bee", "cat"])
    assert dataset.classes == ("ant", "bee", "cat")
    for wrong in (["ant", "bee"], ["ant", "ant", "bee"], [1, 2, 3], [["a", "b", "c"]]):
        with pytest.raises(DataError, match="'classes' of"):
            save(x_train=IMAGES, y_train=LABELS, classes=wrong)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"classes": np.array(["a"])}, "neither x_train nor x_test"),
        ({"one": np.zeros((3, 4)), "two": np.zeros((4, 4))}, "should have the same length"),
        ({"names": np.array(["a", "b"])}, "has the type <U1"),
        ({"y_train": LABELS}, "y_train but no x_train"),
        ({"x_train": IMAGES, "y_test": LABELS}, "y_test but no x_test"),
        ({"x_train": IMAGES.astype(complex)}, "the type complex128"),
        ({"x_train": IMAGES[0, 0]}, r"should have shape \(N, H, W, 3\)"),
        ({"x_train": np.zeros((3, 4, 4, 4), np.uint8)}, r"should have shape \(N, H, W, 3\)"),
        ({"x_train": np.zeros((3, 0, 4, 3), np.uint8)}, r"should have shape \(N, H, W, 3\)"),
        ({"x_train": np.zeros((3, 0))}, "holds nothing"),
        ({"x_train": IMAGES[:0]}, "holds no images"),
        ({"x_train": np.uint8(1)}, "holds no images"),
        ({"x_train": np.array([{}, []], object)}, "never loaded"),
    ],
)
def test_other_arrays_are_errors(save, arrays, message):
    with pytest.raises(DataError, match=message):
        save(**arrays)


def test_other_names_are_reported(save):
    dataset = save(x_train=IMAGES, x_val=IMAGES)
    with pytest.warns(OctavoWarning, match="x_val"):
        dataset.splits["train"].read([0])


def test_damage_and_bombs_are_errors(save, tmp_path):
    save(x_train=IMAGES)
    path = tmp_path / "photos.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset("path", path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(100 << 20))
    with pytest.raises(DataError, match="refused: it claims"):
        open_dataset("path", path)


def test_a_later_version_of_the_zip_format_is_an_error(save, tmp_path):
    save(x_train=IMAGES)
    path = tmp_path / "photos.npz"
    content = bytearray(path.read_bytes())
    # The version that is needed to unpack, in the central directory.
    content[content.index(b"PK\x01\x02") + 6] = 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read whole \(NotImplementedError: zip file version 25.5\)"):
        open_dataset("path", path)


def test_an_array_that_claims_more_than_there_is(tmp_path):
    import io

    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000, 3)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x_train.npy", stream.getvalue() + bytes(100))
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset("path", tmp_path / "x.npz")


def test_one_array_per_input(save):
    speed, steps = np.linspace(0, 1, 12), np.arange(12, dtype=np.int32)[:, None]
    dataset = save(speed=speed, steps=steps, images=IMAGES, y_train=LABELS)
    read = dataset.splits["train"].read([3, 1])
    assert read.labels.tolist() == [0, 1] and read.ids == ("sample[3]", "sample[1]")
    first = read.images[0]
    assert sorted(first) == ["images", "speed", "steps"]
    assert first["speed"].dtype == np.float32 and first["steps"].dtype == np.int32
    np.testing.assert_array_equal(first["images"], IMAGES[3])
    assert read.digest() == read.take([0, 1]).digest() != read.take([1, 0]).digest()
    assert len(set(read.fingerprints())) == 2
    with pytest.raises(DataError, match="the arrays 'speed', 'steps', 'images'"):
        _ = read.pictures
    assert list(save(speed=speed, steps=steps).splits) == ["all"]


def test_arrays_of_any_rank_are_the_models_own_input(save):
    for array in (
        np.zeros((3, 4)),
        np.zeros(5),
        np.ones((2, 3, 4, 5, 6)),
        np.zeros((4, 7), np.int64),
        np.ones(3, bool),
    ):
        read = save(x_train=array).splits["train"].read()
        assert read.images.shape == array.shape
        assert read.images.dtype == (np.float32 if array.dtype.kind == "f" else array.dtype)
