"""Open batches, open sizes, batches of N, and the arithmetic around them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from handmade import File, answers, values
from oneop import kinds, one_op

from octavo.base.errors import ModelError
from octavo.rewrite.canonical.passes import concerns, static
from octavo.rewrite.canonical.sizes import Sizes
from octavo.rewrite.canonical.sizes import static as at_shapes
from octavo.tflite.graph import Graph


def flattening(batch: int = -1) -> File:
    """A convolution and a dense layer, with Flatten between them as Keras' converter writes it for an open batch."""
    file = File()
    image = file.tensor("image", (batch, 4, 4, 2))
    kernel, bias = file.constant("kernel", values(3, 1, 1, 2)), file.constant("bias", values(3, seed=1))
    seen = file.tensor("seen", (batch, 4, 4, 3))
    file.op("CONV_2D", [image, kernel, bias], [seen], "Conv2D", strideH=1, strideW=1)
    shape, first = file.tensor("shape", (4,), "int32"), file.tensor("first", (), "int32")
    file.op("SHAPE", [seen], [shape], "Shape", outType=2)
    begin, end, step = (file.constant(name, np.array([n], np.int32)) for name, n in (("b", 0), ("e", 1), ("s", 1)))
    file.op("STRIDED_SLICE", [shape, begin, end, step], [first], "StridedSlice", shrinkAxisMask=1)
    wanted = file.tensor("wanted", (2,), "int32")
    file.op("PACK", [first, file.constant("rest", np.array(48, np.int32))], [wanted], "Pack", valuesCount=2)
    flat, out = file.tensor("flat", (batch, 48)), file.tensor("out", (batch, 5))
    file.op("RESHAPE", [seen, wanted], [flat], "Reshape")
    file.dense(flat, file.constant("weight", values(5, 48, seed=2)), out)
    return file.ports([image], [out])


def test_an_open_batch_becomes_one_and_the_arithmetic_around_it_goes() -> None:
    before = flattening().graph()
    done = static(before)
    assert [op.kind for op in done.graph.ops] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert done.changes == (
        "The open batch became 1.",
        "Sizes that were computed from shapes became constants; ops removed: 1 SHAPE, 1 STRIDED_SLICE, 1 PACK.",
    )
    assert [tensor.shape for tensor in done.graph.tensors if tensor.name in ("image", "seen", "flat", "out")] == [
        (1, 4, 4, 2),
        (1, 4, 4, 3),
        (1, 48),
        (1, 5),
    ]
    assert {tensor.name for tensor in done.graph.tensors}.isdisjoint({"shape", "first", "rest", "b"})
    image = values(1, 4, 4, 2, seed=7)
    np.testing.assert_array_equal(answers(done.graph.content, image)[0], answers(before.content, image)[0])


def test_a_graph_of_static_sizes_is_left_as_it_is() -> None:
    file = File()
    x, y = file.tensor("x", (1, 4)), file.tensor("y", (1, 3))
    file.dense(x, file.constant("w", values(3, 4)), y)
    graph = file.ports([x], [y]).graph()
    done = static(graph)
    assert done.graph is graph
    assert done.changes == ()


def test_arithmetic_that_static_sizes_make_constant_goes_from_integer_files_too() -> None:
    file = flattening(batch=1)
    assert [op.kind for op in static(file.graph()).graph.ops] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]


def test_a_shape_that_depends_on_data_is_not_folded() -> None:
    file = File()
    x, zero = file.tensor("x", (-1, 8)), file.constant("zero", np.float32(0))
    positive, places = file.tensor("positive", (1, 8), "bool"), file.tensor("places", (-1, 2), "int64")
    shape, out = file.tensor("shape", (2,), "int32"), file.tensor("count", (2,), "float32")
    file.op("GREATER", [x, zero], [positive], "Greater")
    file.op("WHERE", [positive], [places], "Where")
    file.op("SHAPE", [places], [shape], "Shape", outType=2)
    file.op("CAST", [shape], [out], "Cast")
    done = static(file.ports([x], [out]).graph())
    assert [op.kind for op in done.graph.ops] == ["GREATER", "WHERE", "SHAPE", "CAST"]
    given = np.array([[1, -1, 2, -2, 3, -3, 4, 5]], np.float32)
    np.testing.assert_array_equal(answers(done.graph.content, given)[0], [5, 2])


def fixed(count: int = 3, mixes: bool = False, told: int | None = None) -> File:
    """A dense layer on images of a fixed batch, which a Reshape, an addition and a SLICE name."""
    file = File()
    image = file.tensor("image", (count, 2, 2, 2))
    flat, moved, cut = (file.tensor(name, (count, n)) for name, n in (("flat", 8), ("moved", 8), ("cut", 6)))
    wanted = file.constant("wanted", np.array([told or count, 8], np.int32))
    file.op("RESHAPE", [image, wanted], [flat], "Reshape")
    file.op("ADD", [flat, file.constant("state", np.full((count, 8), 0.5, np.float32))], [moved], "Add")
    begin, size = (file.constant(name, np.array(n, np.int32)) for name, n in (("b", [0, 1]), ("n", [count, 6])))
    file.op("SLICE", [moved, begin, size], [cut], "Slice")
    out = file.tensor("out", (count, 4))
    file.dense(cut, file.constant("weight", values(4, 6)), out)
    if mixes:
        top, shown = file.tensor("top", (1, 4)), file.tensor("shown", (count, 4))
        axis = file.constant("axis", np.array([0], np.int32))
        file.op("REDUCE_MAX", [out, axis], [top], "Reducer", keepDims=True)
        file.op("SUB", [out, top], [shown], "Sub")
        out = shown
    return file.ports([image], [out])


@pytest.mark.parametrize("count", [2, 3])
def test_a_fixed_batch_becomes_one_wherever_it_is_named(count: int) -> None:
    before = fixed(count).graph()
    done = static(before)
    assert done.changes == (f"The batch of {count} became 1.",)
    assert [done.graph.tensors[i].shape for i in (*done.graph.inputs, *done.graph.outputs)] == [(1, 2, 2, 2), (1, 4)]
    images = values(count, 2, 2, 2, seed=5)
    whole = answers(before.content, images)[0]
    for place in range(count):
        alone = answers(done.graph.content, images[place : place + 1])[0]
        np.testing.assert_allclose(alone, whole[place : place + 1], rtol=1e-5, atol=1e-6)


def test_images_of_a_batch_that_depend_on_each_other_are_one_clear_error() -> None:
    with pytest.raises(
        ModelError, match=r"a batch of 3.* the items depend on each other: for one item, .*'shown' differs"
    ):
        static(fixed(mixes=True).graph())


def test_a_batch_that_only_the_file_can_run_is_one_clear_error() -> None:
    with pytest.raises(ModelError, match=r"has a batch of 3, which cannot be changed to 1: LiteRT refuses"):
        static(fixed(told=4).graph())


def summed(*shapes: tuple[int, ...]) -> Graph:
    """The sum of all that its inputs hold, along their first axis."""
    file = File()
    inputs = [file.tensor(f"x{number}", shape) for number, shape in enumerate(shapes)]
    axis = file.constant("axis", np.array([0], np.int32))
    outputs = []
    for index, shape in zip(inputs, shapes, strict=True):
        outputs.append(file.tensor(f"y{index}", shape[1:]))
        file.op("SUM", [index, axis], [outputs[-1]], "Reducer")
    return file.ports(inputs, outputs).graph()


@pytest.mark.parametrize("shapes", [[(96, 64)], [(50,)], [(2, 1, 8), (1, 1, 5)], [(2, 4), (3, 4)]])
def test_a_first_axis_that_is_no_batch_is_left_as_it_is(shapes: list[tuple[int, ...]]) -> None:
    graph = summed(*shapes)
    assert static(graph).graph is graph


def test_an_open_vector_is_no_batch() -> None:
    file = File()
    x, y = file.tensor("sound", (-1,)), file.tensor("y", (-1,))
    file.op("RELU", [x], [y])
    with pytest.raises(ModelError, match=r"'sound' open: its shape is \(open\)\. Export the model with static sizes"):
        static(file.ports([x], [y]).graph())


def test_an_input_without_values_is_not_called_open() -> None:
    file = File()
    x, y = file.tensor("nothing", (1, 0)), file.tensor("y", (1, 0))
    file.op("RELU", [x], [y])
    with pytest.raises(ModelError, match=r"an input without values: the shape of 'nothing' is \(1, 0\)"):
        static(file.ports([x], [y]).graph())


def open_image() -> File:
    """A convolution on images of any size."""
    file = File()
    image, out = file.tensor("image", (-1, -1, -1, 3)), file.tensor("out", (-1, -1, -1, 2))
    read = [image, file.constant("kernel", values(2, 3, 3, 3)), file.constant("bias", values(2))]
    file.op("CONV_2D", read, [out], "Conv2D", strideH=1, strideW=1, padding=1)
    return file.ports([image], [out])


def test_open_height_and_width_become_those_asked_for() -> None:
    before = open_image().graph()
    done = static(before, Sizes((9, 12)))
    assert done.changes == ("The open batch became 1.", "The open height and width of 'image' became 9 x 12.")
    ports = [done.graph.tensors[i].shape for i in (*done.graph.inputs, *done.graph.outputs)]
    assert ports == [(1, 9, 12, 3), (1, 7, 10, 2)]
    image = values(1, 9, 12, 3, seed=3)
    np.testing.assert_array_equal(answers(done.graph.content, image)[0], answers(before.content, image)[0])


def test_open_height_and_width_become_the_images_own_where_nothing_is_asked_for() -> None:
    graph = open_image().graph()
    assert static(graph, Sizes(images=lambda: (8, 6))).graph.tensors[0].shape == (1, 8, 6, 3)
    assert static(graph, Sizes((9, 9), images=lambda: (8, 6))).graph.tensors[0].shape == (1, 9, 9, 3)
    with pytest.raises(ModelError, match=r"its input 'image' open: its shape is \(open, open, open, 3\)"):
        static(graph, Sizes(images=lambda: None))


def test_a_size_that_is_not_the_models_is_one_clear_error() -> None:
    with pytest.raises(ModelError, match="takes images of 4 x 4, and `size` asks for 5 x 5"):
        static(flattening().graph(), Sizes((5, 5)))
    with pytest.raises(ModelError, match="takes no images, and `size` asks for 5 x 5"):
        static(summed((1, 4)), Sizes((5, 5)))


def test_open_channels_are_one_clear_error_that_no_size_cures() -> None:
    file = File()
    image, out = file.tensor("image", (1, 4, 4, -1)), file.tensor("out", (1, 4, 4, -1))
    file.op("RELU", [image], [out])
    with pytest.raises(ModelError, match=r"\(1, 4, 4, open\)\. Export the model with static sizes"):
        static(file.ports([image], [out]).graph(), Sizes((4, 4)))


@pytest.mark.parametrize("kind", kinds())
def test_shapes_that_litert_works_out_anew_are_the_files(kind: str) -> None:
    graph = Graph(one_op(kind)[0])
    made = at_shapes(graph, {})
    assert [tensor.shape for tensor in made.tensors] == [tensor.shape for tensor in graph.tensors]


@pytest.mark.parametrize("make", [flattening, fixed, lambda: flattening(1)])
def test_whatever_changes_sizes_is_announced_before_it_runs(make: Callable[[], File]) -> None:
    before = make().graph()
    assert concerns(before)
    after = static(before).graph
    assert after is not before
    assert not concerns(after)
