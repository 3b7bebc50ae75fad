"""Dilated convolutions that a file writes as three ops: one op again, with the same floats."""

from __future__ import annotations

import numpy as np
import pytest
from handmade import File, answers, values

from octavo.rewrite.canonical.dilation import dilation
from octavo.rewrite.canonical.passes import plain
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import activation, same_padding

CHANNELS = 3


def three_ops(
    size: int, kernel: int, step: int, padding: str, *, depthwise: bool = False, add: str = "", keep: int = 0
) -> Graph:
    """SPACE_TO_BATCH_ND, a convolution and BATCH_TO_SPACE_ND, with `keep` as the first row that is cropped."""
    first, last = {"SAME": same_padding(size, kernel, 1, step)[1:], "VALID": (0, 0), "OTHER": (3, 1)}[padding]
    out = size + first + last - step * (kernel - 1)
    more = -(size + first + last) % step
    block = (size + first + last + more) // step
    made = block - kernel + 1
    crop = made * step - out
    file = File()
    x = file.tensor("x", (1, size, size, CHANNELS))
    spread = file.tensor("spread", (step * step, block, block, CHANNELS))
    turned = file.tensor("turned", (step * step, made, made, CHANNELS))
    joined = file.tensor("joined", (1, out - keep, out - keep, CHANNELS))
    blocks = file.constant("blocks", np.int32([step, step]))
    file.op("SPACE_TO_BATCH_ND", [x, blocks, file.constant("pads", np.int32([[first, last + more]] * 2))], [spread])
    bias = file.constant("bias", values(CHANNELS, seed=4))
    options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 1}
    if depthwise:
        weight = file.constant("kernel", values(1, kernel, kernel, CHANNELS))
        file.op("DEPTHWISE_CONV_2D", [spread, weight, bias], [turned], "DepthwiseConv2D", depthMultiplier=1, **options)
    else:
        weight = file.constant("kernel", values(CHANNELS, kernel, kernel, CHANNELS))
        file.op("CONV_2D", [spread, weight, bias], [turned], "Conv2D", **options)
    crops = file.constant("crops", np.int32([[keep, crop]] * 2))
    file.op("BATCH_TO_SPACE_ND", [turned, blocks, crops], [joined])
    y = joined
    if add:
        y = file.tensor("y", (1, out, out, CHANNELS))
        # The same constant is read by an op behind it, whose numbers must stay.
        more_bias = bias if add == "shared" else file.constant("more", values(CHANNELS, seed=6))
        file.op("ADD", [joined, more_bias], [y], "Add", fusedActivationFunction=1)
    return file.ports([x], [y]).graph()


@pytest.mark.parametrize("add", ["", "own", "shared"])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    ("size", "kernel", "step", "padding"),
    [(12, 3, 2, "SAME"), (13, 3, 4, "SAME"), (12, 3, 3, "VALID"), (13, 5, 2, "VALID"), (13, 3, 2, "OTHER")],
)
def test_the_floats_are_the_same(size: int, kernel: int, step: int, padding: str, depthwise: bool, add: str) -> None:
    graph = three_ops(size, kernel, step, padding, depthwise=depthwise, add=add)
    made = plain(graph)
    (conv,) = (op for op in made.graph.ops if "CONV" in op.kind)
    kinds = [op.kind for op in made.graph.ops]
    assert kinds == [*(["PAD"] if padding == "OTHER" else []), conv.kind]
    assert (conv.options.dilationHFactor, conv.options.dilationWFactor) == (step, step)
    assert any("1 dilated convolutions took the place" in sentence for sentence in made.changes)
    given = values(1, size, size, CHANNELS, seed=9, scale=1.0)
    (wanted,), (found,) = answers(graph.content, given), answers(made.graph.content, given)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert np.ptp(wanted) > 1


def test_rows_that_are_cropped_at_the_start_stay() -> None:
    assert dilation(three_ops(12, 3, 2, "VALID", keep=1)) is None


@pytest.mark.parametrize("act", ["", "RELU", "TANH"])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize(
    ("first", "kinds"), [(0, ["RESHAPE", "CONV_2D", "RESHAPE"]), (4, ["RESHAPE", "PAD", "CONV_2D", "RESHAPE"])]
)
def test_a_convolution_of_a_sequence(first: int, kinds: list[str], axis: int, act: str) -> None:
    """As Keras' `Conv1D` is written: an axis of size 1 is added between the two moves, and removed again."""
    step, kernel, length, out = 2, 3, 24, 20 + first
    file = File()
    x = file.tensor("x", (1, length, CHANNELS))
    half = (length + first) // step

    def image(n: int) -> tuple[int, ...]:
        return (step, 1, n, CHANNELS) if axis == 1 else (step, n, 1, CHANNELS)

    spread = file.tensor("spread", (step, half, CHANNELS))
    lifted, turned = file.tensor("lifted", image(half)), file.tensor("turned", image(half - 2))
    flat, joined = file.tensor("flat", (step, half - 2, CHANNELS)), file.tensor("joined", (1, out, CHANNELS))
    blocks = file.constant("blocks", np.int32([step]))
    file.op("SPACE_TO_BATCH_ND", [x, blocks, file.constant("pads", np.int32([[first, 0]]))], [spread])
    file.op("EXPAND_DIMS", [spread, file.constant("axis", np.int32(axis - 4))], [lifted])
    shape = (1, kernel) if axis == 1 else (kernel, 1)
    weight, bias = (
        file.constant("kernel", values(CHANNELS, *shape, CHANNELS)),
        file.constant("bias", values(CHANNELS, seed=4)),
    )
    options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 1}
    file.op("CONV_2D", [lifted, weight, bias], [turned], "Conv2D", **options)
    file.op("RESHAPE", [turned, file.constant("flat shape", np.int32([-1, half - 2, CHANNELS]))], [flat])
    file.op("BATCH_TO_SPACE_ND", [flat, blocks, file.constant("crops", np.int32([[0, 0]]))], [joined])
    y = file.tensor("y", (1, out, CHANNELS)) if act else joined
    if act:
        file.op(act, [joined], [y])
    graph = file.ports([x], [y]).graph()
    made = plain(graph).graph
    assert [op.kind for op in made.ops] == kinds + (["TANH"] if act == "TANH" else [])
    (conv,) = (op for op in made.ops if op.kind == "CONV_2D")
    assert activation(conv) == (act if act == "RELU" else None)
    given = values(1, length, CHANNELS, seed=9, scale=1.0)
    (wanted,), (found,) = answers(graph.content, given), answers(made.content, given)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert np.ptp(wanted) > 1
