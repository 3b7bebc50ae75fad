"""Models of several outputs: one of them is scored, which is chosen by name, and the others are named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File
from shell import octavo, refused

from octavo.analysis.evaluate import evaluate
from octavo.analysis.tasks.choose import guess, place_of, task_for
from octavo.api.quantize import quantize
from octavo.base.errors import DataError, OctavoError
from octavo.base.progress import Silent
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.deployment.folder import deploy
from octavo.recipe.options import Inputs
from octavo.recipe.own import own_recipe
from octavo.source.sidecar import read as read_sidecar
from octavo.tflite.graph import Graph

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(150, 6)).astype(np.float32)
SPEED, KIND = (RANDOM.normal(size=(count, 6)).astype(np.float32) for count in (2, 4))


def two() -> Graph:
    """Numbers first, then the probabilities of four classes."""
    file = File()
    x, speed, logits = file.tensor("x", (1, 6)), file.tensor("speed", (1, 2)), file.tensor("logits", (1, 4))
    kind = file.tensor("kind", (1, 4))
    file.dense(x, file.constant("w", SPEED), speed)
    file.dense(x, file.constant("v", KIND), logits)
    file.op("SOFTMAX", [logits], [kind], "Softmax", beta=1.0)
    return file.ports([x], [speed, kind]).graph()


def samples(labels: Any = None, truth: Any = None) -> ImageSet:
    classes = () if labels is None else tuple("abcd")
    return ImageSet(X, labels, classes, tuple(map(str, range(len(X)))), truth)


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_the_chosen_output_is_scored_and_the_others_are_named() -> None:
    labels = (X @ KIND.T).argmax(axis=1)
    told = Told()
    task = task_for(None, two(), samples(labels), told, "kind")
    assert (task.name, task.place) == ("single-label", 1)
    assert told.lines == ["Scored is the output 'kind', and not 'speed'. `output` chooses another."]
    found = evaluate(two(), samples(labels), None, task=task)
    assert found.value(found.metric) == 1.0
    numbers = X @ SPEED.T
    task = task_for(None, two(), samples(truth=numbers), told, "speed")
    assert (task.name, task.place) == ("regression", 0)
    found = evaluate(two(), samples(truth=numbers), None, task=task)
    assert found.value(found.metric) == pytest.approx(0, abs=1e-5)


def test_without_a_choice_the_first_is_scored() -> None:
    told = Told()
    assert task_for(None, two(), samples(truth=X @ SPEED.T), told).place == 0
    assert told.lines[-1] == "Scored is the output 'speed', and not 'kind'. `output` chooses another."
    # All outputs are compared where nothing is scored, so that none is left to name.
    assert task_for(None, two(), samples(), told).name == "outputs"
    assert "Scored is" not in told.lines[-1]
    assert guess(two(), samples(), 1).name == "single-label"


def test_an_output_that_is_not_there() -> None:
    with pytest.raises(OctavoError, match=r"no output 'colour'\. Set `output` to 'speed' or 'kind'"):
        place_of(two(), "colour")


def test_names_are_those_of_the_signature_too() -> None:
    file = File()
    x, y, z = file.tensor("serving_x:0", (1, 6)), file.tensor("Identity:0", (1, 2)), file.tensor("Identity_1:0", (1, 4))
    file.dense(x, file.constant("w", SPEED), y)
    file.dense(x, file.constant("v", KIND), z)
    file.ports([x], [y, z])
    file.signature("serving_default", {"x": x}, {"speed": y, "kind": z})
    assert [place_of(file.graph(), name) for name in ("kind", "Identity_1:0", "speed")] == [1, 1, 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    (root / "two.tflite").write_bytes(two().content)
    labels = (X @ KIND.T).argmax(axis=1)
    np.savez(root / "kind.npz", x_train=X[:100], y_train=labels[:100], x_test=X[100:], y_test=labels[100:])
    return root


def test_the_commands_remember_it(folder: Path) -> None:
    data = ("--data", folder / "kind.npz")
    done = octavo("quantize", folder / "two.tflite", *data, "--output", "kind", "-o", folder / "int8.tflite")
    assert done.returncode == 0, done.stderr
    known = read_sidecar(folder / "int8.tflite")
    assert known is not None and known.output == "kind"
    done = octavo("evaluate", folder / "int8.tflite", *data, "--json")
    value = json.loads(done.stdout)
    assert value["task"] == "single-label" and value["score"]["value"] > 0.9
    assert "Scored is the output 'kind', and not 'speed'" in done.stderr
    # The sidecar is asked only if nobody says otherwise.
    said = refused(octavo("evaluate", folder / "int8.tflite", *data, "--output", "speed"))
    assert "has 2 classes, but the images have 4" in said
    said = refused(octavo("evaluate", folder / "two.tflite", *data, "--output", "colour"))
    assert "Set --output to 'speed' or 'kind'" in said
    done = octavo("sensitivity", folder / "two.tflite", *data, "--output", "kind", "--images", "20")
    assert done.returncode == 0 and "same" in done.stdout, done.stderr


def test_a_recipe_names_it(folder: Path) -> None:
    inputs = Inputs(folder / "kind.npz", task="single-label", output="kind")
    made = own_recipe(folder / "two.tflite", inputs)
    assert (made.evaluate.task, made.evaluate.output) == ("single-label", "kind")


@pytest.mark.slow
def test_a_run_scores_it(folder: Path) -> None:
    out = folder / "run"
    done = octavo(
        *("run", folder / "two.tflite", "--data", folder / "kind.npz", "--output", "kind", "--out", out),
        *("--set", "deployment.seconds=0.1", "--set", "deployment.targets=false"),
    )
    assert done.returncode == 0, done.stderr
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert evaluation["task"] == "single-label" and evaluation["models"]["float"]["score"]["value"] == 1.0
    assert json.loads((out / "int8.tflite.json").read_text())["output"] == "kind"


def test_a_deployed_folder_gives_it(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "int8.tflite"
    done = octavo(
        *("quantize", folder / "two.tflite", "--data", folder / "kind.npz", "--output", "kind"),
        *("--task", "single-label", "-o", model),
    )
    assert done.returncode == 0, done.stderr
    made = deploy(model, tmp_path / "device", labels=_names(tmp_path))
    np.save(tmp_path / "x.npy", X[0])
    done = subprocess.run(
        [sys.executable, made.folder / "predict.py", tmp_path / "x.npy", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    (answer,) = json.loads(done.stdout)
    assert answer["classes"][0]["class"] == "abcd"[int((X[0] @ KIND.T).argmax())]


def _names(folder: Path) -> Path:
    (folder / "names.txt").write_text("a\nb\nc\nd\n")
    return folder / "names.txt"


def test_data_that_do_not_fit_the_inputs_are_said_to_first(tmp_path: Path) -> None:
    """Their number of classes does not fit either, of which a warning would tell."""
    file = File()
    x, y = file.tensor("x", (1, 6)), file.tensor("y", (1, 4))
    file.dense(x, file.constant("v", KIND), y)
    (tmp_path / "model.tflite").write_bytes(file.ports([x], [y]).bytes())
    labels = np.arange(150) % 9
    np.savez(tmp_path / "wide.npz", x_train=np.zeros((150, 7), np.float32), y_train=labels)
    np.savez(tmp_path / "fits.npz", x_train=X, y_train=labels)
    # Warnings are errors in tests.
    with pytest.raises(DataError, match="expects inputs of 6, but the data have 7"):
        quantize(tmp_path / "model.tflite", tmp_path / "wide.npz", tmp_path / "int8.tflite")
    with pytest.warns(OctavoWarning, match="classes, and .* tells 4 apart"):
        quantize(tmp_path / "model.tflite", tmp_path / "fits.npz", tmp_path / "int8.tflite")
