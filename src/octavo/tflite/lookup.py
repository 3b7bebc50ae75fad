"""Lookups: the int8 form of ops that LiteRT has no int8 kernel of, such as SIN, as a table with a result for each code.

The int8 file computes ``GATHER(table, CAST(codes) + 128)``. All its kernel families compute the same, since nothing is
rounded when the model runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.affine import QParams
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import clips, row

Array = npt.NDArray[Any]

# The codes of int8, in the order of a table.
CODES = np.arange(-128, 128)


@dataclass(frozen=True)
class Lookup:
    """A float op that computes each value of its output from one value of one tensor.

    Args:
        source: The index of that tensor.
        function: What the op computes, from float64 to float64.
    """

    source: int
    function: Callable[[Array], Array]

    def reals(self, source: QParams) -> Array:
        """The op's result in float64 for each code of its input, shape ``(256,)``. An undefined result is 0.

        Args:
            source: The parameters of its input. As for DEQUANTIZE, the real of a code is a float32.
        """
        with np.errstate(all="ignore"):
            found = self.function(source.dequantize(CODES).astype(np.float64))
        return np.where(np.isnan(found), 0.0, found)

    def table(self, source: QParams, output: QParams) -> Array:
        """The code of the op's result for each code of its input: int8, shape ``(256,)``.

        Args:
            source: The parameters of its input.
            output: The parameters of its output.
        """
        # Codes saturate, and so do infinite results, as of a division by 0.
        limits = np.finfo(np.float32)
        return output.quantize(np.clip(self.reals(source), limits.min, limits.max))


def lookup(graph: Graph, op: Op) -> Lookup | None:
    """The lookup that an op can become, or None if it has an int8 kernel, or computes with several tensors.

    Args:
        graph: A float graph.
        op: One of its ops.

    Example:
        >>> graph = Graph.read("float.tflite")
        >>> [op.kind for op in graph.ops if lookup(graph, op) is not None]
        []
    """
    rules = row(op)
    if rules is None or rules.function is None:
        return None
    function, (low, high) = rules.function, clips(op)
    tensors = [graph.tensors[index] for index in op.inputs]
    computed = [place for place, tensor in enumerate(tensors) if tensor.constant is None]
    if len(computed) != 1 or any(tensor.dtype != "float32" for tensor in tensors):
        return None
    (place,) = computed
    numbers = [None if t.constant is None else np.unique(t.constant.astype(np.float64)) for t in tensors]
    shape = graph.tensors[op.outputs[0]].shape
    if any(found is not None and found.size != 1 for found in numbers) or tensors[place].shape != shape:
        return None

    def result(values: Array) -> Array:
        operands = [values if found is None else found for found in numbers]
        found: Array = np.clip(function(*operands), low, high)
        return found

    return Lookup(op.inputs[place], result)


def looked_up(graph: Graph, op: Op) -> int | None:
    """The tensor whose codes an op of an int8 file looks up, or None if it is no lookup.

    Args:
        graph: An int8 graph.
        op: One of its ops: the GATHER of a lookup.
    """
    if op.kind != "GATHER" or graph.tensors[op.inputs[0]].constant is None:
        return None
    add = graph.producers.get(op.inputs[1])
    cast = None if add is None or add.kind != "ADD" else graph.producers.get(add.inputs[0])
    if add is None or cast is None or cast.kind != "CAST" or graph.tensors[cast.inputs[0]].dtype != "int8":
        return None
    first = graph.tensors[add.inputs[1]].constant
    return cast.inputs[0] if first is not None and first.size == 1 and first.item() == -CODES[0] else None
