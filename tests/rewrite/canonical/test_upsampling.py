"""Upsampling by repetition: one RESIZE_NEAREST_NEIGHBOR with the same values, in float and in every int8 code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from handmade import File, answers

from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.rewrite.canonical.passes import concerns, plain
from octavo.runtime.litert import Kernels, Model
from octavo.tflite.graph import Graph

HEIGHT, WIDTH, CHANNELS = 4, 5, 3
SHAPE = (1, HEIGHT, WIDTH, CHANNELS)


def _repeated(rows: int, columns: int, kind: str = "TILE", axis: int = 2, watched: bool = False) -> Graph:
    """Twice an image, with its rows and columns repeated as Keras' UpSampling2D is exported.

    Args:
        rows: How often each row comes.
        columns: How often each column comes.
        kind: TILE or BROADCAST_TO.
        axis: Where the axis stands along which rows are repeated: 2 is behind the rows, 1 before them.
        watched: Whether the repeated rows are an output too.
    """
    made = File()
    x, twice, y = made.tensor("x", SHAPE), made.tensor("twice", SHAPE), made.tensor("y", (1, 4 * rows, 5 * columns, 3))
    made.op("ADD", [x, x], [twice], "Add")

    def step(kind: str, source: int, name: str, shape: list[int], second: list[int] | None = None) -> int:
        made_at = y if name == "y" else made.tensor(name, shape)
        numbers = made.constant(f"{name}.numbers", np.array(shape if second is None else second, np.int32))
        options = {"RESHAPE": "Reshape", "TILE": "", "BROADCAST_TO": ""}[kind]
        fields = {"newShape": shape} if kind == "RESHAPE" else {}
        made.op(kind, [source, numbers], [made_at], options, **fields)
        made.model.operatorCodes[-1].version = 2 if kind == "BROADCAST_TO" else 1
        return made_at

    lifted = [1, HEIGHT, WIDTH, CHANNELS]
    lifted.insert(axis, 1)
    many = [1] * 5
    many[axis] = rows
    at = step("RESHAPE", twice, "lifted", lifted)
    at = taller = step(
        kind, at, "taller", [a * b for a, b in zip(lifted, many, strict=True)], many if kind == "TILE" else None
    )
    at = step("RESHAPE", at, "flat", [1, HEIGHT * rows, WIDTH, 1, CHANNELS])
    wider = [1, HEIGHT * rows, WIDTH, columns, CHANNELS]
    at = step(kind, at, "wider", wider, [1, 1, 1, columns, 1] if kind == "TILE" else None)
    step("RESHAPE", at, "y", [1, HEIGHT * rows, WIDTH * columns, CHANNELS])
    return made.ports([x], [y, taller] if watched else [y]).graph()


def _images(count: int = 4) -> list[Any]:
    return list(np.random.default_rng(0).normal(size=(count, *SHAPE[1:])).astype(np.float32))


def _codes(graph: Graph, kernels: Kernels) -> Any:
    model, found = Model(graph, kernels, workers=1), {}
    encoded = [model.input.encode(image) for image in _images()]
    model.each(encoded, lambda place, outputs: found.update({place: outputs[0].copy()}))
    return np.stack([found[place] for place in range(len(encoded))])


@pytest.mark.parametrize("kind", ["TILE", "BROADCAST_TO"])
@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 1), (1, 2), (7, 5)])
def test_repeated_pixels_are_one_op_with_the_same_codes(rows: int, columns: int, kind: str) -> None:
    graph = _repeated(rows, columns, kind)
    assert concerns(graph)
    made = plain(graph)
    assert [op.kind for op in made.graph.ops] == ["ADD", "RESIZE_NEAREST_NEIGHBOR"]
    assert made.changes == (f"1 RESIZE_NEAREST_NEIGHBOR took the place of RESHAPE and {kind}, which repeated values.",)
    image = _images(1)[0][None]
    wanted = np.repeat(np.repeat(image + image, rows, 1), columns, 2)
    for one in (graph, made.graph):
        np.testing.assert_array_equal(answers(one.content, image)[0], wanted)
    ranges = calibrate(made.graph, _images())
    old, new = quantize(graph, calibrate(graph, _images())), quantize(made.graph, ranges)
    assert all(check.passed for check in prove(new).checks)
    codes = _codes(Graph(new.content), "xnnpack")
    assert len(np.unique(codes)) > 50
    for kernels in ("xnnpack", "builtin"):
        np.testing.assert_array_equal(codes, _codes(Graph(old.content), kernels))
    # LiteRT's reference kernels refuse TILE of int8.
    np.testing.assert_array_equal(codes, _codes(Graph(new.content), "reference"))


def test_what_repeats_the_image_or_is_read_elsewhere_stays() -> None:
    # Before the rows, the repetition makes whole images stand below each other.
    for graph in (_repeated(2, 2, axis=1), _repeated(2, 2, watched=True)):
        assert plain(graph).graph is graph


@pytest.mark.parametrize("factor", range(2, 17))
def test_the_op_repeats_for_all_usual_factors(factor: int) -> None:
    assert [op.kind for op in plain(_repeated(factor, factor)).graph.ops] == ["ADD", "RESIZE_NEAREST_NEIGHBOR"]
