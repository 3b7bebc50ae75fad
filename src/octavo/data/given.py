"""Samples that Python code gives: arrays, or an iterable of samples or of batches, such as a `tf.data.Dataset`.

Nothing is imported for a `tf.data.Dataset`: it gives NumPy arrays itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from octavo.base.border import border
from octavo.base.errors import DataError
from octavo.base.limits import MOST_GIVEN_BYTES
from octavo.data.arrays import answers_of, own_input, samples_of, split_of
from octavo.data.columns import Columns
from octavo.data.dataset import Dataset, Images
from octavo.runtime.litert import Port

Array = npt.NDArray[Any]
# The arrays of a sample by the inputs' names; the only array of a sample has no name.
_Parts = dict[str, Array]

# What the objects around a sample's values take, in bytes.
_OVERHEAD = 200
_SOURCE = "the samples given"
_FORMS = (
    "Give an array (N, ...), a dict with one array per input, or an iterable of samples; with labels, a tuple (x, y) "
    "of one of these and the labels, or an iterable of tuples (x, y)."
)


def given(samples: Any, ports: Sequence[Port] = (), split: Literal["given", "test"] = "given") -> Dataset:
    """The dataset of samples that Python code gives.

    Args:
        samples: An array ``(N, ...)``, a dict of such arrays by the inputs' names, or an iterable of samples; or a
            tuple of one of these and the labels ``(N, ...)``. An iterable gives arrays, dicts of arrays, or tuples of
            one of these and the label: one sample at a time, or batches, told apart by the shape of the model's input.
            It is read once, to its end. uint8 pictures are preprocessed like any image; other arrays are the model's
            input. A function that returns an iterable will do too.
        ports: The inputs of the model; none if they are not known yet, for a model that takes an image.
        split: `test` for samples that are evaluated; of samples that are `given`, all may calibrate and train.

    Raises:
        DataError: There are no samples, they are of another form, or they take too much memory.

    Example:
        >>> pairs = ((np.zeros((8, 8, 3), np.uint8), label) for label in (0, 2, 1))
        >>> given(pairs).splits["given"].labels.tolist()
        [0, 2, 1]
    """
    parts, labels = _taken(samples, ports)
    images = _images(parts, ports)
    answers = answers_of(labels, f"y of {_SOURCE}", len(images))
    classes = tuple(str(number) for number in range(answers.classes))
    return Dataset("samples", classes, {split: split_of(images, "sample", answers, classes)}, _SOURCE)


def _taken(samples: Any, ports: Sequence[Port]) -> tuple[dict[str, Array | list[Array]], Array | None]:
    """Each input's samples, and the labels if there are any."""
    if isinstance(samples, tuple):
        if len(samples) != 2:
            raise DataError(f"The data are a tuple of {len(samples)} items; (x, y) was expected.", _FORMS)
        parts, own = _taken(samples[0], ports)
        if own is not None or isinstance(samples[0], tuple):
            raise DataError("The data have labels twice: (x, y) was expected, with x without labels.", _FORMS)
        return parts, _array(samples[1], f"y of {_SOURCE}")
    if isinstance(samples, Mapping):
        return {str(name): _array(values, f"'{name}' of {_SOURCE}") for name, values in samples.items()}, None
    if _is_array(samples):
        whole = _array(samples, f"x of {_SOURCE}")
        if whole.dtype == np.uint8 and whole.ndim == 3 and whole.shape[-1] in (1, 3):
            raise DataError(
                f"The data are one image of shape {whole.shape}, and several were expected.",
                "Give an array (N, H, W, 3), or a list of images.",
            )
        return {"": whole}, None
    return _gathered(samples, ports)


def _gathered(samples: Any, ports: Sequence[Port]) -> tuple[dict[str, Array | list[Array]], Array | None]:
    """The same of an iterable."""
    found: list[_Parts] = []
    labels: list[Array] = []
    size = 0
    for number, element in enumerate(_elements(samples)):
        for parts, label in _each(element, ports, f"Item {number} of {_SOURCE}"):
            found.append(parts)
            labels += [] if label is None else [label]
            size += _OVERHEAD + sum(values.nbytes for values in parts.values())
        if size > MOST_GIVEN_BYTES:
            raise DataError(
                f"The samples given take more than {MOST_GIVEN_BYTES >> 20:,} MiB of memory: {len(found):,} were read.",
                "Give fewer, such as itertools.islice(samples, 1000), or dataset.take(1000).",
            )
    if not found:
        raise DataError("The data give no samples.", "A generator gives its samples once: make a new one for each use.")
    if labels and len(labels) != len(found):
        raise DataError(f"{len(labels)} of {len(found)} samples given have a label.", "Give labels for all, or none.")
    names = list(found[0])
    if other := next((parts for parts in found if list(parts) != names and set(parts) != set(names)), None):
        raise DataError(f"The samples given hold different arrays: {names}, and {list(other)}.", _FORMS)
    columns = {name: _stacked([parts[name] for parts in found], name) for name in names}
    return columns, _labels(labels) if labels else None


def _elements(samples: Any) -> Iterator[Any]:
    if callable(samples) and not hasattr(samples, "__iter__"):
        samples = samples()
    if callable(make := getattr(samples, "as_numpy_iterator", None)):
        samples = make()
    if hasattr(samples, "__iter__") and not isinstance(samples, str | bytes):
        return iter(samples)
    if hasattr(samples, "__len__") and hasattr(samples, "__getitem__"):
        # A Keras PyDataset: its batches have numbers.
        return (samples[number] for number in range(len(samples)))
    raise DataError(f"The data are a {type(samples).__name__}, and neither a path nor samples.", _FORMS)


def _each(element: Any, ports: Sequence[Port], what: str) -> Iterator[tuple[_Parts, Array | None]]:
    """The samples of an element of an iterable, with their labels: one, or those of a batch."""
    label = None
    # A list of numbers is a sample; a list of arrays is what a torch DataLoader and a representative dataset give.
    if isinstance(element, tuple) or (isinstance(element, list) and element and _holds_arrays(element[0])):
        if len(element) not in (1, 2):
            raise DataError(
                f"{what} has {len(element)} parts, and (x, y) was expected.",
                "Give a dict with one array per input for a model with several inputs, and no weights.",
            )
        label = _array(element[1], f"The label of {what}") if len(element) == 2 else None
        element = element[0]
    named = element if isinstance(element, Mapping) else {"": element}
    # A generator may fill one buffer again and again.
    parts = {str(name): np.array(_array(values, what)) for name, values in named.items()}
    if not any(_is_batch(values, _port(name, ports)) for name, values in parts.items()):
        yield parts, label
        return
    lengths = {len(values) if values.ndim else 0 for values in (*parts.values(), *([] if label is None else [label]))}
    if len(lengths) != 1:
        shapes = ", ".join(str(values.shape) for values in (*parts.values(), *([] if label is None else [label])))
        raise DataError(f"{what} is a batch whose arrays differ in length: {shapes}.", "Give one entry per sample.")
    for place in range(lengths.pop()):
        yield {name: values[place] for name, values in parts.items()}, None if label is None else label[place]


def _port(name: str, ports: Sequence[Port]) -> Port | None:
    if not name:
        return ports[0] if ports else None
    return next((port for port in ports if name in port.names), None)


def _is_batch(values: Array, port: Port | None) -> bool:
    """Whether an array holds several samples for an input."""
    shape, wanted = values.shape, () if port is None else port.shape[1:]
    if port is None or (values.dtype == np.uint8 and len(wanted) == 3 and wanted[-1] in (1, 3)):
        # Pictures may have any size. A third axis that holds no channels counts grey pictures.
        return len(shape) == 4 or (len(shape) == 3 and shape[-1] not in (1, 3))
    size = math.prod(wanted)
    one = values.size == size and len(shape) <= len(wanted)
    return bool(shape) and not one and math.prod(shape[1:]) == size


def _images(parts: Mapping[str, Array | list[Array]], ports: Sequence[Port]) -> Images:
    """The samples, as the rest of Octavo takes them."""
    if not parts:
        raise DataError("The data are an empty dict.", _FORMS)
    name, only = next(iter(parts.items()))
    if not name or (len(parts) == len(ports) == 1 and _port(name, ports) is not None):
        return only if isinstance(only, list) else samples_of(only, f"x of {_SOURCE}")
    if sizes := [name for name, values in parts.items() if isinstance(values, list)]:
        raise DataError(
            f"The images for the input '{sizes[0]}' differ in size.", "Resize them to the size of the model's input."
        )
    columns = {name: own_input(np.asarray(values), f"'{name}' of {_SOURCE}") for name, values in parts.items()}
    if len({len(values) for values in columns.values()}) != 1:
        shapes = ", ".join(f"'{name}' {values.shape}" for name, values in columns.items())
        raise DataError(f"The arrays differ in length: {shapes}.", "Give one entry per sample in each of them.")
    return Columns(columns)


def _stacked(arrays: list[Array], name: str) -> Array | list[Array]:
    """One array; or the list of pictures of several sizes."""
    of = f" for the input '{name}'" if name else ""
    kinds = {values.dtype == np.uint8 for values in arrays}
    if len(kinds) > 1:
        raise DataError(f"Some samples{of} are uint8 and others are not.", "Give uint8 images, or floats, for all.")
    shapes = list(dict.fromkeys(values.shape for values in arrays))
    if len(shapes) == 1:
        return np.stack(arrays)
    if kinds == {True} and all(len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3)) for shape in shapes):
        return arrays
    raise DataError(
        f"The samples{of} differ in shape: {shapes[0]}, {shapes[1]} and so on.",
        "Give samples of one shape, or uint8 images (H, W, 3), which are resized.",
    )


def _labels(labels: list[Array]) -> Array:
    with border(f"The labels of {_SOURCE} differ in shape", "Give labels of one shape.", DataError):
        return np.stack(labels)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "__array__")


def _holds_arrays(value: Any) -> bool:
    # NumPy's numbers are arrays without axes.
    return isinstance(value, Mapping) or (_is_array(value) and value.shape != ())


def _array(value: Any, what: str) -> Array:
    with border(f"{what} is no array of numbers", "Give NumPy arrays, or what NumPy makes arrays of.", DataError):
        made = np.asarray(value)
    if made.dtype.kind not in "fiub":
        raise DataError(f"{what} has the type {made.dtype}, and numbers were expected.", _FORMS)
    return made
