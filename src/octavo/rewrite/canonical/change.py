"""The type of a rewrite of the canonical form: a function from a graph to an equivalent graph, or to None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from octavo.tflite.graph import Graph


@dataclass(frozen=True)
class Change:
    """The result of a rewrite.

    Args:
        graph: The rewritten graph.
        changes: What was changed, one sentence per change, for display.
        tolerance: The largest allowed difference of a float output, as a fraction of its largest value.
        refusal: The error message and the remedy for a larger difference.
    """

    graph: Graph
    changes: tuple[str, ...]
    tolerance: float = 0.0
    refusal: tuple[str, str] = (
        "its canonical form gives other outputs",
        "Export the model again with static sizes and float32 constants.",
    )


# A rewrite returns None if it has nothing to change in a graph.
Rewrite = Callable[[Graph], Change | None]
