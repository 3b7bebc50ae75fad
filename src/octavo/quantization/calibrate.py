"""Calibration: runs images through the float graph, in one pass on all cores, and finds the range of each tensor."""

from __future__ import annotations

import numpy as np

from octavo.base.errors import DataError, ModelError
from octavo.quantization.observers import Images, Progress, observe
from octavo.quantization.ranges import Ranges
from octavo.quantization.saturation import saturate
from octavo.tflite.graph import Graph


def calibrate(
    graph: Graph,
    images: Images,
    observer: str = "minmax",
    progress: Progress = lambda done: None,
) -> Ranges:
    """Finds the range of every activation over the calibration images.

    Args:
        graph: A float graph.
        images: Preprocessed calibration images, float32, each ``(height, width, channels)``. For a graph with several
            inputs, each item is a tuple with one array for each input.
        observer: A name in `octavo.quantization.observers.OBSERVERS`.
        progress: Called with 1 after each image.

    Raises:
        DataError: There are no images.
        ModelError: The graph computes NaN or infinity.
        QuantizationError: There is no such observer.
    """
    if len(images) == 0:
        raise DataError("Calibration needs at least one image, and got none.", "Give about 100, from the training set.")
    ranges = saturate(graph, observe(graph, images, observer, progress), images)
    broken = [name for name, bounds in ranges.of.items() if not np.all(np.isfinite(bounds))]
    if broken:
        raise ModelError(
            f"{graph.name} computes NaN or infinity in {len(broken)} of {len(ranges.of)} tensors.",
            "Check its weights, and that the images are preprocessed as in its training. The first such tensors:",
            details=broken[:5],
        )
    return ranges
