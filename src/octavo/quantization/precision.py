"""Precision: the precision of each op, as the user chose it and as the op table supports it."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping

from octavo.base.errors import QuantizationError
from octavo.base.formats import DEFAULT, FORMATS, Format
from octavo.base.formats import Precision as Precision
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import row


def name_of(graph: Graph, op: Op) -> str:
    """The name of an op: that of its first output. Unlike the op's index, it stays the same when the graph changes."""
    return graph.tensors[op.outputs[0]].name if op.outputs else str(op)


def short_name(graph: Graph, op: Op) -> str:
    """The part of an op's name before a semicolon; TensorFlow's converter joins the names of fused ops by them."""
    return name_of(graph, op).split(";")[0]


def _called(graph: Graph, op: Op) -> tuple[str, ...]:
    """All names that match an op: its full and its short name, its kind, and its kind with its index."""
    return name_of(graph, op), short_name(graph, op), op.kind, str(op)


def possible(op: Op) -> tuple[Precision, ...]:
    """The precisions in which LiteRT has a kernel for this kind of op; float is the last."""
    rules = row(op)
    forms = () if rules is None else rules.forms
    return tuple(name for name, found in FORMATS.items() if not found.integer or name in forms)


def format_of(graph: Graph, op: Op, given: Mapping[str, Precision]) -> Format:
    """The format of an op, given the precisions that `resolve` returned."""
    return FORMATS[given.get(name_of(graph, op), DEFAULT)]


def written(graph: Graph, op: Op) -> Precision | None:
    """The precision of an op of a written file, inferred from the types of its tensors.

    Returns:
        One of the op's precisions, or None if it computes in float.
    """
    rules = row(op)
    if rules is None:
        return None
    special = {op.inputs[i] for i in (rules.weight, rules.bias) if i is not None and i < len(op.inputs)}
    constants = {i for i in special if i >= 0 and graph.tensors[i].constant is not None}
    types = {graph.tensors[i].dtype for i in (*op.inputs, *op.outputs) if i >= 0 and i not in constants}
    weights = {graph.tensors[i].dtype for i in constants if rules.weight is not None and i == op.inputs[rules.weight]}
    fitting = (
        name
        for name in rules.forms
        if FORMATS[name].activation_type in types and weights <= {FORMATS[name].weight_type}
    )
    return next(fitting, None)


def resolve(graph: Graph, wanted: Mapping[str, Precision]) -> dict[str, Precision]:
    """Finds the precision of each op that the user gave one.

    Args:
        graph: A float graph.
        wanted: Precisions by an op's name (that of its first output, or the part of it before a semicolon), by kind
            (``CONV_2D``), by kind and index (``CONV_2D #3``), or by a pattern of these with ``*``, ``?`` or ``[…]``.
            Later entries override earlier ones. A pattern applies only to ops that support that precision; with any
            other entry, all matching ops must support it.

    Returns:
        The precision of every op that an entry matches, by the op's name. All other ops get int8.

    Raises:
        QuantizationError: An entry matches no op, or LiteRT has no kernel for it; each such entry is listed.
    """
    found: dict[str, Precision] = {}
    problems: list[str] = []
    for key, precision in wanted.items():
        if precision not in FORMATS:
            problems.append(f"'{key}': there is no precision '{precision}'; use one of {', '.join(FORMATS)}")
            continue
        named = [op for op in graph.ops if key in _called(graph, op)]
        fitting = named or [op for op in graph.ops if any(fnmatch.fnmatchcase(t, key) for t in _called(graph, op))]
        able = [op for op in fitting if precision in possible(op)]
        if not fitting:
            problems.append(f"'{key}': no op matches{_nearest(graph, key)}")
        elif not able or len(able) < len(named):
            unable = {op.kind: possible(op) for op in fitting if op not in able}
            problems += [
                f"'{key}': LiteRT computes {kind} in {', '.join(forms)}, not in {precision}"
                for kind, forms in unable.items()
            ]
        found.update({name_of(graph, op): precision for op in able})
    if problems:
        raise QuantizationError(
            f"{graph.name} cannot have the requested `precision`.",
            "Name ops as in `octavo inspect --ops`, by kind, or by a pattern:",
            details=problems,
        )
    return found


def _nearest(graph: Graph, key: str) -> str:
    names = {text.lower(): text for op in graph.ops for text in _called(graph, op)}
    close = difflib.get_close_matches(key.lower(), names, n=3, cutoff=0.6)
    close += [name for name in names if key.lower() in name and name not in close][: 3 - len(close)]
    return f"; the nearest are {', '.join(names[name] for name in close)}" if close else ""
