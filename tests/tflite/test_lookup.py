"""Ops without an int8 kernel, as lookups: every code is the float function's, rounded once, on every kernel family."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from handmade import File

from octavo.analysis.answers import answers
from octavo.analysis.compare import match
from octavo.base.affine import QParams
from octavo.base.errors import ProofError, QuantizationError
from octavo.quantization.proof import prove
from octavo.quantization.quantize import Quantized, quantize
from octavo.quantization.ranges import Ranges
from octavo.runtime.litert import Kernels, Model
from octavo.tflite.graph import Graph
from octavo.tflite.lookup import looked_up, lookup
from octavo.tflite.op_table import LOOKED_UP

FAMILIES: tuple[Kernels, ...] = ("xnnpack", "builtin", "reference")
SHAPE = (1, 16, 16, 1)


def one(kind: str, first: float | None = None, second: float | None = None, options: str = "", clip: int = 0) -> Graph:
    """A model of one op of the input, and of a number before or behind it."""
    file = File()
    x, y = file.tensor("x", SHAPE), file.tensor("y", SHAPE)
    before = [] if first is None else [file.constant("first", np.float32(first))]
    # ATAN2 takes operands of one shape alone.
    shape = SHAPE if kind == "ATAN2" else (1,)
    behind = [] if second is None else [file.constant("second", np.full(shape, second, np.float32))]
    fields = {"fusedActivationFunction": clip} if clip else {}
    file.op(kind, [*before, x, *behind], [y], options, **fields)
    return file.ports([x], [y]).graph()


def half_to_even(x: float) -> float:
    whole = math.floor(x)
    return whole + (x - whole > 0.5 or (x - whole == 0.5 and whole % 2 == 1))


# A model, its function in Python's own arithmetic, the range of its input and that of its output.
Case = tuple[Graph, Callable[[float], float], tuple[float, float], tuple[float, float]]
WIDE = (-2.0, 3.0)
CASES: dict[str, Callable[[], Case]] = {
    "SIN": lambda: (one("SIN"), math.sin, (-7.0, 9.0), (-1.0, 1.0)),
    "COS": lambda: (one("COS"), math.cos, (-7.0, 9.0), (-1.0, 1.0)),
    "FLOOR": lambda: (one("FLOOR"), math.floor, WIDE, WIDE),
    "CEIL": lambda: (one("CEIL"), math.ceil, WIDE, WIDE),
    # Codes at 1/64 hold each half exactly.
    "ROUND": lambda: (one("ROUND"), half_to_even, (-2.0, 127 / 64), (-2.0, 127 / 64)),
    "SIGN": lambda: (one("SIGN"), lambda x: (x > 0) - (x < 0), WIDE, (-1.0, 1.0)),
    "POW": lambda: (one("POW", second=1.7, options="Pow"), lambda x: x**1.7, (0.0, 3.0), (0.0, 6.5)),
    "POW of a number": lambda: (
        one("POW", first=0.4, options="Pow"),
        lambda x: np.float32(0.4).item() ** x,
        WIDE,
        WIDE,
    ),
    "POW undefined": lambda: (
        one("POW", second=0.5, options="Pow"),
        lambda x: x**0.5 if x >= 0 else 0.0,
        WIDE,
        (0.0, 1.8),
    ),
    "DIV": lambda: (
        one("DIV", first=1.0, options="Div"),
        lambda x: 1 / x if x else math.inf,
        (0.0, 4.0),
        (0.0, 20.0),
    ),
    "DIV with RELU6": lambda: (
        one("DIV", first=3.0, options="Div", clip=3),
        lambda x: min(max(3 / x if x else math.inf, 0.0), 6.0),
        (-1.0, 4.0),
        (0.0, 8.0),
    ),
    "FLOOR_DIV": lambda: (
        one("FLOOR_DIV", second=0.7),
        lambda x: math.floor(x / np.float32(0.7).item()),
        WIDE,
        (-3.0, 4.0),
    ),
    "FLOOR_MOD": lambda: (one("FLOOR_MOD", second=0.7), lambda x: x % np.float32(0.7).item(), WIDE, (0.0, 0.7)),
    "ATAN2": lambda: (one("ATAN2", second=0.5), lambda x: math.atan2(x, 0.5), WIDE, (-1.5, 1.5)),
}


def made(case: Case) -> Quantized:
    graph, _, bounds, results = case
    return quantize(graph, Ranges("minmax", 1, {"x": bounds, "y": results}))


def test_every_kind_has_a_case() -> None:
    assert {name.split()[0] for name in CASES} == set(LOOKED_UP)


@pytest.mark.parametrize("name", CASES)
def test_each_of_256_codes_gives_the_result_of_the_function_rounded_once(name: str) -> None:
    case = CASES[name]()
    quantized = made(case)
    int8 = Graph(quantized.content)
    source, output = (quantized.table.stored[name] for name in ("x", "y"))
    codes = np.arange(-128, 128)

    def code(value: float) -> float:
        # Python's own numbers are float64; the real of a code is a float32, as in DEQUANTIZE.
        if math.isinf(value):
            return 127.0 if value > 0 else -128.0
        steps = value / float(output.scale[0])
        return math.copysign(math.floor(abs(steps) + 0.5), steps) + int(output.zero_point[0])

    reals = [float(np.float32((int(c) - int(source.zero_point[0])) * float(source.scale[0]))) for c in codes]
    wanted = np.clip([code(case[1](real)) for real in reals], -128, 127).astype(int)
    assert np.ptp(wanted) > 60
    for kernels in FAMILIES:
        kept: list[np.ndarray] = []
        model = Model(int8, kernels, workers=1)
        model.each([codes.astype(np.int8).reshape(SHAPE[1:])], lambda place, outputs: kept.append(outputs[0].copy()))  # noqa: B023
        np.testing.assert_array_equal(kept[0].ravel().astype(int), wanted, kernels)


@pytest.mark.parametrize("name", CASES)
def test_the_float_op_of_litert_computes_that_function(name: str) -> None:
    graph, function, (low, high), _ = CASES[name]()
    values = np.random.default_rng(0).uniform(low, high, (4, *SHAPE[1:])).astype(np.float32)
    wanted = np.array([function(float(value)) for value in values.ravel()]).reshape(values.shape)
    found = Model(graph, "builtin").predict(values)
    usable = np.isfinite(found)
    assert usable.mean() > 0.5
    np.testing.assert_allclose(found[usable], wanted[usable], rtol=2e-5, atol=1e-5)


def test_the_proof_reads_the_table_and_what_stands_before_it() -> None:
    quantized = made(CASES["SIN"]())
    proof = prove(quantized)
    assert proof.ops == {"CAST": 1, "ADD": 1, "GATHER": 1} and proof.kept_in_float == []
    (check,) = (check for check in proof.checks if check.name.startswith("each table of a lookup"))
    assert check.passed and check.count == 1
    graph = Graph(quantized.content)
    (table,) = (t for t in graph.tensors if t.name == "y;results")
    assert table.constant is not None
    wrong = table.constant.copy()
    wrong[77] += 1
    (first,) = (t for t in graph.tensors if t.name == "first_code")
    for name, values in ((table.name, wrong), (first.name, np.asarray(127, np.int32))):
        with pytest.raises(ProofError, match="each table of a lookup"):
            prove(replace(quantized, content=graph.replaced({name: values}).content))


def test_compare_and_answers_take_the_three_ops_as_one() -> None:
    case = CASES["SIN"]()
    int8 = Graph(made(case).content)
    assert [looked_up(int8, op) for op in int8.ops] == [None, None, int8.inputs[0]]
    assert [(pair.before.name, pair.after.name) for pair in match(case[0], int8)] == [("x", "x"), ("y", "y")]
    assert [pair.before.name for pair in match(case[0], case[0])] == ["x", "y"]
    values = np.random.default_rng(0).uniform(-7, 9, (32, *SHAPE[1:])).astype(np.float32)
    found = answers(case[0], int8, values)
    assert found.hold and found.worst.sqnr is not None and found.worst.sqnr > 25


def test_two_computed_tensors_and_several_numbers_are_no_lookup() -> None:
    file = File()
    x, z, y = file.tensor("x", SHAPE), file.tensor("z", SHAPE), file.tensor("y", SHAPE)
    file.op("POW", [x, z], [y], "Pow")
    both = file.ports([x, z], [y]).graph()
    assert lookup(both, both.ops[0]) is None
    file = File()
    x, y = file.tensor("x", (1, 3)), file.tensor("y", (1, 3))
    file.op("POW", [x, file.constant("powers", np.float32([1.1, 1.2, 1.3]))], [y], "Pow")
    several = file.ports([x], [y]).graph()
    assert lookup(several, several.ops[0]) is None
    for graph in (both, several):
        with pytest.raises(QuantizationError) as caught:
            quantize(graph, Ranges("minmax", 1, dict.fromkeys("xyz", (0.0, 2.0))))
        assert "only that of one tensor and numbers has an int8 form" in str(caught.value)


def test_a_lookup_that_shall_stay_in_float_does() -> None:
    graph = CASES["SIN"]()[0]
    kept = quantize(graph, Ranges("minmax", 1, {"x": WIDE, "y": (-1.0, 1.0)}), precision={"SIN": "float"})
    assert "SIN" in {op.kind for op in Graph(kept.content).ops}
    prove(kept)


def test_results_beyond_the_codes_saturate_and_undefined_ones_are_zero() -> None:
    graph = one("DIV", first=-1.0, options="Div")
    found = lookup(graph, graph.ops[0])
    assert found is not None
    table = found.table(QParams.from_range(-1.0, 1.0), QParams.from_range(-4.0, 4.0))
    # Codes -2, -1 and 0: the zero point is -1, and -1 / 0 is below everything.
    assert table[[126, 127, 128]].tolist() == [127, -128, -128]
