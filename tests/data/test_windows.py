"""CSV and WAV files that are longer than a model's input, in windows; the oracle are files that NumPy cut."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shell import octavo as shell
from test_signals import classifier, wav

import octavo
from octavo.base.errors import DataError, ModelError
from octavo.data.dataset import ImageSet
from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.split import draw_calibration, draw_test, draw_training
from octavo.data.windows import Windows
from octavo.recipe.options import Inputs
from octavo.recipe.own import own_recipe
from octavo.runs.stages import splits_of
from octavo.source import sidecar
from octavo.source.sidecar import Sidecar

RANDOM = np.random.default_rng(0)
ROWS, LENGTH, STEP = 30, 8, 5
NAMES = ("falling", "rising")


def recordings(root: Path, each: int = 3, splits: tuple[str, ...] = ("train/", "test/"), rows: int = ROWS) -> Path:
    for split in splits:
        for sign, name in zip((-1, 1), NAMES, strict=True):
            for k in range(each):
                path = root / f"{split}{name}" / f"{k}.csv"
                path.parent.mkdir(parents=True, exist_ok=True)
                # One of them has the length of the input, and one is hardly longer.
                long = (rows, LENGTH, LENGTH + STEP - 1)[k % 3]
                np.savetxt(path, RANDOM.normal(0.4 * sign, 0.4, (long, 2)).astype(np.float32), delimiter=",")
    return root


def cut_by_hand(root: Path, out: Path) -> Path:
    for path in sorted(root.rglob("*.csv")):
        values = np.loadtxt(path, delimiter=",")
        for start in range(0, len(values) - LENGTH + 1, STEP):
            made = out / path.parent.relative_to(root) / f"{path.stem}-{start:03}.csv"
            made.parent.mkdir(parents=True, exist_ok=True)
            np.savetxt(made, values[start : start + LENGTH].astype(np.float32), delimiter=",")
    return out


@pytest.mark.parametrize("step", [1, 3, 8, 50])
@pytest.mark.parametrize(
    ("shape", "recording"),
    [((8,), (20,)), ((8, 1), (20,)), ((1, 8), (20,)), ((8, 2), (20, 2)), ((8, 2, 1), (20, 2)), ((1, 8, 2), (20, 2))],
)
def test_windows_are_those_of_numpy(shape: tuple[int, ...], recording: tuple[int, ...], step: int) -> None:
    values = RANDOM.normal(size=recording)
    wanted = np.moveaxis(np.lib.stride_tricks.sliding_window_view(values, 8, axis=0), -1, 1)[::step]
    made = Windows(shape, step).of(values)
    np.testing.assert_array_equal(np.stack(made), wanted)
    assert all(np.shares_memory(piece, values) for piece in made)


@pytest.mark.parametrize("recording", [(8, 2), (7, 2), (2, 20), (20, 3), (16,), (40,), (20, 2, 2)])
def test_others_stay_whole(recording: tuple[int, ...]) -> None:
    values = np.zeros(recording)
    assert Windows((8, 2), 4).of(values)[0] is values and Windows((8, 2), 4).starts(values) is None


@pytest.mark.parametrize(("shape", "step"), [((8,), 0), ((1, 1), 1), ((0, 2), 1), ((), 1)])
def test_impossible_windows_are_refused(shape: tuple[int, ...], step: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Windows(shape, step)


def test_windows_keep_what_is_known_of_their_recording() -> None:
    images = ImageSet([np.arange(5.0), np.arange(3.0)], np.array([1, 0]), ("a", "b"), ("x", "y"), np.array([7.0, 8.0]))
    found = images.cut(Windows((3,), 1))
    assert found.ids == ("x[0:3]", "x[1:4]", "x[2:5]", "y") and found.windows == Windows((3,), 1)
    assert found.labels is not None and found.labels.tolist() == [1, 1, 1, 0]
    assert found.truth is not None and found.truth.tolist() == [7, 7, 7, 8]


def test_no_recording_is_on_both_sides_of_a_split(tmp_path: Path) -> None:
    source = open_dataset("path", recordings(tmp_path, 20, ("",), rows=60))
    assert source.recordings
    source.splits = {key: replace(split, windows=Windows((8, 2), 2)) for key, split in source.splits.items()}
    for seed in range(3):
        train, judges = draw_training(source, 8, seed)
        assert judges is not None
        parts = (train, judges, draw_test(source, None, seed))
        sides = [{name.partition("[")[0] for name in part.ids} for part in parts]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
        assert sum(map(len, sides)) == 40 and len(train) > len(sides[0])
        # As many windows as asked for, and of as many recordings.
        drawn = draw_calibration(source, 12, seed)
        assert len(drawn) == 12 and len({name.partition("[")[0] for name in drawn.ids}) == 12
        with pytest.raises(DataError, match="9999 windows were asked for"):
            draw_calibration(source, 9999, seed)


@pytest.mark.filterwarnings("ignore::octavo.data.dataset.OctavoWarning")
def test_long_files_give_the_model_what_cut_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    long, short = recordings(Path("long")), cut_by_hand(Path("long"), Path("short"))
    Path("float.tflite").write_bytes(classifier((LENGTH, 2)).content)
    octavo.quantize("float.tflite", short, "wanted.tflite", tune=[])
    done = shell("quantize", "float.tflite", "--data", long, "--window-step", STEP, "--tune", "", "-o", "int8.tflite")
    assert done.returncode == 0, done.stderr
    assert "cut into windows of 8 rows, one every 5 (--window-step)" in done.stderr
    assert Path("int8.tflite").read_bytes() == Path("wanted.tflite").read_bytes()
    known = sidecar.read(Path("int8.tflite"))
    assert known is not None and known.windows == Windows((LENGTH, 2), STEP)
    # The int8 file says how its test files are cut; the float file does not, and windows do not overlap then.
    wanted, found = (octavo.evaluate("int8.tflite", data) for data in (short, long))
    assert repr(found) == repr(wanted) and len(found) == 14
    assert len(octavo.evaluate("float.tflite", long)) == 10
    assert len(octavo.evaluate("float.tflite", long, window_step=STEP)) == 14
    octavo.slim("int8.tflite", "slim.tflite", data=long)
    assert sidecar.read(Path("slim.tflite")) == known
    assert octavo.compare("float.tflite", "int8.tflite", long).images == 14


@pytest.mark.filterwarnings("ignore::octavo.data.dataset.OctavoWarning")
def test_the_deployed_program_answers_every_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    long = recordings(Path("long"))
    Path("float.tflite").write_bytes(classifier((LENGTH, 2)).content)
    octavo.quantize("float.tflite", long, "int8.tflite", window_step=STEP, task="single-label")
    octavo.deploy("int8.tflite", "device", data=long)
    assert json.loads(Path("device/preprocess.json").read_text())["window_step"] == STEP
    assert "windows of 8 rows, one every 5" in " ".join(Path("device/model-card.md").read_text().split())
    values = np.loadtxt(long / "test" / "rising" / "0.csv", delimiter=",")
    np.save("long.npy", values)
    np.save("short.npy", values[STEP : STEP + LENGTH])
    np.savez("packed.npz", values)
    command = [sys.executable, "device/predict.py", "long.npy", "short.npy", "packed.npz", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    starts = range(0, ROWS - LENGTH + 1, STEP)
    windows = len(starts)
    assert [item.get("rows") for item in found[:windows]] == [[start, start + LENGTH] for start in starts]
    assert "rows" not in found[windows] and found[windows]["classes"] == found[1]["classes"]
    assert [item["classes"] for item in found[windows + 1 :]] == [item["classes"] for item in found[:windows]]


@pytest.mark.filterwarnings("ignore::octavo.data.dataset.OctavoWarning")
def test_sounds_are_cut_too_and_steps_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, sign in (("falling", -1), ("rising", 1)):
        for split in ("train", "test"):
            path = Path("sounds", split, name, "1.wav")
            path.parent.mkdir(parents=True)
            path.write_bytes(wav((sign * 9000 + RANDOM.integers(-5000, 5000, 100)).astype(np.int16)))
    Path("float.tflite").write_bytes(classifier((20, 1)).content)
    octavo.quantize("float.tflite", "sounds", "int8.tflite")
    assert len(octavo.evaluate("int8.tflite", "sounds")) == 10
    with pytest.raises(DataError, match="should be 1 row or more, not 0"):
        octavo.evaluate("int8.tflite", "sounds", window_step=0)
    with pytest.raises(DataError, match="there are none in the samples given"):
        octavo.evaluate("int8.tflite", (np.zeros((4, 20)), [0, 1, 0, 1]), window_step=5)


def test_runs_from_a_model_cut_as_the_commands_do(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(classifier((LENGTH, 2)).content)
    inputs = Inputs(recordings(tmp_path / "long"), window_step=STEP, task="single-label")
    recipe = own_recipe(tmp_path / "float.tflite", inputs)
    assert recipe.preprocess.window_step == STEP and recipe.evaluate.task == "single-label"
    splits = splits_of(recipe)
    assert splits.train.windows == Windows((LENGTH, 2), STEP) and len(splits.train) == len(splits.test) == 14


def test_sidecars_before_windows_are_read(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"content")
    Sidecar(Preprocess((8, 8)), ("a",), "single-label").write(model)
    path = sidecar.path_of(model)
    value = json.loads(path.read_text()) | {"schema": 2}
    del value["windows"]
    path.write_text(json.dumps(value))
    assert sidecar.read(model) == Sidecar(Preprocess((8, 8)), ("a",), "single-label")
    for windows in ({"shape": [8], "step": 0}, {"shape": "8", "step": 1}, {"step": 1}, [], {"shape": [8.5], "step": 2}):
        path.write_text(json.dumps(value | {"schema": 3, "windows": windows}))
        with pytest.raises(ModelError, match="is not a model's sidecar"):
            sidecar.read(model)
