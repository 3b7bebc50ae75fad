from __future__ import annotations

import numpy as np
import pytest
from trees import encode, picture, tree, write_folder

from octavo.base.errors import DataError
from octavo.data.layout import image_folder
from octavo.data.open import open_dataset

PNG = encode(picture(0))


class Names:
    """Files of which only the names matter."""

    def __init__(self, *names):
        self.names = names

    def read(self, positions):
        for place, _ in enumerate(positions):
            yield place, PNG


def layout(*names):
    return image_folder(Names(*names), "name", "'source'")


def splits(*names):
    return {key: split.ids for key, split in layout(*names).splits.items()}


def test_train_and_test():
    dataset = layout("test/b/1.jpg", "train/b/1.jpg", "train/a/2.jpg", "train/a/1.jpg", "test/c/x.jpg")
    assert dataset.classes == ("a", "b", "c")
    assert dataset.splits["train"].ids == ("train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg")
    assert dataset.splits["train"].labels.tolist() == [0, 0, 1]
    assert dataset.splits["train"].positions.tolist() == [3, 2, 1]
    assert dataset.splits["test"].labels.tolist() == [1, 2]


def test_classes_only():
    dataset = layout("b/1.jpg", "a/1.jpg")
    assert set(dataset.splits) == {"all"} and dataset.splits["all"].labels.tolist() == [0, 1]


def test_flat_images_are_unlabelled():
    dataset = layout("2.jpg", "1.jpg")
    assert dataset.classes == () and dataset.splits["all"].labels is None
    assert dataset.splits["all"].ids == ("1.jpg", "2.jpg")
    assert layout("train/1.jpg").splits["train"].labels is None


@pytest.mark.parametrize("wrapper", ["cifar10/", "a/b/"])
def test_folders_around_everything_are_looked_through(wrapper):
    names = ("train/a/1.jpg", "test/a/1.jpg")
    assert splits(*(wrapper + name for name in names)) == splits(*names)
    assert splits(*(wrapper + name for name in ("a/1.jpg", "b/1.jpg"))) == {"all": ("a/1.jpg", "b/1.jpg")}


def test_a_single_class_folder_stays_a_class():
    assert layout("photos/1.jpg", "photos/2.jpg").classes == ("photos",)
    assert layout("data/photos/1.jpg").classes == ("photos",)


def test_validation_stays_apart_and_split_names_ignore_case():
    found = splits("Train/a/1.jpg", "val/a/2.jpg", "validation/b/3.jpg", "TEST/a/4.jpg")
    assert found == {
        "train": ("Train/a/1.jpg",),
        "validation": ("val/a/2.jpg", "validation/b/3.jpg"),
        "test": ("TEST/a/4.jpg",),
    }


def test_validation_images_without_training_images_train_or_are_all_there_is():
    assert splits("val/a/1.jpg", "test/a/2.jpg") == {"train": ("val/a/1.jpg",), "test": ("test/a/2.jpg",)}
    assert splits("val/a/1.jpg", "val/b/2.jpg") == {"all": ("val/a/1.jpg", "val/b/2.jpg")}


def test_a_folder_that_is_itself_called_test_holds_test_images(tmp_path):
    for name, key in (("test", "test"), ("Testing", "test"), ("val", "all"), ("photos", "all")):
        found = open_dataset("path", write_folder(tmp_path / name, tree(splits=("",)))).splits
        assert set(found) == {key} and len(found[key]) == 8


def test_a_class_may_be_called_train():
    dataset = layout("train/1.jpg", "car/1.jpg", "plane/1.jpg")
    assert dataset.classes == ("car", "plane", "train") and set(dataset.splits) == {"all"}


def test_images_in_deeper_folders_belong_to_the_class():
    assert splits("a/x/1.jpg", "b/y/z/2.jpg") == {"all": ("a/x/1.jpg", "b/y/z/2.jpg")}


def test_what_is_not_used_is_named_and_hidden_files_are_not():
    dataset = layout(
        "train/a/1.jpg", "train/2.jpg", "extra/a/1.jpg", "README.md", "train/empty/", ".git/a/1.jpg",
        "__MACOSX/train/a/._1.jpg", "train/a/.DS_Store",
    )  # fmt: skip
    assert dataset.splits["train"].ids == ("train/a/1.jpg",)
    assert dataset.splits["train"].ignored == ("README.md", "extra/a/1.jpg", "train/2.jpg", "train/empty/")


def test_no_images():
    with pytest.raises(DataError, match=r"There are no images in 'source'\. Expected train/CLASS"):
        layout()
    with pytest.raises(DataError, match=r"but 'a\.txt', 'b\.tsv', 'c' and 1 more"):
        layout("a.txt", "b.tsv", "c", "d", ".hidden.jpg")


def test_reading_through_a_split():
    images = layout("a/1.jpg", "b/1.jpg").splits["all"].read([1])
    np.testing.assert_array_equal(images.images[0], picture(0))
