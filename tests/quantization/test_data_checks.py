from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny import CLASSES, SIZE, pictures, tiny_tflite, write_folder

import octavo
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.data.preprocess import Preprocess
from octavo.quantization import data_checks
from octavo.quantization.calibrate import survey
from octavo.tflite.graph import Graph

PREPROCESS = Preprocess((SIZE, SIZE))


def _set(images: np.ndarray, labels: np.ndarray | None = None) -> ImageSet:
    return ImageSet(list(images), labels, CLASSES if labels is not None else (), tuple(map(str, range(len(images)))))


def test_good_images_give_no_alarm() -> None:
    images, labels = pictures(60)
    graph, inputs = Graph(tiny_tflite()), PREPROCESS.apply(images)
    assert data_checks.of_images(_set(images, labels)) == []
    assert data_checks.of_answers(graph, survey(graph, inputs), labels) == []
    assert data_checks.of_answers(graph, survey(graph, inputs)) == []
    assert data_checks.of_ranges(survey(graph, inputs)) == []


def test_few_images_of_one_class() -> None:
    images, labels = pictures(60)
    (few,) = data_checks.of_images(_set(images[:9], labels[:9]))
    assert "9 calibration images are too few" in few
    (one,) = data_checks.of_images(_set(images[labels == 1], labels[labels == 1]))
    assert "All 20 calibration images are of one class, 'green', of 3" in one


def test_constant_and_repeated_images() -> None:
    images, _ = pictures(40)
    images[3:8] = images[2]
    images[9] = 7
    constant, repeated = data_checks.of_images(_set(images))
    assert "1 of 40 calibration images are of one colour, such as '9'" in constant
    assert "5 of 40 calibration images are repeated, such as '3'" in repeated


@pytest.mark.parametrize("labelled", [True, False])
def test_pixels_of_another_scale(labelled: bool) -> None:
    """Raw pixels into a model of [-1, 1]: its ReLU6 cuts all channels alike, and one class wins throughout."""
    images, labels = pictures(60)
    graph = Graph(tiny_tflite())
    seen = survey(graph, images.astype(np.float32) + 50)
    found = data_checks.of_answers(graph, seen, labels if labelled else None, "[0, 255]")
    assert ["no better than guessing" in text or "the same class" in text for text in found] == [True]
    assert "Pixels were scaled to [0, 255]" in found[0]


def test_labels_of_another_order() -> None:
    images, labels = pictures(60)
    graph = Graph(tiny_tflite())
    (text,) = data_checks.of_answers(graph, survey(graph, PREPROCESS.apply(images)), (labels + 1) % 3)
    assert "is right for 0 of 60" in text and "order of the channels and of the classes" in text


def test_two_images_that_own_the_ranges() -> None:
    inputs = PREPROCESS.apply(pictures(60)[0]) * 0.1
    assert data_checks.of_ranges(survey(Graph(tiny_tflite()), inputs)) == []
    inputs[:2] *= 40
    (text,) = data_checks.of_ranges(survey(Graph(tiny_tflite()), inputs))
    assert "depends on 2 of 60 images" in text and "`observer='percentile'`" in text


def test_quantize_says_what_it_sees(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(tiny_tflite())
    photos = write_folder(tmp_path / "photos", 8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        octavo.quantize(tmp_path / "float.tflite", photos, tmp_path / "int8.tflite", images=6)
    assert ["6 calibration images are too few" in str(item.message) for item in caught] == [True]
    assert caught[0].category is OctavoWarning
