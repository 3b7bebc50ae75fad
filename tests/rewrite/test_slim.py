from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import CLASSES, pictures, tiny_int8, tiny_tflite

from octavo.api.slim import slim as slim_file
from octavo.base.errors import ModelError, ProofError, QuantizationError
from octavo.data.preprocess import Preprocess
from octavo.rewrite.equality import compare
from octavo.rewrite.raw_pixels import raw_pixels, takes_raw_pixels, unsigned, unsigned_output
from octavo.rewrite.strip import logits, logits_of, strip
from octavo.runtime.litert import interpreter
from octavo.source import sidecar
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph, serialize
from octavo.tflite.size import breakdown


def raw(graph: Graph, inputs: np.ndarray) -> np.ndarray:
    """LiteRT's own interpreter on raw inputs."""
    made = interpreter(graph.content)
    out = []
    for item in inputs:
        made.set_tensor(made.get_input_details()[0]["index"], item[None])
        made.invoke()
        out.append(made.get_tensor(made.get_output_details()[0]["index"])[0])
    return np.array(out)


CODES = (pictures(12)[0].astype(np.int16) - 128).astype(np.int8)


@pytest.mark.parametrize("make", [tiny_int8, lambda: Graph(tiny_tflite())])
def test_stripped_files_are_smaller_and_say_the_same(make: Callable[[], Graph]) -> None:
    graph = make()
    inputs = CODES if graph.tensors[graph.inputs[0]].dtype == "int8" else CODES.astype(np.float32) / 128
    after = strip(graph)
    assert len(after.content) < len(graph.content)
    before = raw(graph, inputs)
    assert len(np.unique(before, axis=0)) > 3
    assert np.array_equal(before, raw(after, inputs))
    parts = breakdown(after.content)
    assert sum(vars(parts).values()) == len(after.content)
    assert parts.weights <= breakdown(graph.content).weights
    assert min(vars(parts).values()) >= 0


def test_stripping_shares_zero_points_and_keeps_every_number() -> None:
    graph = Graph(serialize(tiny_int8().copied()))
    after = strip(graph)
    for old, new in zip(graph.tensors, after.tensors, strict=True):
        assert (old.shape, old.dtype, old.qparams) == (new.shape, new.dtype, new.qparams)
        assert old.constant is None or np.array_equal(old.constant, new.constant)
    assert breakdown(after.content).quantization < breakdown(graph.content).quantization
    assert strip(after).content == after.content


def test_equality_sees_a_single_changed_weight() -> None:
    graph = tiny_int8()
    name, weight = next((t.name, t.constant) for t in graph.tensors if t.constant is not None and t.dtype == "int8")
    assert weight is not None
    changed = weight.copy()
    changed.flat[0] ^= 0x40
    found = compare(graph, graph.replaced({name: changed}), CODES, CODES)
    assert [item.kernels for item in found] == ["xnnpack", "builtin", "reference"]
    assert all(not item.equal and item.steps >= 1 for item in found)


def test_logits_are_what_softmax_read() -> None:
    graph = tiny_int8()
    after = logits(graph)
    assert [op.kind for op in after.ops] == [op.kind for op in graph.ops][:-1]
    found, wanted = raw(after, CODES), raw(graph.exposed([logits_of(graph)]), CODES)
    assert np.array_equal(found, wanted)
    # Softmax rises with its input: the class is the same.
    probabilities = raw(graph, CODES)
    assert np.array_equal(probabilities[np.arange(len(found)), found.argmax(1)], probabilities.max(1))


def test_there_has_to_be_a_softmax_to_drop() -> None:
    with pytest.raises(ModelError, match="leave out `logits`"):
        logits(tiny_int8(softmax=False))


def test_unit_pixels_are_raw_pixels_already() -> None:
    preprocess = Preprocess((8, 8), scale=(0.0, 1.0))
    graph = tiny_int8(scale=(0.0, 1.0))
    made = raw_pixels(graph, preprocess)
    assert made.folded is None and made.graph is graph
    params = graph.tensors[graph.inputs[0]].qparams
    assert params is not None and takes_raw_pixels(params, preprocess)


def test_folded_pixels_compute_the_float_convolution_more_exactly() -> None:
    """The oracle is the first convolution in float64, on the reals that pixels stand for."""
    content = tiny_tflite()
    graph = tiny_int8()
    made = raw_pixels(graph, Preprocess((8, 8)))
    assert made.folded == pytest.approx(-0.5, abs=1e-3)
    seen = pictures(12, seed=3)[0]
    bytes_less_128 = (seen.astype(np.int16) - 128).astype(np.int8)
    port = made.graph.tensors[made.graph.inputs[0]].qparams
    assert port is not None
    assert np.array_equal(port.quantize(made.preprocess.normalize(seen)), bytes_less_128)

    source = Graph(content)
    conv = next(op for op in source.ops if op.kind == "CONV_2D")
    kernel, bias = (np.asarray(source.tensors[i].constant, np.float64) for i in conv.inputs[1:3])
    exact = np.clip((seen / 127.5 - 1) @ kernel[:, 0, 0].T + bias, 0, 6)

    def error(graph: Graph, inputs: np.ndarray) -> float:
        out = next(graph.tensors[op.outputs[0]] for op in graph.ops if op.kind == "CONV_2D")
        assert out.qparams is not None
        return float(np.abs(out.qparams.dequantize(raw(graph.exposed([out]), inputs)) - exact).mean())

    entry = graph.tensors[graph.inputs[0]].qparams
    assert entry is not None
    plain = error(graph, entry.quantize(seen / 127.5 - 1).astype(np.int8))
    assert error(made.graph, bytes_less_128) < plain


def test_bytes_go_in_behind_one_op() -> None:
    graph = raw_pixels(tiny_int8(), Preprocess((8, 8))).graph
    after = unsigned(graph)
    assert [op.kind for op in after.ops] == ["QUANTIZE", *(op.kind for op in graph.ops)]
    seen = pictures(12)[0]
    assert np.array_equal(raw(after, seen), raw(graph, (seen.astype(np.int16) - 128).astype(np.int8)))


def test_bytes_come_out_behind_one_op() -> None:
    graph = tiny_int8()
    after = unsigned_output(graph)
    assert [op.kind for op in after.ops] == [*(op.kind for op in graph.ops), "QUANTIZE"]
    before = raw(graph, CODES)
    assert len(np.unique(before, axis=0)) > 5
    assert np.array_equal(raw(after, CODES), before.astype(np.int16) + 128)


def test_pixels_that_never_are_zero_cannot_be_padded() -> None:
    with pytest.raises(QuantizationError, match="without 0: int8 cannot pad"):
        raw_pixels(tiny_int8(scale=(1.0, 2.0)), Preprocess((8, 8), scale=(1.0, 2.0)))


@pytest.mark.parametrize("pixels", [None, "int8", "uint8"])
def test_a_slim_file_lies_beside_a_sidecar_that_fits(tmp_path: Path, pixels: str | None) -> None:
    source, out = tmp_path / "int8.tflite", tmp_path / "slim.tflite"
    source.write_bytes(tiny_int8().content)
    Sidecar(Preprocess((8, 8)), CLASSES).write(source)
    made = slim_file(source, out, pixels=pixels, logits=True, images=6)  # type: ignore[arg-type]
    assert out.read_bytes() == made.content
    belongs = sidecar.read(out)
    assert belongs is not None and belongs.classes == CLASSES
    names = {None: [], "int8": ["pixels"], "uint8": ["pixels", "uint8"]}[pixels]
    assert [step.name for step in made.steps] == [*names, "logits", "strip"]
    assert all(item.equal for step in made.steps if step.exact for item in step.equality)
    assert made.to_json()["bytes"] == out.stat().st_size
    # What Octavo evaluates and what a device feeds is the same byte.
    from octavo.runtime.litert import Model

    port = Model(Graph.read(out), workers=1).input
    codes = port.encode(belongs.preprocess.normalize(np.arange(256)))
    if pixels is not None:
        assert np.array_equal(codes.astype(int), np.arange(256) - (128 if pixels == "int8" else 0))


def test_a_change_that_is_not_exact_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "int8.tflite", tmp_path / "slim.tflite"
    source.write_bytes(tiny_int8().content)
    Sidecar(Preprocess((8, 8)), CLASSES).write(source)

    def broken(graph: Graph) -> Graph:
        name, values = next((t.name, t.constant) for t in graph.tensors if t.dtype == "int32" and t.qparams is not None)
        assert values is not None
        return Graph(serialize(graph.replaced({name: values + 5000}).copied()))

    monkeypatch.setattr("octavo.rewrite.strip.strip", broken)
    with pytest.raises(ProofError, match="'strip' changed the outputs"):
        slim_file(source, out, images=4)
    assert not out.exists()


def test_the_model_itself_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="overwrite"):
        slim_file(tmp_path / "a.tflite", tmp_path / "a.tflite")
