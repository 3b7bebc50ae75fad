"""MediaPipe's transposed convolution as LiteRT's own: against NumPy, and against LiteRT's kernel of the custom op."""

from __future__ import annotations

import numpy as np
import pytest
from handmade import File, answers, values

from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.rewrite.canonical.custom import custom
from octavo.rewrite.canonical.passes import plain
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

SIDE, DEPTH, MADE = 5, 4, 3


def upsampling(options: tuple[int, ...], kernel: int, out: tuple[int, int]) -> Graph:
    """One Convolution2DTransposeBias; `options` are its C struct: padding (1 is SAME), stride of columns, of rows."""
    file = File()
    x, y = file.tensor("x", (1, SIDE, SIDE, DEPTH)), file.tensor("y", (1, *out, MADE))
    weights = file.constant("kernel", values(MADE, kernel, kernel, DEPTH))
    file.op("CUSTOM", [x, weights, file.constant("bias", values(MADE, seed=2))], [y])
    file.model.operatorCodes[-1].customCode = b"Convolution2DTransposeBias"
    file.at.operators[-1].customOptions = np.frombuffer(np.array(options, "<i4").tobytes(), np.uint8)
    return file.ports([x], [y]).graph()


def by_hand(graph: Graph, x: np.ndarray, stride: tuple[int, int], start: tuple[int, int]) -> np.ndarray:
    """Every pixel adds its multiple of the kernel to the output, in float64."""
    constants = {t.name: t.constant for t in graph.tensors}
    kernel, bias = constants["kernel"], constants["bias"]
    assert kernel is not None and bias is not None
    _, high, wide, _ = graph.tensors[graph.outputs[0]].shape
    size = kernel.shape[1]
    whole = np.zeros((stride[0] * SIDE + size, stride[1] * SIDE + size, MADE))
    for row in range(SIDE):
        for column in range(SIDE):
            top, left = row * stride[0], column * stride[1]
            whole[top : top + size, left : left + size] += np.einsum(
                "oyxi,i->yxo", kernel.astype("f8"), x[0, row, column]
            )
    return whole[start[0] : start[0] + high, start[1] : start[1] + wide] + bias


@pytest.mark.parametrize(
    ("options", "kernel", "out", "start"),
    [
        ((1, 2, 2), 2, (10, 10), (0, 0)),
        ((1, 2, 2), 4, (10, 10), (1, 1)),
        ((1, 3, 2), 3, (10, 15), (0, 0)),
        ((2, 2, 2), 3, (11, 11), (0, 0)),
    ],
)
def test_it_computes_what_the_custom_op_computes(
    options: tuple[int, ...], kernel: int, out: tuple[int, int], start: tuple[int, int]
) -> None:
    graph = upsampling(options, kernel, out)
    made = plain(graph)
    assert [op.kind for op in made.graph.ops] == ["TRANSPOSE_CONV"]
    assert any("Convolution2DTransposeBias became TRANSPOSE_CONV" in sentence for sentence in made.changes)
    x = values(1, SIDE, SIDE, DEPTH, seed=5, scale=1.0)
    wanted = by_hand(graph, x, options[:0:-1], start)  # type: ignore[arg-type]
    (found,) = answers(made.graph.content, x)
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    np.testing.assert_allclose(Model(graph, "xnnpack").predict(x)[0], wanted, atol=1e-5)


def test_it_becomes_int8() -> None:
    graph = plain(upsampling((1, 2, 2), 2, (10, 10))).graph
    samples = values(16, SIDE, SIDE, DEPTH, seed=5, scale=1.0)
    made = quantize(graph, calibrate(graph, samples))
    assert prove(made).kept_in_float == []


@pytest.mark.parametrize("options", [(1, 2), (0, 2, 2), (1, 0, 2)])
def test_options_that_are_not_understood_stay(options: tuple[int, ...]) -> None:
    assert custom(upsampling(options, 2, (10, 10))) is None
