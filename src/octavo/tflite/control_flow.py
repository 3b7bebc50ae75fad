"""Control flow: refuses loops, branches and variables, with their cause and a way to export a model without them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from octavo.base.errors import ModelError

_KINDS: dict[int, str] = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_VARIABLES = {"CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
# The recurrent layer by the number of LOGISTIC ops in a step, one for each gate. The gates of an LSTM are input, forget
# and output; those of a GRU are reset and update.
_GATES = {3: "LSTM", 2: "GRU"}
_KERAS_NAMES = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}


def kinds(model: Any, subgraph: Any) -> list[str]:
    """The kind of each op of a subgraph, in order."""
    codes = [flatbuffer_utils.get_builtin_code_from_operator_code(code) for code in model.operatorCodes]
    return [_KINDS.get(codes[op.opcodeIndex], "?") for op in subgraph.operators]


def called(subgraph: Any) -> Iterator[tuple[Any, list[int]]]:
    """The ops of a subgraph that run other subgraphs, each with the indices of those."""
    for op in subgraph.operators:
        options = [vars(one) for one in (op.builtinOptions, op.builtinOptions2) if one is not None]
        found = [value for one in options for key, value in one.items() if _calls(key)]
        numbers = [int(n) for value in found for n in np.atleast_1d(value if value is not None else [])]
        if numbers:
            yield op, numbers


def _calls(key: str) -> bool:
    lower = key.lower()
    return "subgraphindex" in lower or lower in {"subgraph", "bodyindex", "branches"}


def refuse(model: Any, subgraph: Any, name: str) -> None:
    """Refuses a subgraph that needs other subgraphs or variables. The error states the cause and what to do.

    Args:
        model: The schema's `ModelT`.
        subgraph: One of its subgraphs.
        name: The name of the model in the error message.

    Raises:
        ModelError: It has a loop, a branch, a call or a variable.
    """
    found = kinds(model, subgraph)
    calls = {id(op): numbers for op, numbers in called(subgraph)}
    causes, cures = [], []
    for kind, op in zip(found, subgraph.operators, strict=True):
        if kind == "WHILE":
            body = model.subgraphs[calls[id(op)][-1]]
            layer = _recurrent(model, body)
            place = _place(op, subgraph)
            if layer is None:
                causes.append(f"a loop (WHILE{place}), as of tf.while_loop, tf.map_fn or tf.scan")
                cures.append("Unroll the loop, as a Python loop over a fixed number of steps, and export again.")
            else:
                units = _units(model, body)
                causes.append(f"a loop (WHILE{place}): a recurrent layer, {layer}, that was not unrolled")
                cures.append(
                    f"Build the layer as keras.layers.{layer}({units}, unroll=True) on a keras.Input with a fixed "
                    "number of steps, give it the trained weights (set_weights), and export again."
                )
        elif kind == "IF":
            causes.append(f"a branch (IF{_place(op, subgraph)}), as of tf.cond")
            cures.append("Compute both branches and choose with tf.where, or export the branch that is used.")
        elif kind not in _VARIABLES and id(op) in calls:
            causes.append(f"a call of another subgraph ({kind})")
            cures.append("Export the model with its functions inlined.")
    if used := sorted(_VARIABLES & set(found)):
        cause, cure = _variables(model, found)
        causes.append(f"{cause} ({', '.join(used)})")
        cures.append(cure)
    if causes:
        counted = [f"{count} times {what}" if count > 1 else what for what, count in Counter(causes).items()]
        raise ModelError(
            f"{name} is not a single graph whose ops each run once: it has {'; '.join(counted)}.",
            " ".join(dict.fromkeys(cures)),
        )


def _variables(model: Any, found: list[str]) -> tuple[str, str]:
    """The kind of a model's variables, and what to do about them, for the error message."""
    frozen = (
        "Convert with TFLiteConverter.from_keras_model, or with from_concrete_functions([function]) without the model "
        "as second argument, so that they become constants."
    )
    if "ASSIGN_VARIABLE" in found:
        return (
            "variables that keep their values between runs",
            "Make the state an input and an output of the model, or freeze it, and export again.",
        )
    if not any("ASSIGN_VARIABLE" in kinds(model, one) for one in model.subgraphs):
        return (
            "weights that are variables, whose values are not in the file: its outputs are meaningless",
            frozen,
        )
    return "weights that are variables, set in its first run", frozen


def _recurrent(model: Any, body: Any) -> str | None:
    """The recurrent Keras layer of a loop's body, found by tensor names if the file has them, else by its gates."""
    names = " ".join((raw.name or b"").decode("utf-8", "replace") for raw in body.tensors).lower()
    for part, layer in _KERAS_NAMES.items():
        if f"{part}_cell" in names:
            return layer
    found = Counter(kinds(model, body))
    if not found["FULLY_CONNECTED"] and not found["BATCH_MATMUL"]:
        return None
    return _GATES.get(found["LOGISTIC"]) or ("SimpleRNN" if found["TANH"] == 1 and not found["LOGISTIC"] else None)


def _units(model: Any, body: Any) -> str:
    for kind, op in zip(kinds(model, body), body.operators, strict=True):
        if kind in ("TANH", "LOGISTIC"):
            return str(int(body.tensors[op.outputs[0]].shape[-1]))
    return "units"


def _place(op: Any, subgraph: Any) -> str:
    """The layer's name for the error message, if a tensor's name contains it."""
    name = (subgraph.tensors[op.outputs[0]].name or b"").decode("utf-8", "replace")
    found = re.search(r"([^/;]+)/(?:while|cond)", name)
    return f" in '{found[1]}'" if found else ""
