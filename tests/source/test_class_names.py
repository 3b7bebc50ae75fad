from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from brightness import brightness, write_pictures
from handmade import File
from shell import octavo

import octavo as package
from octavo.base.errors import DataError
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.recipe.options import Inputs
from octavo.source.classes import class_names, in_model_order, names_for, outputs_of, read_labels, to_calibrate
from octavo.source.load import Loaded
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph


def _loaded(outputs: int = 4, classes: tuple[str, ...] = (), softmax: bool = True) -> Loaded:
    graph = Graph(brightness((0.0, 1.0), softmax=softmax, outputs=outputs), "'model.tflite'")
    return Loaded(graph, Sidecar(None, classes) if classes else None)


def _images(*classes: str) -> ImageSet:
    count = len(classes)
    return ImageSet(np.zeros((count, 8, 8, 3), np.uint8), np.arange(count), classes, tuple(map(str, range(count))))


def _labels(path: Path, *names: str) -> Inputs:
    path.write_text("\n".join(names) + "\n", "utf-8")
    return Inputs(labels=path)


def test_classes_are_matched_by_name_in_any_order_and_number(tmp_path: Path) -> None:
    loaded = _loaded(classes=("cat", "dog", "emu", "fox"))
    found = in_model_order(loaded, _images("fox", "dog"))
    assert found.classes == ("cat", "dog", "emu", "fox") and found.labels.tolist() == [3, 1]
    given = _labels(tmp_path / "labels.txt", "fox", "dog", "cat", "emu")
    found = in_model_order(loaded, _images("dog", "emu"), given)
    assert found.classes == ("fox", "dog", "cat", "emu") and found.labels.tolist() == [1, 3]


def test_numbers_are_places_in_the_models_order() -> None:
    loaded = _loaded(classes=("cat", "dog", "emu", "fox"))
    # As folders sort: '10' comes before '2'.
    assert in_model_order(loaded, _images("0", "3", "2")).labels.tolist() == [0, 3, 2]
    with pytest.raises(DataError, match="'0', a class of the images, is not one of the model's 4 classes: cat, dog"):
        in_model_order(loaded, _images("0", "4"))


def test_a_strange_or_ambiguous_class_is_named() -> None:
    with pytest.raises(DataError, match="'gnu', a class of the images, is not one of the model's 4"):
        in_model_order(_loaded(classes=("cat", "dog", "emu", "fox")), _images("cat", "gnu"))
    with pytest.raises(DataError, match="'crane', a class of the images, is more than one of the model's 4"):
        in_model_order(_loaded(classes=("crane", "dog", "crane", "fox")), _images("crane"))


def test_foreign_classes_calibrate_without_their_labels() -> None:
    loaded = _loaded(classes=("cat", "dog", "emu", "fox"))
    with pytest.warns(OctavoWarning, match=r"None of the images' classes \(car, van\) is one of the model's \(cat"):
        found = to_calibrate(loaded, _images("car", "van"))
    assert found.labels is None and names_for(loaded, found) == ("cat", "dog", "emu", "fox")
    assert to_calibrate(loaded, _images("fox", "dog")).labels.tolist() == [3, 1]
    with pytest.raises(DataError, match="'van'"):
        to_calibrate(loaded, _images("cat", "van"))


def test_without_names_the_number_of_classes_has_to_be_that_of_the_outputs() -> None:
    same = _images("a", "b", "c", "d")
    assert in_model_order(_loaded(), same) is same
    with pytest.raises(DataError, match=r"tells 4 classes apart, and the images have 2: a, b\. Set `labels`"):
        in_model_order(_loaded(), _images("a", "b"))


def test_images_of_far_more_or_fewer_classes_calibrate_without_their_labels() -> None:
    for loaded, images in ((_loaded(), _images(*"abcdefghi")), (_loaded(outputs=9), _images(*"abcd"))):
        with pytest.warns(OctavoWarning, match="classes, and 'model.tflite' tells . apart: their labels are not used"):
            found = to_calibrate(loaded, images)
        assert found.labels is None and found.classes == ()
        with pytest.raises(DataError, match="apart, and the images have"):
            in_model_order(loaded, images)
    # One folder too many or too few is a mistake.
    for images in (_images(*"abcde"), _images(*"abc")):
        with pytest.raises(DataError, match="tells 4 classes apart"):
            to_calibrate(_loaded(), images)


def test_a_file_of_labels_is_read_as_it_is_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("﻿caf\u00e9\r\n dog \r\nemu\r\n\r\n".encode())
    assert read_labels(path) == ("caf\u00e9", "dog", "emu")
    with pytest.raises(DataError, match=r"names 3 classes, and 'model\.tflite' tells 4 apart"):
        class_names(_loaded(), Inputs(labels=path))
    for content, said in ((b"", "holds no class names"), (b"a\n\nb\n", "has no name in line 2"), (b"\xff\xfe", "read")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_labels(path)
    with pytest.raises(DataError, match="cannot be read as class names: No such file"):
        read_labels(tmp_path / "none.txt")


def test_outputs_that_are_no_list_of_classes_have_no_number() -> None:
    assert outputs_of(_loaded().graph) == 4
    file = File()
    image, mask = file.tensor("image", (1, 8, 8, 3)), file.tensor("mask", (1, 8, 8, 3))
    file.op("RELU", [image], [mask])
    assert outputs_of(file.ports([image], [mask]).graph()) is None
    single, one = file.tensor("score", (1, 1)), file.tensor("more", (1, 1))
    for made in (single, one):
        file.op("MEAN", [image, file.constant(None, np.int32([1, 2, 3]))], [made], "Reducer", keepDims=False)
    assert outputs_of(file.ports([image], [single]).graph()) == 2
    assert outputs_of(file.ports([image], [single, one]).graph()) is None


def test_labels_stay_in_the_sidecar_and_a_subset_is_evaluated(tmp_path: Path) -> None:
    model = tmp_path / "float.tflite"
    model.write_bytes(brightness((0.0, 1.0), outputs=4))
    # The folders are in the other order than the model's outputs: bright is its first, dark its second.
    photos = write_pictures(tmp_path / "photos", names=("z-bright", "a-dark"))
    labels = tmp_path / "labels.txt"
    labels.write_text("z-bright\na-dark\nnight\nfog\n", "utf-8")
    out = tmp_path / "int8.tflite"
    done = octavo("quantize", model, "--data", photos, "-o", out, "--images", 40)
    assert done.returncode == 2 and "Set --labels to a file" in done.stderr and not out.exists()
    done = octavo("quantize", model, "--data", photos, "-o", out, "--images", 40, "--labels", labels)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "int8.tflite.json").read_text())["classes"] == ["z-bright", "a-dark", "night", "fog"]
    scores = package.evaluate(out, photos)
    assert scores.accuracy().value == 1 and len(scores.classes) == 4
    done = octavo("evaluate", out, "--data", photos)
    assert done.returncode == 0, done.stderr
    assert "2 of the model's 4 classes have images" in done.stdout
    assert "a-dark" in done.stdout and "fog" not in done.stdout
