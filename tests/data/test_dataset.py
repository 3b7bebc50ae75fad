from __future__ import annotations

import warnings

import numpy as np
import pytest
from trees import picture, tree, write_folder

from octavo.base.errors import DataError
from octavo.data import ImageSet, OctavoWarning, open_dataset, read_together


def image_set(count=5):
    return ImageSet(
        np.stack([picture(seed) for seed in range(count)]),
        np.arange(count) % 2,
        ("a", "b"),
        tuple(f"i{index}" for index in range(count)),
    )


def test_take_keeps_images_labels_and_ids_together():
    images = image_set()
    taken = images.take([4, 0])
    assert taken.ids == ("i4", "i0") and taken.labels.tolist() == [0, 0] and taken.classes == images.classes
    np.testing.assert_array_equal(taken.images, images.images[[4, 0]])
    as_list = ImageSet(list(images.images), images.labels, images.classes, images.ids).take(np.array([4, 0]))
    assert isinstance(as_list.images, list)
    np.testing.assert_array_equal(np.stack(as_list.images), taken.images)


def test_batches_cover_all_in_order():
    batches = list(image_set().batches(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert [name for batch in batches for name in batch.ids] == [f"i{k}" for k in range(5)]


def test_digest_depends_on_everything_and_on_the_order():
    images = image_set()
    other_pixels = images.images.copy()
    other_pixels[0, 0, 0, 0] ^= 1
    variants = [
        images,
        images.take([1, 0, 2, 3, 4]),
        images.take([0, 1, 2, 3]),
        ImageSet(other_pixels, images.labels, images.classes, images.ids),
        ImageSet(images.images, 1 - images.labels, images.classes, images.ids),
        ImageSet(images.images, None, images.classes, images.ids),
        ImageSet(images.images, images.labels, ("b", "a"), images.ids),
        ImageSet(images.images, images.labels, images.classes, images.ids[::-1]),
        ImageSet(images.images.transpose(0, 2, 1, 3), images.labels, images.classes, images.ids),
    ]
    assert len({variant.digest() for variant in variants}) == len(variants)
    same = ImageSet(list(images.images), images.labels.astype(np.int32), images.classes, images.ids)
    assert same.digest() == images.digest() == image_set().digest()


def test_lengths_must_agree():
    images = image_set()
    with pytest.raises(ValueError, match="different lengths"):
        ImageSet(images.images, images.labels[:2], images.classes, images.ids)


def test_read_gives_the_order_asked_for(write):
    files = tree()
    split = open_dataset("path", write(files)).splits["train"]
    names = split.read([5, 0, 3]).ids
    assert names == ("train/b/0001.png", "train/a/0000.png", "train/a/0003.png")
    everything = split.read()
    assert everything.ids == split.ids == tuple(sorted(name for name in files if name.startswith("train")))
    for k, name in enumerate(files):
        if name in split.ids:
            np.testing.assert_array_equal(everything.images[split.ids.index(name)], picture(k))


def test_images_of_several_sizes_come_as_a_list(tmp_path):
    from trees import encode

    files = {"a/1.png": encode(picture(0)), "b/1.png": encode(picture(1, (3, 3)))}
    images = open_dataset("path", write_folder(tmp_path / "x", files)).splits["all"].read().images
    assert [image.shape for image in images] == [(6, 5, 3), (3, 3, 3)]


def test_corrupt_images_and_strange_files_give_one_warning_and_are_left_out(write):
    files = tree()
    files["train/a/0001.png"] = files["train/a/0001.png"][:60]
    files["test/b/0002.png"] = b"no image at all"
    files["test/b/0003.png"] = b""
    files |= {"train/a/notes.txt": b"x", "train/b/Thumbs.db": b"x", "train/b/.DS_Store": b"x"}
    splits = open_dataset("path", write(files)).splits
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train, test = read_together([(splits[key], np.arange(len(splits[key]))) for key in ("train", "test")])
    assert len(caught) == 1 and caught[0].category is OctavoWarning
    text = str(caught[0].message)
    for name in ("train/a/0001.png", "test/b/0002.png: not an image", "test/b/0003.png: empty file"):
        assert name in text
    assert "are skipped (3)" in text and "empty folders (2)" in text
    assert "train/a/notes.txt" in text and "train/b/Thumbs.db" in text and ".DS_Store" not in text
    assert len(train) == 7 and len(test) == 6
    assert "train/a/0001.png" not in train.ids and np.bincount(train.labels).tolist() == [3, 4]


def test_the_warning_points_at_the_caller(tmp_path):
    files = tree()
    files["train/a/0000.png"] = b"x"
    split = open_dataset("path", write_folder(tmp_path / "x", files)).splits["train"]
    with pytest.warns(OctavoWarning, match="train/a/0000") as caught:
        split.read()
    assert caught[0].filename == __file__


def test_only_what_is_asked_for_is_decoded(tmp_path):
    files = tree()
    files["train/a/0000.png"] = b"x"
    split = open_dataset("path", write_folder(tmp_path / "x", files)).splits["train"]
    assert len(split.read([1, 2])) == 2  # A warning would be an error here.


def test_a_class_that_loses_all_its_images_is_an_error(write):
    files = {name: b"x" if name.startswith("train/b") else content for name, content in tree().items()}
    split = open_dataset("path", write(files)).splits["train"]
    with pytest.raises(DataError, match="class 'b'") as caught:
        split.read()
    assert len(caught.value.details) == 4 and "train/b/0000.png" in str(caught.value)


def test_unlabelled_images_that_are_all_lost_are_an_error(tmp_path):
    split = open_dataset("path", write_folder(tmp_path / "x", {"1.png": b"x", "2.png": b"y"})).splits["all"]
    with pytest.raises(DataError, match="None of the images could be read"):
        split.read()


def test_a_very_long_list_is_cut_with_its_count(tmp_path):
    files = tree() | {f"train/a/{k}.txt": b"" for k in range(150)}
    split = open_dataset("path", write_folder(tmp_path / "x", files)).splits["train"]
    with pytest.warns(OctavoWarning, match="and 50 more"):
        split.read()
