"""The start of quantization-aware training: the float graph and its ranges, or what tuning passes made of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from octavo.base.formats import FORMATS
from octavo.base.progress import Progress
from octavo.quantization.observers import Images
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import build
from octavo.recipe.choices import PassName
from octavo.recipe.options import Quantization
from octavo.tflite.graph import Graph
from octavo.tuning.tune import Tuning, tune

# Rounded to the nearest of few codes, a network may only guess, and training would first have to repair that.
_FEW_BITS: tuple[PassName, ...] = ("compensate",)


def started(
    graph: Graph,
    ranges: Ranges,
    images: Images,
    passes: Sequence[PassName] | None,
    quantization: Quantization,
    progress: Progress,
) -> Tuning:
    """Runs the tuning passes that training starts from.

    Args:
        graph: The float graph.
        ranges: The ranges of its activations.
        images: Calibration images, as in `octavo.tuning.tune.tune`.
        passes: The passes. By default compensated rounding if training learns the scales of any weights, else none.
        quantization: The precision of ops, and whether an op may stay in float.
        progress: Receives progress messages.
    """
    if passes is None:
        passes = _FEW_BITS if any(FORMATS[name].learned for name in quantization.precision.values()) else ()
    plan = partial(build, allow_float=quantization.allow_float, precision=quantization.precision)
    return tune(graph, ranges, images, passes, plan, progress)
