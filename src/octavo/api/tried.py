"""What a model is tried with where no calibration or test is meant: a few samples, the user's or made up."""

from __future__ import annotations

from dataclasses import dataclass

from octavo.base.affine import IntArray
from octavo.data.encoded_inputs import Feed
from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.split import draw_calibration, draw_test
from octavo.recipe.options import Inputs
from octavo.rewrite import equality
from octavo.rewrite.equality import Raw
from octavo.runtime.litert import inputs_of
from octavo.tflite.graph import Graph


@dataclass(frozen=True, eq=False)
class Tried:
    """A few samples.

    Args:
        seen: For a model that takes an image, uint8 ``(N, height, width, channels)`` of its size, in its order of
            channels; else its raw inputs.
        labels: The class of each, where known.
        about: What they are, for people.
    """

    seen: Raw
    labels: IntArray | None
    about: str


def draw_tried(graph: Graph, preprocess: Preprocess | None, inputs: Inputs) -> Tried:
    """The samples that a caller asked for; made-up ones where `data` is left out.

    Args:
        graph: The model.
        preprocess: From image to its input; None where it takes no image.
        inputs: Which data, and how many: 16, or all where there are fewer, when left out.

    Raises:
        DataError: The data are not what the model takes.
    """
    count = equality.IMAGES if inputs.images is None else inputs.images
    if inputs.data is None and preprocess is None:
        return Tried(equality.samples(inputs_of(graph), count), None, f"{count} made-up samples")
    if inputs.data is None or preprocess is None:
        if preprocess is not None:
            return Tried(equality.pictures(preprocess.shape, count), None, f"{count} made-up images")
        chosen = draw_calibration(open_dataset("path", inputs.data), inputs.images, inputs.seed, equality.IMAGES)
        feed = Feed(chosen, None, inputs_of(graph))
        return Tried(feed[:], chosen.labels, f"{len(chosen)} samples of '{inputs.data}'")
    chosen = draw_test(open_dataset("path", inputs.data), inputs.images, inputs.seed, equality.IMAGES)
    return Tried(preprocess.resize(chosen.pictures), chosen.labels, f"{len(chosen)} images of '{inputs.data}'")
