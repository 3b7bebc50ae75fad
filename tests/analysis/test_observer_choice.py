"""The choice of an observer where min-max ruins the answers and the user named none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from handmade import File, answers, values
from shell import octavo as shell

import octavo
from octavo.api.written import AnswersWarning
from octavo.runtime.litert import Model
from octavo.source.sidecar import path_of
from octavo.tflite.graph import Graph

WIDTH = 512
# The data check says of the same outlier that a range depends on it.
pytestmark = pytest.mark.filterwarnings("ignore:Of . activations")


def _file(path: Path, split: bool = False) -> Path:
    """tanh(x), or small parts of x beside large ones: of values beyond a few units, tanh gives 1."""
    file = File()
    x, made = (file.tensor(name, (1, WIDTH)) for name in ("x", "made"))
    file.dense(x, file.constant("w", np.eye(WIDTH, dtype=np.float32)), made)
    if split:
        large, out = file.tensor("large", (1, WIDTH)), file.tensor("out", (1, 2 * WIDTH))
        file.dense(x, file.constant("v", 300 * np.eye(WIDTH, dtype=np.float32)), large)
        file.op("CONCATENATION", [large, made], [out], "Concatenation", axis=1)
    else:
        out = file.tensor("out", (1, WIDTH))
        file.op("TANH", [made], [out])
    path.write_bytes(file.ports([x], [out]).bytes())
    return path


def _samples(outlier: float, places: tuple[int, ...] = (1,)) -> np.ndarray:
    """80 samples of 512 numbers, some with one far value; the second does not judge observers."""
    samples = values(80, WIDTH)
    samples[list(places), 7] = outlier
    return samples


def _sqnr(model: Path, made: Path) -> float:
    """In dB, of other samples, from LiteRT's own float outputs, in float64."""
    samples = values(40, WIDTH, seed=9)
    real = np.stack([answers(model.read_bytes(), sample[None])[0][0] for sample in samples]).astype(np.float64)
    int8 = Model(Graph.read(made))
    given = int8.run_all([(int8.inputs[0].encode(sample),) for sample in samples])[0]
    return float(10 * np.log10(np.square(real).sum() / np.square(given.astype(np.float64) - real).sum()))


def test_an_observer_that_mends_the_answers_is_chosen_and_said(tmp_path: Path) -> None:
    model, data, out = _file(tmp_path / "float.tflite"), tmp_path / "data.npz", tmp_path / "made.tflite"
    np.savez(data, x_train=_samples(1e4))
    done = shell("quantize", model, "--data", data, "-o", out, "--images", 80, "--strict")
    assert done.returncode == 0, done.stderr
    told = json.loads(path_of(out).read_text())["observer"]
    assert told != "minmax" and "answers match the float model's" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if "was chosen" in line)
    assert f"observer {told} was chosen: it gives" in line and "and minmax 0.0 dB" in line
    # Who names an observer gets that one.
    named = octavo.quantize(model, data, tmp_path / "named.tflite", images=80, observer=told)
    assert named.path.read_bytes() == out.read_bytes()
    with pytest.warns(AnswersWarning, match="try another `observer`"):
        ruined = octavo.quantize(model, data, tmp_path / "ruined.tflite", images=80, observer="minmax")
    assert ruined.answers is not None and ruined.answers.choice is None
    assert json.loads(path_of(ruined.path).read_text())["observer"] == "minmax"
    assert _sqnr(model, out) > 20 > 10 > _sqnr(model, ruined.path)


def test_numbers_that_are_right_may_still_gain_clearly(tmp_path: Path) -> None:
    model, data = _file(tmp_path / "float.tflite"), tmp_path / "data.npz"
    np.savez(data, x_train=_samples(60.0))
    made = octavo.quantize(model, data, tmp_path / "made.tflite", images=80)
    named = octavo.quantize(model, data, tmp_path / "named.tflite", images=80, observer="minmax")
    assert named.answers is not None and named.answers.hold and named.answers.choice is None
    assert made.answers is not None and made.answers.choice is not None
    assert made.answers.choice.chosen != "minmax"
    assert _sqnr(model, made.path) > _sqnr(model, named.path) + 3


def test_where_no_observer_helps_min_max_stays_and_that_is_said(tmp_path: Path) -> None:
    model, data = _file(tmp_path / "float.tflite"), tmp_path / "data.npz"
    # In every sample: none clips that many.
    np.savez(data, x_train=_samples(1e6, tuple(range(80))))
    with pytest.warns(AnswersWarning, match="no other observer gives clearly better answers than minmax") as said:
        made = octavo.quantize(model, data, tmp_path / "made.tflite", images=80)
    assert "another `observer`" not in str(said[-1].message)
    assert made.answers is not None and made.answers.choice is not None
    assert set(made.answers.choice.tried) == {"minmax", "percentile", "mse", "mae", "entropy"}
    with pytest.warns(AnswersWarning):
        named = octavo.quantize(model, data, tmp_path / "named.tflite", images=80, observer="minmax")
    assert made.path.read_bytes() == named.path.read_bytes()


def test_parts_that_share_a_scale_are_no_question_of_observers(tmp_path: Path) -> None:
    """An observer would help the small part by clipping the large one."""
    model, data = _file(tmp_path / "float.tflite", split=True), tmp_path / "data.npz"
    np.savez(data, x_train=values(80, WIDTH))
    with pytest.warns(AnswersWarning, match="make them separate outputs"):
        made = octavo.quantize(model, data, tmp_path / "made.tflite", images=80)
    assert made.answers is not None and made.answers.choice is None


def test_a_run_chooses_as_the_command_does(tmp_path: Path) -> None:
    model, data = _file(tmp_path / "float.tflite"), tmp_path / "data.npz"
    np.savez(data, x_train=_samples(1e4), x_test=values(8, WIDTH, seed=3))
    settings = ["calibrate.images=80", "deployment.targets=false", "deployment.seconds=0.05"]
    recipe = octavo.load_recipe(model, [f"data.path={data}", *settings])
    octavo.run(recipe, tmp_path / "run")
    made = octavo.quantize(model, data, tmp_path / "made.tflite", images=80)
    assert made.answers is not None and made.answers.choice is not None
    assert (tmp_path / "run" / "int8.tflite").read_bytes() == made.path.read_bytes()
    stored = json.loads((tmp_path / "run" / "answers.json").read_text())["choice"]
    assert stored["chosen"] == made.answers.choice.chosen
    assert json.loads(path_of(tmp_path / "run" / "int8.tflite").read_text())["observer"] == stored["chosen"]
    assert f"observer {stored['chosen']} was chosen" in (tmp_path / "run" / "report.md").read_text().lower()
