"""The start of quantization-aware training: the float graph and its ranges, or what tuning passes made of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from octavo.base.progress import Progress
from octavo.quantization.observers import Images
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import build
from octavo.recipe.choices import PassName
from octavo.recipe.options import Quantization
from octavo.tflite.graph import Graph
from octavo.tuning.tune import Tuning, tune


def started(
    graph: Graph,
    ranges: Ranges,
    images: Images,
    passes: Sequence[PassName],
    quantization: Quantization,
    progress: Progress,
    kept: Sequence[Any] = (),
) -> Tuning:
    """Runs the tuning passes that training starts from.

    Args:
        graph: The float graph.
        ranges: The ranges of its activations.
        images: Calibration images, as in `octavo.tuning.tune.tune`.
        passes: The passes; none starts from the float weights, rounded to the nearest codes.
        quantization: The precision of ops, and whether an op may stay in float.
        progress: Receives progress messages.
        kept: As in `octavo.tuning.tune.tune`.
    """
    plan = partial(build, allow_float=quantization.allow_float, precision=quantization.precision)
    return tune(graph, ranges, images, passes, plan, progress, kept)
