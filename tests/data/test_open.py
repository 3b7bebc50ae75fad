from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trees import tree, write_folder, write_tar, write_zip

from octavo.base.errors import DataError
from octavo.data import draw, draw_test, open_dataset
from octavo.data.cifar import CLASSES
from octavo.data.split import check_trainable
from octavo.recipe.schema import DataRecipe

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10-images.tar.gz"


def test_all_containers_give_equal_images(tmp_path):
    from trees import WRITERS

    digests = {
        open_dataset("path", make(tmp_path, tree())).splits["train"].read().digest() for make in WRITERS.values()
    }
    assert len(digests) == 1


def test_content_decides_and_not_the_suffix(tmp_path):
    make = {"a.zip": write_tar, "b.npz": write_zip, "c.tar": write_zip, "d": write_tar}
    for name, write in make.items():
        assert set(open_dataset("path", write(tmp_path / name, tree())).splits) == {"train", "test"}
    np.savez(tmp_path / "e.npz", x_train=np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "e.npz").rename(tmp_path / "e.tar")
    assert len(open_dataset("path", tmp_path / "e.tar").splits["train"]) == 2


def test_the_name_is_the_paths(tmp_path):
    assert open_dataset("path", write_tar(tmp_path / "photos.tar.gz", tree())).name == "photos"


@pytest.mark.parametrize("name", ["x.npz", "x.tar", "x.tar.gz", "x.zip", "x.jpg"])
def test_text_under_any_name_is_an_error(tmp_path, name):
    (tmp_path / name).write_text("hello\n" * 200)
    with pytest.raises(DataError, match=r"is a file, but its content is neither|cannot be read whole"):
        open_dataset("path", tmp_path / name)


def test_wrong_paths(tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        open_dataset("path", tmp_path / "nowhere")
    with pytest.raises(DataError, match="Set `data` to a folder"):
        open_dataset("path")
    with pytest.raises(DataError, match="need no path"):
        open_dataset("digits", tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="is an empty file"):
        open_dataset("path", tmp_path / "empty")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"There are no images in '.*folder'"):
        open_dataset("path", tmp_path / "folder")
    with pytest.raises(DataError, match="There are no images in"):
        open_dataset("path", write_zip(tmp_path / "x.zip", {}))
    with pytest.raises(DataError, match="There are no images in"):
        open_dataset("path", write_tar(tmp_path / "x.tar", {}, "w:"))
    with pytest.raises(DataError, match="neither a file nor a folder"):
        open_dataset("path", Path("/dev/null"))


def test_one_class_only(tmp_path):
    dataset = open_dataset("path", write_folder(tmp_path / "x", tree(classes="a")))
    with pytest.raises(DataError, match="one class only, 'a'"):
        check_trainable(draw(dataset, DataRecipe(), 0).train, "here")


def test_cifar_as_images(tmp_path):
    files = {name.replace("/a/", f"/{label}/"): png for label in CLASSES for name, png in tree(1, classes="a").items()}
    assert open_dataset("cifar10", write_tar(tmp_path / "x.tar.gz", files)).classes == CLASSES
    with pytest.raises(DataError, match="is not CIFAR-10: its classes are a, b"):
        open_dataset("cifar10", write_folder(tmp_path / "y", tree()))


@pytest.mark.skipif(not CIFAR.exists(), reason=f"needs the CIFAR-10 images, {CIFAR.name}, in ../shared/data")
def test_the_cifar_recipe_on_the_real_images():
    dataset = open_dataset("cifar10", CIFAR)
    assert {key: len(split) for key, split in dataset.splits.items()} == {"train": 50_000, "test": 10_000}
    splits = draw(dataset, DataRecipe(source="cifar10", train=500, validation=100, test=200), 0)
    for part, each in ((splits.train, 50), (splits.validation, 10), (splits.test, 20)):
        assert np.bincount(part.labels).tolist() == [each] * 10
        assert part.images.shape == (10 * each, 32, 32, 3)
        assert all(f"/{CLASSES[label]}/" in name for name, label in zip(part.ids, part.labels, strict=True))
    assert splits.test.ids == draw_test(dataset, 200, 0).ids
