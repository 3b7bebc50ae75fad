from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from handmade import File, values

from octavo.base.errors import ModelError
from octavo.tflite.graph import Graph
from octavo.tflite.op_options import options_of


def _file() -> File:
    made = File()
    x, hidden, out = (made.tensor(name, (1, 4)) for name in ("x", "hidden", "out"))
    weight = made.constant("weight", values(4, 4))
    made.dense(x, weight, hidden)
    made.dense(hidden, weight, out)
    return made.ports([x], [out])


CHANGES: dict[str, tuple[Callable[[File], object], str]] = {
    "no outputs": (lambda file: file.ports([0], []), "has no outputs"),
    "no inputs": (lambda file: file.ports([], [2]), "has no inputs"),
    "output not computed": (lambda file: file.at.operators.pop(), "its output 'out' is computed by no op"),
    "output before the first": (lambda file: file.ports([0], [-1]), "outputs name tensor -1"),
    "output after the last": (lambda file: file.ports([0], [9]), "outputs name tensor 9"),
    "input not computed": (lambda file: file.at.operators.pop(0), "reads the tensor 'hidden'"),
    "ops in the wrong order": (lambda file: file.at.operators.reverse(), "reads the tensor 'hidden'"),
    "op reads what is not there": (
        lambda file: setattr(file.at.operators[0], "inputs", [0, 77, -1]),
        "reads tensor 77",
    ),
    "op writes what is not there": (lambda file: setattr(file.at.operators[0], "outputs", [77]), "writes tensor 77"),
    "a huge tensor": (lambda file: setattr(file.at.tensors[1], "shape", [1 << 20, 1 << 20]), "claims the shape"),
    "too many axes": (lambda file: setattr(file.at.tensors[1], "shape", [1] * 9), "9 axes"),
    "a name that is no text": (lambda file: setattr(file.at.tensors[1], "name", b"\xe9"), "not UTF-8"),
    "a constant without values": (lambda file: setattr(file.model.buffers[1], "data", None), "'weight'"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_sound_is_refused(change: str) -> None:
    file = _file()
    assert Graph(file.bytes(), "'m'").outputs == (2,)
    damage, said = CHANGES[change]
    damage(file)
    with pytest.raises(ModelError, match="'m' is damaged: .*" + said):
        Graph(file.bytes(), "'m'")


def test_tensors_that_need_no_values() -> None:
    file = _file()
    state, empty = file.tensor("state", (1, 4)), file.tensor("empty", (0,), "int32")
    file.at.tensors[state].isVariable = True
    out = file.tensor("more", (1, 4))
    file.op("ADD", [state, 2], [out], "Add")
    file.op("RESHAPE", [out, empty], [file.tensor("last", ())], "Reshape")
    assert len(Graph(file.bytes()).ops) == 4


def test_options_of_another_op_count_as_absent() -> None:
    file = _file()
    out = file.tensor("most", (1,))
    file.op("REDUCE_MAX", [2, file.constant("axes", np.array([1], np.int32))], [out], "Softmax", beta=2.0)
    op = Graph(file.bytes()).ops[-1]
    assert isinstance(op.options, schema.ReducerOptionsT) and not op.options.keepDims
    assert options_of("CONV_2D", None).strideW == 0
    mine = schema.Conv2DOptionsT()
    assert options_of("CONV_2D", mine) is mine
    assert options_of("CUSTOM:mine", None) is None
    assert options_of("RELU", None) is None
