"""Files of several signatures: one is chosen, and answers as LiteRT's own signature runner does."""

from __future__ import annotations

import numpy as np
import pytest
from handmade import File, answers, values

from octavo.base.errors import ModelError
from octavo.rewrite.canonical import signature
from octavo.rewrite.canonical.signature import Chosen, check, choose
from octavo.tflite.graph import Graph


def apart() -> bytes:
    """Two signatures, each with a subgraph of its own, with inputs in another order than their names."""
    file = File()
    for number, (key, kind, options) in enumerate((("plus", "ADD", "Add"), ("less", "SUB", "Sub"))):
        if number:
            file.subgraph(key)
        second, first, out = (file.tensor(f"{key}_{name}", (1, 4)) for name in ("b", "a", "out"))
        file.op(kind, [first, second], [out], options)
        file.ports([second, first], [out])
        file.signature(key, {"a": first, "b": second}, {"result": out})
    return file.bytes()


def together() -> bytes:
    """Two signatures of one subgraph, which share its first layer."""
    file = File()
    x, other, seen, one, two = (file.tensor(name, (1, 4)) for name in ("x", "other", "seen", "one", "two"))
    file.dense(x, file.constant("w", values(4, 4)), seen)
    file.op("RELU", [seen], [one])
    file.op("MUL", [seen, other], [two], "Mul")
    file.ports([x, other], [one, two])
    file.signature("first", {"x": x}, {"y": one})
    file.signature("second", {"x": x, "other": other}, {"y": two})
    return file.bytes()


def by_litert(content: bytes, key: str, **given: np.ndarray) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    found: dict[str, np.ndarray] = Interpreter(model_content=content).get_signature_runner(key)(**given)
    return found


@pytest.mark.parametrize("key", ["plus", "less"])
def test_a_signature_with_its_own_subgraph(key: str) -> None:
    content = apart()
    chosen = choose(content, "'m'", key)
    assert chosen.changes == (f"The signature '{key}' is used, of 'plus', 'less'.",)
    graph = Graph(chosen.content)
    check(content, chosen, graph)
    a, b = values(1, 4), values(1, 4, seed=1)
    wanted = by_litert(content, key, a=a, b=b)["result"]
    # Inputs keep the order of the subgraph: b comes first.
    np.testing.assert_array_equal(answers(chosen.content, b, a)[0], wanted)
    assert not np.array_equal(answers(chosen.content, a, b)[0], wanted) or key == "plus"


@pytest.mark.parametrize(("key", "last"), [("first", "RELU"), ("second", "MUL")])
def test_a_signature_that_shares_its_subgraph(key: str, last: str) -> None:
    content = together()
    chosen = choose(content, "'m'", key)
    graph = Graph(chosen.content)
    check(content, chosen, graph)
    assert [op.kind for op in graph.ops] == ["FULLY_CONNECTED", last]
    given = {"x": values(1, 4, seed=3)} | ({"other": values(1, 4, seed=4)} if key == "second" else {})
    np.testing.assert_allclose(
        answers(chosen.content, *given.values())[0], by_litert(content, key, **given)["y"], rtol=1e-6
    )


def test_several_signatures_and_none_chosen_is_one_error_that_lists_them() -> None:
    with pytest.raises(ModelError) as caught:
        choose(apart(), "'m'")
    assert str(caught.value) == (
        "'m' has 2 signatures, and one was expected: 'plus', 'less'. Choose with `signature`.\n"
        "  plus: a (1, 4), b (1, 4) -> result (1, 4)\n"
        "  less: a (1, 4), b (1, 4) -> result (1, 4)"
    )


def test_an_unknown_signature_is_one_error_that_lists_them() -> None:
    with pytest.raises(ModelError, match=r"has no signature 'times': it has 'plus', 'less'\. Name one of them"):
        choose(apart(), "'m'", "times")


def test_a_file_without_signatures_needs_none() -> None:
    file = File()
    x, y = file.tensor("x", (1, 4)), file.tensor("y", (1, 4))
    file.op("RELU", [x], [y])
    content = file.ports([x], [y]).bytes()
    assert choose(content, "'m'") == Chosen(content)
    with pytest.raises(ModelError, match=r"has no signature 'main': it has none\. Leave `signature` out"):
        choose(content, "'m'", "main")


def test_one_signature_is_taken_and_may_be_named() -> None:
    file = File()
    x, y = file.tensor("x", (1, 4)), file.tensor("y", (1, 4))
    file.op("RELU", [x], [y])
    file.ports([x], [y]).signature("serving_default", {"x": x}, {"y": y})
    content = file.bytes()
    assert choose(content, "'m'") == choose(content, "'m'", "serving_default") == Chosen(content)


def test_a_signature_that_answers_otherwise_alone_is_seen() -> None:
    content = apart()
    plus, less = (choose(content, "'m'", key) for key in ("plus", "less"))
    with pytest.raises(
        ModelError, match=r"The signature 'plus' of .* gives other outputs once it is extracted: output 'result'"
    ):
        check(content, plus, Graph(less.content, "'m'"))


def test_a_damaged_table_of_signatures_is_one_clear_error() -> None:
    file = File()
    x, y = file.tensor("x", (1, 4)), file.tensor("y", (1, 4))
    file.op("RELU", [x], [y])
    file.ports([x], [y]).signature("one", {"x": x}, {"y": y})
    file.signature("two", {"x": y}, {"y": x})
    file.model.signatureDefs[1].subgraphIndex = 7
    with pytest.raises(ModelError, match="is damaged"):
        signature.choose(file.bytes(), "'m'", "two")
