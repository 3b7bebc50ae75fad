"""Control flow is refused with what it comes from; the files here are as TensorFlow's converter writes them."""

from __future__ import annotations

import numpy as np
import pytest
from handmade import File, values

from octavo.base.errors import ModelError
from octavo.rewrite.canonical.signature import choose
from octavo.tflite.graph import Graph

STEPS, UNITS = 5, 7


def loop(gates: int, tanh: int, layer: str = "", dense: bool = True) -> bytes:
    """A WHILE whose body has so many gates, with the names that Keras gives, or with names that say nothing."""
    file = File()
    x, first = file.tensor("x", (1, STEPS, 3)), file.constant("zero", np.zeros((1, UNITS), np.float32))
    out = file.tensor(f"model/{layer or 'block'}/while", (1, UNITS))
    file.op("WHILE", [first], [out], "While", condSubgraphIndex=1, bodySubgraphIndex=2)
    file.ports([x], [out])
    file.subgraph("cond")
    state, more = file.tensor("s", (1, UNITS)), file.constant("true", np.array([True]))
    file.ports([state], [more])
    file.subgraph("body")
    state = file.tensor("state", (1, UNITS))
    at = state
    if dense:
        at = file.tensor(f"{layer}/{layer.split('_', 1)[0]}_cell/MatMul" if layer else "product", (1, UNITS))
        file.dense(state, file.constant("kernel", values(UNITS, UNITS)), at)
    for kind, count in (("LOGISTIC", gates), ("TANH", tanh)):
        for number in range(count):
            made = file.tensor(f"{kind}{number}", (1, UNITS))
            file.op(kind, [at], [made])
            at = made
    file.ports([state], [at])
    return file.bytes()


@pytest.mark.parametrize(("gates", "tanh", "layer"), [(3, 2, "LSTM"), (2, 1, "GRU"), (0, 1, "SimpleRNN")])
def test_a_recurrent_layer_is_told_by_its_gates_with_the_line_that_cures_it(gates: int, tanh: int, layer: str) -> None:
    with pytest.raises(ModelError) as caught:
        Graph(loop(gates, tanh), "'m'")
    assert f"a recurrent layer, {layer}, that was not unrolled" in caught.value.problem
    assert f"keras.layers.{layer}({UNITS}, unroll=True)" in caught.value.todo
    assert "subgraphs" not in str(caught.value)


def test_names_tell_the_layer_where_a_file_has_them() -> None:
    # An LSTM whose gates are hard sigmoids has no LOGISTIC.
    with pytest.raises(ModelError, match=r"\(WHILE in 'lstm_3'\): a recurrent layer, LSTM, that was not unrolled"):
        Graph(loop(0, 2, "lstm_3"), "'m'")


def test_a_loop_of_something_else() -> None:
    with pytest.raises(ModelError, match=r"a loop \(WHILE in 'block'\), as of tf.while_loop.* Unroll the loop"):
        Graph(loop(0, 1, dense=False), "'m'")


def test_a_branch() -> None:
    file = File()
    x, yes, out = file.tensor("x", (1, 2)), file.tensor("yes", (), "bool"), file.tensor("model/cond", (1, 2))
    file.op("IF", [yes, x], [out], "If", thenSubgraphIndex=1, elseSubgraphIndex=2)
    file.ports([x, yes], [out])
    for name in ("then", "else"):
        file.subgraph(name)
        inner = file.tensor("x", (1, 2))
        file.ports([inner], [inner])
    with pytest.raises(ModelError, match=r"a branch \(IF in 'model'\), as of tf\.cond\. Compute both branches"):
        file.graph()


@pytest.mark.parametrize(
    ("holds", "changes", "said"),
    [
        (False, False, r"variables, whose values are not in the file: its outputs are meaningless \(READ_VARIABLE"),
        (True, False, r"weights that are variables, set in its first run .*without the model as second argument"),
        (True, True, r"variables that keep their values between runs .* Make the state an input and an output"),
    ],
)
def test_variables_are_told_apart(holds: bool, changes: bool, said: str) -> None:
    file = File()
    x, handle, read, out = (
        file.tensor("x", (1, 2)),
        file.tensor("h", (), "resource"),
        *(file.tensor(name, (1, 2)) for name in ("read", "out")),
    )
    if holds:
        file.op("CALL_ONCE", [], [], "CallOnce", initSubgraphIndex=1)
    file.op("VAR_HANDLE", [], [handle], "VarHandle", sharedName=b"v")
    file.op("READ_VARIABLE", [handle], [read], "ReadVariable")
    file.op("ADD", [x, read], [out], "Add")
    if changes:
        file.op("ASSIGN_VARIABLE", [handle, out], [], "AssignVariable")
    file.ports([x], [out])
    if holds:
        file.subgraph("init")
        handle = file.tensor("h", (), "resource")
        file.op("VAR_HANDLE", [], [handle], "VarHandle", sharedName=b"v")
        file.op("ASSIGN_VARIABLE", [handle, file.constant("value", values(1, 2))], [], "AssignVariable")
    with pytest.raises(ModelError, match=said):
        choose(file.bytes(), "'m'")


def test_a_damaged_loop_is_one_clear_error() -> None:
    file = File()
    x, out = file.tensor("x", (1, 2)), file.tensor("y", (1, 2))
    file.op("WHILE", [x], [out], "While", condSubgraphIndex=1, bodySubgraphIndex=9)
    file.ports([x], [out])
    file.subgraph("cond")
    with pytest.raises(ModelError, match="is damaged"):
        file.graph()


def test_litert_itself_writes_what_is_told_apart_here() -> None:
    """The same of a Keras model, by TensorFlow's own converter."""
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((STEPS, 3)), keras.layers.GRU(UNITS, name="gates"), keras.layers.Dense(2)])
    function = tf.function(lambda x: model(x, training=False), [tf.TensorSpec((1, STEPS, 3), tf.float32)])
    content = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()]).convert()
    with pytest.raises(ModelError, match=rf"a recurrent layer, GRU, .*keras\.layers\.GRU\({UNITS}, unroll=True\)"):
        Graph(bytes(content), "'m'")
