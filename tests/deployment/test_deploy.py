from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata as metadata_of
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rundir import evaluation
from shell import octavo, refused
from tiny import CLASSES, tiny_int8, tiny_tflite, write_folder

from octavo import __version__ as octavo_version
from octavo.api.evaluate import evaluate as evaluate_file
from octavo.base.errors import ModelError, OctavoError, ProofError
from octavo.base.provenance import Host, Provenance
from octavo.base.stats import Interval
from octavo.data.preprocess import Preprocess
from octavo.data.summary import DataSummary, SplitSummary
from octavo.deployment.folder import deploy
from octavo.rewrite.raw_pixels import raw_pixels, unsigned
from octavo.source.sidecar import Sidecar
from octavo.tflite import metadata
from octavo.tflite.graph import Graph

FILES = [
    "SHA256SUMS",
    "classify.c",
    "labels.txt",
    "model-card.md",
    "model.tflite",
    "model_data.cc",
    "model_data.h",
    "model_facts.h",
    "predict.py",
    "preprocess.json",
    "sbom.json",
]


def model_file(folder: Path, graph: Graph, preprocess: Preprocess) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "int8.tflite"
    path.write_bytes(graph.content)
    Sidecar(preprocess, CLASSES).write(path)
    return path


def predict(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the folder's program as a stranger does: isolated from Octavo, from another directory."""
    command = [sys.executable, "-I", str(folder / "predict.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A deployed folder, moved elsewhere."""
    made = deploy(model_file(tmp_path / "here", tiny_int8(), Preprocess((8, 8))), tmp_path / "out")
    target = tmp_path / "else where" / "moved"
    target.parent.mkdir()
    shutil.move(made.folder, target)
    shutil.rmtree(tmp_path / "here")
    return target


def test_the_folder_is_whole_and_its_sums_are_right(moved: Path) -> None:
    assert sorted(path.name for path in moved.iterdir()) == FILES
    lines = dict(reversed(line.split("  ")) for line in (moved / "SHA256SUMS").read_text().splitlines())
    assert sorted(lines) == FILES[1:]
    for name, digest in lines.items():
        assert hashlib.sha256((moved / name).read_bytes()).hexdigest() == digest
    assert (moved / "labels.txt").read_text().splitlines() == list(CLASSES)


def variants() -> dict[str, tuple[Graph, Preprocess]]:
    made = raw_pixels(tiny_int8(), Preprocess((8, 8)))
    return {
        "int8": (tiny_int8(), Preprocess((8, 8))),
        "logits": (tiny_int8(softmax=False), Preprocess((8, 8), "bilinear")),
        "uint8": (unsigned(made.graph), made.preprocess),
        "bgr": (tiny_int8(), Preprocess((8, 8), "lanczos", channels="bgr")),
    }


@pytest.mark.parametrize("name", ["int8", "logits", "uint8", "bgr"])
def test_predict_equals_octavos_evaluation_bit_for_bit(tmp_path: Path, name: str) -> None:
    path = model_file(tmp_path / "here", *variants()[name])
    photos = write_folder(tmp_path / "test", 12)
    rng = np.random.default_rng(0)
    # Pictures of other sizes and modes, which have to be resized and converted alike.
    for place, (mode, size) in enumerate((("RGB", (31, 17)), ("L", (9, 40)), ("RGBA", (12, 12)), ("P", (20, 20)))):
        noise = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).convert(mode).save(photos / CLASSES[place % 3] / f"odd{place}.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)).save(photos / "red" / "turned.jpg", exif=turned)
    made = deploy(path, tmp_path / "out")
    scores = evaluate_file(path, photos)
    files = sorted(photos.rglob("*.*"), key=lambda file: file.relative_to(photos).as_posix())
    assert len(files) == len(scores.probabilities)
    done = predict(made.folder, *files, "--top", 3, "--json")
    assert done.returncode == 0, done.stderr
    rows = [{item["class"]: item["probability"] for item in row["classes"]} for row in json.loads(done.stdout)]
    found = np.array([[row[label] for label in CLASSES] for row in rows], np.float32)
    assert len(np.unique(found, axis=0)) > 5
    assert np.array_equal(np.sort(found, axis=0), np.sort(scores.probabilities, axis=0))
    by_image = {row.tobytes() for row in scores.probabilities.astype(np.float32)}
    assert all(row.tobytes() in by_image for row in found)


def test_predict_reads_like_a_sentence(moved: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (250, 10, 10)).save(tmp_path / "a.png")
    done = predict(moved, tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'a.png'}: red 9")


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt", "preprocess.json"])
def test_predict_refuses_what_is_damaged_or_missing(moved: Path, tmp_path: Path, name: str) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    content = bytearray((moved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (moved / name).write_bytes(content)
    done = predict(moved, tmp_path / "a.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"predict: {name} is damaged or was replaced: its SHA-256 is not the one in SHA256SUMS.\n"
    (moved / name).unlink()
    assert f"There is no {name}" in predict(moved, tmp_path / "a.png").stderr


def test_predict_refuses_what_is_no_picture(moved: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("words")
    for path, message in ((tmp_path / "words.txt", "not a picture"), (tmp_path / "none.png", "There is no file")):
        done = predict(moved, path)
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


def mend(folder: Path) -> None:
    """Makes the sums those of the files as they are."""
    lines = (line.split("  ") for line in (folder / "SHA256SUMS").read_text("utf-8").splitlines())
    sums = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for _, name in lines)
    (folder / "SHA256SUMS").write_text("".join(sums), "utf-8")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (20, 20), (250, 10, 10)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def refusal(folder: Path, *arguments: object) -> str:
    done = predict(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("predict: ") and len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def changed(facts: bytes, **values: object) -> bytes:
    return json.dumps(json.loads(facts) | values).encode()


def test_predict_refuses_what_does_not_belong_together_with_right_sums(moved: Path, picture: Path) -> None:
    facts, other = (moved / "preprocess.json").read_bytes(), tiny_int8().content
    cases = [
        ("labels.txt", b"blue\ngreen\n", "labels.txt names 2 classes, and model.tflite has 3 outputs."),
        ("labels.txt", b"", "labels.txt names 1 classes"),
        ("labels.txt", b"blue\n\xff\nred\n", "labels.txt is damaged: it is no UTF-8."),
        ("preprocess.json", b"", "preprocess.json is damaged (JSONDecodeError)"),
        ("preprocess.json", b"\xff", "preprocess.json is damaged (UnicodeDecodeError)"),
        ("preprocess.json", b"[" * 100_000, "preprocess.json is damaged (RecursionError)"),
        ("preprocess.json", b"[]", "preprocess.json is damaged (TypeError)"),
        ("preprocess.json", b"{}", "preprocess.json is damaged (KeyError)"),
        ("preprocess.json", changed(facts, size=[8, "8"]), "preprocess.json is damaged: 'size' is [8, '8']."),
        (
            "preprocess.json",
            changed(facts, size=[10**9, 8]),
            "model.tflite takes [1, 8, 8, 3], and preprocess.json says",
        ),
        ("preprocess.json", changed(facts, scale=[1, 1]), "'scale' is [1, 1]."),
        ("preprocess.json", changed(facts, interpolation="box"), "'interpolation' is 'box'."),
        ("preprocess.json", changed(facts, channels="gray"), "preprocess.json says [1, 8, 8, 1]"),
        ("model.tflite", b"", "model.tflite is damaged: "),
        ("model.tflite", other[: len(other) // 2], "model.tflite is damaged: "),
        ("SHA256SUMS", b"\xff\xfe\n\n  \n", "model.tflite is damaged or was replaced"),
    ]
    for name, content, said in cases:
        before = {file: (moved / file).read_bytes() for file in (name, "SHA256SUMS")}
        (moved / name).write_bytes(content)
        if name != "SHA256SUMS":
            mend(moved)
        assert said in refusal(moved, picture), (name, content[:40])
        for file, whole in before.items():
            (moved / file).write_bytes(whole)
    assert predict(moved, picture).returncode == 0


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_predict_answers_or_refuses_a_damaged_model_with_right_sums(moved: Path, picture: Path, count: int) -> None:
    whole, rng = (moved / "model.tflite").read_bytes(), np.random.default_rng(count)
    for _ in range(count):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 20)):
            content[place] = rng.integers(0, 256)
        (moved / "model.tflite").write_bytes(content)
        mend(moved)
        done = predict(moved, picture)
        assert done.returncode in (0, 2), done
        assert len((done.stdout + done.stderr).splitlines()) == 1, done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the model runs in the same process there")
def test_predict_survives_a_runtime_that_crashes_or_never_ends(moved: Path, picture: Path, tmp_path: Path) -> None:
    program = moved / "predict.py"
    program.write_text(program.read_text("utf-8").replace("MOST_SECONDS = 30", "MOST_SECONDS = 2"), "utf-8")
    fake = tmp_path / "fake" / "ai_edge_litert"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("")
    ends = {"import os; os.abort()": "the runtime crashed on it (SIGABRT)", "while True: pass": "within 2 seconds"}
    for code, said in ends.items():
        (fake / "interpreter.py").write_text(code)
        command = [sys.executable, str(program), str(picture)]
        environment = os.environ | {"PYTHONPATH": str(fake.parent)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_predict_takes_odd_pictures_and_odd_streams(moved: Path, picture: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    Image.new("RGB", (20, 20)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:40])
    odd = {
        "pipe": "no regular file",
        "/dev/zero": "no regular file",
        ".": "no regular file",
        "cut.png": "not a picture",
    }
    for name, said in (odd | {"x" * 300: "predict: "}).items():
        assert said in refusal(moved, tmp_path / name)
    assert "--top should be 1 or more" in predict(moved, picture, "--top", 0).stderr
    named = tmp_path / os.fsdecode(b"caf\xe9.png")
    shutil.copyfile(picture, named)
    assert "caf\\udce9.png: red" in predict(moved, named).stdout
    assert json.loads(predict(moved, named, "--json").stdout)[0]["path"] == str(named)
    for redirection, code in {
        ">&-": 0,
        "<&- >&- 2>&-": 0,
        "2>/dev/full": 0,
        "| head -c1 >/dev/null; exit ${PIPESTATUS[0]}": 0,
        ">/dev/full": 2,
        ">/dev/full 2>/dev/full": 2,
    }.items():
        line = f"{sys.executable} -I '{moved / 'predict.py'}' {picture} {redirection}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, (redirection, done)
        said = "predict: standard output cannot be written: No space left on device.\n"
        assert done.stderr == (said if redirection == ">/dev/full" else "")


def test_a_class_of_two_lines_is_not_deployed(tmp_path: Path) -> None:
    path = model_file(tmp_path / "here", tiny_int8(), Preprocess((8, 8)))
    Sidecar(Preprocess((8, 8)), ("blue", "gre\nen", "red")).write(path)
    with pytest.raises(ModelError, match="is not one line of text"):
        deploy(path, tmp_path / "out")


def test_the_c_array_is_the_model(moved: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    library = moved.parent / "model.so"
    # The header declares with C linkage; -Werror finds a declaration that does not fit.
    command = [compiler, "-std=c++11", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, moved / "model_data.cc"]
    subprocess.run(command, check=True, capture_output=True)
    loaded = ctypes.CDLL(str(library))
    length = ctypes.c_size_t.in_dll(loaded, "model_data_len").value
    data = (ctypes.c_ubyte * length).in_dll(loaded, "model_data")
    # The model that was deployed: metadata are for files.
    assert bytes(data) == tiny_int8().content
    assert hashlib.sha256(bytes(data)).hexdigest() in (moved / "model_data.h").read_text()
    assert ctypes.addressof(data) % 16 == 0


def test_the_model_carries_its_labels(moved: Path) -> None:
    with zipfile.ZipFile(moved / "model.tflite") as archive:
        assert archive.read("labels.txt") == (moved / "labels.txt").read_bytes()
    value = metadata.read((moved / "model.tflite").read_bytes())
    assert value is not None and "8×8 RGB, bicubic" in str(value)


def test_a_file_that_says_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model_file(tmp_path / "here", tiny_int8(), Preprocess((8, 8)))
    monkeypatch.setattr("octavo.deployment.described.attach", lambda *_: tiny_int8(softmax=False))
    with pytest.raises(ProofError, match="with metadata differ from its model's on the xnnpack kernels"):
        deploy(path, tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == ["here"]


def test_a_model_for_mediapipe_is_written_where_it_takes_bytes(tmp_path: Path) -> None:
    path = model_file(tmp_path / "here", *variants()["uint8"])
    done = octavo("deploy", path, "--out", tmp_path / "out", "--mediapipe", "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)["files"]) == sorted([*FILES, "mediapipe.tflite"])
    graph = Graph.read(tmp_path / "out" / "mediapipe.tflite")
    assert [graph.tensors[port].dtype for port in (*graph.inputs, *graph.outputs)] == ["uint8", "uint8"]
    path = model_file(tmp_path / "there", tiny_int8(), Preprocess((8, 8)))
    assert "octavo slim MODEL" in refused(octavo("deploy", path, "--out", tmp_path / "new", "--mediapipe"))
    assert not (tmp_path / "new").exists()


def test_a_card_says_what_is_unknown(moved: Path) -> None:
    card = (moved / "model-card.md").read_text("utf-8")
    assert "Not known to Octavo" in card and "Not measured" in card
    for content in ((moved / "model.tflite").read_bytes(), tiny_int8().content):
        assert hashlib.sha256(content).hexdigest() in card


def run_folder(folder: Path) -> Path:
    """A run directory as `octavo run` leaves it, as far as deployment reads it."""
    path = model_file(folder, tiny_int8(), Preprocess((8, 8)))
    found = evaluation(CLASSES, each=6)
    table = found.models["int8"].table
    assert table is not None
    rows = [
        row.model_copy(update={"recall": recall}) for row, recall in zip(table.per_class, (0.5, 0.25, 1.0), strict=True)
    ]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    changes = {"score": Interval(0.8, 0.7, 0.9), "table": table.model_copy(update={"per_class": rows})}
    models = {name: model.model_copy(update=changes) for name, model in found.models.items()}
    models["int8"] = models["int8"].model_copy(update={"sha256": digest})
    made = found.model_copy(
        update={
            "models": models,
            "comparison": found.comparison.model_copy(update={"difference": Interval(-0.01, -0.02, 0.005)}),
        }
    )
    made.write(folder / made.file)
    split = SplitSummary(images=30, per_class=[10, 10, 10], digest="ab" * 32)
    data = DataSummary(
        source="hand",
        classes=list(CLASSES),
        train=split,
        validation=None,
        test=split,
        calibration=split,
        warnings=[],
        input_shape=[8, 8, 3],
    )
    data.write(folder / data.file)
    return folder


def test_a_runs_card_states_its_figures(tmp_path: Path) -> None:
    made = deploy(run_folder(tmp_path / "run"), tmp_path / "out", archive=True)
    card = (made.folder / "model-card.md").read_text("utf-8")
    assert "80.00% (95% interval 70.00% to 90.00%) on 18 held-out images" in card
    assert "-1.00 points (95% interval -2.00 to +0.50)" in card
    assert "It finds green least often: 25.0% of 6 images" in card
    assert "30 images of 3 classes" in card
    assert made.archive is not None
    with zipfile.ZipFile(made.archive) as archive:
        assert sorted(archive.namelist()) == [f"out/{name}" for name in FILES]
        assert archive.read("out/model.tflite") == (made.folder / "model.tflite").read_bytes()


def test_the_bill_of_materials_names_what_made_the_model(tmp_path: Path, moved: Path) -> None:
    run = run_folder(tmp_path / "run")
    host = Host(cpu="a", cores=2, python="3.12.1", platform="Linux-x86_64")
    versions = {"keras": "3.15.1", "ai-edge-litert": "2.3.0"}
    made = Provenance(octavo="0.1.0", commit="abc1234", created="", machine=host, versions=versions, stages={})
    made.write(run / made.file)
    folders = [deploy(run, tmp_path / name).folder for name in ("one", "two")]
    texts = [(folder / "sbom.json").read_text("utf-8") for folder in folders]
    assert texts[0] == texts[1]
    value = json.loads(texts[0])
    assert (value["bomFormat"], value["specVersion"]) == ("CycloneDX", "1.6")
    assert {"content": hashlib.sha256((folders[0] / "model.tflite").read_bytes()).hexdigest(), "alg": "SHA-256"} in (
        value["metadata"]["component"]["hashes"]
    )
    found = [(row["name"], row["version"], row.get("purl"), row["scope"]) for row in value["components"]]
    assert found == [
        ("octavo", "0.1.0", None, "excluded"),
        ("python", "3.12.1", None, "excluded"),
        ("ai-edge-litert", "2.3.0", "pkg:pypi/ai-edge-litert@2.3.0", "excluded"),
        ("keras", "3.15.1", "pkg:pypi/keras@3.15.1", "excluded"),
    ]
    references = [row["bom-ref"] for row in value["components"]]
    assert len(set(references)) == len(references)
    tools = {row["name"]: row["version"] for row in value["metadata"]["tools"]["components"]}
    assert tools["octavo"] == octavo_version and tools["ai-edge-litert"] == metadata_of.version("ai-edge-litert")
    # What made a model that comes alone is unknown.
    assert json.loads((moved / "sbom.json").read_text("utf-8"))["components"] == []


def test_an_evaluation_of_another_model_is_not_printed(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    model_file(run, tiny_int8(softmax=False), Preprocess((8, 8)))
    with pytest.raises(ModelError, match="evaluated with another"):
        deploy(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_deployed_says_why(tmp_path: Path) -> None:
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(tiny_int8().content)
    with pytest.raises(ModelError, match="no sidecar"):
        deploy(bare, tmp_path / "out")
    float_model = tmp_path / "float.tflite"
    float_model.write_bytes(tiny_tflite())
    Sidecar(Preprocess((8, 8)), CLASSES).write(float_model)
    with pytest.raises(ModelError, match="not full-integer"):
        deploy(float_model, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"holds no int8\.tflite"):
        deploy(tmp_path / "empty", tmp_path / "out")
    path = model_file(tmp_path / "here", tiny_int8(), Preprocess((8, 8)))
    with pytest.raises(OctavoError, match="not empty"):
        deploy(path, tmp_path / "here")
    Sidecar(Preprocess((8, 8)), CLASSES[:2]).write(path)
    with pytest.raises(ModelError, match="3 classes apart, and 2 are named"):
        deploy(path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".", "out"))) == []


def test_a_file_of_any_converter_is_deployed_with_its_scale_and_labels(tmp_path: Path) -> None:
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(tiny_int8().content)
    labels = tmp_path / "labels.txt"
    labels.write_text("blue\ngreen\nred\n", "utf-8")
    with pytest.raises(ModelError, match="3 classes apart, and 0 are named"):
        deploy(bare, tmp_path / "out", scale=(-1, 1))
    photos = write_folder(tmp_path / "test", 30)
    told = ("--scale", "-1,1", "--labels", labels, "--interpolation", "bilinear")
    done = octavo("deploy", bare, "--out", tmp_path / "out", *told, "--data", photos)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "preprocess.json").read_text())["interpolation"] == "bilinear"
    assert (tmp_path / "out" / "labels.txt").read_text() == labels.read_text()
    card = (tmp_path / "out" / "model-card.md").read_text()
    assert "(95% interval" in card and f"on 30 labelled images of `{photos}`, LiteRT with XNNPACK" in card
    assert "| blue | 10 |" in card and "It finds" in card and "Not measured" not in card
    # The same figures, from what `octavo evaluate` printed.
    (tmp_path / "evaluation.json").write_text(octavo("evaluate", bare, "--data", photos, *told, "--json").stdout)
    done = octavo("deploy", bare, "--out", tmp_path / "again", *told, "--evaluation", tmp_path / "evaluation.json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again" / "model-card.md").read_text() == card


def test_an_evaluation_of_another_file_or_two_of_them_are_refused(tmp_path: Path) -> None:
    path = model_file(tmp_path / "here", tiny_int8(), Preprocess((8, 8)))
    photos = write_folder(tmp_path / "test", 9)
    found = tmp_path / "evaluation.json"
    done = octavo("evaluate", path, "--data", photos, "--json")
    found.write_text(done.stdout.replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(OctavoError, match="of another model than"):
        deploy(path, tmp_path / "out", evaluation=found)
    for content in ("{}", "[" * 5000 + "]" * 5000):
        found.write_text(content)
        with pytest.raises(OctavoError, match="is not the evaluation of a model file"):
            deploy(path, tmp_path / "out", evaluation=found)
    with pytest.raises(OctavoError, match="Leave out `data` or `evaluation`"):
        deploy(path, tmp_path / "out", data=photos, evaluation=found)
    with pytest.raises(OctavoError, match="Leave out `data` and `evaluation`: the run has one"):
        deploy(run_folder(tmp_path / "run"), tmp_path / "out", data=photos)
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path: Path) -> None:
    path = model_file(tmp_path / "here", tiny_int8(), Preprocess((8, 8)))
    done = octavo("deploy", path, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)["files"]) == FILES
    assert "not empty" in refused(octavo("deploy", path, "--out", tmp_path / "out"))
    assert "There is no file" in refused(octavo("deploy", tmp_path / "none.tflite", "--out", tmp_path / "new"))
