"""Networks that take an image's bytes become int8 files that take them: the CAST becomes a QUANTIZE op."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oneop import weights

import octavo
from octavo.base.errors import ModelError, QuantizationError
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.runtime.litert import Model
from octavo.source.load import load_model, preprocess_for
from octavo.tflite.graph import Graph


def _tflite(dtype: str = "uint8") -> bytes:
    """Pixels scaled to [-1, 1], convolution, mean, dense."""
    import tensorflow as tf

    def network(pixels: Any) -> Any:
        x = tf.cast(pixels, tf.float32) / 127.5 - 1.0
        x = tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 3, 8), 1, "SAME") + weights(8))
        return tf.matmul(tf.reduce_mean(x, [1, 2]), weights(8, 3, seed=1))

    made = tf.function(network, input_signature=[tf.TensorSpec([1, 8, 8, 3], dtype, name="pixels")])
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([made.get_concrete_function()]).convert())


def _images(count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.integers(0, 200, (count, 1, 1, 3)) + rng.integers(0, 56, (count, 8, 8, 3))).astype(np.uint8)


def test_the_file_takes_the_bytes() -> None:
    from ai_edge_litert.interpreter import Interpreter

    graph, images = Graph(_tflite()), _images()
    made = quantize(graph, calibrate(graph, images))
    assert "input and output are int8, and byte inputs are uint8 at scale 1" in [c.name for c in prove(made).checks]
    int8 = Graph(made.content)
    said = prove(made).input
    assert (said.dtype, said.scale, said.zero_point) == ("uint8", 1.0, 0), "as the file has it"
    assert int8.ops[0].kind == "QUANTIZE"
    assert "CAST" not in {op.kind for op in int8.ops}
    # LiteRT itself, by its own figures.
    runtime = Interpreter(model_content=made.content)
    runtime.allocate_tensors()
    (entry,), (answer,) = runtime.get_input_details(), runtime.get_output_details()
    assert (entry["dtype"], entry["quantization"]) == (np.uint8, (1.0, 0))
    scale, zero = answer["quantization"]
    wanted = Model(graph).run(images)
    found = []
    for image in images:
        runtime.set_tensor(entry["index"], image[None])
        runtime.invoke()
        found.append((runtime.get_tensor(answer["index"])[0].astype(float) - zero) * scale)
    assert np.ptp(wanted, axis=0).min() > 0.1, "outputs that do not differ would hide every error"
    noise = np.square(wanted - found).sum()
    assert 10 * np.log10(np.square(wanted).sum() / noise) > 30


def test_no_byte_is_lost_whatever_calibration_saw() -> None:
    """Dark images alone: the input's scale is 1 all the same."""
    graph = Graph(_tflite())
    made = Graph(quantize(graph, calibrate(graph, _images() // 4)).content)
    tensor = made.tensors[made.ops[0].outputs[0]]
    assert tensor.qparams is not None
    assert (tensor.dtype, float(tensor.qparams.scale[0]), int(tensor.qparams.zero_point[0])) == ("int8", 1.0, -128)


def test_other_casts_have_no_int8_form() -> None:
    graph = Graph(_tflite("int32"))
    with pytest.raises(QuantizationError, match="only that of a uint8 input has an int8 form"):
        quantize(graph, calibrate(graph, _images().astype(np.int32)))


def test_commands_feed_pixels_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "bytes.tflite").write_bytes(_tflite())
    images = _images()
    labels = Model(Graph(_tflite())).run(images).argmax(axis=1)
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(ModelError, match=r"takes unscaled pixels \(uint8, 0 to 255\), and `scale` is \(-1"):
        octavo.quantize(
            tmp_path / "bytes.tflite", tmp_path / "data.npz", tmp_path / "int8.tflite", images=40, scale=(-1.0, 1.0)
        )
    octavo.quantize(tmp_path / "bytes.tflite", tmp_path / "data.npz", tmp_path / "int8.tflite", images=40)
    assert preprocess_for(load_model(tmp_path / "int8.tflite")) == Preprocess((8, 8), scale=(0.0, 255.0))
    compared = octavo.compare(tmp_path / "bytes.tflite", tmp_path / "int8.tflite", tmp_path / "data.npz", images=40)
    assert compared.tensors[-1].accumulated.sqnr > 30
    assert octavo.evaluate(tmp_path / "bytes.tflite", tmp_path / "data.npz").score().value == 1
    assert octavo.evaluate(tmp_path / "int8.tflite", tmp_path / "data.npz").score().value >= 0.95
    # Without its sidecar the file still says what it takes.
    (tmp_path / "int8.tflite.json").unlink()
    found = preprocess_for(load_model(tmp_path / "int8.tflite"))
    assert found is not None
    assert found.scale == (0.0, 255.0)


def test_training_sees_what_the_file_computes(tmp_path: Path) -> None:
    graph, images = Graph(_tflite()), _images()
    model = octavo.QuantModel(graph)
    model.calibrate(images)
    model.compile(optimizer="adam", loss="mse")
    model.fit(images, np.zeros((40, 3), np.float32), epochs=1, verbose=0)
    simulated = np.asarray(model(images.astype(np.float32)))
    model.to_int8(tmp_path / "int8.tflite")
    int8 = Graph.read(tmp_path / "int8.tflite")
    np.testing.assert_allclose(Model(int8).run(images), simulated, atol=1e-5)
