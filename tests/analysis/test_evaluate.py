from __future__ import annotations

import numpy as np
import pytest
from tiny import CLASSES, SIZE, pictures, tiny_tflite

from octavo.analysis.evaluate import compare, evaluate
from octavo.analysis.evaluation import McNemar
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.base.errors import DataError
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

PREPROCESS = Preprocess((SIZE, SIZE))


def _set(count: int = 60, seed: int = 1) -> ImageSet:
    images, labels = pictures(count, seed)
    return ImageSet(images, labels, CLASSES, tuple(f"{i}.png" for i in range(count)))


def _int8() -> Graph:
    graph = Graph(tiny_tflite())
    ranges = calibrate(graph, PREPROCESS.apply(pictures(30)[0]))
    return Graph(quantize(graph, ranges).content)


def test_accuracy_is_that_of_a_plain_interpreter_loop() -> None:
    from ai_edge_litert.interpreter import Interpreter

    test = _set()
    right = 0
    made = Interpreter(model_content=tiny_tflite())
    made.allocate_tensors()
    entry, leave = made.get_input_details()[0]["index"], made.get_output_details()[0]["index"]
    assert test.labels is not None
    for image, label in zip(test.images, test.labels, strict=True):
        made.set_tensor(entry, (image.astype(np.float64) / 127.5 - 1).astype(np.float32)[None])
        made.invoke()
        right += int(made.get_tensor(leave)[0].argmax() == label)
    scores = _scored(Graph(tiny_tflite()))
    assert int(scores.correct.sum()) == right
    assert right > 40
    assert scores.kernels == "LiteRT with XNNPACK"


def test_tables_add_up() -> None:
    scores = _scored(_int8())
    table = scores.table()
    confusion = np.array(table.confusion)
    assert confusion.sum() == 60
    assert confusion.sum(axis=1).tolist() == [row.images for row in table.per_class] == [20, 20, 20]
    assert np.trace(confusion) == sum(row.correct for row in table.per_class) == scores.correct.sum()
    assert table.top5 is None


def test_progress_counts_every_image() -> None:
    seen: list[int] = []
    evaluate(_int8(), _set(), PREPROCESS, progress=seen.append)
    assert sum(seen) == 60


def test_logits_become_probabilities() -> None:
    plain = _scored(Graph(tiny_tflite(softmax=False)))
    ended = _scored(Graph(tiny_tflite()))
    np.testing.assert_allclose(plain.probabilities, ended.probabilities, atol=1e-5)


def test_feed_is_preprocessing_then_encoding_to_the_last_code() -> None:
    test = _set()
    for graph in (Graph(tiny_tflite()), _int8()):
        port = Model(graph, workers=1).input
        feed = Feed(test, PREPROCESS, [port])
        np.testing.assert_array_equal(np.stack(feed[:60]), port.encode(PREPROCESS.apply(test.images)))


def test_feed_takes_float_inputs_as_they_are() -> None:
    ready = PREPROCESS.apply(pictures(6)[0])
    images = ImageSet(ready, None, (), tuple("abcdef"))
    port = Model(Graph(tiny_tflite()), workers=1).input
    np.testing.assert_array_equal(np.stack(Feed(images, PREPROCESS, [port])[:6]), ready)


def test_feed_refuses_images_of_another_shape() -> None:
    with pytest.raises(DataError, match="expects inputs of 8x8x3, but the data have 4x4x3"):
        Feed(_set(), Preprocess((4, 4)), Model(Graph(tiny_tflite()), workers=1).inputs)


def test_classes_must_be_the_models() -> None:
    images, labels = pictures(6)
    other = ImageSet(images, labels % 2, ("a", "b"), tuple("abcdef"))
    with pytest.raises(DataError, match="has 3 classes, but the images have 2"):
        evaluate(Graph(tiny_tflite()), other, PREPROCESS)


def test_without_labels_there_is_agreement_and_no_score() -> None:
    images, _ = pictures(6)
    unlabelled = ImageSet(images, None, CLASSES, tuple("abcdef"))
    before, after = (evaluate(graph, unlabelled, PREPROCESS) for graph in (Graph(tiny_tflite()), _int8()))
    assert not before.known and before.score() is None and before.figures() == []
    found = compare(before, after)
    assert found.difference is None and found.non_inferior is None and found.mcnemar is None
    assert found.agreement == np.mean(before.arrays()["answers"].argmax(1) == after.arrays()["answers"].argmax(1))


def test_no_samples_are_an_error() -> None:
    images, labels = pictures(6)
    with pytest.raises(DataError, match="needs samples"):
        evaluate(Graph(tiny_tflite()), ImageSet(images[:0], labels[:0], CLASSES, ()), PREPROCESS)


def _scored(graph: Graph) -> SingleLabelScores:
    found = evaluate(graph, _set(), PREPROCESS)
    assert isinstance(found, SingleLabelScores)
    return found


def _scores(predictions: list[int], labels: list[int]) -> SingleLabelScores:
    return SingleLabelScores(np.array(labels), np.eye(3, dtype=np.float32)[predictions], CLASSES, "none")


def test_compare_counts_by_hand() -> None:
    labels = [0, 1, 2, 0, 1, 2, 0, 1]
    before = _scores([0, 1, 2, 0, 1, 0, 1, 1], labels)  # 6 right
    after = _scores([0, 1, 2, 1, 2, 2, 2, 1], labels)  # 5 right: lost places 3 and 4, gained place 5
    found = compare(before, after, margin=0.02)
    assert found.mcnemar == McNemar(b=2, c=1, p=1.0)
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-1 / 8)
    assert found.agreement == pytest.approx(4 / 8)
    assert not found.non_inferior
    assert sorted(item.place for item in before.changed(after)) == [3, 4, 5, 6]


def test_non_inferior_needs_the_whole_interval_above_the_margin() -> None:
    labels = [0] * 1000
    same = _scores([0] * 900 + [1] * 100, labels)
    assert compare(same, same, margin=0.01).non_inferior
    assert not compare(same, same, margin=0.003).non_inferior


def test_compare_refuses_other_images() -> None:
    with pytest.raises(ValueError, match="same samples"):
        compare(_scores([0], [0]), _scores([0], [1]), 0.01)
