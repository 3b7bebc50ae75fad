from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import CLASSES, SIZE, pictures, tiny_tflite, write_folder

from octavo.analysis.calibration_study import Study, study
from octavo.analysis.calibration_study_views import lines, picture
from octavo.api.calibrate import calibrate as study_file
from octavo.base.errors import DataError
from octavo.base.progress import Silent
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.recipe.options import ObserverName, Quantization
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

PREPROCESS = Preprocess((SIZE, SIZE))


def _set(count: int, seed: int) -> ImageSet:
    images, labels = pictures(count, seed)
    return ImageSet(list(images), labels, CLASSES, tuple(f"{seed}/{k}" for k in range(count)))


POOL, JUDGES = _set(40, 0), _set(90, 1)


def _study(
    sizes: tuple[int, ...] = (1, 4, 40), draws: int = 3, quantization: Quantization = Quantization(tune=())
) -> Study:
    graph = Graph(tiny_tflite())
    return study(graph, POOL, JUDGES, PREPROCESS, sizes, quantization, draws=draws, progress=Silent())


@pytest.mark.parametrize("observer", ["minmax", "mse"])
def test_a_point_is_what_that_many_images_give_in_one_go(observer: ObserverName) -> None:
    """The ranges on the way, against a calibration of its own with the same images, on LiteRT."""
    found = _study(quantization=Quantization(observer=observer, tune=()))
    graph = Graph(tiny_tflite())
    judges = PREPROCESS.apply(JUDGES.images)
    real = Model(graph).predict(judges)
    for point in found.points:
        order = np.random.default_rng((0, point.draw)).permutation(40)[: point.images]
        ranges = calibrate(graph, PREPROCESS.apply(POOL.take(order).images), observer)
        made = Model(Graph(quantize(graph, ranges).content)).predict(judges)
        assert point.score == np.mean(made.argmax(1) == JUDGES.labels)
        assert point.agreement == np.mean(made.argmax(1) == real.argmax(1))
        noise = np.square(made.astype(np.float64) - real).sum()
        assert point.sqnr == pytest.approx(10 * np.log10(np.square(real.astype(np.float64)).sum() / noise))


def test_all_images_are_the_same_in_every_draw_and_the_most_is_its_own_measure() -> None:
    found = _study()
    whole = [point for point in found.points if point.images == 40]
    assert len({(point.score, point.sqnr) for point in whole}) == 1
    assert found.gaps[40] == (0.0, 0.0, 0.0)
    assert [point.images for point in found.points] == [1, 4, 40] * 3


def test_enough_is_the_smallest_that_is_not_worse() -> None:
    found = _study()
    assert found.gaps[found.enough][2] >= 0
    assert all(found.gaps[size][2] < 0 for size in found.gaps if size < found.enough)


def test_acts_see_the_images_that_calibrate() -> None:
    plain, tuned = _study((4,), 1), _study((4,), 1, Quantization(tune=("bias",)))
    assert tuned.acts == ("bias",)
    assert plain.points != tuned.points


@pytest.mark.parametrize("sizes", [(), (0, 4), (4, 41)])
def test_sizes_that_there_are_not(sizes: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="from 1 to 40"):
        _study(sizes)


def test_files_lines_and_picture(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(tiny_tflite())
    photos = write_folder(tmp_path / "photos", 60)
    found = study_file(tmp_path / "float.tflite", photos, sizes=(2, 8), draws=2, judges=20)
    value = json.loads(json.dumps(found.to_json()))
    assert len(lines(value)) == 4 and "enough" in lines(value)[-1]
    assert picture(value).startswith(b"\x89PNG")
    np.savez(tmp_path / "photos.npz", x_train=np.zeros((30, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="needs labelled images"):
        study_file(tmp_path / "float.tflite", tmp_path / "photos.npz")
