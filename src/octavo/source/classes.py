"""Class names: those of a model, in the order of its outputs, and images whose labels are in that order."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from octavo.base.errors import DataError
from octavo.data.boxes import NO_BOX
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.recipe.options import Inputs
from octavo.source.load import Loaded
from octavo.tflite.graph import WHOLE, Graph

# The most class names in a message.
_LISTED = 10


def outputs_of(graph: Graph) -> int | None:
    """How many classes a model's output tells apart. None if it is no list of one number per class.

    A single number stands for two classes. A class itself, as ARG_MAX gives it, does not say how many there are.
    """
    given = graph.tensors[graph.outputs[0]]
    count = math.prod(given.shape[1:])
    if len(graph.outputs) > 1 or given.dtype in WHOLE or count < 1 or given.shape[-1:] != (count,):
        return None
    return max(count, 2)


def class_names(loaded: Loaded, inputs: Inputs | None = None) -> tuple[str, ...]:
    """The class names of a model: from `labels`, else from its sidecar, else from its TFLite metadata.

    Returns:
        The names in the order of the outputs. Empty if they are not known.

    Raises:
        DataError: The file of `labels` cannot be read, or does not name as many classes as the model has outputs.
    """
    if inputs is None or inputs.labels is None:
        stored = () if loaded.sidecar is None else loaded.sidecar.classes
        return stored or loaded.notes.classes
    path = Path(inputs.labels)
    names = read_labels(path)
    count = outputs_of(loaded.graph)
    if count is not None and len(names) != count:
        raise DataError(
            f"'{path}' names {len(names)} classes, and {loaded.graph.name} tells {count} apart.",
            "Set `labels` to a file with one class name a line, in the order of the model's outputs.",
        )
    return names


def read_labels(path: Path) -> tuple[str, ...]:
    """The class names in a text file, one a line. Empty lines at its end are left out.

    Raises:
        DataError: The file cannot be read, is empty, or has an empty line between others.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"'{path}' cannot be read as class names: {error.strerror if isinstance(error, OSError) else error}.",
            "Set `labels` to a text file with one class name a line.",
        ) from error
    if not lines or not all(lines):
        empty = f"has no name in line {lines.index('') + 1}" if lines else "holds no class names"
        raise DataError(
            f"'{path}' {empty}.",
            "Set `labels` to a text file with one class name a line, in the order of the model's outputs.",
        )
    return tuple(lines)


def in_model_order(loaded: Loaded, images: ImageSet, inputs: Inputs | None = None) -> ImageSet:
    """Images whose labels and class names are the model's.

    Classes are matched by name where the model's names are known, so that images may show some of the classes only, and
    folders may be in another order. Where they are not known, the order of the images' classes is taken for the
    model's.

    Raises:
        DataError: A class of the images is not one of the model's, or their number differs from the outputs of a
            model with a softmax.

    Warns:
        OctavoWarning: The number of classes differs from that of the outputs. The images lose their labels.
    """
    names = _names_for(loaded, images, inputs)
    if images.labels is None:
        return images
    if names:
        places = np.array([_place(name, images.classes, names) for name in images.classes], np.int64)
        return replace(images, labels=places[images.labels], classes=names)
    count = outputs_of(loaded.graph)
    if count is None or len(images.classes) == count:
        return images
    problem = (
        f"{loaded.graph.name} tells {count} classes apart, and the images have {len(images.classes)}: "
        f"{_few(images.classes)}."
    )
    last = loaded.graph.producers.get(loaded.graph.outputs[0])
    if last is not None and last.kind == "SOFTMAX":
        raise DataError(
            problem,
            "Set `labels` to a file with all of the model's class names, one a line, in its order.",
        )
    warnings.warn(
        f"{problem} Their labels are not used. If it is a classifier, set `labels` to a file with all of its class "
        "names, one a line, in its order.",
        OctavoWarning,
        stacklevel=3,
    )
    return replace(images, labels=None, classes=())


def boxes_in_model_order(images: ImageSet, names: Sequence[str]) -> ImageSet:
    """Images with boxes whose classes are numbered as the model numbers them; classes are matched by name.

    Args:
        images: Images with boxes, as `octavo.data.boxes` describes them, and the names of their classes.
        names: The model's class names.

    Raises:
        DataError: A class of the boxes is not one of the model's.
    """
    assert images.truth is not None
    truth = images.truth.copy()
    held = truth[:, :, 4] != NO_BOX
    numbers, own = np.unique(truth[held, 4].astype(int), return_inverse=True)
    if numbers.size and not 0 <= numbers[0] <= numbers[-1] < len(images.classes):
        raise DataError(f"The data have boxes of the class {numbers[-1]}, and name {len(images.classes)} classes.")
    # Only those that occur: a file of annotations may list more.
    places = [_place(images.classes[number], images.classes, names) for number in numbers]
    truth[held, 4] = np.array(places, truth.dtype)[own]
    return replace(images, truth=truth, classes=tuple(names))


def to_calibrate(loaded: Loaded, images: ImageSet, inputs: Inputs | None = None) -> ImageSet:
    """Images in the model's order, as `in_model_order` gives them, where their labels are of use but not needed.

    Raises:
        DataError: As for `in_model_order`, if some of their classes are the model's.

    Warns:
        OctavoWarning: As for `in_model_order`, or none of their classes is one of the model's, or there are more than
            twice or less than half as many: they are images of something else. The images lose their labels.
    """
    names, count = _names_for(loaded, images, inputs), outputs_of(loaded.graph)
    numbered = all(name.isdecimal() for name in images.classes)
    if images.labels is None:
        return images
    if names and not numbered and not set(images.classes) & set(names):
        problem = f"None of the images' classes ({_few(images.classes)}) is one of the model's ({_few(names)})"
    elif not names and count is not None and _are_far(len(images.classes), count):
        problem = f"The images have {len(images.classes)} classes, and {loaded.graph.name} tells {count} apart"
    else:
        return in_model_order(loaded, images, inputs)
    warnings.warn(
        f"{problem}: their labels are not used.",
        OctavoWarning,
        stacklevel=3,
    )
    return replace(images, labels=None, classes=())


def names_for(loaded: Loaded, images: ImageSet, inputs: Inputs | None = None) -> tuple[str, ...]:
    """The class names for a model's sidecar: its own, else those of images that `in_model_order` returned.

    A detector has several outputs, none of which tells how many classes there are: those of the boxes are taken.
    """
    boxes = len(loaded.graph.outputs) > 1 and images.labels is None and images.truth is not None
    fits = boxes or len(images.classes) == outputs_of(loaded.graph)
    return class_names(loaded, inputs) or (images.classes if fits else ())


def _names_for(loaded: Loaded, images: ImageSet, inputs: Inputs | None) -> tuple[str, ...]:
    """The model's class names; the numbers of its outputs, where the images have some of them for classes."""
    names, count = class_names(loaded, inputs), outputs_of(loaded.graph)
    if names or count is None or not len(images.classes) < count:
        return names
    numbers = tuple(str(number) for number in range(count))
    return numbers if images.classes and set(images.classes) <= set(numbers) else ()


def _are_far(one: int, other: int) -> bool:
    """Whether two numbers of classes differ so much that one forgotten or additional folder does not explain it."""
    return max(one, other) > 2 * min(one, other)


def _place(name: str, classes: Sequence[str], names: Sequence[str]) -> int:
    """The output of a class."""
    if names.count(name) == 1:
        return names.index(name)
    # Classes without names are numbers, which are places in the model's order: see `octavo.data.npz`.
    if all(item.isdecimal() and int(item) < len(names) for item in classes):
        return int(name)
    what = "is not one of" if name not in names else "is more than one of"
    raise DataError(
        f"'{name}', a class of the images, {what} the model's {len(names)} classes: {_few(names)}.",
        "Name the class folders as the model's classes, or set `labels` to a file with the model's class names, one a "
        "line, in its order.",
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
