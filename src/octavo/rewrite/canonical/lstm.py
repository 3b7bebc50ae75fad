"""Unrolls LSTM layers that are one op into the ops of their steps, which have int8 forms.

LiteRT's integer kernel of UNIDIRECTIONAL_SEQUENCE_LSTM needs ranges of tensors inside the op, which its float kernel
does not show. The unrolled ops are those that Keras exports for `unroll=True`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_tensor, operator, set_constant
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import activation

Array = npt.NDArray[Any]

_KIND = "UNIDIRECTIONAL_SEQUENCE_LSTM"
# The largest number of steps: each adds about 12 ops.
MOST_STEPS = 256
# The kernel adds products in another order, and later steps amplify the difference.
_TOLERANCE = 1e-4
# The inputs of the op, one for each gate: input, forget, cell and output.
_WEIGHTS, _RECURRENT, _BIASES = (1, 2, 3, 4), (5, 6, 7, 8), (12, 13, 14, 15)
_STATES = (18, 19)


def lstm(graph: Graph) -> Change | None:
    """Unrolls LSTM layers. A rewrite of the canonical form.

    Layers with peepholes, a projection, layer normalization or coupled gates are left unchanged, and those with too
    many steps.
    """
    layers = [op for op in graph.ops if plain_lstm(graph, op)]
    if not layers:
        return None
    model = graph.copied()
    subgraph = model.subgraphs[0]
    operators: list[Any] = []
    for op, raw in zip(graph.ops, subgraph.operators, strict=True):
        operators += _unrolled(model, graph, op) if op in layers else [raw]
    subgraph.operators = operators
    sweep(model)
    steps = Counter(_steps(graph, op) for op in layers)
    changes = tuple(
        f"{count} LSTM of {number} steps became the ops of its steps, which start from a state of zeros in each run."
        for number, count in steps.items()
    )
    doubt = ("an LSTM does not compute what its steps compute", "Build the layer with `unroll=True`, and export again.")
    return Change(Graph.of(model, graph.name), changes, _TOLERANCE, doubt)


def plain_lstm(graph: Graph, op: Op) -> bool:
    """Whether an op is an LSTM layer that can be unrolled."""
    if op.kind != _KIND or op.options.projClip or activation(op) != "TANH":
        return False
    wanted = (0, *_WEIGHTS, *_RECURRENT, *_BIASES, *_STATES)
    present = [place for place, index in enumerate(op.inputs) if index >= 0]
    constants = [graph.tensors[op.inputs[place]] for place in (*_WEIGHTS, *_RECURRENT, *_BIASES) if place in present]
    variables = [op.inputs[place] in graph.variables for place in _STATES if place in present]
    return (
        present == sorted(wanted)
        and all(variables)
        and all(tensor.constant is not None and tensor.dtype == "float32" for tensor in constants)
        and min(graph.tensors[op.inputs[0]].shape) > 0
        and _steps(graph, op) <= MOST_STEPS
    )


def _steps(graph: Graph, op: Op) -> int:
    return graph.tensors[op.inputs[0]].shape[_axis(op)]


def _axis(op: Op) -> int:
    """The axis of time."""
    return 0 if op.options.timeMajor else 1


def _joined(graph: Graph, op: Op, places: Sequence[int]) -> Array:
    """The constants of the four gates, one below the other."""
    return np.concatenate([graph.tensors[op.inputs[place]].constant for place in places])


class _Steps:
    """The ops of one layer, as they are added to a model.

    Args:
        model: The schema's `ModelT`, which gets new tensors and operator codes.
        name: The name of the layer's output, with which the names of new tensors begin.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.ops: list[Any] = []
        self._model, self._name = model, name

    def constant(self, what: str, values: Array) -> int:
        """A new constant."""
        index = add_tensor(self._model, f"{self._name};{what}", values.dtype.name, values.shape)
        set_constant(self._model, index, values)
        return index

    def add(
        self, kind: str, inputs: Sequence[int], shape: Sequence[int], what: str, options: Any, parts: int = 1
    ) -> Any:
        """An op with new outputs of one shape; returns their indices, or the index of the only one."""
        names = [what] if parts == 1 else [f"{what}.{part}" for part in range(parts)]
        made = [add_tensor(self._model, f"{self._name};{name}", "float32", shape) for name in names]
        self.ops.append(operator(self._model, kind, inputs, made, options))
        return made[0] if parts == 1 else made


def _unrolled(model: Any, graph: Graph, op: Op) -> list[Any]:
    source, output = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    axis, count, units = _axis(op), _steps(graph, op), output.shape[-1]
    rows = source.shape[1 - axis]
    made = _Steps(model, output.name)
    weights = made.constant("kernel", _joined(graph, op, _WEIGHTS))
    recurrent = made.constant("recurrent kernel", _joined(graph, op, _RECURRENT))
    bias = made.constant("bias", _joined(graph, op, _BIASES))
    split = made.constant("axis of gates", np.asarray(1, np.int32))
    bounds = [made.constant(f"clip {end:g}", np.asarray(end, np.float32)) for end in _clip(op, count)]
    whole = made.add(
        "FULLY_CONNECTED", [op.inputs[0], weights, bias], (*source.shape[:2], 4 * units), "inputs", _dense(keep=True)
    )
    unpack, pack = schema.UnpackOptionsT(), schema.PackOptionsT()
    unpack.axis = pack.axis = axis
    unpack.num = pack.valuesCount = count
    each = made.add("UNPACK", [whole], (rows, 4 * units), "input", unpack, count)
    hidden: list[int] = []
    state = -1
    four = schema.SplitOptionsT()
    four.numSplits = 4
    for step, gates in enumerate(each if count > 1 else [each]):
        shape, at = (rows, units), f"step {step}"
        if hidden:
            # The first step starts from zeros, which add nothing.
            again = made.add("FULLY_CONNECTED", [hidden[-1], recurrent, -1], (rows, 4 * units), f"{at}.state", _dense())
            gates = made.add("ADD", [gates, again], (rows, 4 * units), f"{at}.gates", schema.AddOptionsT())
        entry, forget, cell, leave = made.add("SPLIT", [split, gates], shape, f"{at}.gate", four, 4)
        entry, forget, leave = (
            made.add("LOGISTIC", [gate], shape, f"{at}.{what}", None)
            for gate, what in ((entry, "enter"), (forget, "keep"), (leave, "leave"))
        )
        cell = made.add("TANH", [cell], shape, f"{at}.cell", None)
        fresh = made.add("MUL", [entry, cell], shape, f"{at}.new", schema.MulOptionsT())
        if hidden:
            kept = made.add("MUL", [forget, state], shape, f"{at}.kept", schema.MulOptionsT())
            fresh = made.add("ADD", [kept, fresh], shape, f"{at}.sum", schema.AddOptionsT())
        state = fresh
        if bounds and step + 1 > op.options.cellClip:
            # A step adds at most 1 to the state, so that the first steps cannot reach the bounds.
            state = made.add("MAXIMUM", [state, bounds[0]], shape, f"{at}.above", schema.MaximumMinimumOptionsT())
            state = made.add("MINIMUM", [state, bounds[1]], shape, f"{at}.below", schema.MaximumMinimumOptionsT())
        seen = made.add("TANH", [state], shape, f"{at}.seen", None)
        hidden.append(made.add("MUL", [leave, seen], shape, f"{at}.output", schema.MulOptionsT()))
    return [*made.ops, operator(model, "PACK", hidden, [output.index], pack)]


def _clip(op: Op, count: int) -> tuple[float, ...]:
    """The bounds of the cell's state; empty if it cannot reach them."""
    bound = float(op.options.cellClip)
    return (-bound, bound) if 0 < bound < count else ()


def _dense(keep: bool = False) -> Any:
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = keep
    return options
