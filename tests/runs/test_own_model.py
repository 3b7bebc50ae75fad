"""A run from a trained model: everything but training, nothing claimed that was not done, and nothing done twice."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from handmade import File
from shell import octavo as shell
from shell import refused
from tiny import CLASSES, SIZE, tiny_int8, tiny_tflite, write_folder

import octavo
from octavo.api.reported import reported
from octavo.base.errors import OctavoError, RecipeError
from octavo.base.files import sha256
from octavo.base.progress import Silent
from octavo.data.preprocess import Preprocess
from octavo.recipe.options import Inputs
from octavo.recipe.own import own_recipe
from octavo.recipe.schema import Recipe, load_recipe
from octavo.reports.facts import read
from octavo.runs.plan import Plan
from octavo.runs.stages import splits_of
from octavo.source import sidecar
from octavo.source.own_model import OwnModel, content_hash
from octavo.source.sidecar import Sidecar

QUICK = ["deployment.seconds=0.05", "deployment.targets=false", "calibrate.images=30"]
STAGES = {"data", "model", "calibrate", "quantize", "evaluate", "deployment"}


class Listening(Silent):
    """Progress that remembers which stages had nothing to do."""

    def __init__(self) -> None:
        self.unchanged: set[str] = set()

    def say(self, text: str) -> None:
        if text.endswith(": unchanged"):
            self.unchanged.add(text.split(":")[0])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model without a sidecar, and images to train and to test."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.tflite").write_bytes(tiny_tflite())
    write_folder(folder / "photos", 60, "train")
    write_folder(folder / "photos", 30, "test", seed=1)
    return folder


def _recipe(files: Path, *settings: str) -> Recipe:
    return load_recipe(files / "mine.tflite", [f"data.path={files / 'photos'}", *QUICK, *settings])


@pytest.mark.parametrize(
    "key", ["data.path", "model.path", "model.labels", "model.weights", "train.teacher", "quantize.path"]
)
@pytest.mark.parametrize("path", ["nowhere/it.tflite", "~/nowhere/it.tflite"])
def test_a_file_that_is_not_there_is_named_before_anything_is_made(tmp_path: Path, key: str, path: str) -> None:
    made: dict[str, dict[str, str]] = {"data": {"source": "digits"}}
    if key in ("model.labels", "quantize.path"):
        made = {"data": {"path": str(tmp_path)}, "model": {"path": __file__}}
    section, name = key.split(".")
    made.setdefault(section, {})[name] = path
    if key == "data.path":
        made["data"]["source"] = "path"
    with pytest.raises(OctavoError, match=rf"There is no .* '.*nowhere/it\.tflite'\..*({key}|path of the images)"):
        octavo.run(Recipe.model_validate({"name": "mine", **made}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_paths_of_a_sweep_do_not_depend_on_the_folder_in_which_a_worker_starts() -> None:
    model = {"path": "mine.tflite", "labels": "names.txt"}
    made = {"data": {"path": "photos"}, "model": model, "quantize": {"path": "int8.tflite"}}
    of_trials = {"axes": [], "trials": 1, "sampler": None, "pruner": "none", "objectives": ["score"], "limits": {}}
    plan = Plan.model_validate(
        {
            "recipe": {"name": "mine", **made},
            "title": "mine",
            "start": "/somewhere",
            "storage": "",
            "study": "",
            **of_trials,
        }
    )
    found = plan.recipe_of({}).files
    assert found == {
        "data.path": Path("/somewhere/photos"),
        "model.path": Path("/somewhere/mine.tflite"),
        "model.labels": Path("/somewhere/names.txt"),
        "quantize.path": Path("/somewhere/int8.tflite"),
    }


@pytest.fixture(scope="module")
def done(files: Path) -> Path:
    octavo.run(_recipe(files), files / "run")
    return files / "run"


def test_the_model_is_quantized_as_the_command_does_it(files: Path, done: Path) -> None:
    assert set(json.loads((done / "manifest.json").read_text())["stages"]) == STAGES
    made = octavo.quantize(files / "mine.tflite", files / "photos", files / "int8.tflite", images=30)
    assert (done / "int8.tflite").read_bytes() == made.quantized.content
    for name, observer in (("float.tflite", None), ("int8.tflite", "minmax")):
        assert sidecar.read(done / name) == Sidecar(Preprocess((SIZE, SIZE)), CLASSES, observer=observer)
    facts = read(done)
    scores = octavo.evaluate(files / "mine.tflite", files / "photos")
    assert facts.before.score == scores.score() and facts.evaluation.images == 30


def test_what_was_assumed_about_the_model_is_recorded(files: Path, done: Path) -> None:
    record = OwnModel.read(done / OwnModel.file)
    assert (record.name, record.sha256) == ("mine.tflite", sha256(files / "mine.tflite"))
    assert record.bytes == len(tiny_tflite()) and record.preprocess == Preprocess((SIZE, SIZE))
    assert [note for note in record.notes if "[-1, 1]" in note]


def test_the_report_claims_no_training(done: Path) -> None:
    facts = read(done)
    assert facts.history is None and facts.size.files.keras is None
    for name in ("report.md", "report.html"):
        text = (done / name).read_text("utf-8")
        assert "mine.tflite" in text and "trained before this run" in text and "bicubic resize to 8 × 8" in text
        for claim in ("MobileNetV2", "Adam", "batches of", "epoch", "history.json", ".keras"):
            assert claim not in text, (name, claim)
    assert json.loads((done / "report.json").read_text())["model"]["name"] == "mine.tflite"


def test_the_card_claims_no_training(done: Path, tmp_path: Path) -> None:
    card = (octavo.deploy(done, tmp_path / "out").folder / "model-card.md").read_text("utf-8")
    assert "Not known to Octavo: the model was given as a file." in card and "60 images of 3 classes" not in card
    assert "on 30 held-out images" in card


def test_the_same_run_again_redoes_nothing(files: Path, done: Path) -> None:
    listening = Listening()
    octavo.run(_recipe(files), done, listening)
    assert listening.unchanged == STAGES


def test_the_recipe_in_the_folder_makes_the_same_run(files: Path, done: Path) -> None:
    kept = yaml.safe_load((done / "recipe.yaml").read_text())
    assert kept["model"] == {"path": str(files / "mine.tflite")} and kept["preprocess"] == {} and "train" not in kept
    listening = Listening()
    octavo.run(done / "recipe.yaml", done, listening)
    assert listening.unchanged == STAGES


def test_another_model_or_scale_is_another_run(files: Path, done: Path, tmp_path: Path) -> None:
    """Also of a folder with the files of a run that trained, which the report must not read."""
    out = tmp_path / "run"
    shutil.copytree(done, out)
    shutil.copy(Path(__file__).parent.parent / "former" / "run" / "history.json", out)
    listening = Listening()
    octavo.run(_recipe(files, "preprocess.scale=[0, 1]", "preprocess.interpolation=nearest"), out, listening)
    # The float file is the same, but the inputs that images become are not.
    assert listening.unchanged == {"data"}
    assert read(out).preprocess == Preprocess((SIZE, SIZE), "nearest", (0.0, 1.0)) and read(out).history is None
    ranges = json.loads((out / "ranges.json").read_text())["tensors"]
    assert min(found["min"] for name, found in ranges.items() if "image" in name) >= 0
    assert "trained before this run" in (out / "report.md").read_text()


def test_a_sidecar_gives_preprocessing_and_classes(files: Path, tmp_path: Path) -> None:
    model = tmp_path / "with.tflite"
    model.write_bytes(tiny_tflite())
    Sidecar(Preprocess((SIZE, SIZE), "nearest", (0.0, 1.0)), CLASSES).write(model)
    settings = [f"data.path={files / 'photos'}", *QUICK, "preprocess.interpolation=bilinear"]
    octavo.run(load_recipe(model, settings), tmp_path / "run")
    wanted = Sidecar(Preprocess((SIZE, SIZE), "bilinear", (0.0, 1.0)), CLASSES)
    assert sidecar.read(tmp_path / "run" / "float.tflite") == wanted
    found = OwnModel.read(tmp_path / "run" / OwnModel.file)
    assert found.preprocess == wanted.preprocess and found.notes == []
    Sidecar(wanted.preprocess, ("cat", "dog", "fox")).write(model)
    with pytest.raises(OctavoError, match="cat, dog, fox"):
        octavo.run(load_recipe(model, settings), tmp_path / "other")


def test_a_file_of_labels_names_the_classes(files: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES))
    (tmp_path / "wrong.txt").write_text("cat\ndog\nfox\n")
    (tmp_path / "bare.tflite").write_bytes(tiny_tflite())
    settings = [f"data.path={files / 'photos'}", *QUICK, "preprocess.scale=[0, 1]"]
    octavo.run(
        load_recipe(tmp_path / "bare.tflite", [*settings, f"model.labels={tmp_path / 'labels.txt'}"]), tmp_path / "run"
    )
    assert sidecar.read(tmp_path / "run" / "float.tflite").classes == CLASSES
    with pytest.raises(OctavoError, match="cat, dog, fox"):
        octavo.run(
            load_recipe(tmp_path / "bare.tflite", [*settings, f"model.labels={tmp_path / 'wrong.txt'}"]),
            tmp_path / "other",
        )


def test_an_own_model_has_no_keys_of_training(files: Path) -> None:
    for setting, key in (("train.epochs=3", "train"), ("model.alpha=0.5", r"model\.alpha")):
        with pytest.raises(RecipeError, match=f"leave out {key}"):
            _recipe(files, setting)
    with pytest.raises(RecipeError, match=r"model\.signature"):
        load_recipe("digits", ["model.signature=serve"])
    made = _recipe(files, "preprocess.size=64", "seed=3", "calibrate.images=9").inputs
    assert made == Inputs(files / "photos", images=9, seed=3, size=(64, 64))


def test_models_that_cannot_be_run(files: Path, tmp_path: Path) -> None:
    int8 = tmp_path / "int8.tflite"
    int8.write_bytes(tiny_int8().content)
    with pytest.raises(OctavoError, match="quantized already"):
        octavo.run(load_recipe(int8, [f"data.path={files / 'photos'}"]), tmp_path / "run")
    (tmp_path / "run.yaml").write_text(
        f"name: a\ndata: {{path: {files / 'photos'}}}\nmodel: {{path: nothing.tflite}}\n"
    )
    with pytest.raises(OctavoError, match=r"no model 'nothing\.tflite'"):
        octavo.run(tmp_path / "run.yaml", tmp_path / "run")


def test_a_folder_is_known_by_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"one")
    (folder / "variables" / "data").write_bytes(b"two")
    first = content_hash(folder)
    assert content_hash(shutil.copytree(folder, tmp_path / "copy")) == first
    (folder / "variables" / "data").write_bytes(b"six")
    assert content_hash(folder) != first


def test_the_command_with_a_folder_that_has_no_test_split(files: Path, tmp_path: Path) -> None:
    photos, out = write_folder(tmp_path / "flat", 60), tmp_path / "run"
    settings = [part for item in QUICK[:2] for part in ("--set", item)]
    given = ("--data", photos, "--scale", "0", "1", "--images", "20", "--seed", "4", "--out", out)
    said = shell("run", files / "mine.tflite", *given, *settings)
    assert said.returncode == 0, said.stderr
    assert "int8 minus float" in said.stdout and f"report  {out / 'report.html'}" in said.stdout
    facts = read(out)
    assert facts.recipe.seed == 4 and facts.preprocess is not None and facts.preprocess.scale == (0.0, 1.0)
    assert (facts.data.train.images, facts.data.test.images, facts.data.calibration.images) == (48, 12, 20)
    tested = np.load(out / "predictions.npz")["ids"].tolist()
    splits = [splits_of(load_recipe(out / "recipe.yaml", [f"seed={seed}"])) for seed in (4, 5)]
    assert tested == list(splits[0].test.ids) and not set(tested) & set(splits[0].train.ids)
    assert set(tested) != set(splits[1].test.ids)


def test_the_command_without_data(files: Path, tmp_path: Path) -> None:
    assert "--data" in refused(shell("run", files / "mine.tflite", "--out", tmp_path / "none"))


def test_an_int8_model_that_was_made_before_is_measured(files: Path, done: Path, tmp_path: Path) -> None:
    """In a folder with the files of a run that made its model: nothing of them may be claimed of the other."""
    out, int8 = tmp_path / "run", tmp_path / "theirs.tflite"
    shutil.copytree(done, out)
    int8.write_bytes((done / "int8.tflite").read_bytes())
    settings = [part for item in QUICK[:2] for part in ("--set", item)]
    given = ("--float", files / "mine.tflite", "--data", files / "photos", "--out", out, *settings)
    said = shell("report", int8, *given)
    assert said.returncode == 0, said.stderr
    assert "data: unchanged" not in said.stderr and f"report  {out / 'report.html'}" in said.stdout
    facts, made = read(out), read(done)
    assert facts.after.sha256 == sha256(int8) and facts.after.score == made.after.score
    assert (facts.ranges, facts.tuning, facts.distributions, facts.data.calibration) == (None, None, None, None)
    assert facts.compare == made.compare and facts.proof.macs == made.proof.macs
    for name in ("report.md", "report.html"):
        # The page links terms inside of sentences.
        text, own = (re.sub(r"</?a\b[^>]*>", "", (folder / name).read_text("utf-8")) for folder in (out, done))
        assert "theirs.tflite" in text and "made before this run" in text
        for claim in ("training images, min", "Compensated", "one weight scale per output channel", "number by number"):
            assert claim not in text, (name, claim)
            assert claim in own or claim == "number by number", (name, claim)
    assert json.loads((out / "report.json").read_text())["ranges"] is None
    assert "--json" in refused(shell("report", out, "--data", files / "photos"))


def test_what_is_no_int8_form_of_the_model(files: Path, done: Path, tmp_path: Path) -> None:
    with pytest.raises(OctavoError, match="is a float model"):
        octavo.run(_recipe_of_int8(files, files / "mine.tflite"), tmp_path / "run")
    shutil.copy(done / "int8.tflite", tmp_path)
    Sidecar(Preprocess((SIZE, SIZE), scale=(0.0, 1.0)), CLASSES).write(tmp_path / "int8.tflite")
    with pytest.raises(OctavoError, match="otherwise than that of the float model"):
        octavo.run(_recipe_of_int8(files, tmp_path / "int8.tflite"), tmp_path / "run")
    with pytest.raises(OctavoError, match=r"no int8 model 'none\.tflite'"):
        octavo.run(_recipe_of_int8(files, Path("none.tflite")), tmp_path / "run")
    for setting in ("quantize.observer=mse", "calibrate.images=3", "qat.epochs=1"):
        with pytest.raises(RecipeError, match="leave out"):
            _recipe_of_int8(files, done / "int8.tflite", setting)
    with pytest.raises(RecipeError, match=r"set model\.path"):
        load_recipe("digits", ["quantize.path=int8.tflite"])


def _recipe_of_int8(files: Path, int8: Path, *settings: str) -> Recipe:
    data = f"data.path={files / 'photos'}"
    return load_recipe(files / "mine.tflite", [data, *QUICK[:2], f"quantize.path={int8}", *settings])


def test_quantize_with_a_report_makes_the_same_file(files: Path, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.tflite"
    recipe = own_recipe(files / "mine.tflite", Inputs(files / "photos", images=30), settings=QUICK[:2])
    assert reported(recipe, tmp_path / "run", out) == tmp_path / "run" / "report.html"
    assert out.read_bytes() == (done / "int8.tflite").read_bytes()
    assert sidecar.read(out) == sidecar.read(done / "int8.tflite")
    given = ("quantize", files / "mine.tflite", "--data", files / "photos", "-o", tmp_path / "other.tflite")
    for more in (("--max-drop", "1"), ("--strict",), ("--split-outputs",)):
        text = refused(shell(*given, "--report", tmp_path / "other", *more))
        assert "Make the file without --report, and then: octavo report" in text
    assert not (tmp_path / "other").exists()


def test_a_run_with_training_keeps_what_it_is_compared_with(files: Path, done: Path, tmp_path: Path) -> None:
    """The same of a network that the run trained itself takes minutes: `test_stages.py`, in `make nightly`."""
    out = tmp_path / "run"
    shutil.copytree(done, out)
    trained = ("quantize.method=qat", "qat.epochs=1", "qat.batch=30", "qat.distill=0", "qat.learning_rate=0.01")
    listening = Listening()
    octavo.run(_recipe(files, *trained), out, listening)
    assert listening.unchanged == {"data", "model", "calibrate"}
    # Post-training quantization of the same float graph with the same ranges: the file that was there before.
    assert (out / "ptq.tflite").read_bytes() == (done / "int8.tflite").read_bytes()
    assert (out / "int8.tflite").read_bytes() != (done / "int8.tflite").read_bytes()
    value, kept = json.loads((out / "evaluation.json").read_text()), np.load(out / "predictions.npz")
    assert list(value["models"]) == ["float", "int8", "ptq", "control"]
    for pair in value["pairs"]:
        right = [kept[pair[side]].argmax(axis=1) == kept["labels"] for side in ("before", "after")]
        assert pair["difference"]["value"] == pytest.approx(right[1].mean() - right[0].mean())
    assert "quantization-aware training" in (out / "report.md").read_text()
    again = Listening()
    octavo.run(_recipe(files, *trained), out, again)
    assert again.unchanged == STAGES | {"ptq", "control"}


@pytest.mark.slow
def test_the_command_quantize_with_a_report(files: Path, done: Path, tmp_path: Path) -> None:
    """With every target asked, as is usual."""
    out, folder = tmp_path / "int8.tflite", tmp_path / "run"
    given = ("--data", files / "photos", "--images", "30", "-o", out, "--report", folder)
    said = shell("quantize", files / "mine.tflite", *given)
    assert said.returncode == 0, said.stderr
    assert "int8 minus float" in said.stdout and f"wrote   {out}" in said.stdout
    assert out.read_bytes() == (done / "int8.tflite").read_bytes()
    assert read(folder).deployed is not None


@pytest.mark.slow
def test_qat_with_a_report(files: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "int8.tflite", tmp_path / "run"
    given = ("--data", files / "photos", "--epochs", "1", "--learning-rate", "1e-4", "-o", out, "--report", folder)
    said = shell("qat", files / "mine.tflite", *given)
    assert said.returncode == 0, said.stderr
    facts = read(folder)
    assert facts.trained is not None and set(facts.evaluation.models) == {"float", "int8", "ptq"}
    assert facts.data.validation is not None and facts.data.validation.images == 6
    assert out.read_bytes() == (folder / "int8.tflite").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [True, False])
def test_a_run_trains_several_inputs_and_a_control_if_there_are_labels(labelled: bool, tmp_path: Path) -> None:
    file, random = File(), np.random.default_rng(0)
    a, b, y = file.tensor("wind", (1, 4)), file.tensor("sky", (1, 2)), file.tensor("y", (1, 1))
    joined = file.tensor("joined", (1, 6))
    file.op("CONCATENATION", [a, b], [joined], "Concatenation", axis=1)
    file.dense(joined, file.constant("w", np.ones((1, 6), np.float32)), y)
    (tmp_path / "sum.tflite").write_bytes(file.ports([a, b], [y]).bytes())
    given = {f"{k}_{part}": random.normal(size=(60, n)).astype("f4") for part in ("train", "test") for k, n in (("wind", 4), ("sky", 2))}  # fmt: skip # noqa: E501
    truth = {f"y_{part}": given[f"wind_{part}"].sum(1) + given[f"sky_{part}"].sum(1) for part in ("train", "test")}
    np.savez(tmp_path / "data.npz", **given, **(truth if labelled else {}))
    trained = ("quantize.method=qat", "qat.epochs=1", "qat.learning_rate=0.001", f"data.path={tmp_path / 'data.npz'}")
    octavo.run(load_recipe(tmp_path / "sum.tflite", [*QUICK, *trained]), tmp_path / "run")
    facts = read(tmp_path / "run")
    assert facts.trained is not None and facts.trained.labelled == labelled
    assert set(facts.evaluation.models) == {"float", "int8", "ptq"} | ({"control"} if labelled else set())
    assert facts.evaluation.task == ("regression" if labelled else "outputs")
    text = (tmp_path / "run" / "report.md").read_text()
    assert ("without labels: the loss is the distance" in text) != labelled
    assert ("training changes how alike int8 is to float: SQNR" in text) != labelled
