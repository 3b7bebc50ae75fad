"""What users of version 0.1 have on their disks still opens: run directories, and saved Keras models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from shell import octavo as shell
from tiny import pictures

import octavo
from octavo.base.progress import Silent
from octavo.data.digits import digits
from octavo.data.preprocess import Preprocess

FORMER = Path(__file__).parent / "former"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FORMER / "run", tmp_path / "run"))


def test_a_report_is_written_from_a_former_run(run: Path) -> None:
    done = shell("report", run)
    assert done.returncode == 0, done.stderr
    facts = json.loads((run / "report.json").read_text("utf-8"))
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))
    assert facts["evaluation"]["models"] == evaluation["models"]
    page = (run / "report.html").read_text("utf-8")
    assert "Deployment" in page and f"{evaluation['models']['int8']['accuracy']['value']:.2%}" in page


def test_a_former_run_is_deployed(run: Path, tmp_path: Path) -> None:
    done = shell("deploy", run, "--out", tmp_path / "folder")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "folder" / "labels.txt").read_text().split() == list("0123456789")


def test_a_former_run_has_its_place_in_a_front(run: Path) -> None:
    rows = octavo.pareto([run])
    assert [row["name"] for row in rows] == ["run: float", "run: int8", "run: ptq", "run: control"]


def test_a_former_model_answers_as_it_did(run: Path, tmp_path: Path) -> None:
    """Every probability of the test images, from the file and its sidecar alone."""
    kept = np.load(run / "predictions.npz")
    source = digits().splits["all"]
    places = [source.ids.index(name) for name in kept["ids"]]
    images = source.read(places)
    np.savez(tmp_path / "test.npz", x_test=images.images, y_test=images.labels)
    scores = octavo.evaluate(run / "int8.tflite", tmp_path / "test.npz")
    np.testing.assert_array_equal(scores.probabilities, kept["int8"])


def test_a_former_run_goes_on(run: Path) -> None:
    """Its images are read as they were; what another version of Octavo made is made again, and said to be."""
    said: list[str] = []

    class StoppedError(Exception):
        pass

    class Listening(Silent):
        def say(self, text: str) -> None:
            said.append(text)
            raise StoppedError

    recipe = octavo.load_recipe(str(run / "recipe.yaml"))
    with pytest.raises(StoppedError):
        octavo.run(recipe, run, Listening())
    assert said[0].startswith("data: 600 training and 100 test images")


def _loaded() -> octavo.QuantModel:
    import keras

    # Named, so that Keras knows it, as in the program that saved it.
    assert octavo.QuantModel is not None
    model = keras.saving.load_model(FORMER / "quant_model.keras")
    assert isinstance(model, octavo.QuantModel)
    return model


def test_a_former_quant_model_predicts_and_writes_the_same() -> None:
    model = _loaded()
    images = Preprocess((8, 8)).apply(pictures(30)[0])[:6]
    np.testing.assert_allclose(model.predict(images, verbose=0), np.load(FORMER / "quant_model.npy"), atol=1e-6)


def test_a_former_quant_model_writes_its_file(tmp_path: Path) -> None:
    model = _loaded()
    model.to_int8(tmp_path / "again.tflite")
    assert (tmp_path / "again.tflite").read_bytes() == (FORMER / "quant_model.tflite").read_bytes()
