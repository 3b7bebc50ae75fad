"""Precision: how exactly each op computes, as a user asks for it and as the op table can give it."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from typing import Literal, get_args

from octavo.errors import QuantizationError
from octavo.graph import Graph, Op
from octavo.ops import row

Precision = Literal["int8", "int4", "int16x8", "float"]

# What each is called where people read it.
MEANINGS: dict[Precision, str] = {
    "int8": "int8 weights and activations",
    "int4": "int4 weights, int8 activations",
    "int16x8": "int8 weights, int16 activations",
    "float": "float32",
}


def name_of(graph: Graph, op: Op) -> str:
    """What an op is called: the name of its first output, which survives changes to the graph as its place does not."""
    return graph.tensors[op.outputs[0]].name if op.outputs else str(op)


def possible(op: Op) -> tuple[Precision, ...]:
    """The precisions for which LiteRT has a kernel of this kind of op, float last."""
    rules = row(op)
    if rules is None:
        return ("float",)
    forms: dict[Precision, bool] = {
        "int8": True,
        "int4": rules.int4 is not None,
        "int16x8": rules.wide is not None,
        "float": True,
    }
    return tuple(precision for precision, exists in forms.items() if exists)


def resolve(graph: Graph, wanted: Mapping[str, Precision]) -> dict[str, Precision]:
    """Which op gets which precision.

    Args:
        graph: A float graph.
        wanted: Precisions by an op's name (its first output's), by kind (``CONV_2D``), or by a pattern of names or
            kinds with ``*``, ``?`` or ``[…]``; the later goes before the earlier. A pattern is for those of its ops
            that have such a kernel; a name or kind insists on it.

    Returns:
        The precision of every op that does not get int8 or is named, by name.

    Raises:
        QuantizationError: A name fits no op, or LiteRT has no such kernel for it; each one is listed.
    """
    found: dict[str, Precision] = {}
    problems: list[str] = []
    for key, precision in wanted.items():
        if precision not in get_args(Precision):
            problems.append(f"'{key}': there is no precision '{precision}'; use one of {', '.join(MEANINGS)}")
            continue
        named = [op for op in graph.ops if key in (name_of(graph, op), op.kind)]
        ops = named or [
            op
            for op in graph.ops
            if any(fnmatch.fnmatchcase(text, key) for text in (name_of(graph, op), op.kind))
            and precision in possible(op)
        ]
        if not ops:
            problems.append(f"'{key}': {_nearest(graph, key, precision)}")
        without = [op for op in named if precision not in possible(op)]
        problems += [
            f"{op} ({name_of(graph, op)}): LiteRT computes {op.kind} in {', '.join(possible(op))}, not in {precision}"
            for op in without
        ]
        found.update({name_of(graph, op): precision for op in ops})
    if problems:
        raise QuantizationError(
            f"{graph.name} cannot have the precision that was asked for.",
            "Name ops as `octavo inspect --ops` does, by kind, or by a pattern.",
            details=problems,
        )
    return found


def _nearest(graph: Graph, key: str, precision: Precision) -> str:
    names = dict.fromkeys(text for op in graph.ops for text in (name_of(graph, op), op.kind))
    if any(fnmatch.fnmatchcase(text, key) for text in names):
        return f"none of the ops that fit has a kernel in {precision}"
    close = difflib.get_close_matches(key, names, n=3, cutoff=0.5) or [text for text in names if key in text][:3]
    return "no op fits" + (f"; the nearest are {', '.join(close)}" if close else "")
