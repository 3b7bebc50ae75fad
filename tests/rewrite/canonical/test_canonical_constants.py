"""Float16, sparse, integer and unused constants; and the proof that says when a rewrite is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from handmade import File, answers, values
from sparsefile import holey, sparse_file, sparsify

from octavo.base.affine import QParams
from octavo.base.errors import ModelError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.rewrite.canonical import dynamic_range as dynamic
from octavo.rewrite.canonical import passes
from octavo.rewrite.canonical.change import Change
from octavo.rewrite.canonical.passes import concerns, plain
from octavo.rewrite.rewritten import Rewritten
from octavo.tflite.graph import Graph, serialize


def halves() -> File:
    """Two dense layers whose weights are float16 behind DEQUANTIZE, as the converter writes them."""
    file = File()
    x, middle, y = file.tensor("x", (1, 6)), file.tensor("middle", (1, 5)), file.tensor("y", (1, 3))
    at = x
    for number, (shape, out) in enumerate((((5, 6), middle), ((3, 5), y))):
        stored = file.constant(f"half{number}", values(*shape, seed=number).astype(np.float16))
        weight = file.tensor(f"weight{number}", shape)
        file.op("DEQUANTIZE", [stored], [weight], "Dequantize")
        file.dense(at, weight, out)
        at = out
    return file.ports([x], [y])


def test_float16_constants_become_float32_exactly() -> None:
    before = halves().graph()
    done = plain(before)
    assert done.changes == ("2 float16 constants became float32, which holds each of their values exactly.",)
    assert [op.kind for op in done.graph.ops] == ["FULLY_CONNECTED"] * 2
    weight = next(tensor for tensor in done.graph.tensors if tensor.name == "weight0")
    assert weight.dtype == "float32"
    np.testing.assert_array_equal(weight.constant, values(5, 6).astype(np.float16).astype(np.float32))
    x = values(1, 6, seed=9)
    np.testing.assert_array_equal(answers(done.graph.content, x)[0], answers(before.content, x)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("case", ["rows", "blocks"])
def test_sparse_constants_become_dense(case: str, dtype: Any) -> None:
    file, whole = sparse_file(case, dtype)
    done = plain(file.graph())
    assert [op.kind for op in done.graph.ops] == ["ADD"]
    assert "1 sparse constants became dense." in done.changes
    assert done.graph.sparse == ()
    np.testing.assert_array_equal(answers(done.graph.content, np.zeros(whole.shape, np.float32))[0], whole)


def sparse_weight() -> File:
    """A dense layer that reads sparse weights itself, without a DENSIFY."""
    file = File()
    kept, parameters = sparsify(holey(8, 16), [0, 1], ["dense", "csr"])
    x, weight, y = file.tensor("x", (1, 16)), file.constant("weight", kept), file.tensor("y", (1, 8))
    file.at.tensors[weight].shape, file.at.tensors[weight].sparsity = [8, 16], parameters
    file.dense(x, weight, y)
    return file.ports([x], [y])


def test_a_sparse_constant_that_an_op_reads_itself_becomes_dense() -> None:
    before = sparse_weight().graph()
    done = plain(before)
    assert done.changes == ("1 sparse constants became dense.",)
    given = values(1, 16, seed=3)
    np.testing.assert_allclose(answers(done.graph.content, given)[0], answers(before.content, given)[0], rtol=1e-6)
    np.testing.assert_allclose(answers(done.graph.content, given)[0], given @ holey(8, 16).T, rtol=1e-5)


def test_what_is_computed_from_constants_alone_is_stored() -> None:
    file = File()
    x, turned, y = file.tensor("x", (1, 4)), file.tensor("turned", (3, 4)), file.tensor("y", (1, 3))
    weight, order = file.constant("weight", values(4, 3)), file.constant("order", np.array([1, 0], np.int32))
    file.op("TRANSPOSE", [weight, order], [turned], "Transpose")
    file.dense(x, turned, y)
    done = plain(file.ports([x], [y]).graph())
    assert done.changes == (
        "Results that were computed from constants only became constants; ops removed: 1 TRANSPOSE.",
    )
    given = values(1, 4, seed=2)
    np.testing.assert_allclose(answers(done.graph.content, given)[0], given @ values(4, 3), rtol=1e-6)


def test_random_numbers_are_not_taken_for_constants() -> None:
    file = File()
    x, noise, y = file.tensor("x", (1, 4)), file.tensor("noise", (1, 4)), file.tensor("y", (1, 4))
    file.op("RANDOM_UNIFORM", [file.constant("shape", np.array([1, 4], np.int32))], [noise], "Random", seed=1, seed2=2)
    file.op("ADD", [x, noise], [y], "Add")
    graph = file.ports([x], [y]).graph()
    assert plain(graph).graph is graph


def hybrid(channels: bool = True, zero: bool = False) -> tuple[File, np.ndarray]:
    """A dense layer of int8 weights on floats, and the weights that the codes stand for."""
    random = np.random.default_rng(4)
    codes = random.integers(-127, 128, (6, 32)).astype(np.int8)
    scale = random.uniform(0.001, 0.01, 6 if channels else 1).astype(np.float32)
    file = File()
    x, y = file.tensor("x", (1, 32)), file.tensor("y", (1, 6))
    weight = file.constant("weight", codes, scale)
    file.dense(x, weight, y, file.constant("bias", values(6)))
    file.at.operators[-1].builtinOptions.asymmetricQuantizeInputs = True
    return file.ports([x], [y]), codes * (scale[:, None] if channels else scale)


@pytest.mark.parametrize("channels", [False, True])
def test_integer_weights_of_a_float_graph_become_float(channels: bool) -> None:
    file, weight = hybrid(channels)
    before = file.graph()
    done = plain(before)
    (change,) = done.changes
    assert change.startswith("1 integer weights of a dynamic-range file became float32")
    assert all(tensor.qparams is None for tensor in done.graph.tensors)
    x = values(1, 32, seed=8)
    found = answers(done.graph.content, x)[0]
    np.testing.assert_allclose(found, x @ weight.T + values(6), rtol=1e-4, atol=1e-5)
    # LiteRT rounds the input of the file itself to 8 bits: nearly the same, not the same.
    hybrids = answers(before.content, x)[0]
    assert 0 < np.abs(found - hybrids).max() < 0.02 * np.abs(hybrids).max()


def test_an_embedding_of_integers_becomes_float() -> None:
    codes = np.random.default_rng(5).integers(-127, 128, (20, 8)).astype(np.int8)
    file = File()
    ids, taken, real = file.tensor("ids", (1, 4), "int32"), file.tensor("taken", (1, 4, 8), "int8"), None
    table = file.constant("table", codes, 0.02)
    file.at.tensors[taken].quantization = file.at.tensors[table].quantization
    file.op("GATHER", [table, ids], [taken], "Gather", axis=0)
    real, out = file.tensor("real", (1, 4, 8)), file.tensor("out", (1, 4, 8))
    file.op("DEQUANTIZE", [taken], [real], "Dequantize")
    file.op("RELU", [real], [out])
    before = file.ports([ids], [out]).graph()
    done = plain(before)
    assert [op.kind for op in done.graph.ops] == ["GATHER", "RELU"]
    assert all(tensor.qparams is None for tensor in done.graph.tensors)
    chosen = np.array([[3, 0, 19, 7]], np.int32)
    np.testing.assert_array_equal(answers(done.graph.content, chosen)[0], answers(before.content, chosen)[0])


def test_a_quantized_graph_stays_as_it_is() -> None:
    graph = plain(halves().graph()).graph
    int8 = Graph(quantize(graph, calibrate(graph, values(40, 6, seed=1))).content)
    assert plain(int8).graph is int8


def test_weights_that_mean_something_else_to_litert_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    file, _ = hybrid()
    monkeypatch.setattr(QParams, "dequantize", lambda self, codes: np.asarray(codes, np.float32) * self.scale[0] * 3)
    with pytest.raises(
        ModelError, match=r"LiteRT computes something else with its integer weights \(output 'y' differs by"
    ):
        plain(file.graph())
    assert dynamic.NOISE < 1


def test_a_rewrite_that_changes_answers_is_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Graph) -> Change:
        return Change(graph.replaced({"weight0": values(5, 6)}), ("Wrong.",), refusal=("a test broke it", "Mend it."))

    monkeypatch.setattr(passes, "dynamic_range", wrong)
    with pytest.raises(ModelError, match=r"a test broke it \(output 'y' differs by up to .*\)\. Mend it\."):
        plain(halves().graph())


def test_tensors_that_nothing_uses_go() -> None:
    file = halves()
    file.constant("spare", values(100, 10))
    file.tensor("ghost", (1, 2))
    graph = file.graph()
    done = plain(graph)
    assert done.changes[0] == "2 unused tensors were removed, with constants of 4,000 bytes."
    assert {"spare", "ghost"}.isdisjoint(tensor.name for tensor in done.graph.tensors)
    assert len(done.graph.content) < len(graph.content)


def test_a_plain_graph_is_left_as_it_is() -> None:
    graph = plain(halves().graph()).graph
    assert plain(graph) == Rewritten(graph)


def twice_read(named: bool = True, legacy: bool = False) -> File:
    """A network in which two layers read one bias, without a signature; and, if asked for, without names."""
    file = File()
    x, middle, y = (file.tensor(name if named else None, (1, 6)) for name in ("x", "middle", "y"))
    bias = file.constant("bias" if named else None, values(6, seed=3))
    for number, (source, out) in enumerate(((x, middle), (middle, y))):
        file.dense(source, file.constant(f"w{number}" if named else None, values(6, 6, seed=number)), out, bias)
    if legacy:
        # As files from before 2020 are: the one field that readers of that time know.
        for code in file.model.operatorCodes:
            code.builtinCode = 0
    return file.ports([x], [y])


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
def test_shared_constants_missing_names_and_legacy_codes_quantize_as_they_are(named: bool, legacy: bool) -> None:
    content = serialize(twice_read(named, legacy).model)
    graph = plain(Graph(content)).graph
    assert [op.kind for op in graph.ops] == ["FULLY_CONNECTED"] * 2
    x = values(60, 6, seed=6)
    int8 = quantize(graph, calibrate(graph, x))
    assert all(check.passed for check in prove(int8).checks)
    wanted = np.concatenate([answers(content, one[None])[0] for one in x])
    port = Graph(int8.content)
    scale_in, scale_out = (port.tensors[ports[0]].qparams for ports in (port.inputs, port.outputs))
    assert scale_in is not None and scale_out is not None
    found = np.concatenate([scale_out.dequantize(answers(int8.content, scale_in.quantize(one[None]))[0]) for one in x])
    noise = np.square(found - wanted).sum() / np.square(wanted).sum()
    assert 10 * np.log10(1 / noise) > 30


def with_spare() -> File:
    file = twice_read()
    file.constant("spare", values(3))
    return file


@pytest.mark.parametrize("make", [halves, lambda: hybrid()[0], sparse_weight, with_spare])
def test_whatever_changes_a_graph_is_announced_before_it_runs(make: Callable[[], File]) -> None:
    before = make().graph()
    assert concerns(before)
    after = plain(before).graph
    assert after is not before
    assert not concerns(after)


def test_an_output_that_no_op_makes_is_one_clear_error() -> None:
    file = halves()
    file.ports(file.at.inputs, [*file.at.outputs, file.tensor("nobody", (1, 2))])
    with pytest.raises(ModelError, match=r"'handmade\.tflite' is damaged: its output 'nobody' is computed by no op"):
        plain(file.graph())
