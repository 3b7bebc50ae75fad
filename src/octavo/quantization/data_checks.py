"""Data checks: warnings about calibration images that are probably wrong.

Ranges are only as good as the calibration images. A wrong scale or a broken folder raises no error by itself; it
makes a less accurate int8 model. Every warning states the problem and what to do. None of them stops the work, since
the data may be right all the same. Data that cannot be right (no images, NaN) is an error where it is found.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.stats import proportion
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.quantization.calibrate import Survey
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]

# With fewer images, the ranges of the recipes' models differed from those of many images (docs/results.md,
# calibration study).
_FEW = 10
# A warning is due if the range of a tensor shrinks below this share without its two most extreme images.
_OWNED = 0.5


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
    glances = images.glances()
    constant = [name for seen, name in zip(glances, images.ids, strict=True) if seen.constant]
    if constant:
        found.append(
            f"{len(constant)} of {count} calibration images are of one colour, such as '{constant[0]}'. Check "
            "them: a broken decoder or a placeholder can cause this."
        )
    known: set[bytes] = set()
    again = []
    for seen, name in zip(glances, images.ids, strict=True):
        if seen.content in known:
            again.append(name)
        known.add(seen.content)
    if len(again) > count // 10:
        found.append(
            f"{len(again)} of {count} calibration images are repeated, such as '{again[0]}'. A repeated image "
            "adds nothing to the ranges: give different images."
        )
    return found


def of_answers(graph: Graph, seen: Survey, labels: Array | None = None, scale: str = "") -> list[str]:
    """Checks whether the float model classifies the images better than guessing.

    Args:
        graph: A float classifier; its first output holds the classes.
        seen: What calibration saw.
        labels: The true class of each image, if known.
        scale: How pixels were scaled, for the message.
    """
    classes = math.prod(graph.tensors[graph.outputs[0]].shape[1:])
    if seen.images < _FEW or classes < 2 or np.any(seen.classes < 0):
        return []
    how = f" Pixels were scaled to {scale}." if scale else ""
    advice = "Check the scale, the order of the channels and of the classes, and that this is the trained model."
    if labels is not None:
        right = int((seen.classes == labels).sum())
        if proportion(right, seen.images).low <= 1 / classes:
            return [
                f"The float model is right for {right} of {seen.images} calibration images, which is no better than "
                f"guessing among {classes} classes.{how} {advice}"
            ]
        return []
    if np.all(seen.classes == seen.classes[0]):
        return [
            f"The float model gives the same class, number {seen.classes[0]}, for all {seen.images} calibration "
            f"images.{how} {advice}"
        ]
    return []


def of_ranges(seen: Survey) -> list[str]:
    """Checks whether the ranges of the activations depend on two images."""
    if seen.images < 2 * _FEW:
        return []
    owned = {name: share for name, found in seen.extremes.items() if (share := found.dependence) < _OWNED}
    if not owned:
        return []
    name = min(owned, key=lambda name: (owned[name], name))
    return [
        f"Of {len(seen.extremes)} activations, {len(owned)} have a range that depends on 2 of {seen.images} images: "
        f"without them, the range of '{name.split(';')[0]}' would be {owned[name]:.0%} as wide. Look for images that "
        "do not belong, or set `observer='percentile'`."
    ]


def warn_of_images(images: ImageSet, preprocess: Preprocessing) -> None:
    """Issues a warning for each finding about calibration images, before they are run.

    Args:
        images: The images, or the arrays of a model whose input is no image.
        preprocess: Turns an image into an input. Only the samples of a model whose one input is an image are checked.
    """
    if isinstance(preprocess, Preprocess):
        _warn(of_images(images))


def warn_of_survey(graph: Graph, images: ImageSet, preprocess: Preprocessing, seen: Survey) -> None:
    """Issues a warning for each finding about what calibration saw.

    Args:
        graph: The float graph.
        images: The calibration images.
        preprocess: As for `warn_of_images`. Only the answers for images are checked.
        seen: What calibration saw.
    """
    findings = of_ranges(seen)
    if isinstance(preprocess, Preprocess):
        # The labels are used only if the data set has as many classes as the model's output.
        classes = math.prod(graph.tensors[graph.outputs[0]].shape[1:])
        labels = images.labels if len(images.classes) == classes else None
        scale = f"[{preprocess.scale[0]:g}, {preprocess.scale[1]:g}]"
        findings = [*of_answers(graph, seen, labels, scale), *findings]
    _warn(findings)


def _warn(findings: Sequence[str]) -> None:
    for finding in findings:
        warnings.warn(finding, OctavoWarning, stacklevel=4)
