"""A few samples, from the user or synthetic, to run a model on outside of calibration and testing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octavo.base.affine import IntArray
from octavo.data.columns import Columns
from octavo.data.dataset import Dataset
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.data.split import draw_any
from octavo.recipe.options import Inputs
from octavo.rewrite import equality
from octavo.rewrite.equality import Raw
from octavo.runtime.litert import inputs_of
from octavo.tflite.graph import Graph


@dataclass(frozen=True, eq=False)
class Samples:
    """A few samples.

    Args:
        inputs: For a model that takes an image, uint8 ``(N, height, width, channels)`` of the input's size, in the
            model's channel order; or float32 of that shape, where the data are the model's own input. For other models,
            raw inputs.
        labels: The class of each sample, or None if not known.
        about: A description of the samples for display.
    """

    inputs: Raw
    labels: IntArray | None
    about: str


def draw_samples(graph: Graph, preprocess: Preprocessing, inputs: Inputs, source: Dataset | None) -> Samples:
    """Draws samples from the given data, or makes synthetic ones if there is none.

    Args:
        graph: The model.
        preprocess: The preprocessing of its images. None if the model takes none.
        inputs: The number of samples. By default 16, or all if there are fewer.
        source: The data, if there are any.

    Raises:
        DataError: The data do not fit the model.
    """
    if source is None:
        count = equality.IMAGES if inputs.images is None else inputs.images
        if not isinstance(preprocess, Preprocess):
            return Samples(equality.samples(inputs_of(graph), count), None, f"{count} synthetic samples")
        return Samples(equality.pictures(preprocess.shape, count), None, f"{count} synthetic images")
    chosen = draw_any(source, inputs.images, inputs.seed, equality.IMAGES)
    if not isinstance(preprocess, Preprocess):
        feed = Feed(chosen, preprocess, inputs_of(graph))
        return Samples(feed[:], chosen.labels, f"{len(chosen)} samples of {source.source}")
    if isinstance(chosen.images, Columns) or chosen.images[0].dtype != np.uint8:
        own = Feed(chosen, preprocess, [port.real for port in inputs_of(graph)])
        return Samples(np.stack(own[:]), chosen.labels, f"{len(chosen)} samples of {source.source}")
    return Samples(preprocess.resize(chosen.pictures), chosen.labels, f"{len(chosen)} images of {source.source}")
