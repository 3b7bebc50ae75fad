"""Images that several processes share, and that are not held in memory: the results of one process, to the bit."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brightness import CLASSES, SIZE, brightness, write_pictures
from detector import SIZE as SQUARES
from detector import detector, write_coco
from handmade import File
from PIL import Image
from shell import octavo as shell
from shell import refused

import octavo
from octavo.analysis.evaluate import evaluate
from octavo.base import extras
from octavo.base.errors import DataError, OctavoError
from octavo.base.jobs import Jobs
from octavo.data.dataset import OctavoWarning
from octavo.data.encoded_inputs import Feed
from octavo.data.given import given
from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.reading import reader
from octavo.data.split import draw_calibration, draw_test
from octavo.data.streamed import HELD, Streamed
from octavo.quantization.calibrate import Survey, survey
from octavo.quantization.observers import OBSERVERS
from octavo.runtime.litert import inputs_of
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph

# Three parts, the last of which is not full.
COUNT = 2 * HELD + 6
TWO = Jobs(2)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    write_pictures(folder / "photos" / "train", COUNT)
    write_pictures(folder / "photos" / "test", COUNT)
    (folder / "model.tflite").write_bytes(brightness((-1.0, 1.0)))
    Sidecar(Preprocess((SIZE, SIZE)), CLASSES).write(folder / "model.tflite")
    return folder


def surveyed(graph: Graph, photos: Path, observer: str, jobs: Jobs | None) -> Survey:
    source = open_dataset("path", photos)
    images = draw_calibration(source, COUNT, 0, read=reader(jobs, photos, source))
    assert isinstance(images.images, Streamed) == (jobs is not None)
    return survey(graph, Feed(images, Preprocess((SIZE, SIZE)), inputs_of(graph)), observer, kept=[0, HELD, COUNT - 1])


@pytest.mark.parametrize("observer", OBSERVERS)
def test_ranges_are_those_of_one_process(observer: str, files: Path) -> None:
    graph = Graph(brightness((-1.0, 1.0)))
    alone = surveyed(graph, files / "photos", observer, None)
    for jobs in (Jobs(), TWO):
        shared = surveyed(graph, files / "photos", observer, jobs)
        assert dict(shared.ranges.of) == dict(alone.ranges.of)
        assert dict(shared.extremes) == dict(alone.extremes)
        assert np.array_equal(shared.classes, alone.classes)
        assert len(set(alone.classes)) == 2
        assert shared.outputs.keys() == alone.outputs.keys() == {0, HELD, COUNT - 1}
        for place, outputs in alone.outputs.items():
            assert np.array_equal(shared.outputs[place], outputs)


def test_a_mask_before_a_softmax_is_limited_in_the_same_way(files: Path) -> None:
    """Its range is so wide that the images are run again."""
    file = File()
    image, mean, masked, last = (
        file.tensor(name, shape)
        for name, shape in (("image", (1, SIZE, SIZE, 3)), ("mean", (1, 3)), ("masked", (1, 3)), ("last", (1, 3)))
    )
    file.op("MEAN", [image, file.constant("axes", np.array([1, 2], np.int32))], [mean], "Reducer", keepDims=False)
    file.op("ADD", [mean, file.constant("mask", np.array([[0, 0, -1e9]], np.float32))], [masked], "Add")
    file.op("SOFTMAX", [masked], [last], "Softmax", beta=1.0)
    graph = file.ports([image], [last]).graph()
    alone, shared = (surveyed(graph, files / "photos", "minmax", jobs).ranges.of for jobs in (None, TWO))
    assert alone["masked"][0] > -100
    assert dict(shared) == dict(alone)


@pytest.mark.parametrize("tune", [["equalize", "bias", "compensate", "adaround"], ["compensate"]], ids="-".join)
def test_the_file_is_that_of_one_process(tune: list[Any], files: Path, tmp_path: Path) -> None:
    made = []
    for name, jobs in (("alone", None), ("shared", 2)):
        out = tmp_path / f"{name}.tflite"
        octavo.quantize(files / "model.tflite", files / "photos", out, images=COUNT, tune=tune, jobs=jobs)
        made.append(out.read_bytes())
    assert made[0] == made[1]


def same(model: Path, data: Path, **fields: Any) -> octavo.Scores:
    alone = octavo.evaluate(model, data, **fields)
    for jobs in (1, 2):
        shared = octavo.evaluate(model, data, jobs=jobs, **fields)
        assert shared.score() == alone.score()
        assert shared.figures() == alone.figures()
        assert shared.arrays().keys() == alone.arrays().keys()
        assert all(np.array_equal(values, alone.arrays()[name]) for name, values in shared.arrays().items())
    return alone


def test_accuracy_is_that_of_one_process_and_a_broken_image_is_left_out(files: Path, tmp_path: Path) -> None:
    photos = write_pictures(tmp_path / "photos" / "test", COUNT).parent
    # The first image of all, so that no check may rest on it, and one of the second part.
    for place in (0, 40):
        (photos / "test" / CLASSES[0] / f"{place:03}.png").write_bytes(b"broken")
    said = []
    for jobs in (None, 2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = octavo.evaluate(files / "model.tflite", photos, jobs=jobs)
        said.append(([str(one.message) for one in caught], found.score(), len(found)))
    assert said[0] == said[1]
    assert "bright/000.png" in said[0][0][0]
    assert said[0][2] == COUNT - 2
    assert same(files / "model.tflite", files / "photos").task == "single-label"


def test_numbers_of_an_npz(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "model.tflite").write_bytes(brightness((-1.0, 1.0), softmax=False))
    x, y = rng.normal(0, 1, (COUNT, SIZE, SIZE, 3)).astype(np.float32), rng.normal(0, 1, (COUNT, 2))
    np.savez(tmp_path / "data.npz", x_test=x, y_test=y)
    assert same(tmp_path / "model.tflite", tmp_path / "data.npz", task="regression").task == "regression"


@pytest.mark.skipif(bool(extras.EXTRAS["detection"].missing), reason="the extra `detection` is not installed")
def test_boxes_in_an_archive(tmp_path: Path) -> None:
    import shutil

    write_coco(tmp_path / "scenes", HELD + 8, split="test")
    shutil.make_archive(str(tmp_path / "scenes"), "zip", tmp_path / "scenes")
    (tmp_path / "model.tflite").write_bytes(detector().content)
    Sidecar(Preprocess((SQUARES, SQUARES), scale=(0.0, 1.0))).write(tmp_path / "model.tflite")
    assert same(tmp_path / "model.tflite", tmp_path / "scenes.zip").task == "detection"


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    side = 96
    for place in range(8 * HELD):
        path = tmp_path / "photos" / "test" / CLASSES[place % 2] / f"{place:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), (place, 0, 0)).save(path)
    graph = Graph(brightness((-1.0, 1.0)))
    source = open_dataset("path", tmp_path / "photos")

    def peak(count: int, jobs: Jobs | None) -> int:
        tracemalloc.start()
        images = draw_test(source, count, 0, read=reader(jobs, tmp_path / "photos", source))
        evaluate(graph, images, Preprocess((SIZE, SIZE)))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    # What another thread allocates, or what is kept once, does not count: the lower of two equal runs.
    def lower(count: int) -> int:
        return min(peak(count, Jobs()) for _ in range(2))

    image = side * side * 3
    assert peak(8 * HELD, None) - peak(4 * HELD, None) > 4 * HELD * image
    assert lower(8 * HELD) - lower(4 * HELD) < HELD * image / 4


def test_data_that_changed_meanwhile_are_refused(tmp_path: Path) -> None:
    photos = write_pictures(tmp_path / "photos", 2 * HELD)
    source = open_dataset("path", photos)
    images = reader(TWO, photos, source)(source.splits["all"], np.arange(2 * HELD))
    with warnings.catch_warnings():
        warnings.simplefilter("error", OctavoWarning)
        (photos / CLASSES[0] / "000.png").rename(photos / CLASSES[0] / "zzz.png")
        graph = Graph(brightness((-1.0, 1.0)))
        with pytest.raises(DataError, match=r"does not hold the files|cannot be read any more"):
            survey(graph, Feed(images, Preprocess((SIZE, SIZE)), inputs_of(graph)))


def test_what_cannot_be_shared(files: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"from Python code cannot be shared by `jobs`"):
        octavo.evaluate(files / "model.tflite", (np.zeros((4, SIZE, SIZE, 3), np.uint8), np.arange(4) % 2), jobs=2)
    several = given({"speed": np.zeros((4, 1), np.float32), "heat": np.zeros((4, 1), np.float32)})
    with pytest.raises(DataError, match="Samples of several arrays"):
        reader(TWO, files / "data.npz", several)
    with pytest.raises(OctavoError, match="A run that trains holds its images in memory"):
        octavo.run("digits", tmp_path / "run", jobs=2)
    words = ("evaluate", files / "model.tflite", "--data", files / "photos", "--jobs")
    assert "Invalid value for '--jobs'" in shell(*words, 0).stderr
    assert "A search, or a run with a report, is done by one process. Leave out --jobs." in refused(
        shell(
            *("quantize", files / "model.tflite", "--data", files / "photos", "-o", tmp_path / "out.tflite"),
            *("--jobs", 2, "--max-size", 9000),
        )
    )


def test_the_command_line_shares_images(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    shell("quantize", files / "model.tflite", "--data", files / "photos", "-o", out, "--images", 40, "--jobs", 2)
    assert "accuracy  100.00%" in shell("evaluate", out, "--data", files / "photos", "--jobs", 2).stdout
