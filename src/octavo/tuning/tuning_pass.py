"""Tuning passes: each changes a float graph and its ranges so that int8 loses less, and reports what it changed.

Tuning passes need no training and no labels. Each returns what the next one takes, so they compose in any order. They
change only constants of the float graph, which quantization then rounds like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from octavo.base.progress import Progress
from octavo.quantization.excerpts import Excerpt
from octavo.quantization.observers import Images
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import Table
from octavo.tflite.graph import Graph

# The table that quantization will write for a graph and its ranges.
Plan = Callable[[Graph, Ranges], Table]


@dataclass(frozen=True)
class Tuned:
    """The result of a tuning pass.

    Args:
        graph: The float graph, with other constants.
        ranges: The ranges of its activations.
        summary: What was changed, in a sentence.
        unchanged: What could not be changed, each with its reason.
        figures: What was changed, by the name of a tensor, as JSON values.
        exact: Whether the outputs are unchanged, so that int8 can be compared with this graph's activations.
    """

    graph: Graph
    ranges: Ranges
    summary: str
    unchanged: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False


def error_left(figures: Mapping[str, Any]) -> str:
    """The end of a sentence about a pass that rounds weights: the share of the squared error that remains."""
    if not figures:
        return "."
    unchanged = median(figure["error_left"] for figure in figures.values())
    return f": {unchanged:.0%} of the squared error of nearest rounding remains (median)."


@dataclass(frozen=True)
class TuningPass:
    """A tuning pass.

    A pass that knows beforehand what it reads of the images says so in `reads`. Calibration, which runs all images
    anyway, keeps that for it, where it is the first pass.

    Args:
        run: ``(graph, ranges, images, plan, progress) -> Tuned``: tunes a float graph in which no two ops share a
            constant, as `Graph.unshared` makes it, with the ranges of its activations. Images are raw inputs, float32,
            each of the input's shape without its first axis. A pass that `reads` gets what was kept of them instead.
        reads: ``(graph, images) -> Excerpt``: what it reads of the images. It depends on no range and on no value of a
            constant. None if the pass runs the images itself.
    """

    run: Callable[[Graph, Ranges, Any, Plan, Progress], Tuned]
    reads: Callable[[Graph, Images], Excerpt] | None = None
