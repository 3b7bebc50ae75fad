from __future__ import annotations

import functools
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File
from oneop import weights
from tiny import SIZE, pictures, tiny_tflite

import octavo
from octavo.analysis.compare import Unmatched, compare, match
from octavo.base.errors import DataError, ModelError
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.rewrite.integer_forms import integer_forms
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

IMAGES = Preprocess((SIZE, SIZE)).apply(pictures(12)[0])


@functools.cache
def branched(int8: bool, float_ends: bool = False) -> bytes:
    """Two equal-looking branches, an Add and a Concat, as TensorFlow's converter writes them, float or int8."""
    import tensorflow as tf

    one, two, three = weights(1, 1, 3, 4, seed=1), weights(1, 1, 3, 4, seed=2), weights(3, 3, 4, 4, seed=3)

    @tf.function(input_signature=[tf.TensorSpec([1, SIZE, SIZE, 3], tf.float32)])
    def classify(image: Any) -> Any:
        left, right = tf.nn.conv2d(image, one, 1, "SAME"), tf.nn.conv2d(image, two, 1, "SAME")
        both = tf.concat([tf.nn.relu(left), right, left + right], -1)
        deep = tf.nn.relu6(tf.nn.conv2d(both[..., :4], three, 2, "SAME"))
        return tf.nn.softmax(tf.reduce_mean(deep, [1, 2]) * 2.0)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()])
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in IMAGES)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if not float_ends:
            converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        # It asks for statistics that an int8 input takes from the representative images.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        return bytes(converter.convert())


def _ours(content: bytes) -> Graph:
    graph = Graph(content)
    return Graph(quantize(graph, calibrate(graph, IMAGES)).content)


def _preserved(content: bytes, image: np.ndarray) -> dict[str, tuple[np.ndarray, float, int]]:
    """Every tensor's raw values with scale and zero point, from a plain interpreter that keeps them all."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made = Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    made.allocate_tensors()
    entry = made.get_input_details()[0]
    scale, zero = entry["quantization"]
    fed = image[None] if not scale else np.clip(np.floor(image[None] / scale + 0.5) + zero, -128, 127)
    made.set_tensor(entry["index"], fed.astype(entry["dtype"]))
    made.invoke()
    return {d["name"]: (made.get_tensor(d["index"]), *d["quantization"]) for d in made.get_tensor_details()[:]}


def test_accumulated_figures_are_those_of_float64() -> None:
    before, after = Graph(branched(False)), _ours(branched(False))
    found = compare(before, after, IMAGES, kernels="builtin", workers=2)
    pairs: dict[str, list[Any]] = {}
    for image in IMAGES:
        one, two = _preserved(before.content, image), _preserved(after.content, image)
        for item in found.tensors:
            codes, scale, zero = two[item.after]
            real = scale * (codes.astype(np.float64) - zero)
            pairs.setdefault(item.after, []).append((one[item.before][0].astype(np.float64), real, codes, scale))
    assert len(found.tensors) >= 9
    for item in found.tensors:
        x = np.concatenate([p[0].ravel() for p in pairs[item.after]])
        y = np.concatenate([p[1].ravel() for p in pairs[item.after]])
        codes = np.concatenate([p[2].ravel() for p in pairs[item.after]])
        scale = pairs[item.after][0][3]
        got = item.accumulated
        assert got.sqnr == pytest.approx(10 * np.log10(np.sum(x**2) / np.sum((y - x) ** 2)), abs=0.02)
        assert got.cosine == pytest.approx(np.sum(x * y) / np.sqrt(np.sum(x**2) * np.sum(y**2)), abs=1e-5)
        assert got.mean_lsb == pytest.approx(np.abs(y - x).mean() / scale, rel=1e-3)
        assert got.largest_lsb == pytest.approx(np.abs(y - x).max() / scale, rel=1e-3)
        assert item.low == np.mean(codes == -128)
        assert item.high == np.mean(codes == 127)
        assert item.codes == len(np.unique(codes)) / 256


def test_added_error_is_that_of_the_op_fed_with_quantized_float_values() -> None:
    """The last op's, by hand: SOFTMAX of the float logits' codes, rounded to 1/256."""
    before, after = Graph(branched(False)), _ours(branched(False))
    found = compare(before, after, IMAGES, kernels="reference").tensors[-1]
    assert found.op == "SOFTMAX"
    logits = before.tensors[before.producers[before.outputs[0]].inputs[0]].name
    inner = after.tensors[after.producers[after.outputs[0]].inputs[0]]
    assert inner.qparams is not None
    scale, zero = float(inner.qparams.scale[0]), int(inner.qparams.zero_point[0])
    worst, x, y = 0.0, [], []
    for image in IMAGES:
        kept = _preserved(before.content, image)
        real = kept[logits][0].astype(np.float64)
        seen = scale * (np.clip(np.floor(real / scale + 0.5) + zero, -128, 127) - zero)
        power = np.exp(seen - seen.max())
        answer = np.clip(np.floor(power / power.sum() * 256 + 0.5), 0, 255) / 256
        x.append(kept[before.tensors[before.outputs[0]].name][0])
        y.append(answer)
        worst = max(worst, float(np.abs(answer - x[-1]).max()))
    sqnr = 10 * np.log10(np.sum(np.square(x)) / np.sum(np.square(np.subtract(y, x))))
    assert found.added.largest_lsb == pytest.approx(worst * 256, abs=0.05)
    assert found.added.sqnr == pytest.approx(sqnr, abs=0.2)
    assert found.accumulated.sqnr is not None
    assert found.accumulated.sqnr < sqnr


def test_a_bad_op_shows_where_it_is_and_not_after_it() -> None:
    """A convolution whose weights were spoiled adds the error; what comes after it only carries it on."""
    graph = Graph(branched(False))
    ranges = calibrate(graph, IMAGES)
    after = Graph(quantize(graph, ranges).content)
    deep = [op for op in after.ops if op.kind == "CONV_2D"][-1]
    weight = after.tensors[deep.inputs[1]]
    assert weight.constant is not None
    spoiled = after.replaced({weight.name: -weight.constant})
    good, bad = compare(graph, after, IMAGES).tensors, compare(graph, spoiled, IMAGES).tensors
    place = next(k for k, item in enumerate(bad) if item.place == deep.index)
    for k, (one, two) in enumerate(zip(good, bad, strict=True)):
        if k == place:
            assert two.added.mean > 10 * one.added.mean
        else:
            assert two.added == one.added
        assert (two.accumulated.mean > 3 * one.accumulated.mean) is (k >= place)


@pytest.mark.parametrize("float_ends", [False, True])
def test_files_of_tensorflows_converter_are_matched_through_the_graph(float_ends: bool) -> None:
    before, after = Graph(branched(False)), Graph(branched(True, float_ends))
    found = compare(before, after, IMAGES)
    assert found.unmatched == Unmatched([], [])
    assert found.tensors[0].before == before.tensors[before.inputs[0]].name
    assert all(item.accumulated.mean_lsb is not None for item in found.tensors)
    # Matched wrongly, the two branches would have nothing in common.
    assert all(item.accumulated.cosine is not None and item.accumulated.cosine > 0.99 for item in found.tensors)
    assert all(item.added.cosine is not None and item.added.cosine > 0.995 for item in found.tensors)


def test_names_do_not_matter() -> None:
    after = _ours(branched(False))
    model = after.copied()
    for index, raw in enumerate(model.subgraphs[0].tensors):
        raw.name = f"t{index}".encode()
    from octavo.tflite.graph import serialize

    renamed = Graph(serialize(model))
    before = Graph(branched(False))
    ours = [(pair.before.index, pair.after.index) for pair in match(before, after)]
    assert ours == [(pair.before.index, pair.after.index) for pair in match(before, renamed)]


def _chain(count: int) -> Graph:
    """So many ADD ops of one shape, each of which reads the one before."""
    file = File()
    tensors = [file.tensor(f"t{place}", [1, 4]) for place in range(count + 1)]
    for one, two in itertools.pairwise(tensors):
        file.op("ADD", [one, file.constant(f"c{two}", weights(1, 4, seed=two))], [two], "Add")
    return file.ports(tensors[:1], tensors[-1:]).graph()


def test_matching_looks_at_each_op_a_few_times_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from octavo.analysis.compare import _Flow

    looked: list[int] = []
    shapes = _Flow.shapes
    monkeypatch.setattr(_Flow, "shapes", lambda self, op: (looked.append(op.index), shapes(self, op))[1])
    for count in (20, 40):
        looked.clear()
        graph = _chain(count)
        pairs = match(graph, Graph(graph.content))
        assert [pair.before.name for pair in pairs] == [pair.after.name for pair in pairs]
        assert len(pairs) == count + 1 and len(looked) == 2 * count


def test_a_relu_matches_the_product_with_1_that_it_became() -> None:
    file = File()
    x, y, z = (file.tensor(name, [1, 4]) for name in "xyz")
    file.op("RELU6", [x], [y])
    file.op("ADD", [x, y], [z], "Add")
    graph = file.ports([x], [z]).graph()
    values = [weights(4, seed=seed, scale=4) for seed in range(8)]
    formed = integer_forms(graph).graph
    with_relu, with_mul = (Graph(quantize(one, calibrate(one, values)).content) for one in (graph, formed))
    assert "MUL" in {op.kind for op in with_mul.ops} and "RELU6" in {op.kind for op in with_relu.ops}
    for one in (graph, formed):
        for other, kind in ((with_relu, "RELU6"), (with_mul, "MUL")):
            found = compare(one, other, values)
            assert [tensor.op for tensor in found.tensors] == ["INPUT", kind, "ADD"]
            assert found.unmatched == Unmatched([], [])


def test_two_int8_files_and_a_file_with_itself() -> None:
    theirs, ours = Graph(branched(True)), _ours(branched(False))
    between = compare(theirs, ours, IMAGES)
    assert len(between.tensors) >= 9
    assert all(item.accumulated.cosine is not None and item.accumulated.cosine > 0.98 for item in between.tensors)
    itself = compare(ours, ours, IMAGES)
    assert {item.accumulated.largest for item in itself.tensors} == {0.0}
    assert {item.added.largest for item in itself.tensors} == {0.0}
    assert itself.tensors[0].accumulated.sqnr is None


def test_workers_change_nothing_but_the_last_digits() -> None:
    before, after = Graph(tiny_tflite()), _ours(tiny_tflite())
    seen: list[int] = []
    one = compare(before, after, IMAGES, workers=1)
    two = compare(before, after, IMAGES, progress=seen.append, workers=3)
    assert sum(seen) == len(IMAGES)
    for a, b in zip(one.tensors, two.tensors, strict=True):
        assert a.added.sqnr == pytest.approx(b.added.sqnr, rel=1e-6)
        assert (a.low, a.high, a.codes, a.added.largest) == (b.low, b.high, b.codes, b.added.largest)


def test_other_models_are_refused() -> None:
    with pytest.raises(ModelError, match="takes inputs of"):
        compare(Graph(tiny_tflite()), Graph(_other()), IMAGES)
    with pytest.raises(DataError, match="at least one image"):
        compare(Graph(tiny_tflite()), _ours(tiny_tflite()), IMAGES[:0])


@functools.cache
def _other() -> bytes:
    from oneop import convert

    return convert(lambda x: x * 2.0, (1, 4, 4, 3))


def test_uint8_ports_are_read_as_the_reals_they_stand_for() -> None:
    """Of one model with int8 and with uint8 ports: the same codes, 128 apart, and so the same figures."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([1, SIZE, SIZE, 3], tf.float32)])
    def classify(image: Any) -> Any:
        return tf.nn.softmax(tf.reduce_mean(tf.nn.conv2d(image, weights(3, 3, 3, 4), 1, "SAME"), [1, 2]) * 4.0)

    def made(ports: Any) -> Graph:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()])
        if ports is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in IMAGES)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = ports
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Statistics for quantized inputs")
            return Graph(bytes(converter.convert()))

    plain = made(None)
    signed, unsigned = made(tf.int8), made(tf.uint8)
    assert {unsigned.tensors[i].dtype for i in (*unsigned.inputs, *unsigned.outputs)} == {"uint8"}
    ours, theirs = (compare(plain, graph, IMAGES) for graph in (signed, unsigned))
    for one, two in zip(ours.tensors, theirs.tensors, strict=True):
        assert (one.op, one.accumulated, one.low, one.high, one.codes) == (
            *(two.op, two.accumulated, two.low, two.high),
            two.codes,
        )
    # By hand at the output: reals from codes by NumPy.
    real = Model(plain).predict(IMAGES)
    codes = Model(unsigned)
    said = codes.predict(IMAGES)
    noise = float(np.square(said.astype(np.float64) - real).sum())
    wanted = 10 * np.log10(np.square(real.astype(np.float64)).sum() / noise)
    assert theirs.tensors[-1].accumulated.sqnr == pytest.approx(wanted, abs=1e-3)


def several() -> bytes:
    """Two signatures, each of one convolution behind a NEG, of any height and width."""
    file = File()
    for place, key in enumerate(("plus", "less")):
        if place:
            file.subgraph(key)
        x, turned, y = (file.tensor(name, (1, -1, -1, 3)) for name in ("x", "turned", "y"))
        kernel = weights(3, 3, 3, 3, seed=place)
        bias = weights(3, seed=place + 5)
        file.op("NEG", [x], [turned], "Neg")
        inputs = [turned, file.constant("kernel", kernel), file.constant("bias", bias)]
        file.op("CONV_2D", inputs, [y], "Conv2D", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
        file.ports([x], [y]).signature(key, {"x": x}, {"y": y})
    return file.bytes()


def test_a_signature_and_a_size_are_for_both_models_where_both_need_them(tmp_path: Path) -> None:
    path, data, int8 = tmp_path / "float.tflite", tmp_path / "data.npz", tmp_path / "int8.tflite"
    path.write_bytes(several())
    np.savez(data, x_train=np.random.default_rng(0).integers(0, 256, (60, 6, 6, 3), np.uint8))
    given: dict[str, Any] = {"signature": "less", "size": (6, 6), "images": 16}
    octavo.quantize(path, data, int8, **given)
    # NEG became MUL in int8, and matches the MUL that it becomes in the float model.
    compared = octavo.compare(path, int8, data, **given)
    assert [row.op for row in compared.tensors] == ["INPUT", "MUL", "CONV_2D"]
    assert compared.tensors[-1].accumulated.sqnr is not None and compared.tensors[-1].accumulated.sqnr > 30
    same = octavo.compare(path, path, data, **given)
    assert [row.op for row in same.tensors] == ["INPUT", "NEG", "CONV_2D"]
    assert {row.accumulated.sqnr for row in same.tensors} == {None}
    with pytest.raises(ModelError, match="2 signatures"):
        octavo.compare(int8, path, data, images=16)
