from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from shell import octavo, refused, started
from tiny import pictures, tiny_int8, tiny_tflite, write_folder

from octavo.tflite.graph import Graph, serialize


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model, and training and test images."""
    root = tmp_path_factory.mktemp("user")
    (root / "float.tflite").write_bytes(tiny_tflite())
    write_folder(root / "photos", 30, "train")
    write_folder(root / "photos", 18, "test")
    return root


def test_quantize_evaluate_and_inspect(folder: Path) -> None:
    """In processes of their own, as a user's are."""
    out = folder / "int8.tflite"
    given = ("--data", folder / "photos", "-o", out, "--images", 12, "--json")
    done = started("quantize", folder / "float.tflite", *given)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["input"]["dtype"] == made["output"]["dtype"] == "int8"
    assert all(check["passed"] for check in made["checks"])
    assert made["bytes"] == out.stat().st_size
    assert (folder / "int8.tflite.json").is_file()

    done = started("evaluate", out, "--data", folder / "photos", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["images"] == 18
    assert value["score"]["value"] > 0.7

    done = started("inspect", out, "--json")
    assert json.loads(done.stdout)["kind"] == "full-integer"
    plain = started("inspect", out).stdout
    assert "CONV_2D" in plain
    assert "full-integer" in plain


def test_precision_by_op(folder: Path) -> None:
    arguments = ("quantize", folder / "float.tflite", "--data", folder / "photos", "--images", 12)
    out = folder / "mixed.tflite"
    chosen = ("--precision", "CONV_2D=int4", "--precision", "SOFT*=float")
    done = octavo(*arguments, "-o", out, *chosen, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert sorted(made["precision"].values()) == ["float", "int4"]
    assert made["output"]["dtype"] == "float32"
    assert [op.split(" #")[0] for op in made["undelegated"]] == ["CONV_2D"]
    assert {"int4", "int8"} <= {t.dtype for t in Graph.read(out).tensors}
    plain = octavo(*arguments, "-o", out, *chosen).stdout
    assert "int4    1 op\n" in plain and "XNNPACK leaves 1 CONV_2D of" in plain
    for wrong, said in (
        ("SOFTMIX=float", "nearest are SOFTMAX"),
        ("float", "OP=PRECISION"),
        ("*=int3", "'int4', 'int16x8' or 'float'"),
    ):
        assert said in refused(octavo(*arguments, "-o", folder / "no.tflite", "--precision", wrong))
    assert not (folder / "no.tflite").exists()
    assert "SOFTMAX #" in octavo("inspect", folder / "float.tflite", "--ops").stdout


def test_observers_change_what_is_written(folder: Path) -> None:
    out = {name: folder / f"{name}_int8.tflite" for name in ("minmax", "entropy")}
    for name, path in out.items():
        done = octavo(
            *("quantize", folder / "float.tflite", "--data", folder / "photos", "-o", path),
            *("--images", 12, "--observer", name),
        )
        assert done.returncode == 0, done.stderr
    assert out["minmax"].read_bytes() != out["entropy"].read_bytes()
    done = octavo("quantize", folder / "float.tflite", "--data", folder, "-o", "x.tflite", "--observer", "median")
    assert "entropy" in refused(done)


def test_compare_shows_and_writes(folder: Path) -> None:
    out = folder / "compared_int8.tflite"
    octavo("quantize", folder / "float.tflite", "--data", folder / "photos", "-o", out, "--images", 12)
    arguments = ("compare", folder / "float.tflite", out, "--data", folder / "photos", "--images", 9)
    done = octavo(*arguments, "--out", folder / "seen", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["images"] == 9
    assert [row["op"] for row in value["tensors"]][0::4] == ["INPUT", "SOFTMAX"]
    assert json.loads((folder / "seen" / "compare.json").read_text()) == value
    assert (folder / "seen" / "compare.png").read_bytes()[:4] == b"\x89PNG"
    plain = octavo(*arguments).stdout
    assert "SOFTMAX" in plain
    assert "add most error" in plain
    assert "no file" in refused(octavo("compare", folder / "float.tflite", folder / "no", "--data", folder / "photos"))


def test_sensitivity_ranks_and_writes(folder: Path) -> None:
    arguments = ("sensitivity", folder / "float.tflite", "--data", folder / "photos", "--images", 9)
    arguments = (*arguments, "--calibration", 12)
    done = octavo(*arguments, "--out", folder / "ranked", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["images"] == 9 and value["unmeasured"] == {"only": [], "all_but": []}
    assert {row["op"] for row in value["ops"]} == {"CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}
    assert json.loads((folder / "ranked" / "sensitivity.json").read_text()) == value
    assert (folder / "ranked" / "sensitivity.png").read_bytes()[:4] == b"\x89PNG"
    assert "4 ops were measured alone, and 4 without" in octavo(*arguments, "--budget", 0).stdout
    (folder / "done.tflite").write_bytes(tiny_int8().content)
    done = octavo("sensitivity", folder / "done.tflite", "--data", folder / "photos")
    assert "quantized already" in refused(done)


def test_qat_trains_and_writes(folder: Path) -> None:
    out = folder / "qat.tflite"
    arguments = ("qat", folder / "float.tflite", "--data", folder / "photos", "-o", out, "--epochs", 6, "--batch", 4)
    done = octavo(*arguments, "--learning-rate", 0.01, "--distill", 0.3, "--images", 12, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert all(check["passed"] for check in made["checks"])
    assert "the trained one" in made["checks"][-1]["name"]
    assert "qat: epoch 6 of 6" in done.stderr
    value = json.loads(octavo("evaluate", out, "--data", folder / "photos", "--json").stdout)
    assert value["score"]["value"] > 0.7
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_qats_mistakes(folder: Path) -> None:
    def told(*more: object) -> str:
        return refused(octavo("qat", folder / "float.tflite", "--data", folder / "photos", "-o", *more))

    assert "would overwrite the model" in told(folder / "float.tflite")
    assert "30 training images" in told(folder / "x.tflite", "--validation", 30)
    flat = folder / "flat"
    flat.mkdir(exist_ok=True)
    for place, path in enumerate(sorted((folder / "photos" / "train").rglob("*.png"))[:8]):
        (flat / f"{place}.png").write_bytes(path.read_bytes())
    message = refused(octavo("qat", folder / "float.tflite", "--data", flat, "-o", folder / "x.tflite"))
    assert "--distill 1" in message
    assert not (folder / "x.tflite").exists()
    done = octavo(
        "qat",
        folder / "float.tflite",
        "--data",
        flat,
        "-o",
        folder / "x.tflite",
        "--distill",
        1,
        "--batch",
        4,
        "--epochs",
        1,
    )
    assert done.returncode == 0, done.stderr


def test_people_read_tables(folder: Path) -> None:
    out = folder / "plain.tflite"
    done = octavo("quantize", folder / "float.tflite", "--data", folder / "photos", "-o", out, "--images", 12)
    assert "checks passed" in done.stdout
    assert "no sidecar" in done.stderr
    done = octavo("evaluate", out, "--data", folder / "photos")
    assert "95% interval" in done.stdout
    assert "green" in done.stdout


def test_npz_of_model_inputs_calibrates(folder: Path) -> None:
    images = (pictures(20)[0] / 127.5 - 1).astype(np.float32)
    np.savez(folder / "calibration.npz", x_train=images)
    done = octavo(
        "quantize",
        folder / "float.tflite",
        "--data",
        folder / "calibration.npz",
        "-o",
        folder / "n.tflite",
        "--images",
        20,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    wanted = max(images.max(), 0) - min(images.min(), 0)
    assert json.loads(done.stdout)["input"]["scale"] == pytest.approx(wanted / 255, rel=1e-6)


def _quantize(folder: Path, model: Path, data: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return octavo("quantize", model, "--data", data, "-o", folder / "never.tflite", *more)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a .tflite model"),
        (b"just some words in a text file", "is not a .tflite model"),
        (tiny_tflite()[: len(tiny_tflite()) // 2], "is damaged|LiteRT crashed|LiteRT cannot run"),
    ],
)
def test_files_that_are_no_models(folder: Path, content: bytes, message: str) -> None:
    import re

    model = folder / "wrong.tflite"
    model.write_bytes(content)
    for command in ("quantize", "evaluate", "inspect"):
        extra = () if command == "inspect" else ("--data", folder / "photos")
        last = ("-o", folder / "never.tflite") if command == "quantize" else ()
        assert re.search(message, refused(octavo(command, model, *extra, *last)))
    assert not (folder / "never.tflite").exists()


def test_bad_outputs_are_found_before_the_work(folder: Path, tmp_path: Path) -> None:
    """The images do not exist either, and are not what is said: the output was looked at first."""
    model, none = folder / "float.tflite", ("--data", tmp_path / "none")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    (tmp_path / "file").write_text("a file")
    for out, said in (("/dev/full", "not a regular file"), (tmp_path / "link", "a link"), (tmp_path, "is a folder")):
        assert said in refused(octavo("quantize", model, *none, "-o", out))
        assert said in refused(octavo("quantize", model, *none, "-o", out, "--max-drop", 1))
        assert said in refused(octavo("qat", model, *none, "-o", out))
        assert said in refused(octavo("slim", model, "-o", out, *none))
        assert said in refused(octavo("pareto", tmp_path / "none", "-o", out))
    inside = tmp_path / "file" / "inside"
    for command in (("compare", model, model), ("sensitivity", model), ("calibrate", model)):
        assert "is not a folder" in refused(octavo(*command, *none, "-o", inside))
    assert "is not a folder" in refused(octavo("run", "digits", "--out", inside))
    assert "is not a folder" in refused(octavo("deploy", folder / "float.tflite", "--out", inside))
    assert Path("/dev/full").is_char_device() and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("Unknown: KeyboardInterrupt: \n"), 130), (RuntimeError("another"), None)]
)
def test_an_interruption_that_another_library_wrapped_is_one(
    error: Exception, code: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from octavo.cli import entry

    def fails() -> None:
        raise error

    monkeypatch.setattr(entry, "app", fails)
    with pytest.raises(SystemExit if code else RuntimeError) as raised:
        entry.main()
    if code:
        assert isinstance(raised.value, SystemExit) and raised.value.code == code
        assert "Interrupted" in capsys.readouterr().err


def _deep() -> None:
    """Raises what Ctrl-C becomes when three libraries wrap it, one after the other."""
    error: BaseException = KeyboardInterrupt()
    for name in ("first", "second", "third"):
        outer = RuntimeError(name)
        outer.__cause__ = error
        error = outer
    raise error


def _no_room() -> None:
    raise ImportError(f"_pickle.so: cannot open shared object file: {os.strerror(errno.EMFILE)}")


@pytest.mark.parametrize(("raises", "code", "said"), [(_deep, 130, "Interrupted"), (_no_room, 2, "Too many files")])
def test_what_a_command_raises_keeps_its_cause(
    raises: Callable[[], None],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from octavo.api import recipes
    from octavo.cli import entry

    monkeypatch.setattr(recipes, "recipes", raises)
    monkeypatch.setattr(sys, "argv", ["octavo", "recipes"])
    with pytest.raises(SystemExit) as raised:
        entry.main()
    assert raised.value.code == code
    assert said in capsys.readouterr().err


def test_a_package_that_cannot_be_opened_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from octavo.base import backend

    monkeypatch.setattr(backend, "import_module", lambda name: _no_room())
    with pytest.raises(ImportError, match=os.strerror(errno.EMFILE)):
        backend.load("keras")


def test_messages_name_flags_with_their_values() -> None:
    from octavo.cli.app import Command
    from octavo.cli.commands import app

    made = typer.main.get_command(app)
    command = made.commands["qat"]  # type: ignore[attr-defined]
    assert isinstance(command, Command)
    said = command.in_flags("Set `images` or `distill=1`, `tune=''`, `allow_float`; `octavo qat`, `qat.distill`.")
    assert said == "Set --images or --distill 1, `tune=''`, --allow-float; `octavo qat`, `qat.distill`."


def test_wrong_paths(folder: Path) -> None:
    assert "There is no file" in refused(_quantize(folder, folder / "none.tflite", folder / "photos"))
    assert "There is no file or folder" in refused(_quantize(folder, folder / "float.tflite", folder / "none"))
    assert "is a folder" in refused(_quantize(folder, folder, folder / "photos"))
    assert "There is no recipe" in refused(octavo("run", "nothing"))
    refused(octavo("report", folder / "photos"))


def test_empty_folder_and_no_calibration_images(folder: Path, tmp_path: Path) -> None:
    refused(_quantize(folder, folder / "float.tflite", tmp_path))
    message = refused(_quantize(folder, folder / "float.tflite", folder / "photos", "--images", 0))
    assert "0 calibration images" in message
    message = refused(_quantize(folder, folder / "float.tflite", folder / "photos", "--images", 31))
    assert "31 calibration images were asked for" in message
    assert "Set --images to a number from 1 to 30" in message


def test_fewer_images_than_usual_are_all_used_and_the_flag_is_named(folder: Path) -> None:
    models, data = (folder / "float.tflite", folder / "few_int8.tflite"), ("--data", folder / "photos")
    done = octavo("quantize", models[0], *data, "-o", models[1])
    assert done.returncode == 0, done.stderr
    assert "There are 30 images to choose from, fewer than the usual 100: all of them are used." in done.stderr
    assert "set --images to 30 or less" in done.stderr
    quiet = octavo("quantize", models[0], *data, "-o", models[1], "--images", 30)
    assert (quiet.returncode, "usual" in quiet.stderr) == (0, False)
    done = octavo("compare", *models, *data)
    assert (done.returncode, "--images" in done.stderr) == (0, True)
    done = octavo("sensitivity", models[0], *data, "--budget", 1)
    assert done.returncode == 0, done.stderr
    assert "fewer than the usual 32" in done.stderr and "set --calibration to 30 or less" in done.stderr
    done = octavo("calibrate", models[0], *data, "--draws", 1, "--validation", 6)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["1", "5", "10"]


def test_one_class_only_cannot_be_trained_on(tmp_path: Path) -> None:
    write_folder(tmp_path, 12)
    for path in sorted(tmp_path.iterdir())[1:]:
        shutil.rmtree(path)
    few = ("--set", "data.train=1", "--set", "data.test=1", "--set", "data.validation=0")
    message = refused(octavo("run", "digits", "--set", "data.source=path", *few, "--data", tmp_path, cwd=tmp_path))
    assert "one class only" in message


def test_one_pixel_images_are_resized(folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    for place, colour in enumerate(["red", "lime", "blue"] * 4):
        path = tmp_path / "photos" / colour / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1), colour).save(path)
    out = tmp_path / "int8.tflite"
    done = octavo("quantize", folder / "float.tflite", "--data", tmp_path / "photos", "-o", out, "--images", 10)
    assert done.returncode == 0, done.stderr


def test_nan_weights_are_named(folder: Path) -> None:
    graph = Graph(tiny_tflite())
    weight = next(t for t in graph.tensors if t.constant is not None and t.dtype == "float32" and t.constant.size > 6)
    assert weight.constant is not None
    broken = weight.constant.copy()
    broken.flat[0] = np.nan
    (folder / "nan.tflite").write_bytes(graph.replaced({weight.name: broken}).content)
    message = refused(_quantize(folder, folder / "nan.tflite", folder / "photos", "--images", 5))
    assert "NaN" in message


def test_two_inputs_are_refused(folder: Path) -> None:
    graph = Graph(tiny_tflite())
    model = graph.copied()
    model.subgraphs[0].inputs = [*graph.inputs, graph.outputs[0]]
    model.signatureDefs = None
    (folder / "two.tflite").write_bytes(serialize(model))
    refused(_quantize(folder, folder / "two.tflite", folder / "photos", "--images", 5))


def test_an_int8_model_is_not_quantized_again(folder: Path) -> None:
    out = folder / "once.tflite"
    octavo("quantize", folder / "float.tflite", "--data", folder / "photos", "-o", out, "--images", 12)
    assert "quantized already" in refused(_quantize(folder, out, folder / "photos", "--images", 12))


def test_the_model_is_never_overwritten_by_its_int8_form(folder: Path) -> None:
    model = folder / "float.tflite"
    before = model.read_bytes()
    message = refused(octavo("quantize", model, "--data", folder / "photos", "-o", model, "--images", 5))
    assert "would overwrite the model" in message
    assert model.read_bytes() == before


def test_a_full_disk_leaves_nothing_half_written(folder: Path) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("needs /dev/full")
    # A folder that cannot be written to answers as a full disk does; root passes permission checks, so a path
    # below a file is used.
    blocked = folder / "float.tflite" / "sub" / "int8.tflite"
    message = refused(
        octavo("quantize", folder / "float.tflite", "--data", folder / "photos", "-o", blocked, "--images", 5)
    )
    assert "Could not write" in message


def test_unknown_settings_name_the_key_and_its_place(tmp_path: Path) -> None:
    message = refused(octavo("run", "digits", "--set", "train.epoch=3"))
    assert "--set: unknown key 'train.epoch'; did you mean 'train.epochs'?" in message
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\ndata:\n  source: digits\n  trian: 5\n")
    assert "line 4: unknown key 'data.trian'; did you mean 'data.train'?" in refused(octavo("run", recipe))


@pytest.mark.parametrize(
    "command", ["run", "quantize", "qat", "evaluate", "compare", "inspect", "deploy", "serve", "report", "recipes"]
)
def test_every_command_has_help_with_an_example_and_json(command: str) -> None:
    done = octavo(command, "--help")
    assert done.returncode == 0
    assert f"Example: octavo {command}" in " ".join(done.stdout.split())
    assert "--json" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, octavo.cli; "
        "print([m for m in ('numpy', 'ai_edge_litert', 'keras', 'tensorflow', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_recipes_are_listed() -> None:
    assert set(json.loads(started("recipes", "--json").stdout)) >= {
        "digits",
        "cifar10",
        "cifar10-224",
        "cifar10-full",
        "cifar10-scratch",
    }
