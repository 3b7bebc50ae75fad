"""Folders of images and masks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from trees import encode, picture, write_folder

from octavo.base.errors import DataError
from octavo.data import decode as module
from octavo.data.open import open_dataset

GREY = np.arange(30, dtype=np.uint8).reshape(6, 5)


def tree(mask: bytes, name: str = "1") -> dict[str, bytes]:
    return {f"images/{name}.png": encode(picture(0)), f"masks/{name}.png": mask}


def test_masks_are_grey_values_or_palette_indices(tmp_path: Path) -> None:
    found = open_dataset("path", write_folder(tmp_path, tree(encode(GREY)))).splits["all"].read()
    assert found.truth is not None
    np.testing.assert_array_equal(found.truth, GREY[None])


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (b"", "masks/1.png: empty file"),
        (b"no image", "masks/1.png: not an image of a known format"),
        (encode(GREY)[:40], "masks/1.png: "),
        (encode(picture(0)), "masks/1.png: it has colours"),
    ],
)
def test_masks_that_cannot_be_read_are_named(tmp_path: Path, mask: bytes, said: str) -> None:
    split = open_dataset("path", write_folder(tmp_path, tree(mask))).splits["all"]
    with pytest.raises(DataError, match="1 masks cannot be read") as caught:
        split.read()
    assert len(caught.value.details) == 1 and caught.value.details[0].startswith(said)


def test_the_limit_on_pixels_holds_for_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = open_dataset("path", write_folder(tmp_path, tree(encode(np.zeros((7, 5), np.uint8))))).splits["all"]
    monkeypatch.setattr(module, "MOST_PIXELS", 30)
    with pytest.raises(DataError) as caught:
        split.read()
    assert "5×7 pixels, more than 30" in caught.value.details[0]


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")
def test_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    """Such a name would end in a report, which cannot hold it."""
    write_folder(tmp_path, tree(encode(GREY)) | tree(encode(GREY), os.fsdecode(b"caf\xe9")))
    with pytest.raises(DataError, match=r"2 names in .* are not UTF-8") as caught:
        open_dataset("path", tmp_path)
    assert list(caught.value.details) == [r"'images/caf\udce9.png'", r"'masks/caf\udce9.png'"]
