"""A teacher: a trained classifier from whose outputs another network learns, beside the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.analysis.tasks.task import gives_probabilities
from octavo.base.errors import RecipeError
from octavo.data.preprocess import Preprocess
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]


class Teacher:
    """Makes a share of the targets from a classifier's probabilities.

    Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531) at a temperature of 1. The teacher sees each image as
    the network does, augmented in the same way (Beyer et al. 2022, arXiv 2106.05237).

    Args:
        graph: The classifier: one image in, one row of scores out.
        preprocess: From image to its input.
        share: The share of its probabilities in the targets, from 0 to 1.

    Example:
        >>> from octavo.training.teacher import untaught
        >>> untaught(np.zeros((1, 8, 8, 3)), np.array([[0.0, 1.0]])).tolist()  # the targets without a teacher
        [[0.0, 1.0]]
    """

    def __init__(self, graph: Graph, preprocess: Preprocess, share: float) -> None:
        self.content = graph.content
        # Batches are made in a thread beside the training, which has the other cores.
        self._model = Model(graph, workers=1)
        self._preprocess = preprocess
        self._share = np.float32(share)
        self._logits = not gives_probabilities(graph)

    def __call__(self, pixels: Array, targets: Array) -> Array:
        """The targets that the network is trained on.

        Args:
            pixels: A batch of images in [0, 255], ``(N, height, width, channels)``.
            targets: What the labels say, float32 ``(N, classes)``.
        """
        scores = self._model.predict(self._preprocess.normalize(pixels)).reshape(targets.shape)
        if self._logits:
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
        return np.asarray((1 - self._share) * targets + self._share * scores)


def untaught(pixels: Any, targets: Array) -> Array:
    """The targets without a teacher: what the labels say."""
    return targets


def check_teacher(graph: Graph, preprocess: Preprocess, known: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Refuses a teacher that does not see the images, or does not know the classes, of the network.

    Args:
        graph: The teacher.
        preprocess: The network's, from image to input.
        known: The teacher's class names, in the order of its outputs. Empty if it does not say.
        classes: The network's.

    Raises:
        RecipeError: It has other inputs, outputs or classes.
    """
    model = Model(graph, workers=1)
    inputs, outputs = ([tuple(port.shape[1:]) for port in ports] for ports in (model.inputs, model.outputs))
    if inputs != [preprocess.shape]:
        raise RecipeError(
            f"train.teacher takes {_shapes(inputs)}, and the network learning from it {_shapes([preprocess.shape])}.",
            "Set preprocess.size and preprocess.channels as in the teacher's recipe.",
        )
    if [int(np.prod(shape)) for shape in outputs] != [len(classes)]:
        raise RecipeError(
            f"train.teacher gives {_shapes(outputs)}, and a score for each of {len(classes)} classes was expected."
        )
    if known and known != classes:
        raise RecipeError(
            f"train.teacher has the classes {', '.join(known)}, and the images have {', '.join(classes)}.",
            "Train the teacher on the same classes, in the same order.",
        )


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join("×".join(map(str, shape)) for shape in shapes)
