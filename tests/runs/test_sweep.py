"""Sweeps: what is tried, that no trial runs twice, and that what a dead worker left is finished by another."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from shell import octavo as shell
from shell import refused
from tiny import tiny_tflite, write_folder

import octavo
from octavo.base.errors import OctavoError, RecipeError
from octavo.base.lock import Lock
from octavo.base.progress import Silent
from octavo.recipe.schema import Recipe
from octavo.reports.plots import drawn
from octavo.runs import worker
from octavo.runs.plan import Plan
from octavo.runs.sweep import prepare
from octavo.runs.trials import Trials, quiet_optuna
from octavo.training.history import Watch

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install -e '.[sweeps]'")
QUICK = ["data.validation=30", "deployment.seconds=0.05", "deployment.targets=false", "calibrate.images=30"]
GRID = ["quantize.observer=minmax,mse"]


class Listening(Silent):
    """Progress that remembers its lines, and is interrupted at the first that starts so."""

    def __init__(self, until: str = "never") -> None:
        self.lines: list[str] = []
        self.until = until

    def say(self, text: str) -> None:
        self.lines.append(text)
        if text.startswith(self.until):
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model, and images to train, to validate and to test."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "mine.tflite").write_bytes(tiny_tflite())
    for seed, (split, number) in enumerate({"train": 60, "val": 30, "test": 30}.items()):
        write_folder(folder / "photos", number, split, seed=seed)
    return folder


def _settings(files: Path, *more: str) -> list[str]:
    return [f"data.path={files / 'photos'}", *QUICK, *more]


@pytest.fixture(scope="module")
def finished(files: Path) -> tuple[Path, list[str]]:
    """A sweep that was interrupted, and finished by a worker: its folder, and what the worker said."""
    out = files / "finished"
    with pytest.raises(KeyboardInterrupt):
        octavo.sweep(files / "mine.tflite", _settings(files, *GRID), out, Listening("quantize:"))
    assert (out / "trial-000" / "ranges.json").is_file() and not (out / "sweep.json").exists()
    heard = Listening()
    assert octavo.worker(out, progress=heard) == worker.Work(complete=2, pruned=0, failed=0, running=0)
    octavo.sweep(out)
    return out, heard.lines


@pytest.fixture(scope="module")
def serial(finished: tuple[Path, list[str]]) -> Path:
    """The folder of a finished sweep."""
    return finished[0]


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch, serial: Path) -> None:
    """Runs are copies of one, where the run is not what is tested; calibration on more images than there are fails."""

    def copy(recipe: Recipe, out: Path, *rest: object) -> None:
        if (recipe.calibrate.images or 0) > 60:
            raise OctavoError(f"There are no {recipe.calibrate.images} images.")
        shutil.copytree(serial / "trial-000", out, dirs_exist_ok=True)

    monkeypatch.setattr(worker, "run", copy)


def _int8(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("trial-*/int8.tflite"))}


def test_a_grid_has_all_combinations_and_a_page(serial: Path) -> None:
    made = octavo.sweep(serial, progress=(heard := Listening()))
    assert not [line for line in heard.lines if line.startswith("trial")], "a finished sweep runs nothing"
    assert [row.name for row in made.variants] == ["observer minmax", "observer mse"]
    assert (made.chosen_on, made.chosen_images, made.others) == ("validation", 30, [])
    assert made.best is not None and made.best.front and made.best.difference is None
    assert sum(row.difference is None for row in made.variants) == 1, "the other is paired with it"
    assert type(made).read(serial / made.file) == made
    assert len({(serial / row.run / "ranges.json").read_bytes() for row in made.variants}) == 2
    page = (serial / "sweep.html").read_text("utf-8")
    assert page.count("<svg ") == 2 and "Recommended: " in page and "quantize.observer" in page
    assert not re.search(r'(src|href)="(?!#|data:)', page), "nothing is loaded from elsewhere"


@pytest.mark.slow
def test_an_interrupted_trial_is_taken_up_where_it_stopped(files: Path, finished: tuple[Path, list[str]]) -> None:
    folder, lines = finished
    # A trial that is put back waits behind the others.
    start = lines.index("trial 1 of 2: observer minmax")
    assert lines.index("trial 2 of 2: observer mse") < start
    assert {"data: unchanged", "model: unchanged", "calibrate: unchanged"} <= set(lines[start:])
    # A run that knows nothing of sweeps makes the same file.
    settings = _settings(files, "quantize.observer=minmax")
    octavo.run(octavo.load_recipe(files / "mine.tflite", settings), files / "alone")
    assert (files / "alone" / "int8.tflite").read_bytes() == _int8(folder)["trial-000"]


def test_every_combination_is_tried(files: Path, copied: None) -> None:
    settings = _settings(files, "calibrate.images=10,20", "preprocess.scale=[0, 1],[-1, 1]")
    made = octavo.sweep(files / "mine.tflite", settings, files / "grid")
    expected = [f"images {number}, scale {scale}" for number in (10, 20) for scale in ("[0, 1]", "[-1, 1]")]
    assert [row.name for row in made.variants] == expected
    assert made.variants[0].settings == {"calibrate.images": "10", "preprocess.scale": "[0, 1]"}
    recipe = Plan.read(files / "grid" / Plan.file).recipe_of(made.variants[2].settings)
    assert (recipe.calibrate.images, recipe.preprocess.scale) == (20, (0, 1))


def test_a_trial_is_never_taken_twice(files: Path) -> None:
    """Many takers at once, as threads with an opened study each: every trial once, and no trial more."""
    folder, plan = prepare(files / "mine.tflite", _settings(files, "seed=0,1,2,3,4,5,6,7"), files / "race")
    taken: list[int] = []
    kept: list[Any] = []

    def take() -> None:
        trials = Trials(plan, folder)
        while (one := trials.take()) is not None:
            kept.append(one)
            taken.append(one.place)

    with quiet_optuna():
        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == list(range(8))
        # Their locks go, as when a process ends: all of them wait for others again, with their values.
        for one in kept:
            one.__exit__(None, None, None)
        again = Trials(plan, folder)
        with again.take() or pytest.fail("none") as one:
            assert one.values == {"seed": str(one.place)}


def test_a_trial_that_kills_its_workers_is_given_up(files: Path) -> None:
    folder, plan = prepare(files / "mine.tflite", _settings(files, "seed=0,1"), files / "poison")
    with quiet_optuna():
        trials = Trials(plan, folder)
        count = 0
        while (one := trials.take()) is not None:
            count += 1
            one.__exit__(None, None, None)
        assert count == 12, "two trials, each once and 5 times more"
        assert [(each.state, each.error) for each in trials.outcomes()] == [("failed", "Its workers died.")] * 2
        trials.fill()
        assert [each.state for each in trials.outcomes()] == ["waiting", "waiting"]


def test_a_failed_trial_is_shown_and_tried_again(files: Path, copied: None) -> None:
    images = _settings(files, "calibrate.images=30,4000")
    made = octavo.sweep(files / "mine.tflite", images, files / "failed", progress=(heard := Listening()))
    assert [row.name for row in made.variants] == ["images 30"]
    assert [(row.name, row.state) for row in made.others] == [("images 4000", "failed")]
    assert "4000" in made.others[0].error and any("trial 2: failed." in line for line in heard.lines)
    assert "1 trial failed" in (files / "failed" / "sweep.html").read_text("utf-8")
    again = Listening()
    octavo.sweep(files / "failed", progress=again)
    assert next(line for line in again.lines if line.startswith("trial")) == "trial 2 of 2: images 4000"
    with pytest.raises(OctavoError, match="No trial has a result"):
        octavo.sweep(files / "mine.tflite", _settings(files, "calibrate.images=4000,5000"), files / "all-failed")


def test_a_search_draws_from_ranges_within_limits(files: Path, copied: None) -> None:
    settings = _settings(files, "calibrate.images=10:40:10", "quantize.observer=minmax,mse")
    out = files / "search"
    options: dict[str, Any] = {"search": 3, "objectives": ["score", "bytes"], "max_size": 100}
    made = octavo.sweep(files / "mine.tflite", settings, out, **options)
    assert len(made.variants) == 3 and made.recommended is None and not any(row.within for row in made.variants)
    drawn = [int(row.settings["calibrate.images"]) for row in made.variants]
    assert set(drawn) <= {10, 20, 30, 40}
    assert "No trial is within the limits" in (out / "sweep.html").read_text("utf-8")
    with quiet_optuna():
        study = Trials(Plan.read(out / Plan.file), out).study
        found = study.get_trials()
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert all(trial.values[1] > 100 and trial.constraints["bytes"] > 0 for trial in found)
    # The same draws in another folder, where the scores are the same.
    same = octavo.sweep(files / "mine.tflite", settings, files / "search-again", **options)
    assert [row.settings for row in same.variants] == [row.settings for row in made.variants]
    # More trials of the same search.
    more = octavo.sweep(files / "mine.tflite", settings, out, **{**options, "search": 4})
    assert [row.settings for row in more.variants[:3]] == [row.settings for row in made.variants]
    assert len(more.variants) == 4


def test_every_storage_holds_a_study(files: Path, tmp_path: Path, copied: None) -> None:
    for address in (tmp_path / "elsewhere.journal", f"sqlite:///{tmp_path / 'study.db'}"):
        out = tmp_path / f"out-{Path(str(address)).suffix}"
        made = octavo.sweep(files / "mine.tflite", _settings(files, "seed=0,1"), out, storage=str(address))
        assert len(made.variants) == 2 and not (out / "study.journal").exists()
        assert Plan.read(out / Plan.file).storage == str(address)


def test_a_pruner_stops_a_trial_after_an_epoch(tmp_path: Path) -> None:
    """Epochs are reported as training reports them; the run itself is not needed for that."""
    recipe = ["train.learning_rate=1e-4:1e-2:log", "data.validation=100"]
    folder, plan = prepare("digits", recipe, tmp_path, search=8, pruner="median")
    with quiet_optuna():
        trials = Trials(plan, folder)
        for _ in range(6):
            with trials.take() or pytest.fail("none") as good:
                assert not good.report(0, 0.9)
                assert not good.report(0, 0.1), "the first report of an epoch counts"
                trials.complete(good, [0.9], {}, {})
        with trials.take() or pytest.fail("none") as bad:
            assert bad.report(0, 0.1)
            trials.prune(bad)
        states = [each.state for each in trials.outcomes()]
    assert states == ["complete"] * 6 + ["pruned", "waiting"]
    rates = [each.values["train.learning_rate"] for each in trials.outcomes()[:7]]
    assert len(set(rates)) == 7 and all(1e-4 <= float(str(rate)) <= 1e-2 for rate in rates)


def test_values_that_look_like_formulas_are_drawn_as_text(tmp_path: Path) -> None:
    formula = r"'$\frac{$'"
    axes = [f"title={formula},b", "train.learning_rate=1e-4:1e-2:log"]
    folder, plan = prepare("digits", axes, tmp_path, search=8, sampler="qmc")
    with quiet_optuna():
        trials = Trials(plan, folder)
        while (one := trials.take()) is not None:
            with one:
                trials.complete(one, [0.1 * one.place], {}, {})
        assert {each.values["title"] for each in trials.outcomes()} == {formula, "b"}
        with trials.parallel() as figure:
            # Without the comments, which have every text as it was given.
            svg = re.sub("<!--.*?-->", "", drawn("parallel", figure, "alt", "caption").svg, flags=re.DOTALL)
    assert r"\frac" in svg and "mathdefault" not in svg


def test_a_run_ends_when_its_trial_is_pruned(files: Path, serial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every seventh trial is bad after its first epoch, and reaches no second."""
    epochs: list[int] = []

    def trained(recipe: Recipe, out: Path, progress: object, command: str, watch: Watch) -> None:
        watch("control", {"epoch": 1, "val_accuracy": 0.0})
        for epoch in (1, 2):
            epochs.append(epoch)
            watch("train", {"epoch": epoch, "val_accuracy": 0.1 if len(epochs) > 12 else 0.9})
        shutil.copytree(serial / "trial-000", out)

    kept = {"score": [0.9, 0.8, 1.0], "images": 100, "on": "validation"}
    monkeypatch.setattr(worker, "run", trained)
    monkeypatch.setattr(worker, "_result", lambda plan, recipe, out: ([0.9], {}, kept))
    settings = ["train.learning_rate=1e-4:1e-2:log"]
    made = octavo.sweep("digits", settings, files / "one-pruned", search=7, pruner="median")
    assert len(made.variants) == 6 and [row.state for row in made.others] == ["pruned"]
    assert epochs == [1, 2] * 6 + [1]


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        (["train.epochs=3"], {}, "needs a key with several values"),
        (["seed=0:5"], {}, "only a search draws"),
        (["preprocess.size=32,20000"], {}, "less than or equal to 1024"),
        (["preprocess.sizes=32,48"], {}, "did you mean 'preprocess.size'"),
        (["seed=0:5"], {"search": 0}, "one trial or more"),
        (["seed=0:5"], {"search": 2, "sampler": "best"}, "`sampler` should be of tpe, random"),
        (["seed=0,1"], {"sampler": "tpe"}, "`sampler` is for a search"),
        (["seed=0,1", "data.validation=0"], {"pruner": "median"}, "on validation images, and the recipe has none"),
        (["seed=0:5"], {"search": 2, "objectives": ["speed"]}, "`objectives` should be of score, bytes"),
        (["seed=0:5", "data.validation=0"], {"search": 2}, "on validation images, and the recipe has none"),
        (["seed=0:5"], {"search": 2, "pruner": "median", "objectives": ["score", "bytes"]}, "several objectives"),
        (["seed=0,1"], {"max_latency": 0.0}, "is above 0"),
        (["seed=0,1"], {"storage": "nosql://host/db"}, "cannot be opened"),
    ],
)
def test_mistakes_are_found_before_the_first_trial(
    settings: list[str], options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(OctavoError, match=said):
        octavo.sweep("digits", settings, tmp_path / "out", **options)
    assert not list(tmp_path.glob("out/trial-*")) and not (tmp_path / "out" / Plan.file).exists()


def test_a_folder_keeps_its_plan(files: Path, serial: Path) -> None:
    with pytest.raises(OctavoError, match="has the plan of another sweep"):
        octavo.sweep(files / "mine.tflite", _settings(files, "seed=0,1"), serial)
    with pytest.raises(OctavoError, match="Give nothing else"):
        octavo.sweep(serial, ["seed=0,1"])
    with pytest.raises(OctavoError, match="not the folder of a sweep"):
        octavo.worker(files)
    (files / "photos").rename(files / "elsewhere")
    try:
        with pytest.raises(OctavoError, match="This machine has no"):
            octavo.worker(serial)
    finally:
        (files / "elsewhere").rename(files / "photos")
    with pytest.raises(RecipeError, match="needs a key with several values"):
        octavo.sweep("digits", [], files / "none")


def test_the_command_line(files: Path, tmp_path: Path, copied: None) -> None:
    words = [f"--set={setting}" for setting in (*QUICK, "preprocess.interpolation=nearest,bilinear")]
    planned = shell("sweep", files / "mine.tflite", "--data", files / "photos", *words, "--plan", cwd=tmp_path)
    assert planned.returncode == 0 and "octavo worker runs/mine-sweep" in planned.stdout, planned
    worked = json.loads(shell("worker", "runs/mine-sweep", "--json", cwd=tmp_path).stdout)
    assert worked == {"complete": 2, "pruned": 0, "failed": 0, "running": 0}
    done = shell("sweep", "runs/mine-sweep", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("\n* ") + done.stdout.startswith("* ") == 1
    assert "interpolation nearest" in done.stdout and "wrote   runs/mine-sweep/sweep.html" in done.stdout
    assert "Set --search to a number" in refused(shell("sweep", "digits", "--set", "seed=0:3", cwd=tmp_path))
    # A list of sizes of `octavo run` is a sweep.
    assert "--out" in refused(shell("run", "digits", "--set", "model.alpha=0.35,0.5", "--out", serial_of(tmp_path)))


def serial_of(tmp_path: Path) -> Path:
    """The folder of the sweep of `test_the_command_line`."""
    return tmp_path / "runs" / "mine-sweep"


def test_a_password_is_kept_nowhere(tmp_path: Path) -> None:
    address = "postgresql+nodriver://me:secret@localhost/octavo"
    with pytest.raises(OctavoError) as caught:
        octavo.sweep("digits", ["seed=0,1"], tmp_path / "out", storage=address)
    assert "me@localhost" in str(caught.value) and "secret" not in str(caught.value)


def test_without_optuna_one_message_says_what_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    said = refused(shell("sweep", "digits", "--set", "seed=0,1", cwd=tmp_path))
    assert "This needs optuna, for sweeps" in said and "pip install -e '.[sweeps]'" in said


@pytest.mark.slow
def test_three_workers_of_which_one_is_killed(files: Path, tmp_path: Path) -> None:
    """The trial of the killed one is finished by another; every file equals that of the sweep of one process."""
    settings = _settings(files, *GRID, "calibrate.seed=0,1")
    folder, _ = prepare(files / "mine.tflite", settings, tmp_path / "killed")
    octavo.sweep(files / "mine.tflite", settings, tmp_path / "serial")
    command = [sys.executable, "-W", "ignore", "-m", "octavo.cli", "worker", str(folder)]
    logs = [tmp_path / f"worker-{number}" for number in range(3)]
    workers = []
    try:
        for log in logs:
            with log.open("w") as stream:
                workers.append(subprocess.Popen(command, stderr=stream, stdout=subprocess.DEVNULL))
        victim = _first_at_work(logs)
        os.kill(workers[victim].pid, signal.SIGKILL)
        place = int(re.findall(r"trial (\d+) of 4", logs[victim].read_text())[-1]) - 1
        assert workers[victim].wait(60) == -signal.SIGKILL
        others = [each for number, each in enumerate(workers) if number != victim]
        assert [each.wait(240) for each in others] == [0, 0]
    finally:
        for each in workers:
            each.kill()
    heard = "".join(log.read_text() for number, log in enumerate(logs) if number != victim)
    after = heard.partition(f"trial {place + 1} of 4")[2].partition("\ntrial ")[0]
    assert "calibrate: unchanged" in after, "taken up where it stopped, not begun again"
    assert _int8(folder) == _int8(tmp_path / "serial") and len(_int8(folder)) == 4
    made = octavo.sweep(folder)
    assert len(made.variants) == 4 and not made.others
    with Lock(folder / ".locks" / "000") as lock:
        assert lock.held


def _first_at_work(logs: list[Path]) -> int:
    """The first worker that has calibrated a trial, and not finished it."""
    start = time.monotonic()
    while time.monotonic() - start < 120:
        for number, log in enumerate(logs):
            text = log.read_text() if log.exists() else ""
            if "compensate: " in text.rpartition("trial ")[2]:
                return number
        time.sleep(0.005)
    raise AssertionError("no worker started")
