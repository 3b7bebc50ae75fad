"""A deployed folder of every task and of any inputs: its program answers as `octavo evaluate` does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File
from PIL import Image
from shell import octavo, refused

from octavo.analysis.evaluate import evaluate
from octavo.analysis.tasks.choose import task_named
from octavo.base.errors import ModelError
from octavo.data.columns import Columns
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.deployment.folder import deploy
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(20, 6)).astype(np.float32)
PIXELS = RANDOM.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
PREPROCESS = Preprocess((6, 5))


def dense(outputs: int, end: str = "") -> Graph:
    file = File()
    x, y = file.tensor("x", (1, 6)), file.tensor("y", (1, outputs))
    file.dense(x, file.constant("w", np.random.default_rng(1).normal(size=(outputs, 6)).astype(np.float32)), y)
    if end:
        z = file.tensor("z", (1, outputs))
        file.op(end, [y], [z], "Softmax" if end == "SOFTMAX" else "", **({"beta": 1.0} if end == "SOFTMAX" else {}))
        y = z
    return file.ports([x], [y]).graph()


def of_images(outputs: int, pixelwise: bool) -> Graph:
    """A number for the whole image, or scores of every pixel."""
    file = File()
    x = file.tensor("x", (1, 6, 5, 3))
    if pixelwise:
        y = file.tensor("y", (1, 6, 5, outputs))
        weights = file.constant("w", np.random.default_rng(2).normal(size=(outputs, 1, 1, 3)).astype(np.float32))
        bias = file.constant("b", np.zeros(outputs, np.float32))
        file.op("CONV_2D", [x, weights, bias], [y], "Conv2D", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1, padding=1)  # fmt: skip # noqa: E501
        return file.ports([x], [y]).graph()
    flat, y = file.tensor("flat", (1, 90)), file.tensor("y", (1, outputs))
    file.op("RESHAPE", [x, file.constant("shape", np.array([1, 90], np.int32))], [flat], "Reshape", newShape=[1, 90])
    file.dense(flat, file.constant("w", np.random.default_rng(2).normal(size=(outputs, 90)).astype(np.float32)), y)
    return file.ports([x], [y]).graph()


def two_inputs() -> Graph:
    """The second input comes first in the file's list, which is not the order of names or tensors."""
    file = File()
    a, b, y = file.tensor("speed", (1, 3)), file.tensor("load", (1, 3)), file.tensor("y", (1, 3))
    z = file.tensor("twice", (1, 3))
    file.op("SUB", [a, b], [y], "Sub")
    file.op("ADD", [y, y], [z], "Add")
    return file.ports([b, a], [z, y]).graph()


def int8(folder: Path, graph: Graph, samples: Any, known: Sidecar | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "int8.tflite"
    path.write_bytes(quantize(graph, calibrate(graph, samples)).content)
    if known is not None:
        known.write(path)
    return path


def predict(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    command = [sys.executable, "-I", str(folder / "predict.py"), *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def refusal(folder: Path, *arguments: object) -> str:
    command = [sys.executable, "-I", str(folder / "predict.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    return done.stderr


def answers(path: Path, samples: Any, task: str, preprocess: Preprocess | None = None) -> np.ndarray:
    given = ImageSet(samples, None, (), tuple(map(str, range(len(samples)))))
    return evaluate(Graph.read(path), given, preprocess, task=task_named(task)).arrays()["answers"]


def arrays(folder: Path, samples: np.ndarray) -> list[Path]:
    paths = [folder / f"{place:02}.npy" for place in range(len(samples))]
    for path, sample in zip(paths, samples, strict=True):
        np.save(path, sample)
    return paths


def pictures(folder: Path) -> list[Path]:
    paths = [folder / f"{place:02}.png" for place in range(len(PIXELS))]
    for path, pixels in zip(paths, PIXELS, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


# The task, its model, and how an answer of the program is read.
OF_ARRAYS = {
    "single-label": (dense(4, "SOFTMAX"), lambda row: [item["probability"] for item in row["classes"]]),
    "multi-label": (dense(4, "LOGISTIC"), lambda row: [item["probability"] for item in row["labels"]]),
    "regression": (dense(2), lambda row: row["numbers"]),
    "anomaly": (dense(6), lambda row: row["score"]),
    "outputs": (dense(3), lambda row: row["outputs"][0]["values"]),
}


@pytest.mark.parametrize("task", OF_ARRAYS)
def test_arrays_are_answered_bit_for_bit(tmp_path: Path, task: str) -> None:
    graph, read = OF_ARRAYS[task]
    labels = tuple("abcd") if task in ("single-label", "multi-label") else ()
    path = int8(tmp_path / "here", graph, X, Sidecar(None, labels, task))
    made = deploy(path, tmp_path / "out")
    assert ("labels.txt" in made.files) == bool(labels) and "predict.py" in made.files
    assert not {"classify.c", "model_facts.h"} & set(made.files)
    rows = predict(made.folder, *arrays(tmp_path, X), "--top", 4)
    found, wanted = np.array([read(row) for row in rows]), answers(path, X, task)
    assert len(np.unique(wanted, axis=0)) > 5
    if task == "single-label":
        found, wanted = found, -np.sort(-wanted, axis=1)
    if task == "anomaly":
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    else:
        assert np.array_equal(found.astype(np.float32), wanted.astype(np.float32))
    card = (made.folder / "model-card.md").read_text("utf-8")
    assert "images" not in card and "Not measured" in card
    if task not in ("single-label", "multi-label"):
        assert "classes" not in card


@pytest.mark.parametrize(("outputs", "labels"), [(3, ()), (3, ("sky", "sea", "sand")), (1, ())])
def test_a_mask_is_a_picture_of_class_numbers(tmp_path: Path, outputs: int, labels: tuple[str, ...]) -> None:
    known = Sidecar(PREPROCESS, labels, "segmentation")
    path = int8(tmp_path / "here", of_images(outputs, pixelwise=True), PREPROCESS.apply(PIXELS), known)
    made = deploy(path, tmp_path / "out")
    rows = predict(made.folder, *pictures(tmp_path), "--out", tmp_path / "masks")
    masks = np.stack([np.asarray(Image.open(row["mask"])) for row in rows])
    wanted = answers(path, PIXELS, "segmentation", PREPROCESS)
    assert np.array_equal(masks, wanted) and len(np.unique(wanted)) == max(outputs, 2)
    names = labels or tuple(map(str, range(max(outputs, 2))))
    for row, mask in zip(rows, masks, strict=True):
        assert {item["class"]: item["share"] for item in row["classes"]} == {
            names[number]: float((mask == number).mean()) for number in np.unique(mask)
        }
    (tmp_path / "b").mkdir()
    twin = arrays(tmp_path / "b", X[:1])[0].with_suffix(".png")
    assert "Two files are called '00'" in refusal(made.folder, tmp_path / "00.png", twin)
    assert "cannot be written" in refusal(made.folder, tmp_path / "00.png", "--out", path)


def test_images_become_numbers(tmp_path: Path) -> None:
    path = int8(tmp_path / "here", of_images(2, pixelwise=False), PREPROCESS.apply(PIXELS))
    np.savez(tmp_path / "data.npz", x_test=PIXELS, y_test=answers(path, PIXELS, "regression", PREPROCESS) + 0.5)
    made = deploy(path, tmp_path / "out", scale=(-1, 1), data=tmp_path / "data.npz")
    assert json.loads((made.folder / "preprocess.json").read_text())["task"] == "regression"
    rows = predict(made.folder, *pictures(tmp_path))
    found = np.array([row["numbers"] for row in rows], np.float32)
    assert np.array_equal(found, answers(path, PIXELS, "regression", PREPROCESS).astype(np.float32))
    card = (made.folder / "model-card.md").read_text("utf-8")
    assert card.startswith("# Regression network\n") and "## Mean absolute error\n\n0.5 (95% interval" in card
    assert "12 labelled images of" in card and "class" not in card and "R²" in card


def test_several_inputs_and_outputs_go_by_their_names(tmp_path: Path) -> None:
    columns = Columns({"speed": X[:, :3], "load": X[:, 3:]})
    feed = [(sample["load"], sample["speed"]) for sample in columns]
    path = int8(tmp_path / "here", two_inputs(), feed)
    made = deploy(path, tmp_path / "out")
    files = [tmp_path / f"{place}.npz" for place in range(len(columns))]
    for file, sample in zip(files, columns, strict=True):
        np.savez(file, **sample)
    rows = predict(made.folder, *files)
    found = np.array([[value for one in row["outputs"] for value in one["values"]] for row in rows], np.float32)
    assert np.array_equal(found, answers(path, columns, "outputs"))
    assert np.abs(found[:, 3:] - (X[:, :3] - X[:, 3:])).max() < 0.1
    assert [one["name"] for one in rows[0]["outputs"]] == ["twice", "y"]
    card = (made.folder / "model-card.md").read_text("utf-8")
    assert "inputs `load` int8 [1, 3], `speed` int8 [1, 3]" in card


def test_the_program_refuses_other_arrays(tmp_path: Path) -> None:
    columns = [(X[k, 3:], X[k, :3]) for k in range(len(X))]
    two = deploy(int8(tmp_path / "two", two_inputs(), columns), tmp_path / "of-two").folder
    one = deploy(int8(tmp_path / "one", dense(2), X), tmp_path / "of-one").folder
    np.savez(tmp_path / "half.npz", speed=X[0, :3])
    assert "has no array 'load': give an .npz file with 'load' (3,), 'speed' (3,)." in refusal(
        two, tmp_path / "half.npz"
    )
    np.savez(tmp_path / "large.npz", speed=X[0, :3], load=np.zeros(1_000_000))
    assert "larger than one sample" in refusal(two, tmp_path / "large.npz")
    cases = {
        "shape": (X[0, :3], "holds an array of (3,), and the model takes (6,)."),
        "nan": (np.full(6, np.nan), "has NaN or infinite values."),
        "text": (np.array(list("abcdef")), "holds <U1, and numbers were expected."),
        "objects": (np.array([None] * 6), "is not a .npy or .npz file"),
    }
    for name, (array, said) in cases.items():
        np.save(tmp_path / f"{name}.npy", array)
        assert said in refusal(one, tmp_path / f"{name}.npy")
    (tmp_path / "words.npy").write_text("words")
    assert "is not a .npy or .npz file" in refusal(one, tmp_path / "words.npy")
    # A batch of one is a sample too.
    np.save(tmp_path / "batch.npy", X[:1])
    assert predict(one, tmp_path / "batch.npy")[0]["outputs"][0]["shape"] == [2]


def test_what_is_for_image_classifiers_is_refused_or_left_out(tmp_path: Path) -> None:
    path = int8(tmp_path / "here", dense(2), X)
    with pytest.raises(ModelError, match="is no image classifier"):
        deploy(path, tmp_path / "out", mediapipe=True)
    assert "--web" in refused(octavo("deploy", path, "--out", tmp_path / "out", "--web"))
    assert not (tmp_path / "out").exists()
    done = octavo("deploy", path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Left out: classify.c and model_facts.h" in done.stderr and "Task: outputs" in done.stderr
    assert "predict.py FILE.npy" in done.stdout


def test_a_single_logit_is_the_probability_of_the_second_class(tmp_path: Path) -> None:
    path = int8(tmp_path / "here", dense(1), X, Sidecar(None, ("no", "yes"), "single-label"))
    made = deploy(path, tmp_path / "out")
    assert json.loads((made.folder / "preprocess.json").read_text())["output"] == "logits"
    rows = predict(made.folder, *arrays(tmp_path, X), "--top", 2)
    found = [{item["class"]: item["probability"] for item in row["classes"]} for row in rows]
    wanted = answers(path, X, "single-label")
    np.testing.assert_allclose([[row["no"], row["yes"]] for row in found], wanted, atol=1e-6)
    assert 0.0 < wanted[:, 1].min() < 0.5 < wanted[:, 1].max() < 1.0
