"""The result of rewriting a graph."""

from __future__ import annotations

from dataclasses import dataclass

from octavo.tflite.graph import Graph


@dataclass(frozen=True)
class Rewritten:
    """A graph after some rewrites.

    Args:
        graph: The rewritten graph, or the given graph if nothing had to be changed.
        changes: What was changed, one sentence per change, for display.
    """

    graph: Graph
    changes: tuple[str, ...] = ()
