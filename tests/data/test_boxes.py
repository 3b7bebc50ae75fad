"""Boxes of COCO's annotations: as it specifies them, and what becomes of files that say impossible things."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector import CLASSES, SIZE, coco, scenes, truth, write_coco
from PIL import Image

from octavo.base.errors import DataError
from octavo.data.dataset import OctavoWarning
from octavo.data.open import open_dataset
from octavo.data.split import draw_test


def test_a_folder_gives_the_boxes_of_its_images(tmp_path: Path) -> None:
    found = open_dataset("path", write_coco(tmp_path / "scenes", 9))
    assert found.classes == CLASSES and list(found.splits) == ["all"]
    read = found.splits["all"].read()
    images, squares = scenes(9)
    np.testing.assert_array_equal(np.asarray(read.images), images)
    assert read.labels is None and read.truth is not None and read.truth.shape[2] == 6
    wanted = truth(squares)
    np.testing.assert_allclose(read.truth[:, :, :5], np.where(wanted[:, :, 4:] < 0, [0, 0, 0, 0, -1], wanted))
    assert not read.truth[:, :, 5].any()


def test_splits_archives_and_crowds(tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    for split, seed in (("train", 1), ("test", 2)):
        write_coco(root, 6, seed, split)
    notes = root / "test" / "annotations.json"
    value = json.loads(notes.read_text())
    value["annotations"][0]["iscrowd"] = 1
    notes.write_text(json.dumps(value))
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path).as_posix())
    for source in (root, tmp_path / "scenes.zip"):
        found = open_dataset("path", source)
        assert {name: len(split) for name, split in found.splits.items()} == {"train": 6, "test": 6}
        test = draw_test(found, None, 0)
        assert test.truth is not None and test.truth[:, :, 5].sum() == 1
        assert draw_test(found, 3, 0).truth.shape[0] == 3  # type: ignore[union-attr]


def written(root: Path, change: Any) -> Path:
    write_coco(root, 4)
    notes = root / "annotations.json"
    value = json.loads(notes.read_text())
    change(value)
    notes.write_text(json.dumps(value))
    return root


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: value["annotations"][0].update(bbox=[1, 2, 3]), "no file of COCO annotations"),
        (lambda value: value["annotations"][0].update(bbox=[1, 2, -3, 4]), "a box of a negative size"),
        (lambda value: value["annotations"][0].update(bbox=[1, 2, 3, "wide"]), "no file of COCO annotations"),
        (lambda value: value["annotations"][0].update(bbox=[0, 0, 1e300, 1]), "no file of COCO annotations"),
        (lambda value: value["annotations"][0].update(image_id=7), "a box of image 7, which it does not list"),
        (lambda value: value["annotations"][0].update(category_id=1), "a box of category 1, which it does not list"),
        (lambda value: value["images"][0].update(width=0), "no file of COCO annotations"),
        (lambda value: value.update(categories=[]), "no file of COCO annotations"),
        (lambda value: value.update(images=3), "no file of COCO annotations"),
        (lambda value: [one.update(file_name="none.png") for one in value["images"]], "None of the images"),
        (lambda value: value.update(annotations=value["annotations"][:1] * 1001), "1,001 boxes of one image"),
    ],
)
def test_what_cannot_be(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_dataset("path", written(tmp_path / "scenes", change))


def test_what_is_no_json(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "scenes", 3)
    for content in (b"", b"{", b"[" * 5000, b'{"images": NaN}', b"\xff\xfe"):
        (root / "annotations.json").write_bytes(content)
        with pytest.raises(DataError, match="is no file of COCO annotations"):
            open_dataset("path", root)


def test_annotations_of_another_tool_are_no_boxes(tmp_path: Path) -> None:
    """Class folders with a file of that name, which says something else."""
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name / "1.png")
    (tmp_path / "annotations.json").write_text('{"1.png": {"regions": []}}')
    assert open_dataset("path", tmp_path).classes == ("a", "b")


def test_images_that_are_not_there_are_named(tmp_path: Path) -> None:
    root = written(tmp_path / "scenes", lambda value: value["images"][1].update(file_name="gone.png"))
    with pytest.warns(OctavoWarning, match=r"not there \(1\):\n  gone.png"):
        found = open_dataset("path", root)
    # Its own image is no longer named, and is left out.
    assert len(found.splits["all"]) == 3
    with pytest.warns(OctavoWarning, match="001.png"):
        found.splits["all"].read()


def test_two_files_that_name_a_category_otherwise(tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    for split in ("train", "test"):
        write_coco(root, 3, 0, split)
    value = coco(scenes(3)[1])
    value["categories"][0]["name"] = "crimson"
    (root / "train" / "annotations.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match="Category 3 is 'red' and 'crimson'"):
        open_dataset("path", root)


def test_shares_are_of_the_size_that_the_file_says(tmp_path: Path) -> None:
    root = written(tmp_path / "scenes", lambda value: [one.update(width=2 * SIZE) for one in value["images"]])
    read = open_dataset("path", root).splits["all"].read()
    wanted = truth(scenes(4)[1])
    assert read.truth is not None
    np.testing.assert_allclose(read.truth[:, :, 3], np.where(wanted[:, :, 4] < 0, 0, wanted[:, :, 3] / 2))
