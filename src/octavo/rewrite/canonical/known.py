"""Finds the tensors of a graph whose values depend on no input, and those whose shapes never change."""

from __future__ import annotations

from dataclasses import dataclass

from octavo.tflite.graph import Graph, Op

# Op inputs whose values, not only their shapes, determine the shape of the op's result.
SHAPED_BY: dict[str, tuple[int, ...]] = {
    "ARG_MAX": (1,),
    "ARG_MIN": (1,),
    "BATCH_TO_SPACE_ND": (1, 2),
    "BROADCAST_ARGS": (),
    "BROADCAST_TO": (1,),
    "CONV_3D_TRANSPOSE": (0,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "MEAN": (1,),
    "MIRROR_PAD": (1,),
    "ONE_HOT": (1,),
    "PAD": (1,),
    "PADV2": (1,),
    "RANGE": (0, 1, 2),
    "REDUCE_ALL": (1,),
    "REDUCE_ANY": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "REDUCE_PROD": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SCATTER_ND": (2,),
    "SLICE": (1, 2),
    "SPACE_TO_BATCH_ND": (1, 2),
    "SPARSE_TO_DENSE": (1,),
    "SPLIT": (0,),
    "SPLIT_V": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TOPK_V2": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
}
# Ops that read only the shape of their input, not its values.
_ASKS_SHAPE = {"SHAPE", "RANK"}
# Ops whose result shape depends on values, whose result is random, or which keep state between runs.
_UNKNOWN = {
    "ASSIGN_VARIABLE",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "CALL",
    "CALL_ONCE",
    "DELEGATE",
    "HASHTABLE",
    "HASHTABLE_FIND",
    "HASHTABLE_IMPORT",
    "HASHTABLE_LOOKUP",
    "HASHTABLE_SIZE",
    "IF",
    "LSTM",
    "MULTINOMIAL",
    "RANDOM_STANDARD_NORMAL",
    "RANDOM_UNIFORM",
    "READ_VARIABLE",
    "RNN",
    "SKIP_GRAM",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    "UNIQUE",
    "VAR_HANDLE",
    "WHERE",
    "WHILE",
}
# Stateful ops whose result shape is still known, from the shapes of their input and weights.
_KEEPS_SHAPE = {
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "LSTM",
    "RNN",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
}


@dataclass(frozen=True)
class Known:
    """Indices of tensors whose values or shapes do not depend on the values of the inputs.

    Args:
        values: Tensors whose values depend only on constants and shapes.
        shapes: Tensors whose shape is always the same if the inputs have static shapes.
    """

    values: frozenset[int]
    shapes: frozenset[int]

    @classmethod
    def of(cls, graph: Graph) -> Known:
        """Finds the known tensors of a graph whose inputs have static shapes."""
        made = {out for op in graph.ops for out in op.outputs}
        # A tensor that no op computes is an input, a constant, or the state of an op. An empty constant has no content.
        shapes = {t.index for t in graph.tensors if t.index not in made}
        values = {i for i in shapes if graph.tensors[i].constant is not None or 0 in graph.tensors[i].shape}
        values -= set(graph.inputs)
        for op in graph.ops:
            read = [index for index in op.inputs if index >= 0]
            if _has_known_shape(op, values, shapes):
                shapes |= set(op.outputs)
            if op.kind in _UNKNOWN or op.kind.startswith("CUSTOM:"):
                continue
            if read and all(index in (shapes if op.kind in _ASKS_SHAPE else values) for index in read):
                values |= set(op.outputs)
                shapes |= set(op.outputs)
        return cls(frozenset(values), frozenset(shapes))


def _has_known_shape(op: Op, values: set[int], shapes: set[int]) -> bool:
    if not all(index in shapes for index in op.inputs if index >= 0):
        return False
    if op.kind in _ASKS_SHAPE:
        return True
    # The kernel of a custom op is unknown. Its shape is assumed static, as nearly all are; `exact` would find an error.
    if op.kind in _UNKNOWN:
        return op.kind in _KEEPS_SHAPE
    places = SHAPED_BY.get(op.kind, ())
    return all(op.inputs[place] in values for place in places if place < len(op.inputs) and op.inputs[place] >= 0)
