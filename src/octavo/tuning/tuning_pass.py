"""What a tuning act is: it changes a float graph and its ranges so that int8 loses less, and says what it changed.

Acts need no training and no labels. Each gives what the next one takes, so that they compose in any order; what they
change are constants of the float graph, which quantization then rounds as it rounds all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from octavo.base.progress import Progress
from octavo.quantization.observers import Images
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import Table
from octavo.tflite.graph import Graph

# The table that quantization will write for a graph and its ranges.
Plan = Callable[[Graph, Ranges], Table]


@dataclass(frozen=True)
class Tuned:
    """What an act made.

    Args:
        graph: The float graph, with other constants.
        ranges: The ranges of its activations.
        said: What was changed, in a sentence.
        left: What could not be changed, each with its reason.
        figures: What was changed, by the name of a tensor, as JSON values.
        exact: The graph computes what it did before, so that its activations are what int8 is to come near.
    """

    graph: Graph
    ranges: Ranges
    said: str
    left: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False


def error_left(figures: Mapping[str, Any]) -> str:
    """The end of a sentence: how much of the squared error acts that round weights left, by their figures."""
    if not figures:
        return "."
    return f": {median(figure['error_left'] for figure in figures.values()):.0%} of the squared error is left (median)."


class Act(Protocol):
    """A tuning act."""

    def __call__(self, graph: Graph, ranges: Ranges, images: Images, plan: Plan, progress: Progress) -> Tuned:
        """Tunes a graph.

        Args:
            graph: A float graph in which no two ops share a constant, as `Graph.unshared` makes it.
            ranges: The ranges of its activations.
            images: Calibration images: raw inputs, float32, each of the input's shape without its first axis.
            plan: Makes the table that quantization will write.
            progress: Where progress goes.
        """
