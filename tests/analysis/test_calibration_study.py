from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from tiny import CLASSES, SIZE, pictures, tiny_tflite, write_folder

from octavo.analysis.calibration_study import MARGIN, Study, _enough, study
from octavo.analysis.calibration_study_views import lines, picture
from octavo.api.calibrate import calibrate as study_file
from octavo.base.errors import DataError
from octavo.base.progress import Silent
from octavo.base.stats import Interval, wider_needed
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
    validation = PREPROCESS.apply(JUDGES.images)
    real = Model(graph).predict(validation)
    for point in found.points:
        order = np.random.default_rng((0, point.draw)).permutation(40)[: point.images]
        ranges = calibrate(graph, PREPROCESS.apply(POOL.take(order).images), observer)
        made = Model(Graph(quantize(graph, ranges).content)).predict(validation)
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


def test_few_judges_cannot_tell_how_many_are_enough() -> None:
    """That no answer of 90 changes does not show that fewer than 1 in 24 would."""
    found = _study((4, 40))
    assert found.enough is None
    z = norm.ppf(0.975)
    assert found.gaps[4][2] - found.gaps[4][0] >= z**2 / (90 + z**2) - 1e-6
    assert found.needed is not None and found.needed >= 765
    last = lines(json.loads(json.dumps(found.to_json())))[-1]
    assert f"90 images do not show a difference of 0.5 points (see the intervals). About {found.needed:,}" in last
    assert "cannot tell how many are enough" in repr(found)


@pytest.mark.parametrize(
    ("lows_and_highs", "enough"),
    [
        ({1: (-0.2, -0.1), 10: (-0.004, 0.004), 50: (-0.003, 0.01), 100: (0.0, 0.0)}, 10),
        ({1: (-0.2, 0.1), 10: (-0.004, 0.004), 100: (0.0, 0.0)}, 10),
        ({1: (-0.004, 0.1), 10: (-0.2, -0.1), 50: (-0.004, 0.0), 100: (0.0, 0.0)}, 50),
        ({1: (-0.2, -0.1), 10: (-0.1, -0.01), 100: (0.0, 0.0)}, 100),
        ({1: (-0.004, 0.1), 10: (-0.02, 0.03), 100: (0.0, 0.0)}, None),
        ({100: (0.0, 0.0)}, 100),
    ],
)
def test_enough_is_the_smallest_that_is_shown_to_lose_little(
    lows_and_highs: dict[int, tuple[float, float]], enough: int | None
) -> None:
    gaps = {size: ((low + high) / 2, low, high) for size, (low, high) in lows_and_highs.items()}
    losses = {size: Interval(-v, -high, -low) for size, (v, low, high) in gaps.items()}
    found, undecided = _enough(losses, MARGIN)
    assert found == enough and undecided == (10 if enough is None else None)


def test_the_judges_that_are_needed_make_the_interval_as_narrow_as_the_question() -> None:
    """A normal interval of half the width takes four times the images: float64, by hand."""
    each = np.tile([0.2, -0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 100)
    spread = 1.96 * each.std(ddof=1)
    needed = wider_needed(Interval(0.0, -spread / np.sqrt(50), spread / np.sqrt(50)), 50, MARGIN, share=True)
    assert needed is not None and needed > 765
    assert spread / np.sqrt(needed) <= 0.005 < spread / np.sqrt(needed - 1)
    assert wider_needed(Interval(0.1, 0.0, 0.2), 50, MARGIN, share=True) is None


def test_acts_see_the_images_that_calibrate() -> None:
    plain, tuned = _study((4,), 1), _study((4,), 1, Quantization(tune=("bias",)))
    assert tuned.passes == ("bias",)
    assert plain.points != tuned.points


@pytest.mark.parametrize("sizes", [(), (0, 4), (4, 41)])
def test_sizes_that_there_are_not(sizes: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="from 1 to 40"):
        _study(sizes)


def test_files_lines_and_picture(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(tiny_tflite())
    photos = write_folder(tmp_path / "photos", 60)
    found = study_file(tmp_path / "float.tflite", photos, sizes=(2, 8), draws=2, validation=20)
    value = json.loads(json.dumps(found.to_json()))
    assert len(lines(value)) == 4 and "enough" in lines(value)[-1]
    assert picture(value).startswith(b"\x89PNG")
    default = study_file(tmp_path / "float.tflite", photos, draws=1)
    assert default.passes == ("compensate",) and sorted(default.gaps) == [1, 5, 10, 32] and default.validation == 16
    np.savez(tmp_path / "photos.npz", x_train=np.zeros((30, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="needs labelled images"):
        study_file(tmp_path / "float.tflite", tmp_path / "photos.npz")
