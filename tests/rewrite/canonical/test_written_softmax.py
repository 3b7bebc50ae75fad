"""A softmax that a file writes out step by step: one SOFTMAX, with the same floats, and right in int8 with a mask."""

from __future__ import annotations

import numpy as np
import pytest
from handmade import File, answers, values
from smallnet import sqnr

from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.rewrite.canonical.passes import concerns, plain
from octavo.rewrite.canonical.softmax import softmax
from octavo.rewrite.integer_forms import integer_forms
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

SHAPE = (1, 3, 4, 5)


def written_out(
    axes: tuple[int, ...],
    *,
    keep: bool = True,
    peak: str = "REDUCE_MAX",
    floor: bool = False,
    mask: np.ndarray | None = None,
    also: str = "",
    shape: tuple[int, ...] = SHAPE,
    summed: tuple[int, ...] | None = None,
) -> Graph:
    """EXP(x - max) / SUM(EXP(x - max)), as JAX writes it.

    `keep` keeps the axes that are reduced; otherwise RESHAPE adds them again. `peak` is what gives the number that is
    subtracted, or nothing is. `floor` adds JAX's MAXIMUM with -inf. `also` is a second output.
    """
    file = File()
    x = entry = file.tensor("x", shape)
    if mask is not None:
        x = file.tensor("masked", shape)
        file.op("ADD", [entry, file.constant("mask", mask)], [x], "Add")
    rows = tuple(1 if axis in axes else n for axis, n in enumerate(shape))

    def reduced(kind: str, source: int, name: str, over: tuple[int, ...]) -> int:
        less = rows if keep else tuple(n for axis, n in enumerate(shape) if axis not in over)
        made = file.tensor(name, less)
        file.op(kind, [source, file.constant(f"{name} axes", np.int32(over))], [made], "Reducer", keepDims=keep)
        if kind == "REDUCE_MAX" and floor:
            source, made = made, file.tensor(f"{name} floor", less)
            lowest = file.constant("lowest", np.float32(-np.inf))
            file.op("MAXIMUM", [source, lowest], [made], "MaximumMinimum")
        if keep:
            return made
        lifted = file.tensor(f"{name} lifted", rows)
        file.op("RESHAPE", [made, file.constant(f"{name} shape", np.int32(rows))], [lifted], "Reshape")
        return lifted

    less = x
    if peak:
        less = file.tensor("less", shape)
        file.op("SUB", [x, reduced(peak, x, "peak", axes)], [less], "Sub")
    powers, y = file.tensor("powers", shape), file.tensor("y", shape)
    file.op("EXP", [less], [powers], "Exp")
    total = reduced("SUM", powers, "total", axes if summed is None else summed)
    file.op("DIV", [powers, total], [y], "Div")
    others = {"": [], "powers": [powers], "less": [less]}[also]
    return file.ports([entry], [y, *others]).graph()


def oracle(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    powers = np.exp(x.astype("f8") - x.max(axes, keepdims=True))
    return powers / powers.sum(axes, keepdims=True)


@pytest.mark.parametrize("form", [{}, {"keep": False, "floor": True}, {"peak": ""}, {"peak": "REDUCE_MIN"}])
@pytest.mark.parametrize(
    ("axes", "moves"),
    [((3,), []), ((-1,), []), ((1,), ["TRANSPOSE"]), ((2, 3), ["RESHAPE"]), ((1, 2), ["TRANSPOSE", "RESHAPE"])],
)
def test_the_floats_are_those_of_the_steps(axes: tuple[int, ...], moves: list[str], form: dict[str, object]) -> None:
    positive = tuple(axis % 4 for axis in axes)
    graph = written_out(positive, summed=axes if form.get("keep", True) else positive, **form)  # type: ignore[arg-type]
    made = plain(graph)
    before = ["REDUCE_MIN", "SUB"] if form.get("peak") == "REDUCE_MIN" else []
    assert concerns(graph)
    assert [op.kind for op in made.graph.ops] == [*before, *moves, "SOFTMAX", *moves[::-1]]
    assert any("1 SOFTMAX took the place" in sentence for sentence in made.changes)
    given = values(*SHAPE, scale=3.0)
    (found,) = answers(made.graph.content, given)
    np.testing.assert_allclose(found, oracle(given, positive), atol=1e-6)
    assert made.graph.tensors[made.graph.outputs[0]].name == "y"


@pytest.mark.parametrize("also", ["powers", "less"])
def test_steps_that_others_read_stay(also: str) -> None:
    graph = written_out((3,), also=also)
    made = plain(graph).graph
    kinds = [op.kind for op in made.ops]
    assert kinds.count("SOFTMAX") == 1 and "DIV" not in kinds and ("EXP" in kinds) == (also == "powers")
    given = values(*SHAPE)
    for wanted, found in zip(answers(graph.content, given), answers(made.content, given), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_sum_along_other_axes_is_no_softmax() -> None:
    # The sums are broadcast along the second axis, and not along the third, which they add up.
    shape = (1, 4, 4, 5)
    assert softmax(written_out((1,), keep=False, peak="", shape=shape, summed=(2,))) is None


def test_a_mask_leaves_the_int8_answers_right() -> None:
    mask = np.triu(np.full((8, 8), -1e9, np.float32), 1)
    graph = integer_forms(plain(written_out((2,), mask=mask, shape=(1, 8, 8))).graph).graph
    given = values(32, 8, 8, scale=2.0)
    made = quantize(graph, calibrate(graph, given))
    int8 = Graph(made.content)
    assert [op.kind for op in int8.ops] == ["ADD", "SOFTMAX"]
    # Written out, 3 dB.
    assert sqnr(oracle(given + mask, (2,)), Model(int8).predict(given)) > 30


def where(axis: int = 2, *, other: float = 0.0, read_again: bool = False, lowest: float = -np.inf) -> Graph:
    """A softmax of the values above a threshold, which are a second input, as JAX writes `softmax(where=...)`."""
    file = File()
    shape, rows = (1, 6, 8), tuple(1 if at == axis else n for at, n in enumerate((1, 6, 8)))
    x, m, y = file.tensor("x", shape), file.tensor("m", shape), file.tensor("y", shape)
    mask = file.tensor("mask", shape, "bool")
    file.op("GREATER", [m, file.constant("half", np.float32(0.5))], [mask], "Greater")
    axes = file.constant("axes", np.int32([axis]))

    def selected(name: str, source: int, number: float, out: int | None = None) -> int:
        made = file.tensor(name, shape) if out is None else out
        file.op("SELECT_V2", [mask, source, file.constant(f"{name} else", np.float32(number))], [made], "SelectV2")
        return made

    masked = selected("masked", x, lowest)
    peak, less, powers, total, div = (
        file.tensor(n, s) for n, s in zip("pleto", (rows, shape, shape, rows, shape), strict=True)
    )
    file.op("REDUCE_MAX", [masked, axes], [peak], "Reducer", keepDims=True)
    file.op("SUB", [masked, peak], [less], "Sub")
    file.op("EXP", [less], [powers], "Exp")
    file.op("SUM", [selected("kept", powers, 0.0), axes], [total], "Reducer", keepDims=True)
    file.op("DIV", [powers, total], [div], "Div")
    selected("y", div, other, y)
    return file.ports([x, m], [y, div] if read_again else [y]).graph()


def masked_values(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Values, and zeros and ones that choose among them; one row of each axis has none."""
    random = np.random.default_rng(0)
    chosen = (random.uniform(size=(count, 6, 8)) > 0.4).astype(np.float32)
    chosen[:, 2] = chosen[:, :, 5] = 0
    return random.normal(size=chosen.shape, scale=2.0).astype(np.float32), chosen


def oracle_where(x: np.ndarray, chosen: np.ndarray, axis: int) -> np.ndarray:
    powers = np.where(chosen > 0.5, np.exp(x.astype("f8")), 0)
    total = powers.sum(axis, keepdims=True)
    return np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("lowest", [-np.inf, float(np.finfo(np.float32).min)])
def test_a_softmax_of_some_values_is_right_in_float_and_int8(axis: int, lowest: float) -> None:
    made = plain(where(axis, lowest=lowest)).graph
    moves = ["TRANSPOSE"] if axis == 1 else []
    assert [op.kind for op in made.ops] == ["GREATER", "SELECT_V2", *moves, "SOFTMAX", *moves, "SELECT_V2"]
    given, chosen = masked_values(32)
    (found,) = answers(made.content, given[:1], chosen[:1])
    np.testing.assert_allclose(found, oracle_where(given, chosen, axis)[:1], atol=1e-6)
    samples = list(zip(given, chosen, strict=True))
    int8 = Model(Graph(quantize(made, calibrate(made, samples)).content))
    codes = [tuple(port.encode(one) for port, one in zip(int8.inputs, item, strict=True)) for item in samples]
    # Written out, 0 dB, or no number at all.
    assert sqnr(oracle_where(given, chosen, axis), int8.run_all(codes)[0]) > 30


def test_a_softmax_of_some_values_stays_where_its_other_values_are_read() -> None:
    assert softmax(where()) is not None
    for graph in (where(other=1.0), where(read_again=True), where(lowest=-5.0)):
        assert softmax(graph) is None
