"""The options of an op, as LiteRT reads them: those of another op, or none, count as the defaults of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ai_edge_litert import schema_py_generated as schema

# Ops whose table is named after a family. All others are named after the op itself.
_FAMILIES: dict[str, Iterable[str]] = {
    "Pool2D": ("AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D"),
    "L2Norm": ("L2_NORMALIZATION",),
    "MaximumMinimum": ("MAXIMUM", "MINIMUM"),
    "Reducer": ("MEAN", "SUM", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"),
    "SequenceRNN": ("UNIDIRECTIONAL_SEQUENCE_RNN",),
}


def _tables() -> dict[str, Any]:
    """The class of each kind's options, by the kind's builtin name."""
    names = {name for name, number in vars(schema.BuiltinOptions).items() if isinstance(number, int) and number}
    plain = {name.removesuffix("Options").lower(): name for name in names}
    kinds = [kind for kind, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)]
    found = {kind: name for kind in kinds if (name := plain.get(kind.replace("_", "").lower())) is not None}
    found |= {kind: f"{family}Options" for family, members in _FAMILIES.items() for kind in members}
    return {kind: getattr(schema, f"{name}T") for kind, name in found.items()}


_TABLES = _tables()


def options_of(kind: str, stored: Any) -> Any:
    """The options of an op.

    Args:
        kind: The op's builtin name.
        stored: The options that the file stores for it, or None.

    Returns:
        An object of the schema with the fields of this kind's options; `stored` if the kind has none of its own.

    Example:
        >>> options_of("SOFTMAX", None).beta, options_of("SOFTMAX", schema.ReducerOptionsT()).beta
        (0.0, 0.0)
    """
    own = _TABLES.get(kind)
    return stored if own is None or isinstance(stored, own) else own()
