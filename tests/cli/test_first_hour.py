"""What somebody meets in the first hour: version, help, what is installed, how much is said, what is replaced."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image
from shell import octavo
from tiny import tiny_tflite, write_folder
from typer.testing import CliRunner, Result

import octavo as api
from octavo.base import extras
from octavo.base.errors import MissingDependencyError, OctavoError
from octavo.base.extras import EXTRAS
from octavo.cli.commands import app
from octavo.cli.output import Shown, talk


def run(*arguments: object) -> Result:
    """The command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model, which no sidecar says to be Octavo's, and images."""
    root = tmp_path_factory.mktemp("user")
    (root / "float.tflite").write_bytes(tiny_tflite())
    write_folder(root / "photos", 30, "train")
    return root


def test_the_version_and_help_by_one_letter() -> None:
    assert run("--version").output == f"octavo {api.__version__}\n"
    assert run("-h").output == run("--help").output
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for command in {name.replace("_", "-") for name in commands}:
        done = run(command, "-h")
        assert done.exit_code == 0 and {"--quiet", "--verbose"} <= set(re.findall(r"--[a-z]+", done.output)), command


def test_a_shell_completes_commands_and_flags() -> None:
    def completed(words: str, place: int) -> list[str]:
        asked = {"_OCTAVO_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
        # The name of the variable is made of the program's.
        command = [sys.executable, "-c", "import sys; sys.argv[0] = 'octavo'; from octavo.cli import main; main()"]
        done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
        return done.stdout.split()

    assert completed("octavo qua", 1) == ["quantize"]
    assert "--precision" in completed("octavo quantize --pre", 2)


def test_doctor_says_what_is_installed_and_what_installs_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    found = api.doctor()
    assert found.versions["numpy"] == version("numpy")
    assert [target.ready for target in found.targets[:3]] == [True, True, True]
    assert json.loads(run("doctor", "--json").stdout) == json.loads(json.dumps(found.to_json()))
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    bare = api.doctor()
    assert not bare.training.ready and "pip install -e '.[train]'" in bare.training.install
    shown = run("doctor")
    assert shown.exit_code == 0
    for extra in EXTRAS.values():
        assert f"install: {extra.install}" in shown.output


def test_messages_name_no_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from octavo.base import backend

    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingDependencyError, match=r"pip install -e '\.\[train\]' \(in Octavo's checkout\)"):
        backend.load("keras")
    sources = Path(api.__file__).parent.rglob("*.py")
    assert not [path for path in sources if re.search(r"pip install '?octavo\b", path.read_text("utf-8"))]


def test_quiet_and_verbose(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("quantize", folder / "float.tflite", "--data", folder / "photos", "-o", folder / "quiet.tflite")
    usual = octavo(*arguments)
    quiet = octavo(*arguments, "--quiet")
    assert (usual.returncode, quiet.returncode) == (0, 0)
    assert "fewer than the usual 100" in usual.stderr and "no sidecar" in usual.stderr
    assert (quiet.stderr, quiet.stdout) == ("", usual.stdout)
    lines = [line.partition(" ")[2].strip() for line in usual.stdout.splitlines()]
    assert not [line for line in lines if line and line in usual.stderr], "a line is printed twice"
    said = talk.set("verbose")
    try:
        Shown().say("words")
    finally:
        talk.reset(said)
    assert re.fullmatch(r"\[ +0\.\d s\] words\n", capsys.readouterr().err)
    with pytest.raises(OctavoError, match="contradict"):
        raise run(*arguments, "-q", "-v").exception or AssertionError


def test_what_every_classifier_has_is_no_alarm_and_float_has_no_scale(folder: Path) -> None:
    arguments = ("quantize", folder / "float.tflite", "--data", folder / "photos", "--images", 12)
    done = run(*arguments, "-o", folder / "calm.tflite")
    assert done.exit_code == 0, done.output
    assert "SOFTMAX" in done.stdout and "slow " not in done.stdout and "XNNPACK" not in done.stdout
    done = run(*arguments, "-o", folder / "calm.tflite", "--precision", "CONV_2D=float")
    assert "input   float32 [1, 8, 8, 3]\n" in done.stdout and "None" not in done.stdout
    done = run(*arguments, "-o", folder / "calm.tflite", "--precision", "CONV_2D=int4", "--json")
    kinds = [op.split(" #")[0] for op in json.loads(done.stdout)["undelegated"]]
    assert kinds == ["CONV_2D"] or kinds == ["CONV_2D", "SOFTMAX"]


@pytest.mark.parametrize("command", ["quantize", "qat", "search", "slim"])
def test_only_what_octavo_wrote_is_replaced(command: str, folder: Path, tmp_path: Path) -> None:
    out, model, photos = tmp_path / "other.tflite", folder / "float.tflite", folder / "photos"
    out.write_bytes(b"the user's")
    given = {
        "quantize": ("quantize", model, "--data", photos),
        "qat": ("qat", model, "--data", photos),
        "search": ("quantize", model, "--data", photos, "--max-drop", 1),
        "slim": ("slim", model),
    }[command]
    done = run(*given, "-o", out)
    assert isinstance(done.exception, OctavoError)
    assert "no sidecar to show that Octavo wrote it" in str(done.exception) and "--force" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["other.tflite"] and out.read_bytes() == b"the user's"


def test_an_output_is_replaced_if_it_is_octavos_or_by_force(folder: Path, tmp_path: Path) -> None:
    out, given = tmp_path / "out.tflite", ("quantize", folder / "float.tflite", "--data", folder / "photos")
    given = (*given, "--images", 12)
    out.write_bytes(b"the user's")
    assert run(*given, "-o", out, "--force").exit_code == 0
    first = out.read_bytes()
    assert run(*given, "-o", out, "--images", 20).exit_code == 0
    assert out.read_bytes() != first
    out.write_bytes(b"changed since")
    with pytest.raises(OctavoError, match=r"SHA-256 is another.*--force"):
        raise run(*given, "-o", out).exception or AssertionError
    out.unlink()
    Path(f"{out}.json").write_text('{"the user\'s": 1}')
    with pytest.raises(OctavoError, match="would be replaced"):
        raise run(*given, "-o", out).exception or AssertionError
    assert not out.exists()


def test_a_picture_replaces_only_a_picture_of_octavos(tmp_path: Path) -> None:
    former, out = Path(__file__).parents[1] / "former" / "run", tmp_path / "pareto.png"
    for content in (b"the user's", _png()):
        out.write_bytes(content)
        with pytest.raises(OctavoError, match="no picture of Octavo's"):
            raise run("pareto", former, "-o", out).exception or AssertionError
        assert out.read_bytes() == content
    assert run("pareto", former, "-o", out, "--force").exit_code == 0
    assert run("pareto", former, "-o", out).exit_code == 0


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, format="png")
    return stream.getvalue()


def test_a_run_replaces_no_files_that_no_run_wrote(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_text("the user's")
    with pytest.raises(OctavoError, match=r"no run wrote: model\.keras\."):
        api.run("digits", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_help_takes_no_slow_import() -> None:
    """A time is not asserted: what takes it is."""
    code = (
        "import sys; from octavo.cli.commands import app; from typer.main import get_command; get_command(app);"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'numpy', 'rich', 'pydantic', 'scipy',"
        "'ai_edge_litert', 'scipy', 'PIL', 'yaml'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
