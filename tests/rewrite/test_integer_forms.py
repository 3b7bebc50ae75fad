"""Ops without an int8 kernel as ops that have one: the same floats on LiteRT, and int8 within rounding of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File, answers
from oneop import IMAGE, convert, inputs, one_op, weights

import octavo
from octavo.base.errors import QuantizationError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.rewrite.integer_forms import integer_forms
from octavo.runtime.litert import Kernels, Model
from octavo.tflite.graph import Graph, serialize

FAMILIES: tuple[Kernels, ...] = ("xnnpack", "builtin", "reference")
# In output steps: half a step of the output, and of each input times how steep the product is there.
CLOSE = {"NEG": 1.1, "SQUARE": 2.6, "DIV": 2.2, "DIV of two": 2.6, "CAST": 1.1, "ADD_N": 3.1, "HARD_SWISH": 2.1}
CLOSE |= {"RELU": 1.1, "RELU6": 1.1, "SQUARED_DIFFERENCE": 3.1}


def with_division(divisor: np.ndarray) -> bytes:
    """x / divisor, which TensorFlow's converter would write as a product itself."""
    model = Graph(convert(lambda x: x * divisor)).copied()
    from ai_edge_litert import schema_py_generated as schema

    (code,), (op,) = model.operatorCodes, model.subgraphs[0].operators
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DIV
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.DivOptions, schema.DivOptionsT()
    op.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    return serialize(model)


def cast(x: Any) -> Any:
    import tensorflow as tf

    return tf.cast(x > 0.25, tf.float32) * x


def ratio(x: Any) -> Any:
    import tensorflow as tf

    return x / (1.0 + tf.abs(x))


def sum_of_three(x: Any) -> Any:
    import tensorflow as tf

    return tf.add_n([x, 2 * x, tf.abs(x)])


def hard_swish() -> bytes:
    file = File()
    x, y = (file.tensor(name, IMAGE) for name in "xy")
    file.op("HARD_SWISH", [x], [y], "HardSwish")
    return file.ports([x], [y]).bytes()


def of_one(kind: str) -> bytes:
    file = File()
    x, y = (file.tensor(name, IMAGE) for name in "xy")
    other = [file.constant("c", np.float32(0.75))] if kind == "SQUARED_DIFFERENCE" else []
    file.op(kind, [x, *other], [y], "SquaredDifference" if other else "")
    return file.ports([x], [y]).bytes()


CASES: dict[str, Callable[[], bytes]] = {
    "NEG": lambda: one_op("NEG")[0],
    "SQUARE": lambda: one_op("SQUARE")[0],
    "DIV": lambda: with_division(np.array([0.8, -3.0, 7.0, 1.7], np.float32)),
    "DIV of two": lambda: convert(ratio),
    "CAST": lambda: convert(cast),
    "ADD_N": lambda: convert(sum_of_three),
    "HARD_SWISH": hard_swish,
    "RELU": lambda: of_one("RELU"),
    "RELU6": lambda: of_one("RELU6"),
    "SQUARED_DIFFERENCE": lambda: of_one("SQUARED_DIFFERENCE"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_floats_are_the_same_on_every_kernel_family(name: str) -> None:
    graph, kind = Graph(CASES[name]()), name.split()[0]
    formed = integer_forms(graph)
    assert kind in {op.kind for op in graph.ops}
    assert name == "DIV of two" or kind not in {op.kind for op in formed.graph.ops}
    assert len(formed.changes) == 1 and formed.changes[0].startswith(f"1 {kind} became ")
    # Names and places stay, so that ranges of one graph are those of the other.
    names = [t.name for t in graph.activations]
    assert [t.name for t in formed.graph.activations if t.name in names] == names
    assert all(t.name.startswith(f"{names[-1]};") for t in formed.graph.activations if t.name not in names)
    values = inputs(IMAGE, 48, -5.0, 5.0)
    for kernels in FAMILIES:
        wanted, made = (Model(one, kernels).predict(values) for one in (graph, formed.graph))
        assert np.ptp(wanted) > 1
        if kind == "DIV":
            np.testing.assert_allclose(made, wanted, rtol=2**-22)
        elif kind == "HARD_SWISH":
            # Just above -3 the last bits of x + 3 are a large part of the result.
            np.testing.assert_allclose(made, wanted, rtol=2**-22, atol=2**-23)
        else:
            np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("kind", CASES)
def test_int8_is_float_within_rounding_over_the_whole_range(kind: str) -> None:
    graph = Graph(CASES[kind]())
    # Every code of the input, to its very ends.
    values = np.resize(np.linspace(-2.0, 2.0, 256, dtype=np.float32), (24, *IMAGE[1:]))
    formed = integer_forms(graph).graph
    made = quantize(formed, calibrate(formed, values))
    prove(made)
    int8 = Graph(made.content)
    assert "float32" not in {t.dtype for t in int8.tensors}
    params = int8.tensors[int8.outputs[0]].qparams
    assert params is not None
    wanted = Model(graph).predict(values)
    # A bound between two codes falls to one of them: what lies within half an input step of it may go either way.
    clear = np.abs(values - 0.25) > 4 / 255 if kind == "CAST" else np.ones_like(values, bool)
    for kernels in FAMILIES:
        off = np.abs(Model(int8, kernels).predict(values) - wanted)[clear].max() / params.scale[0]
        assert off <= CLOSE[kind], kernels


SHAPE = (1, 6, 4, 3)


def running_sums(axis: int, exclusive: bool, reverse: bool) -> Graph:
    """Two running sums that read their axis from one constant."""
    file = File()
    x, y, z = (file.tensor(name, SHAPE) for name in "xyz")
    along = file.constant("axis", np.int32(axis))
    file.op("CUMSUM", [x, along], [y], "Cumsum", exclusive=exclusive, reverse=reverse)
    file.op("CUMSUM", [y, along], [z], "Cumsum")
    return file.ports([x], [z]).graph()


def product_of(axes: list[int], keep: bool) -> Graph:
    file = File()
    left = [1 if axis in axes else size for axis, size in enumerate(SHAPE) if keep or axis not in axes]
    x, y = file.tensor("x", SHAPE), file.tensor("y", left)
    file.op("REDUCE_PROD", [x, file.constant("axes", np.int32(axes))], [y], "Reducer", keepDims=keep)
    return file.ports([x], [y]).graph()


REDUCTIONS: dict[str, Callable[[], Graph]] = {
    "CUMSUM": lambda: running_sums(1, False, False),
    "CUMSUM, exclusive": lambda: running_sums(2, True, False),
    "CUMSUM, reverse": lambda: running_sums(-1, False, True),
    "CUMSUM, both": lambda: running_sums(1, True, True),
    "REDUCE_PROD": lambda: product_of([3], False),
    "REDUCE_PROD, axes kept": lambda: product_of([2, 0], True),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_running_sums_and_products_are_ops_with_int8_forms(name: str) -> None:
    graph, kind = REDUCTIONS[name](), name.split(",")[0]
    formed = integer_forms(graph)
    assert kind not in {op.kind for op in formed.graph.ops} and f"{kind} became " in formed.changes[0]
    read = {index for op in formed.graph.ops for index in op.inputs}
    assert all(t.index in read for t in formed.graph.tensors if t.constant is not None)
    values = np.random.default_rng(0).uniform(-1.5, 1.5, (32, *SHAPE[1:])).astype("f4")
    made = quantize(formed.graph, calibrate(formed.graph, values))
    prove(made)
    int8 = Graph(made.content)
    assert "float32" not in {t.dtype for t in int8.tensors}
    params = int8.tensors[int8.outputs[0]].qparams
    assert params is not None
    for kernels in FAMILIES:
        wanted = Model(graph, kernels).predict(values)
        np.testing.assert_allclose(Model(formed.graph, kernels).predict(values), wanted, rtol=1e-6, atol=1e-5)
        assert np.abs(Model(int8, kernels).predict(values) - wanted).max() <= 3 * params.scale[0], kernels


def of_channels(
    kernel: tuple[int, int],
    stride: int = 1,
    padding: str = "SAME",
    *,
    groups: bool = False,
    multiplier: int = 1,
    activation: int = 0,
) -> Graph:
    """A convolution of each channel by itself: DEPTHWISE_CONV_2D, or CONV_2D with a group for each channel."""
    side, outputs = (19, 16), 3 * multiplier
    taken = (0, 0) if padding == "SAME" else kernel
    out = [-(-(size - max(window - 1, 0)) // stride) for size, window in zip(side, taken, strict=True)]
    values = weights(1, *kernel, outputs, seed=3)
    file = File()
    x, y = file.tensor("x", (1, *side, 3)), file.tensor("y", (1, *out, outputs))
    stored = file.constant("w", np.ascontiguousarray(values.transpose(3, 1, 2, 0)) if groups else values)
    inputs = [x, stored, file.constant("b", weights(outputs, seed=4))]
    options: dict[str, Any] = {"padding": int(padding == "VALID"), "strideH": stride, "strideW": stride}
    options |= {"dilationHFactor": 1, "dilationWFactor": 1, "fusedActivationFunction": activation}
    if groups:
        file.op("CONV_2D", inputs, [y], "Conv2D", **options)
    else:
        file.op("DEPTHWISE_CONV_2D", inputs, [y], "DepthwiseConv2D", depthMultiplier=multiplier, **options)
    return file.ports([x], [y]).graph()


LARGE: dict[str, Callable[[], Graph]] = {
    "7x7": lambda: of_channels((7, 7)),
    "7x7, stride 2, RELU": lambda: of_channels((7, 7), 2, activation=1),
    "9x5, VALID, stride 3": lambda: of_channels((9, 5), 3, "VALID"),
    "6x6, two outputs a channel": lambda: of_channels((6, 6), 2, multiplier=2),
    "7x7, groups": lambda: of_channels((7, 7), groups=True),
    "7x7, groups, VALID, RELU6": lambda: of_channels((7, 7), 1, "VALID", groups=True, multiplier=2, activation=3),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_depthwise_kernel_is_a_sum_of_kernels_that_xnnpack_is_fast_with(name: str) -> None:
    graph = LARGE[name]()
    formed = integer_forms(graph)
    parts = [op for op in formed.graph.ops if op.kind == "DEPTHWISE_CONV_2D"]
    sizes = [formed.graph.tensors[op.inputs[1]].shape for op in parts]
    assert all(size[1] * size[2] <= 25 for size in sizes) and "CONV_2D" not in {op.kind for op in formed.graph.ops}
    assert len(formed.graph.ops) == 3 * len(parts) - 1 + ("VALID" not in name)
    names = [t.name for t in formed.graph.tensors]
    assert len(set(names)) == len(names)
    values = inputs((1, 19, 16, 3), 12)
    # The float model on LiteRT's own kernels is the oracle.
    wanted = np.concatenate([answers(graph.content, value[None])[0] for value in values])
    assert np.ptp(wanted) > 1
    made = [quantize(one, calibrate(one, values)) for one in (graph, formed.graph)]
    prove(made[1])
    whole, int8 = (Graph(one.content) for one in made)
    # Beside what int8 rounds anyway, each part and each sum is rounded once, to steps of its own.
    inner = {op.outputs[0] for op in int8.ops if op.kind in ("DEPTHWISE_CONV_2D", "ADD")} - {*int8.outputs}
    steps = sum(float(found.scale[0]) for index in inner if (found := int8.tensors[index].qparams) is not None)
    for kernels in FAMILIES:
        np.testing.assert_allclose(Model(formed.graph, kernels).predict(values), wanted, rtol=1e-5, atol=1e-5)
        off, before = (np.abs(Model(one, kernels).predict(values) - wanted).max() for one in (int8, whole))
        assert off <= before + steps / 2, kernels


def test_other_convolutions_stay() -> None:
    for graph in (of_channels((5, 5)), of_channels((1, 26)), of_channels((5, 5), groups=True)):
        assert integer_forms(graph).graph is graph


def test_a_product_of_many_elements_and_one_of_a_computed_axis_stay() -> None:
    assert integer_forms(product_of([1, 2], False)).changes == ()
    file = File()
    x, y, axis = file.tensor("x", SHAPE), file.tensor("y", SHAPE), file.tensor("axis", (), "int32")
    file.op("CUMSUM", [x, axis], [y], "Cumsum")
    assert integer_forms(file.ports([x, axis], [y]).graph()).changes == ()


def rows(*types: str) -> bytes:
    """A table's row of whole numbers as reals, beside a column that chooses an embedding."""
    import tensorflow as tf

    def network(numbers: Any, kind: Any) -> Any:
        real = tf.cast(numbers, tf.float32)
        return (
            tf.matmul(real * 0.1, weights(4, 5))
            + tf.matmul(real, weights(4, 5, seed=2))
            + tf.gather(weights(7, 5, seed=1, scale=4.0), kind)
        )

    signature = [tf.TensorSpec((1, 4), types[0]), tf.TensorSpec((1,), types[1])]
    made = tf.function(network, input_signature=signature).get_concrete_function()
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([made]).convert())


@pytest.mark.parametrize("whole", ["int32", "int64"])
def test_an_input_whose_whole_numbers_are_reals_takes_reals_and_one_of_indices_stays(whole: str) -> None:
    graph = Graph(rows(whole, "int32"))
    formed = integer_forms(graph)
    assert "CAST" in {op.kind for op in graph.ops} and "CAST" not in {op.kind for op in formed.graph.ops}
    assert [formed.graph.tensors[i].dtype for i in formed.graph.inputs] == ["float32", "int32"]
    assert [formed.graph.tensors[i].name for i in formed.graph.inputs] == [graph.tensors[i].name for i in graph.inputs]
    assert len(formed.changes) == 1 and f"{whole} became float32" in formed.changes[0]
    random = np.random.default_rng(0)
    given = [(random.integers(-40, 90, 4), random.integers(0, 7, ()).astype("i4")) for _ in range(64)]
    real = [(numbers.astype("f4"), kind) for numbers, kind in given]

    def run(one: Graph, items: Any) -> np.ndarray:
        model, kept = Model(one, workers=1), {}
        model.each(items, lambda place, outputs: kept.update({place: outputs[0][0].copy()}))
        return np.stack([model.outputs[0].decode(kept[place]) for place in range(len(items))])

    wanted = run(graph, [(numbers.astype(whole), kind) for numbers, kind in given])
    np.testing.assert_array_equal(run(formed.graph, real), wanted)
    made = quantize(formed.graph, calibrate(formed.graph, real))
    assert "input and output are int8, except for whole numbers: " in prove(made).checks[0].name
    int8 = Graph(made.content)
    params = int8.tensors[int8.inputs[0]].qparams
    assert params is not None
    codes = [(params.quantize(numbers).astype("i1"), kind) for numbers, kind in real]
    assert np.abs(run(int8, codes) - wanted).max() < 0.03 * np.ptp(wanted)


@pytest.mark.parametrize("shape", [(), (1,), (1, 8)])
def test_a_quotient_of_broadcast_tensors(shape: tuple[int, ...]) -> None:
    """Its reciprocal has the divisor's own shape: one number of a whole image is looked up once."""
    file = File()
    x, y, z = file.tensor("x", (1, 4, 8)), file.tensor("y", shape or (1,)), file.tensor("z", (1, 4, 8))
    file.op("DIV", [x, y], [z], "Div")
    graph = file.ports([x, y], [z]).graph()
    formed = integer_forms(graph).graph
    assert [op.kind for op in formed.ops] == ["DIV", "MUL"]
    assert formed.tensors[formed.ops[0].outputs[0]].shape == (shape or (1,))


def test_a_number_by_a_tensor_is_looked_up_as_it_is() -> None:
    file = File()
    x, y = file.tensor("x", (1, 8)), file.tensor("y", (1, 8))
    file.op("DIV", [file.constant("three", np.float32(3.0)), x], [y], "Div")
    graph = file.ports([x], [y]).graph()
    assert integer_forms(graph).graph is graph


def test_an_integer_input_that_is_moved_and_cast_takes_reals() -> None:
    file = File()
    x, column = file.tensor("places", (1, 8), "int32"), file.tensor("column", (1, 8, 1), "int32")
    real, turned = file.tensor("real", (1, 8, 1)), file.tensor("turned", (1, 8, 1))
    file.op("RESHAPE", [x, file.constant("shape", np.int32([1, 8, 1]))], [column], "Reshape")
    file.op("CAST", [column], [real], "Cast")
    file.op("SIN", [real], [turned])
    graph = file.ports([x], [turned]).graph()
    formed = integer_forms(graph)
    assert [op.kind for op in formed.graph.ops] == ["RESHAPE", "SIN"]
    assert {t.dtype for t in formed.graph.activations} == {"float32"} and len(formed.graph.activations) == 3
    whole = np.random.default_rng(0).integers(-40, 90, (1, 8)).astype(np.int32)
    (wanted,), (made,) = answers(graph.content, whole), answers(formed.graph.content, whole.astype(np.float32))
    np.testing.assert_array_equal(made, wanted)
    # An input whose whole numbers are read as such too stays.
    file.op(
        "GATHER", [file.constant("rows", np.float32(np.eye(90))), x], [file.tensor("rows read", (1, 8, 90))], "Gather"
    )
    both = file.ports([x], [turned]).graph()
    assert integer_forms(both).graph is both


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "float16", "float64"])
@pytest.mark.parametrize("channels", [3, 5])
def test_images_of_integers_take_bytes_and_all_else_takes_reals(dtype: str, channels: int) -> None:
    file = File()
    x, real, y = file.tensor("x", (1, 4, 4, channels), dtype), *(file.tensor(n, (1, 4, 4, channels)) for n in "ry")
    file.op("CAST", [x], [real], "Cast")
    file.op("MUL", [real, file.constant("scale", np.float32(1 / 255))], [y], "Mul")
    graph = file.ports([x], [y]).graph()
    formed = integer_forms(graph).graph
    entry = formed.tensors[formed.inputs[0]]
    bytes_ = channels == 3 and dtype.startswith("int")
    assert entry.dtype == ("uint8" if bytes_ else "float32")
    assert [op.kind for op in formed.ops] == (["CAST", "MUL"] if bytes_ else ["MUL"])
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, channels))
    (wanted,), (made,) = (
        answers(graph.content, pixels.astype(dtype)),
        answers(formed.content, pixels.astype(entry.dtype)),
    )
    np.testing.assert_array_equal(made, wanted)
    given = np.random.default_rng(1).integers(0, 256, (8, 4, 4, channels)).astype(entry.dtype)
    assert prove(quantize(formed, calibrate(formed, given))).kept_in_float == []


def test_what_cannot_be_rewritten_exactly_stays() -> None:
    zero = Graph(with_division(np.array([0.0, 1.0, 2.0, 3.0], np.float32)))
    assert integer_forms(zero).graph is zero
    with pytest.raises(QuantizationError) as caught:
        quantize(zero, calibrate(zero, np.ones((4, *IMAGE[1:]), np.float32)))
    assert "LiteRT's int8 kernel fails with an error if a divisor rounds to 0" in str(caught.value)
    plain = Graph(one_op("ADD")[0])
    assert integer_forms(plain).graph is plain and integer_forms(plain).changes == ()


def test_every_way_to_int8_takes_them(tmp_path: Path) -> None:
    import tensorflow as tf

    def network(x: Any) -> Any:
        made = -tf.nn.conv2d(x, weights(3, 3, 3, 6), 2, "SAME")
        return tf.nn.softmax(tf.matmul(tf.reduce_mean(tf.square(made), (1, 2)), weights(6, 4, scale=2.0)))

    path, data = tmp_path / "float.tflite", tmp_path / "data.npz"
    path.write_bytes(convert(network, (1, 16, 16, 3)))
    assert {"NEG", "SQUARE"} <= {op.kind for op in Graph.read(path).ops}
    random = np.random.default_rng(0)
    np.savez(data, x_train=random.integers(0, 256, (120, 16, 16, 3), np.uint8))
    told: list[str] = []

    class Heard:
        def say(self, text: str) -> None:
            told.append(text)

        def track(self, label: str, total: int) -> Any:
            from octavo.base.progress import Silent

            return Silent().track(label, total)

    seen = octavo.inspect(path)
    assert seen["no_int8_form"] == [] and {op["op"] for op in seen["ops"]}.isdisjoint({"NEG", "SQUARE"})
    assert any("1 NEG became" in sentence for sentence in seen["canonical"])
    assert all("int8" in op["precisions"] for op in seen["each_op"])
    made = octavo.quantize(path, data, tmp_path / "int8.tflite", images=20, progress=Heard())
    assert made.proof.kept_in_float == [] and made.answers is not None and made.answers.hold
    assert [text for text in told if "became MUL" in text] == [
        "1 NEG became MUL by -1, for which LiteRT has an int8 kernel.",
        "1 SQUARE became MUL of a tensor by itself, for which LiteRT has an int8 kernel.",
    ]
    ranked = octavo.sensitivity(path, data, images=20)
    assert "NEG" not in str(ranked.to_json())
    model = octavo.QuantModel(path)
    model.calibrate(random.normal(size=(20, 16, 16, 3)).astype("f4"))
    assert "NEG" not in {op.kind for op in model.source.ops}
    proof = model.to_int8(tmp_path / "trained.tflite")
    assert all(check.passed for check in proof.checks)
