"""Sums of values with tiny scales: constant ones become constants, and operands keep a scale that XNNPACK takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from handmade import File

from octavo.analysis.compare import compare
from octavo.quantization import quantize as writing
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import Quantized, quantize
from octavo.rewrite.integer_forms import integer_forms
from octavo.runtime.benchmark import left_by_xnnpack
from octavo.runtime.litert import Kernels, Model
from octavo.tflite.graph import Graph

SHAPE = (1, 4, 4, 8)


def _hard_swish() -> Graph:
    made = File()
    x, y = made.tensor("x", SHAPE), made.tensor("y", SHAPE)
    made.op("HARD_SWISH", [x], [y], "HardSwish")
    return integer_forms(made.ports([x], [y]).graph()).graph


def _sum(constant: float, kind: str = "ADD", slope: float = 1.0) -> Graph:
    """``slope * x * (x + constant)``, or with a difference."""
    made = File()
    x, gate, y = made.tensor("x", SHAPE), made.tensor("gate", SHAPE), made.tensor("y", SHAPE)
    c = made.constant("c", np.array(constant, np.float32))
    made.op(kind, [x, c] if kind == "ADD" else [c, x], [gate], kind.capitalize())
    made.op("MUL", [x, gate], [y], "Mul")
    return made.ports([x], [y]).graph()


def _values(largest: float, count: int = 16) -> list[Any]:
    return list(np.random.default_rng(0).uniform(-largest, largest, (count, *SHAPE[1:])).astype(np.float32))


def _plain(graph: Graph, ranges: Any, monkeypatch: pytest.MonkeyPatch) -> Quantized:
    """The same without constants in place of sums."""
    with monkeypatch.context() as patched:
        patched.setattr(writing, "without_constant_sums", lambda source, table: source)
        return quantize(graph, ranges)


def _codes(content: bytes, samples: list[Any], kernels: Kernels) -> Any:
    model, found = Model(Graph(content), kernels, workers=1), {}
    encoded = [model.input.encode(sample) for sample in samples]
    model.each(encoded, lambda place, outputs: found.update({place: outputs[0].copy()}))
    return np.stack([found[place] for place in range(len(samples))])


def test_a_hard_swish_of_tiny_values_is_a_product_with_the_same_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, samples = _hard_swish(), _values(1e-3)
    ranges = calibrate(graph, samples)
    made, plain = quantize(graph, ranges), _plain(graph, ranges, monkeypatch)
    kinds = [op.kind for op in Graph(made.content).ops]
    assert "ADD" not in kinds and kinds.count("MUL") == 2
    assert left_by_xnnpack(Graph(plain.content))[0] and not left_by_xnnpack(Graph(made.content))[0]
    assert all(check.passed for check in prove(made).checks)
    for kernels in ("xnnpack", "builtin", "reference"):
        codes = _codes(made.content, samples, kernels)
        assert len(np.unique(codes)) > 100
        np.testing.assert_array_equal(codes, _codes(plain.content, samples, kernels))
    # And it is x * relu6(x + 3) / 6, to a step of each of its two products.
    step = made.table.stored["y"].scale[0]
    real = np.stack(samples).astype(np.float64)
    wanted = real * np.clip(real + 3, 0, 6) / 6
    got = made.table.stored["y"].dequantize(codes).reshape(wanted.shape)
    assert np.abs(got - wanted).max() <= 2 * step
    # Tensor by tensor, it is compared with the float model as before.
    compared = compare(graph, Graph(made.content), samples)
    assert [row.op for row in compared.tensors] == ["INPUT", "MUL", "MUL"]
    assert [name.split()[0] for name in compared.unmatched.before] == ["ADD"] and not compared.unmatched.after


@pytest.mark.slow
def test_a_simulation_converts_to_the_same_codes() -> None:
    from octavo.analysis.agreement import agreement
    from octavo.simulate import Simulation
    from octavo.training.convert import convert

    graph, samples = _hard_swish(), _values(1e-3)
    simulation = Simulation(graph)
    simulation.set_ranges(calibrate(graph, samples))
    made = convert(simulation)
    assert [op.kind for op in Graph(made.quantized.content).ops] == ["MUL", "MUL"]
    found = agreement(simulation, made.quantized, np.stack(samples))
    assert len(found) == 3 and all(tensor.largest == 0 for tensor in found)


def test_a_hard_swish_of_usual_values_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, samples = _hard_swish(), _values(4.0)
    ranges = calibrate(graph, samples)
    assert quantize(graph, ranges).content == _plain(graph, ranges, monkeypatch).content


@pytest.mark.parametrize(("steps", "constant"), [(255.0, True), (254.75, True), (254.5, False)])
@pytest.mark.parametrize("kind", ["ADD", "SUB"])
def test_a_sum_between_two_codes_is_no_constant(kind: str, steps: float, constant: bool) -> None:
    graph, samples = _sum(3.0, kind), _values(1e-4)
    ranges = calibrate(graph, samples)
    # The constant lies that many steps above 0.
    high = 3.0 * 255 / steps
    made = quantize(graph, type(ranges)(ranges.observer, ranges.images, {**ranges.of, "gate": (0.0, high)}))
    assert (kind not in [op.kind for op in Graph(made.content).ops]) == constant


def test_a_constant_sum_may_be_given_a_precision() -> None:
    graph, samples = _sum(3.0), _values(1e-4)
    made = quantize(graph, calibrate(graph, samples), precision={"gate": "int8", "y": "int8"})
    assert [op.kind for op in Graph(made.content).ops] == ["MUL"]


def _branch(reads_again: bool = False) -> tuple[Graph, Any]:
    """``x + (w x + 1e-9)``, with w of 1e-6, and its ranges; the sum in brackets is an output too if asked."""
    made = File()
    x, tiny, branch, y = (made.tensor(name, SHAPE) for name in ("x", "tiny", "branch", "y"))
    weight = made.constant("w", 1e-6 * np.random.default_rng(1).normal(size=(8, 1, 1, 8)).astype(np.float32))
    bias = made.constant("b", np.zeros(8, np.float32))
    made.op("CONV_2D", [x, weight, bias], [tiny], "Conv2D", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    made.op("ADD", [tiny, made.constant("c", np.float32(1e-9).reshape(()))], [branch], "Add")
    made.op("ADD", [x, branch], [y], "Add")
    graph = made.ports([x], [y, branch] if reads_again else [y]).graph()
    return graph, calibrate(graph, _values(2.0))


def test_operands_keep_a_scale_that_xnnpack_takes() -> None:
    graph, ranges = _branch()
    made = quantize(graph, ranges)
    scale = {name: float(params.scale[0]) for name, params in made.table.stored.items()}
    assert not left_by_xnnpack(Graph(made.content))[0]
    # The last sum widens what it adds, and that what it is made of.
    assert scale["branch"] / scale["y"] == pytest.approx(2.0**-10, rel=0.01)
    assert (
        scale["tiny"] / scale["branch"] == pytest.approx(2.0**-10, rel=0.01) or scale["tiny"] > scale["branch"] / 1024
    )
    real = np.stack(_values(2.0)).astype(np.float64)
    got = made.table.stored["y"].dequantize(_codes(made.content, _values(2.0), "xnnpack")).reshape(real.shape)
    assert np.abs(got - real).max() <= 1.01 * scale["y"]


def test_an_operand_that_is_read_elsewhere_keeps_its_range() -> None:
    graph, ranges = _branch(reads_again=True)
    largest = max(np.abs(Model(graph).run_all([(sample,)])[1]).max() for sample in _values(2.0))
    assert max(map(abs, ranges.of["branch"])) == pytest.approx(largest)


def test_a_product_that_xnnpack_would_refuse_is_not_widened() -> None:
    made = File()
    x, tiny, y = (made.tensor(name, SHAPE) for name in ("x", "tiny", "y"))
    made.op("MUL", [x, made.constant("w", np.float32(1e-7).reshape(()))], [tiny], "Mul")
    made.op("ADD", [x, tiny], [y], "Add")
    graph = made.ports([x], [y]).graph()
    assert calibrate(graph, _values(2.0)).of["tiny"][1] < 3e-7
