"""Data checks: warnings about calibration images that are probably wrong, before they are used.

Ranges are only as good as the calibration images. A wrong scale or a broken folder raises no error by itself; it
makes a less accurate int8 model. Every warning states the problem and what to do. None of them stops the work, since
the data may be right all the same. Data that cannot be right (no images, NaN) is an error where it is found.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.stats import proportion
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.quantization.observer import Observer
from octavo.quantization.observers import Images, run_observers
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]

# With fewer images, the ranges of the recipes' models differed from those of many images (docs/results.md,
# calibration study).
_FEW = 10
# How many images are classified: enough to tell a trained model from guessing.
_ASKED = 64
# A warning is due if the range of a tensor shrinks below this share once its `_OWNERS` most extreme images are
# removed.
_OWNED = 0.5
_OWNERS = 2


def of_images(images: ImageSet) -> list[str]:
    """Checks the images themselves: too few, only one class, images of one colour, repeated images.

    Example:
        >>> grey = ImageSet(np.full((12, 8, 8, 3), 128, np.uint8), None, (), tuple("abcdefghijkl"))
        >>> for finding in of_images(grey): print(finding.split(".")[0])
        12 of 12 calibration images are of one colour, such as 'a'
        11 of 12 calibration images are repeated, such as 'b'
    """
    found, count = [], len(images)
    if count < _FEW:
        found.append(
            f"{count} calibration image{'s are' if count > 1 else ' is'} too few: other images may exceed the ranges. "
            "Give about 100; `octavo calibrate` measures how many are enough."
        )
    if images.labels is not None and len(images.classes) > 1 and count > 1 and len(np.unique(images.labels)) == 1:
        name = images.classes[int(images.labels[0])]
        found.append(
            f"All {count} calibration images are of one class, '{name}', of {len(images.classes)}: images of other "
            "classes may exceed the ranges. Draw them from all classes."
        )
    constant = [name for image, name in zip(images.images, images.ids, strict=True) if image.min() == image.max()]
    if constant:
        found.append(
            f"{len(constant)} of {count} calibration images are of one colour, such as '{constant[0]}'. Check "
            "them: a broken decoder or a placeholder can cause this."
        )
    known: set[bytes] = set()
    again = []
    for image, name in zip(images.images, images.ids, strict=True):
        content = image.tobytes()
        if content in known:
            again.append(name)
        known.add(content)
    if len(again) > count // 10:
        found.append(
            f"{len(again)} of {count} calibration images are repeated, such as '{again[0]}'. A repeated image "
            "adds nothing to the ranges: give different images."
        )
    return found


def of_answers(graph: Graph, images: Images, labels: Array | None = None, scale: str = "") -> list[str]:
    """Checks whether the float model classifies the images better than guessing.

    Args:
        graph: A float classifier; its first output holds the classes.
        images: Raw inputs; at most 64 of them are classified, spread evenly.
        labels: The true class of each image, if known.
        scale: How pixels were scaled, for the message.
    """
    if len(images) < _FEW:
        return []
    places = np.unique(np.linspace(0, len(images) - 1, min(_ASKED, len(images))).astype(int))
    outputs = Model(graph).run([images[int(place)] for place in places])
    outputs = outputs.reshape(len(outputs), -1)
    if outputs.shape[1] < 2 or not np.all(np.isfinite(outputs)):
        return []
    answers = outputs.argmax(axis=1)
    how = f" Pixels were scaled to {scale}." if scale else ""
    advice = "Check the scale, the order of the channels and of the classes, and that this is the trained model."
    if labels is not None:
        right = int((answers == labels[places]).sum())
        if proportion(right, len(places)).low <= 1 / outputs.shape[1]:
            return [
                f"The float model is right for {right} of {len(places)} calibration images, which is no better than "
                f"guessing among {outputs.shape[1]} classes.{how} {advice}"
            ]
        return []
    common, times = Counter(answers.tolist()).most_common(1)[0]
    if times == len(places):
        return [
            f"The float model gives the same class, number {common}, for all {times} calibration images.{how} {advice}"
        ]
    return []


def of_ranges(graph: Graph, images: Images) -> list[str]:
    """Checks whether the ranges of the activations depend on two images.

    Args:
        graph: A float graph.
        images: Raw inputs.
    """
    if len(images) < 2 * _FEW:
        return []
    tensors = [tensor for tensor in graph.activations if tensor.index not in graph.inputs]
    # The state holds two numbers for each image, however large the tensors are.
    each = Observer(
        init=list,
        update=lambda state, values: [*state, (float(values.min()), float(values.max()))],
        merge=lambda first, second: first + second,
        finish=lambda state: (0.0, 0.0),
    )
    owned = []
    for tensor, state in zip(tensors, run_observers(graph, tensors, images, [each] * len(tensors)), strict=True):
        low, high = np.sort(np.array(state).T, axis=1)
        whole = max(high[-1], 0) - min(low[0], 0)
        without = max(high[-1 - _OWNERS], 0) - min(low[_OWNERS], 0)
        if whole > 0 and without < _OWNED * whole:
            owned.append((without / whole, tensor.name))
    if not owned:
        return []
    share, name = min(owned)
    return [
        f"Of {len(tensors)} activations, {len(owned)} have a range that depends on {_OWNERS} of {len(images)} images: "
        f"without them, the range of '{name.split(';')[0]}' would be {share:.0%} as wide. Look for images that do not "
        "belong, or set `observer='percentile'`."
    ]


def warn(graph: Graph, images: ImageSet, feed: Feed, preprocess: Preprocess | None) -> None:
    """Runs the data checks on calibration images, and issues a warning for each finding.

    Args:
        graph: The float graph.
        images: The images, or the arrays of a model whose input is no image.
        feed: The same data as raw inputs.
        preprocess: Turns an image into an input. None for a model whose input is no image; its arrays are not checked
            as images.
    """
    # The labels are used only if the data set has as many classes as the model's output.
    classes = int(np.prod(graph.tensors[graph.outputs[0]].shape[1:]))
    labels = images.labels if len(images.classes) == classes else None
    pictures = () if preprocess is None else of_images(images)
    scale = "" if preprocess is None else f"[{preprocess.scale[0]:g}, {preprocess.scale[1]:g}]"
    findings = [
        *pictures,
        *(of_answers(graph, feed, labels, scale) if preprocess is not None else ()),
        *of_ranges(graph, feed),
    ]
    for finding in findings:
        warnings.warn(finding, OctavoWarning, stacklevel=3)
