"""Detection: boxes of a model that LiteRT runs, scored as pycocotools scores them, and compared without it."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector import CLASSES, SIZE, coco, detector, scenes, truth, write_coco
from handmade import File
from PIL import Image
from shell import octavo, refused

from octavo.analysis.answers import answers
from octavo.analysis.box_outputs import Places, places_of
from octavo.analysis.evaluate import compare, evaluate, model_score
from octavo.analysis.gallery import shown
from octavo.analysis.tasks.choose import guess, task_for, task_named
from octavo.analysis.tasks.detection import SHOWN, DetectionScores, covered
from octavo.analysis.understood import understood
from octavo.base import extras
from octavo.base.errors import DataError, MissingDependencyError, ModelError
from octavo.base.progress import Silent
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.deployment.folder import deploy
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.recipe.options import Inputs
from octavo.runtime.litert import Model
from octavo.source.load import Loaded
from octavo.source.sidecar import Sidecar
from octavo.source.sidecar import read as read_sidecar
from octavo.tflite.graph import Graph

N = 40
IMAGES, SQUARES = scenes(N)
PREPROCESS = Preprocess((SIZE, SIZE), scale=(0.0, 1.0))
ENDS = ("postprocess", "table", "lists")
scored = pytest.mark.skipif(bool(extras.EXTRAS["detection"].missing), reason="the extra `detection` is not installed")


def samples(right: Any = None) -> ImageSet:
    return ImageSet(IMAGES, None, CLASSES, tuple(map(str, range(N))), right)


def int8(graph: Graph) -> Graph:
    return Graph(quantize(graph, calibrate(graph, PREPROCESS.normalize(IMAGES)), allow_float=True).content)


def both(end: str, right: Any = None) -> tuple[DetectionScores, DetectionScores]:
    graph, given = detector(end), samples(right)
    task = task_for(None, graph, given)
    found = [evaluate(one, given, PREPROCESS, task=task) for one in (graph, int8(graph))]
    assert all(isinstance(one, DetectionScores) for one in found)
    return found[0], found[1]  # type: ignore[return-value]


def by_pycocotools(boxes: np.ndarray) -> list[float]:
    """COCO's figures of boxes, from files as its own tools write and read them: pixels, and its numbers of classes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    right = COCO()
    right.dataset = coco(SQUARES)
    for number, one in enumerate(right.dataset["annotations"], 1):
        one |= {"id": number, "area": one["bbox"][2] * one["bbox"][3]}
    right.createIndex()
    given = [
        {
            "image_id": 100 + place,
            "category_id": 3 + 4 * int(row[5]),
            "bbox": [row[1] * SIZE, row[0] * SIZE, (row[3] - row[1]) * SIZE, (row[2] - row[0]) * SIZE],
            "score": float(row[4]),
        }
        for place, own in enumerate(boxes.astype(np.float64))
        for row in own
        if row[5] >= 0
    ]
    made = COCOeval(right, right.loadRes(given), "bbox")
    made.evaluate()
    made.accumulate()
    made.summarize()
    return [float(value) for value in made.stats[:3]]


@scored
@pytest.mark.parametrize("end", ENDS)
def test_the_figures_are_pycocotools(end: str) -> None:
    before, after = both(end, truth(SQUARES))
    assert before.task == "detection" and before.classes == CLASSES
    for one in (before, after):
        assert [value for _, value in one.figures()] == pytest.approx(by_pycocotools(one.boxes), abs=1e-9)
    assert 0.1 < before.value(before.metric) < 0.9
    assert np.mean(list(before.by_class().values())) == pytest.approx(before.value(before.metric))
    assert list(before.by_class()) == list(CLASSES)


@scored
def test_an_interval_and_a_paired_one() -> None:
    before, after = both("table", truth(SQUARES))
    score, gap = before.score(), before.difference(after)
    assert score is not None and gap is not None
    assert score.low < score.value < score.high and gap.low < gap.high
    assert gap.value == pytest.approx(after.value(after.metric) - before.value(before.metric))
    # Paired: much of the chance of the draw is common to both.
    assert gap.high - gap.low < (score.high - score.low) / 2
    found = compare(before, after, 0.02)
    assert found.difference == gap and found.non_inferior == (-gap.low < 0.02)
    assert set(model_score(before).figures) == {"ap50", "ap75"}


@pytest.mark.parametrize("end", ENDS)
def test_outputs_are_recognized(end: str) -> None:
    for graph in (detector(end), int8(detector(end))):
        assert (
            places_of(graph)
            == {
                "postprocess": Places(0, 2, 1, 3),
                "table": Places(1, 0),
                "lists": Places(0, 2, 1),
            }[end]
        )
        assert guess(graph, samples()).name == guess(graph, samples(truth(SQUARES))).name == "detection"


def named(*outputs: tuple[str, tuple[int, ...]]) -> Graph:
    """A model with outputs of given names and shapes, each a RESHAPE of one input."""
    file = File()
    image = file.tensor("image", (1, 8))
    ports = []
    for name, shape in outputs:
        made, wide = file.tensor(name, shape), file.tensor(f"wide_{name}", (1, int(np.prod(shape))))
        weights = np.ones((int(np.prod(shape)), 8), np.float32)
        file.dense(image, file.constant(f"w_{name}", weights), wide)
        sides = file.constant(f"shape_{name}", np.array(shape, np.int32))
        file.op("RESHAPE", [wide, sides], [made], "Reshape", newShape=list(shape))
        ports.append(made)
    return file.ports([image], ports).graph()


@pytest.mark.parametrize(
    ("outputs", "told", "untold"),
    [
        # Raw outputs of an SSD: encoded boxes, and a score of each class.
        ((("raw/box_encodings", (1, 9, 4)), ("raw/class_predictions", (1, 9, 3))), Places(0, 1), None),
        ((("a", (1, 9, 4)), ("b", (1, 9)), ("c", (1, 9)), ("d", (1,))), Places(0, 2, 1, 3), None),
        ((("boxes", (1, 9, 4)), ("conf", (1, 9)), ("labels", (1, 9))), Places(0, 1, 2), Places(0, 1, 2)),
        ((("boxes", (1, 9, 4)), ("scores", (1, 8))), None, None),
        ((("boxes", (1, 9, 4)), ("more_boxes", (1, 9, 4)), ("scores", (1, 9))), None, None),
        ((("regressors", (1, 9, 16)), ("scores", (1, 9, 1))), None, None),
        ((("boxes", (1, 9, 4)),), None, None),
    ],
)
def test_raw_outputs_are_boxes_only_if_told(outputs: Any, told: Places | None, untold: Places | None) -> None:
    graph = named(*outputs)
    assert places_of(graph, told=True) == told
    assert places_of(graph) == untold
    assert (guess(graph, samples()).name == "detection") == (untold is not None)
    if told is None:
        with pytest.raises(ModelError, match="one output of boxes"):
            task_named("detection").read(graph)


def test_only_what_counts_is_kept() -> None:
    """The op fills its outputs up beyond the number of boxes that it found."""
    before, _ = both("postprocess")
    empty = before.boxes[:, :, 5] == -1
    assert empty.any() and not before.boxes[empty][:, 4].any()
    assert np.all(np.diff(before.boxes[:, :, 4], axis=1) <= 0)
    least = min(float(row[4]) for own in before.boxes for row in own if row[5] >= 0)
    assert least >= 0.2  # the op's own threshold


def test_what_the_op_never_wrote_is_0() -> None:
    """LiteRT leaves it as it was in memory, in which there may be NaN."""
    model = Model(detector("postprocess"))
    boxes, classes, scores, count = model.run_all(model.input.encode(PREPROCESS.normalize(IMAGES)))
    beyond = np.arange(10) >= count[:, None]
    assert 0 < beyond.sum() < beyond.size
    assert not boxes[beyond].any() and not classes[beyond].any() and not scores[beyond].any()
    assert boxes[~beyond].any(axis=1).all() and scores[~beyond].all()


def test_pixels_become_shares() -> None:
    found = evaluate(detector("table"), samples(), PREPROCESS)
    assert isinstance(found, DetectionScores)
    answers = found.boxes * np.array([SIZE] * 4 + [1, 1], np.float32)
    same = task_named("detection").score(detector("table"), answers, samples(), "")
    np.testing.assert_allclose(same.arrays()["answers"], found.boxes, atol=1e-6)


def test_agreement_needs_no_truth_and_no_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pycocotools", "pycocotools.coco", "pycocotools.cocoeval"):
        monkeypatch.setitem(sys.modules, name, None)
    before, after = both("postprocess")
    assert before.score() is None and before.alike(before) == 1.0
    assert 0.8 < after.alike(before) <= 1.0 and after.alike(before) == pytest.approx(before.alike(after))
    known, inputs = Loaded(detector("postprocess"), Sidecar(PREPROCESS)), Inputs()
    assert understood(known, samples(truth(SQUARES)), inputs, Silent(), calibrate=True)[1].name == "detection"
    with pytest.raises(MissingDependencyError, match=r"pip install -e '.\[detection\]'"):
        understood(known, samples(truth(SQUARES)), inputs, Silent())


def scores_of(*images: list[list[float]]) -> DetectionScores:
    boxes = np.zeros((len(images), 4, 6), np.float32)
    boxes[:, :, 5] = -1
    for place, own in enumerate(images):
        boxes[place, : len(own)] = np.array(own).reshape(-1, 6)
    return DetectionScores(None, boxes, ("cat", "dog"), "")


def test_agreement_by_hand() -> None:
    one = [0.0, 0.0, 0.5, 0.5, 0.9, 0]
    moved = [0.0, 0.1, 0.5, 0.6, 0.9, 0]  # IoU 4 / 6
    far = [0.0, 0.3, 0.5, 0.8, 0.9, 0]  # IoU 2 / 8
    other, faint = [*one[:5], 1], [*one[:4], SHOWN - 0.01, 0]
    for given, share in (([moved], 1), ([far], 0), ([other], 0), ([faint], 0), ([one, far], 2 / 3), ([], 0)):
        assert scores_of(given).alike(scores_of([one])) == pytest.approx(share)
    assert scores_of([]).alike(scores_of([])) == 1.0
    before, after = scores_of([one], [one], [one], []), scores_of([one], [moved], [other], [])
    items = before.changed(after)
    assert [item.place for item in items] == [2, 1]
    assert (items[0].before, items[0].after, items[0].truth) == ("1 cat", "1 dog", "")


def test_what_boxes_cover_does_not_depend_on_their_order() -> None:
    boxes = np.array([[0.1, 0.2, 0.4, 0.6, 0.8, 0], [0.3, 0.3, 0.9, 0.5, 0.8, 1]])
    np.testing.assert_allclose(covered(boxes), covered(boxes[::-1]))
    # The whole is the area times the score, in cells.
    assert covered(boxes).sum() == pytest.approx(0.8 * (0.3 * 0.4 + 0.6 * 0.2) * 256)


def test_boxes_of_swapped_order_are_right_answers() -> None:
    graph = detector("postprocess")
    found = answers(graph, int8(graph), list(PREPROCESS.normalize(IMAGES)))
    assert [item.output for item in found.outputs] == ["boxes"] and found.hold


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda right: right[:, :, :4], r"float64 \(40, 3, 4\)"),
        (lambda right: np.where([True, True, True, True, False], right * SIZE, right), "corners up to 16"),
        (lambda right: right[:, :, [2, 1, 0, 3, 4]], "whose end lies before their start"),
        (lambda right: right + 0.5, "no whole numbers"),
    ],
)
def test_truth_that_is_no_boxes(change: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        evaluate(detector("table"), samples(change(truth(SQUARES))), PREPROCESS, task=task_named("detection"))


@pytest.mark.parametrize("right", [np.full((N, 3, 5), -1.0), np.tile([0.1, 0.1, 0.4, 0.4, 0, 1], (N, 1, 1))])
def test_images_of_nothing_cannot_be_scored(right: np.ndarray) -> None:
    """Or of crowds alone, which COCO does not count."""
    before, after = both("table", right)
    assert before.score() is None and before.difference(after) is None and before.figures() == []
    assert 0.8 < after.alike(before) <= 1.0


def test_the_report_shows_boxes() -> None:
    before, after = both("table", truth(SQUARES))
    item = before.changed(after)[0]
    made = shown(samples(truth(SQUARES)), before, after, item)
    assert made.image is not None
    picture = Image.open(io.BytesIO(base64.b64decode(made.image.partition(",")[2])))
    # The right boxes and float's above int8's, in the colours of classes 0 and 1.
    assert picture.size == (256, 256)
    colours = {colour for _, colour in picture.getcolors(1 << 20)}  # type: ignore[union-attr]
    assert colours & {(230, 159, 0), (86, 180, 233)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with COCO's annotations, and the detectors."""
    root = tmp_path_factory.mktemp("detection")
    for split, seed in (("train", 1), ("test", 2)):
        write_coco(root / "scenes", 60, seed, split)
    for end in ENDS:
        (root / f"{end}.tflite").write_bytes(detector(end).content)
    return root


@scored
def test_the_commands(folder: Path) -> None:
    data = ("--data", folder / "scenes", "--scale", "0,1")
    done = octavo("quantize", folder / "postprocess.tflite", *data, "--allow-float", "-o", folder / "int8.tflite")
    assert done.returncode == 0, done.stderr
    known = read_sidecar(folder / "int8.tflite")
    assert known is not None and known.classes == CLASSES
    done = octavo("evaluate", folder / "int8.tflite", "--data", folder / "scenes", "--json")
    value = json.loads(done.stdout)
    assert value["task"] == "detection" and value["images"] == 60 and set(value["figures"]) == {"ap50", "ap75"}
    assert set(value["by_class"]) == set(CLASSES)
    done = octavo("compare", folder / "postprocess.tflite", folder / "int8.tflite", *data)
    assert done.returncode == 0, done.stderr
    done = octavo("sensitivity", folder / "table.tflite", *data, "--images", "20")
    assert "boxes that both give" in done.stdout and "COCO AP" in done.stdout
    done = octavo("quantize", folder / "table.tflite", *data, "--max-drop", "5", "-o", folder / "found.tflite")
    assert done.returncode == 0 and "COCO AP" in done.stdout, done.stderr
    found = read_sidecar(folder / "found.tflite")
    assert found is not None and found.task == "detection"


@scored
@pytest.mark.slow
def test_a_run_reports_boxes(folder: Path) -> None:
    done = octavo(
        *("run", folder / "postprocess.tflite", "--data", folder / "scenes", "--scale", "0,1", "--out", folder / "run"),
        *("--set", "quantize.allow_float=true", "--set", "deployment.seconds=0.1", "--set", "deployment.targets=false"),
    )
    assert done.returncode == 0 and "COCO AP" in done.stdout, done.stderr
    page = (folder / "run" / "report.html").read_text()
    assert "the right boxes, float's boxes, int8's boxes" in page and "data:image/png;base64," in page
    evaluation = json.loads((folder / "run" / "evaluation.json").read_text())
    assert evaluation["task"] == "detection" and evaluation["classes"] == list(CLASSES)


@scored
def test_the_models_own_class_names_and_order(folder: Path) -> None:
    """The file of annotations lists red first; a model that calls green class 0 finds nothing unless names match."""
    names = folder / "names.txt"
    scores = []
    for order in ("red\ngreen\n", "green\nred\n"):
        names.write_text(order)
        done = octavo(
            *("evaluate", folder / "table.tflite", "--data", folder / "scenes", "--scale", "0,1", "--json"),
            *("--labels", names),
        )
        scores.append(json.loads(done.stdout)["score"]["value"])
    assert scores[0] > 0.1 > 0.02 > scores[1]
    names.write_text("blue\nyellow\n")
    done = octavo("evaluate", folder / "table.tflite", "--data", folder / "scenes", "--scale", "0,1", "--labels", names)
    assert "'red', a class of the images, is not one of the model's" in refused(done)


def test_a_deployed_folder_gives_boxes(tmp_path: Path) -> None:
    graph = detector("table")
    model = tmp_path / "int8.tflite"
    model.write_bytes(int8(graph).content)
    Sidecar(PREPROCESS, CLASSES, "detection").write(model)
    made = deploy(model, tmp_path / "device")
    assert (made.folder / "labels.txt").read_text() == "red\ngreen\n" and "classify.c" not in made.files
    picture = tmp_path / "scene.png"
    Image.fromarray(IMAGES[0]).save(picture)
    done = subprocess.run(
        [sys.executable, made.folder / "predict.py", picture, "--json"], capture_output=True, text=True, check=True
    )
    (answer,) = json.loads(done.stdout)
    found = evaluate(Graph.read(model), samples(), PREPROCESS, task=task_named("detection"))
    assert isinstance(found, DetectionScores) and len(found.drawn(0))
    for box, row in zip(answer["boxes"], found.drawn(0), strict=True):
        assert box["class"] == CLASSES[int(row[5])]
        np.testing.assert_allclose([*box["box"], box["score"]], row[:5], atol=1e-6)
