from __future__ import annotations

import numpy as np
import pytest
from oneop import convert
from tiny import pictures, tiny_tflite

from octavo.base.errors import ModelError
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.runtime.litert import Kernels, Model, latency, refusal
from octavo.tflite.graph import Graph, serialize

IMAGES = Preprocess((8, 8)).apply(pictures(17)[0])


def _plain(content: bytes, raw: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=content)
    made.allocate_tensors()
    entry, leave = made.get_input_details()[0]["index"], made.get_output_details()[0]["index"]
    outputs = []
    for item in raw:
        made.set_tensor(entry, item[None])
        made.invoke()
        outputs.append(made.get_tensor(leave)[0])
    return np.stack(outputs)


def test_predictions_are_a_plain_interpreters_bit_for_bit() -> None:
    graph = Graph(tiny_tflite())
    np.testing.assert_array_equal(Model(graph).predict(IMAGES), _plain(graph.content, IMAGES))
    int8 = Graph(quantize(graph, calibrate(graph, IMAGES)).content)
    model = Model(int8)
    raw = _plain(int8.content, model.input.encode(IMAGES))
    scale, zero = 1 / 256, -128
    np.testing.assert_array_equal(model.predict(IMAGES), (raw.astype(np.float64) - zero) * scale)
    assert np.ptp(raw.astype(int), axis=0).max() > 0


@pytest.mark.parametrize("workers", [1, 2, 5, 40])
def test_workers_change_nothing(workers: int) -> None:
    graph = Graph(tiny_tflite())
    np.testing.assert_array_equal(
        Model(graph, workers=workers).predict(IMAGES), Model(graph, workers=1).predict(IMAGES)
    )


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
def test_all_kernel_families_run(kernels: Kernels) -> None:
    np.testing.assert_allclose(
        Model(Graph(tiny_tflite()), kernels).predict(IMAGES), _plain(tiny_tflite(), IMAGES), atol=1e-5
    )


def test_an_open_batch_is_run_one_by_one() -> None:
    import tensorflow as tf

    graph = Graph(convert(lambda x: tf.nn.relu(x), (None, 8, 8, 3)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(Model(graph).predict(IMAGES), np.maximum(IMAGES, 0))


def test_no_images_give_no_predictions() -> None:
    assert Model(Graph(tiny_tflite())).predict(IMAGES[:0]).shape == (0, 3)


def test_two_inputs_are_not_one_image() -> None:
    graph = Graph(tiny_tflite())
    model = graph.copied()
    model.subgraphs[0].inputs = [*graph.inputs, graph.outputs[0]]
    model.signatureDefs = None
    with pytest.raises(ModelError, match="has 2 inputs"):
        _ = Model(Graph(serialize(model))).input


def test_errors_in_a_worker_reach_the_caller() -> None:
    def look(place: int, outputs: list[np.ndarray]) -> None:
        raise RuntimeError("from a worker")

    with pytest.raises(RuntimeError, match="from a worker"):
        Model(Graph(tiny_tflite())).each(IMAGES, look)


def test_latency_is_measured_in_turns() -> None:
    first, second = latency([tiny_tflite(), tiny_tflite(softmax=False)], seconds=0.05)
    assert first.runs == second.runs >= 5
    assert 0 < first.min_ms <= first.median_ms <= first.p90_ms


def test_a_good_and_a_wrong_model() -> None:
    assert refusal(tiny_tflite(), "reference") == ""
    assert refusal(tiny_tflite()[:300], "xnnpack")
