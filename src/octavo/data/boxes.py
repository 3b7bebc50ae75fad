"""Boxes: COCO annotations (Lin et al. 2014, arXiv 1405.0312) of the images beside them.

A file ``annotations.json`` names the images of its own folder, or of ``images/`` beside it, and their boxes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from octavo.base.affine import IntArray
from octavo.base.border import border, parse_json
from octavo.base.errors import DataError
from octavo.base.limits import MOST_BOXES, MOST_CLASSES
from octavo.data.dataset import MOST_LISTED, OctavoWarning, Truth
from octavo.data.decode import Files

NAME = "annotations.json"
# The numbers of a box: ymin, xmin, ymax and xmax as shares of the image, its class, and 1 for a crowd.
COLUMNS = 6
# The class of a row that holds no box: images have different numbers of them.
NO_BOX = -1

Rows = npt.NDArray[np.float64]
_Number = Annotated[float, Field(ge=-1e9, le=1e9)]
_Side = Annotated[float, Field(gt=0, le=1e9)]


class _Part(BaseModel):
    # COCO's files hold licences, addresses, masks and much more.
    model_config = ConfigDict(extra="ignore", strict=False)


class _Image(_Part):
    id: int
    file_name: str
    width: _Side
    height: _Side


class _Annotation(_Part):
    image_id: int
    category_id: int
    bbox: tuple[_Number, _Number, _Number, _Number]
    iscrowd: bool = False


class _Category(_Part):
    id: int
    name: str


class _Coco(_Part):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = Field(min_length=1, max_length=MOST_CLASSES)


@dataclass(frozen=True, eq=False)
class BoxStore:
    """The boxes of a split's images.

    Args:
        rows: Those of each image, ``(boxes, 6)``.
    """

    rows: Sequence[Rows]

    def fetch(self, positions: IntArray) -> Truth:
        """The boxes of some images, float64 ``(N, boxes, 6)``; rows of the class `NO_BOX` fill up."""
        return padded([self.rows[int(position)] for position in positions])


@dataclass(frozen=True, eq=False)
class Boxes:
    """What the annotations of a tree say.

    Args:
        rows: The boxes of each image, by its position in the files.
        classes: The names of the categories, in the order of their numbers.
        notes: The paths of the files that say it.
    """

    rows: dict[int, Rows]
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def beside(self, positions: Sequence[int]) -> BoxStore:
        """The boxes of the images at some positions in the files."""
        return BoxStore([self.rows[position] for position in positions])


def padded(rows: Sequence[Rows]) -> Truth:
    """Boxes of several images as one array.

    Args:
        rows: ``(boxes, 6)`` for each image.

    Returns:
        float64 ``(N, most boxes of an image, 6)``.

    Example:
        >>> padded([np.ones((1, 6)), np.zeros((0, 6))])[:, :, 4].tolist()
        [[1.0], [-1.0]]
    """
    made = np.zeros((len(rows), max((len(own) for own in rows), default=0), COLUMNS))
    made[:, :, 4] = NO_BOX
    for place, own in enumerate(rows):
        made[place, : len(own)] = own
    return made


def boxes_of(files: Files, source: str) -> Boxes | None:
    """The boxes of a tree of images.

    Args:
        files: All files of the tree.
        source: Where they come from, for people.

    Returns:
        None if there are no annotations of COCO's form.

    Raises:
        DataError: A file of annotations cannot be read, or names no image that is there.

    Warns:
        OctavoWarning: Some of the images that it names are not there.
    """
    notes = [place for place, name in enumerate(files.names) if PurePosixPath(name).name == NAME]
    found: list[tuple[PurePosixPath, _Coco]] = []
    for place, content in sorted(files.read(np.array(notes, np.int64)), key=lambda item: item[0]):
        path = PurePosixPath(files.names[notes[place]])
        if (coco := _parsed(content, f"'{path}' of {source}")) is not None:
            found.append((path, coco))
    if not found:
        return None
    places = {name: place for place, name in enumerate(files.names)}
    names: dict[int, str] = {}
    for path, coco in found:
        for category in coco.categories:
            if names.setdefault(category.id, category.name) != category.name:
                raise DataError(
                    f"Category {category.id} is '{names[category.id]}' and '{category.name}' in the annotations of "
                    f"{source}.",
                    f"Give '{path}' the categories of the others.",
                )
    order = {number: place for place, number in enumerate(sorted(names))}
    rows: dict[int, Rows] = {}
    missing: list[str] = []
    for path, coco in found:
        positions = {image.id: _position(path, image.file_name, places) for image in coco.images}
        missing += [image.file_name for image in coco.images if positions[image.id] is None]
        for number, own in _rows(coco, order, f"'{path}' of {source}").items():
            if (position := positions[number]) is not None:
                rows[position] = own
    if not rows:
        raise DataError(
            f"None of the images that the annotations of {source} name is there, such as {', '.join(missing[:3])}.",
            f"Put them into images/ beside {NAME}, under their `file_name`.",
        )
    if missing:
        shown = "\n  ".join(missing[:MOST_LISTED])
        warnings.warn(
            f"Images that the annotations name, but that are not there ({len(missing)}):\n  {shown}",
            OctavoWarning,
            stacklevel=2,
        )
    return Boxes(rows, tuple(names[number] for number in sorted(names)), tuple(str(path) for path, _ in found))


def _parsed(content: bytes | str, what: str) -> _Coco | None:
    """What a file says. None for the JSON of another tool that has the same name."""
    if isinstance(content, str):
        raise DataError(f"{what} cannot be read: {content}.")
    with border(f"{what} is no file of COCO annotations", "Give COCO's JSON of boxes, or rename it.", DataError):
        value = parse_json(content)
        if not isinstance(value, dict) or not value.keys() >= _Coco.model_fields.keys():
            return None
        return _Coco.model_validate(value)


def _position(notes: PurePosixPath, name: str, places: dict[str, int]) -> int | None:
    """Where the image of a name is: in ``images/`` beside the annotations, or beside them."""
    folder = notes.parent
    return next((places[str(path)] for path in (folder / "images" / name, folder / name) if str(path) in places), None)


def _rows(coco: _Coco, order: dict[int, int], what: str) -> dict[int, Rows]:
    """The boxes of each image, by its number."""
    sides = {image.id: (image.height, image.width) for image in coco.images}
    found: dict[int, list[tuple[float, ...]]] = {number: [] for number in sides}
    for one in coco.annotations:
        if one.image_id not in sides or one.category_id not in order:
            kind = "image" if one.image_id not in sides else "category"
            number = one.image_id if kind == "image" else one.category_id
            raise DataError(f"{what} has a box of {kind} {number}, which it does not list.")
        height, width = sides[one.image_id]
        left, top, wide, high = one.bbox
        if wide < 0 or high < 0:
            raise DataError(f"{what} has a box of a negative size: {list(one.bbox)} (x, y, width, height).")
        corners = top / height, left / width, (top + high) / height, (left + wide) / width
        found[one.image_id].append((*corners, order[one.category_id], float(one.iscrowd)))
    if (most := max(map(len, found.values()), default=0)) > MOST_BOXES:
        raise DataError(f"{what} has {most:,} boxes of one image, and {MOST_BOXES:,} are the most.")
    return {number: np.array(own, np.float64).reshape(-1, COLUMNS) for number, own in found.items()}
