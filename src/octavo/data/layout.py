"""Which image belongs to which split and class, from its path alone; the same for folders and archives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from octavo.base.errors import DataError
from octavo.data.boxes import boxes_of
from octavo.data.dataset import Dataset, Labels, Split, TruthStore
from octavo.data.decode import Files
from octavo.data.masks import MaskStore, pairs
from octavo.data.stored import KINDS, EncodedStore

# Folders that name a split, in lower case.
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

LAYOUTS = (
    "Expected train/CLASS/* and test/CLASS/* (and val/CLASS/*), or CLASS/*, or (for calibration only) images without "
    "folders."
)

# (position in the files, path) and, once sorted into a split, (position, path, class or nothing)
_Entry = tuple[int, str]
_Member = tuple[int, str, str]
Part = TypeVar("Part")


def image_folder(files: Files, name: str, source: str) -> Dataset:
    """The dataset in a tree of image files; of CSV files, if there are no images; or of WAV files.

    The tree is ``train/CLASS/*``, ``val/CLASS/*`` and ``test/CLASS/*`` (some may be missing), or ``CLASS/*``, or images
    with no folders, which are unlabelled. A tree whose own name is ``test`` holds test images. Folders around the whole
    tree are looked through; below a class folder, all images belong to the class. Hidden files are ignored,
    other files that are no images named on reading.

    Args:
        files: Paths and their content.
        name: The dataset's name: that of the folder or archive.
        source: Where the images come from, for people.

    Raises:
        DataError: There are no images.
    """
    shown = [(k, path) for k, path in enumerate(files.names) if not _hidden(path)]
    kind = next((kind for kind in KINDS if any(kind.holds(path) for _, path in shown)), None)
    if kind is None:
        raise DataError(
            f"There are no images in {source}{_a_few([path for _, path in shown])}.",
            f"{LAYOUTS} Images end in .jpg, .png, .bmp, .gif, .webp, .tif, .ppm or .pgm. Files of numbers end in "
            ".csv or .wav, and each is one sample.",
        )
    images = [entry for entry in shown if kind.holds(entry[1])]
    ignored = [path for _, path in shown if not kind.holds(path)]
    if unreadable := [path for _, path in images if not _is_text(path)]:
        raise DataError(
            f"{len(unreadable)} names in {source} are not UTF-8, or not for this locale: no report can hold them.",
            "Rename these folders and files, or set a UTF-8 locale, such as LC_ALL=C.UTF-8:",
            [ascii(path) for path in unreadable[:10]],
        )
    if (boxes := boxes_of(files, source)) is not None:
        boxed = {path: position for position, path in images if position in boxes.rows}
        known = {*boxed, *boxes.notes}
        ignored = sorted(path for _, path in shown if path not in known)
        return _with_truth(
            boxed,
            lambda paths: boxes.beside([boxed[path] for path in paths]),
            boxes.classes,
            ignored,
            files,
            name,
            source,
        )
    masks = pairs([path for _, path in images])
    if masks:
        masked = {path: position for position, path in images if path in masks}
        places = {path: images[place][0] for path, place in masks.items()}
        return _with_truth(
            masked,
            lambda paths: MaskStore(files, np.array([places[path] for path in paths], np.int64)),
            (),
            [],
            files,
            name,
            source,
        )
    ignored = [path if _is_text(path) else ascii(path) for path in ignored]
    images = _without_wrapper(images)
    tops = {path.split("/")[0] for _, path in images if "/" in path}
    named = any(top.lower() in SPLITS and path.count("/") >= 2 for top, path in _with_top(images))
    members: dict[str, list[_Member]] = {}
    if named or (tops and all(top.lower() in SPLITS for top in tops)):
        for position, path in images:
            top, _, rest = path.partition("/")
            key = SPLITS.get(top.lower()) if rest else None
            if key is None:
                ignored.append(path)
            else:
                members.setdefault(key, []).append((position, path, rest.partition("/")[0] if "/" in rest else ""))
        members = usual_splits(members)
    else:
        own = "test" if SPLITS.get(name.lower()) == "test" else "all"
        members[own] = [(k, path, path.partition("/")[0] if "/" in path else "") for k, path in images]
    made = _dataset(members, ignored, EncodedStore(files, kind), name, source)
    return replace(made, recordings=kind is not KINDS[0])


def usual_splits(members: Mapping[str, Part]) -> dict[str, Part]:
    """The splits of a source that names some, by what they are used for.

    Example:
        >>> usual_splits({"validation": [1], "test": [2]})
        {'test': [2], 'train': [1]}
    """
    made = dict(members)
    if "validation" in made and "train" not in made:
        # Beside test images they are what there is to calibrate and train with; alone they are all that there is.
        made["train" if "test" in made else "all"] = made.pop("validation")
    return made


def _with_truth(
    images: Mapping[str, int],
    beside: Callable[[Sequence[str]], TruthStore],
    classes: tuple[str, ...],
    ignored: Sequence[str],
    files: Files,
    name: str,
    source: str,
) -> Dataset:
    """Images with a truth each, in the splits that a folder of their path names.

    Args:
        images: The positions of the images, by their paths.
        beside: Returns the truth of the images at some paths.
        classes: What the truth speaks of; empty if it has no names.
        ignored: Files that are neither, for the warning on reading.
        files: All files.
        name: As for `image_folder`.
        source: As for `image_folder`.
    """
    members: dict[str, list[str]] = {}
    for path in sorted(images):
        folders = [SPLITS[part.lower()] for part in path.split("/")[:-1] if part.lower() in SPLITS]
        members.setdefault(folders[0] if folders else "all", []).append(path)
    splits = {}
    for key, paths in members.items():
        splits[key] = Split(
            store=EncodedStore(files, KINDS[0]),
            positions=np.array([images[path] for path in paths], np.int64),
            labels=None,
            classes=classes,
            ids=tuple(paths),
            ignored=tuple(ignored),
            truth=beside(paths),
        )
    return Dataset(name=name, classes=classes, splits=splits, source=source)


def _dataset(
    members: dict[str, list[_Member]], ignored: list[str], store: EncodedStore, name: str, source: str
) -> Dataset:
    kept: dict[str, list[_Member]] = {}
    for key, entries in members.items():
        # Images beside class folders have no label, so they cannot be used with those that have one.
        labelled = [entry for entry in entries if entry[2]]
        ignored.extend(path for _, path, label in entries if labelled and not label)
        kept[key] = sorted(labelled or entries, key=lambda entry: entry[1])
    classes = tuple(sorted({label for entries in kept.values() for _, _, label in entries if label}))
    numbers = {label: number for number, label in enumerate(classes)}
    splits = {}
    for key, entries in kept.items():
        labels: Labels | None = None
        if entries[0][2]:
            labels = np.array([numbers[label] for _, _, label in entries], np.int64)
        splits[key] = Split(
            store=store,
            positions=np.array([position for position, _, _ in entries], np.int64),
            labels=labels,
            classes=classes,
            ids=tuple(path for _, path, _ in entries),
            ignored=tuple(sorted(ignored)),
        )
    return Dataset(name=name, classes=classes, splits=splits, source=source)


def _is_text(path: str) -> bool:
    """Whether a name is UTF-8. Python keeps other bytes of a name as lone surrogates, which no file can hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hidden(path: str) -> bool:
    # macOS puts a hidden copy of every file's metadata below __MACOSX in the zips that it makes.
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _with_top(images: Sequence[_Entry]) -> list[tuple[str, str]]:
    return [(path.split("/")[0], path) for _, path in images]


def _without_wrapper(images: list[_Entry]) -> list[_Entry]:
    """Takes away folders that hold everything, such as ``cifar10/`` in ``cifar10/train/cat/1.jpg``.

    A folder that holds images itself is a class, and one named after a split is that split; both stay.
    """
    while True:
        tops = {top for top, _ in _with_top(images)}
        if len(tops) > 1 or tops.pop().lower() in SPLITS or any(path.count("/") < 2 for _, path in images):
            return images
        images = [(position, path.partition("/")[2]) for position, path in images]


def _a_few(names: Sequence[str]) -> str:
    """A hint at what is there instead."""
    if not names:
        return ""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return f", but {', '.join(map(repr, names[:3]))}{more}"
