"""Precision: how exactly each op computes, as a user asks for it and as the op table can give it."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from typing import Literal, get_args

from octavo.base.errors import QuantizationError
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import row

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


def short_name(graph: Graph, op: Op) -> str:
    """The first part of its name: TensorFlow's converter joins the names of all ops that it fuses by semicolons."""
    return name_of(graph, op).split(";")[0]


def _called(graph: Graph, op: Op) -> tuple[str, ...]:
    """All that an op can be called: its name in full and in short, its kind, and its kind and place."""
    return name_of(graph, op), short_name(graph, op), op.kind, str(op)


def possible(op: Op) -> tuple[Precision, ...]:
    """The precisions for which LiteRT has a kernel of this kind of op, float last."""
    rules = row(op)
    if rules is None:
        return ("float",)
    forms: dict[Precision, bool] = {
        "int8": True,
        "int4": rules.int4 is not None,
        "int16x8": rules.int16x8 is not None,
        "float": True,
    }
    return tuple(precision for precision, exists in forms.items() if exists)


def resolve(graph: Graph, wanted: Mapping[str, Precision]) -> dict[str, Precision]:
    """Which op gets which precision.

    Args:
        graph: A float graph.
        wanted: Precisions by an op's name (its first output's, or the part of it before a semicolon), by kind
            (``CONV_2D``), by kind and place (``CONV_2D #3``), or by a pattern of these with ``*``, ``?`` or ``[…]``;
            the later goes before the earlier. A pattern is for those of its ops that have such a kernel; all others
            insist on it.

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
        named = [op for op in graph.ops if key in _called(graph, op)]
        fitting = named or [op for op in graph.ops if any(fnmatch.fnmatchcase(t, key) for t in _called(graph, op))]
        able = [op for op in fitting if precision in possible(op)]
        if not fitting:
            problems.append(f"'{key}': no op fits{_nearest(graph, key)}")
        elif not able or len(able) < len(named):
            unable = {op.kind: possible(op) for op in fitting if op not in able}
            problems += [
                f"'{key}': LiteRT computes {kind} in {', '.join(forms)}, not in {precision}"
                for kind, forms in unable.items()
            ]
        found.update({name_of(graph, op): precision for op in able})
    if problems:
        raise QuantizationError(
            f"{graph.name} cannot have the precision that was asked for.",
            "Name ops as `octavo inspect --ops` does, by kind, or by a pattern.",
            details=problems,
        )
    return found


def weight_bits(graph: Graph, op: Op, given: Mapping[str, Precision]) -> int:
    """The width of the codes of an op's weights, with precisions as `resolve` gives them."""
    return 4 if given.get(name_of(graph, op)) == "int4" else 8


def _nearest(graph: Graph, key: str) -> str:
    names = {text.lower(): text for op in graph.ops for text in (op.kind, short_name(graph, op))}
    close = difflib.get_close_matches(key.lower(), names, n=3, cutoff=0.6)
    close += [name for name in names if key.lower() in name and name not in close][: 3 - len(close)]
    return f"; the nearest are {', '.join(names[name] for name in close)}" if close else ""
