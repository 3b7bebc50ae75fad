"""What a rewrite of the canonical form is: a graph becomes another that answers alike, or there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from octavo.tflite.graph import Graph


@dataclass(frozen=True)
class Change:
    """What a rewrite did.

    Args:
        graph: The graph that it made.
        said: What it did, for people, one sentence each.
        tolerance: How far its floats may lie from those of the old one, as a share of the largest in an output.
        doubt: What it means, for people, when they lie further apart, and what to do then.
    """

    graph: Graph
    said: tuple[str, ...]
    tolerance: float = 0.0
    doubt: tuple[str, str] = (
        "its canonical form gives other answers",
        "Export the model anew with static sizes and float32 constants.",
    )


# None where a graph has nothing of the kind.
Rewrite = Callable[[Graph], Change | None]
