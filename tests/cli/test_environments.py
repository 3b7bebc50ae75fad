"""Commands in hard places: full disks, folders that may not be written to, few open files, streams that fail.

Clean is: exit code 0, or 2 with one message; no traceback; the former output whole, and nothing else left behind.
`make nightly` tries every command in every place, and docs/reliability.md has the figures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import started
from test_streams import STREAMS, shell
from tiny import CLASSES, SIZE, tiny_int8, tiny_tflite, write_folder

from octavo.base.files import sha256
from octavo.data.preprocess import Preprocess
from octavo.source import sidecar
from octavo.source.sidecar import Sidecar, write_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' tmpfs, /dev/full and limits")
FORMER = Path(__file__).parents[1] / "former" / "run"
SIDECAR = Sidecar(Preprocess((SIZE, SIZE)), CLASSES)
DATA = "--data photos --images 12"
COMMANDS = {
    "recipes": "recipes --json",
    "inspect": "inspect int8.tflite",
    "evaluate": "evaluate int8.tflite --data photos",
    "quantize": f"quantize float.tflite {DATA} -o out/model.tflite",
    "compare": f"compare float.tflite int8.tflite {DATA} -o out",
    "sensitivity": f"sensitivity float.tflite {DATA} --calibration 10 -o out",
    "slim": "slim int8.tflite -o out/model.tflite --logits",
    "benchmark": "benchmark float.tflite int8.tflite --seconds 0.1",
    "deploy": "deploy int8.tflite --out out/folder --zip",
    "report": "report run",
}
WRITERS = ("quantize", "compare", "slim", "deploy")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, images and a run."""
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "float.tflite", tiny_tflite(), SIDECAR)
    write_model(folder / "int8.tflite", tiny_int8().content, SIDECAR)
    for split in ("train", "test"):
        write_folder(folder / "photos", 30, split)
    shutil.copytree(FORMER, folder / "run")
    (folder / "out").mkdir()
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here: that needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path, pages: int) -> None:
    """Leaves so many pages of 4 KB free."""
    free = os.statvfs(disk)
    (disk / "filling").write_bytes(bytes((free.f_bavail - pages) * free.f_frsize))


def clean(done: subprocess.CompletedProcess[str]) -> bool:
    messages = [line for line in done.stderr.splitlines() if line.startswith("octavo: ")]
    return done.returncode in (0, 2) and "Traceback" not in done.stderr and len(messages) == (done.returncode == 2)


def left(folder: Path) -> list[str]:
    """Names of temporary files and of waiting sidecars."""
    return [path.name for path in folder.rglob(".*")]


def test_a_pair_on_a_full_disk_is_the_old_one_or_the_new_one(disk: Path) -> None:
    model, seen = disk / "model.tflite", []
    old, new = b"old" * 1500, b"new" * 1500
    for pages in range(8):
        for path in disk.iterdir():
            path.unlink()
        write_model(model, old, Sidecar(None, ("old",)))
        fill(disk, pages)
        try:
            write_model(model, new, Sidecar(None, ("new",)))
        except Exception as error:
            assert "No space left on device" in str(error)
        belongs = sidecar.read(model)
        assert belongs is not None
        seen.append((model.read_bytes(), belongs.classes))
        assert left(disk) == []
    # Two pages for the model, and one for its sidecar.
    assert seen == [(old, ("old",))] * 3 + [(new, ("new",))] * 5


def test_a_full_disk_is_one_message_and_keeps_the_former_file(disk: Path, files: Path) -> None:
    model = disk / "model.tflite"
    write_model(model, b"former", SIDECAR)
    fill(disk, 0)
    done = started("slim", files / "int8.tflite", "-o", model)
    assert clean(done) and done.returncode == 2 and "No space left on device" in done.stderr
    assert model.read_bytes() == b"former" and sidecar.read(model) == SIDECAR and left(disk) == []


# Tries every function that writes, as a user who may read all and write nothing here.
_READ_ONLY = """
import json, os, sys
from pathlib import Path
import octavo
from octavo.base.errors import OctavoError
folder = Path(sys.argv[1])
model, none, recipe = folder / "float.tflite", folder / "none", octavo.load_recipe("digits")
calls = {
    "quantize": lambda out: octavo.quantize(model, none, out),
    "qat": lambda out: octavo.qat(model, none, out),
    "search": lambda out: octavo.search(model, none, out, octavo.Goal(drop=1.0)),
    "slim": lambda out: octavo.slim(model, out),
    "pareto": lambda out: octavo.pareto([none], out),
    "deploy": lambda out: octavo.deploy(model, out),
    "run": lambda out: octavo.run(recipe, out),
    "sweep": lambda out: octavo.sweep("digits", ["preprocess.size=32,48"], out),
}
# What they import is there before other rights come.
for name in calls:
    getattr(octavo, name)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
said = {}
for name, call in calls.items():
    for out in ("new", "deep/new"):
        try:
            call(folder / out)
            said[f"{name} {out}"] = "it went on"
        except OctavoError as error:
            said[f"{name} {out}"] = str(error)
print(json.dumps(said))
"""


def test_a_folder_that_an_ordinary_user_may_not_write_to_is_found_before_the_work(files: Path) -> None:
    # The folders of pytest are private, and an ordinary user could not even read there.
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="octavo-test-"))
    try:
        shutil.copyfile(files / "float.tflite", folder / "float.tflite")
        folder.chmod(0o555)
        command = [sys.executable, "-W", "ignore", "-c", _READ_ONLY, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert len(said) == 16 and all("cannot be written to" in text for text in said.values()), said
        assert [path.name for path in folder.iterdir()] == ["float.tflite"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_few_open_files_are_one_message(files: Path) -> None:
    for limit, code in ((5, 2), (32, 0)):
        command = f"ulimit -n {limit}; {sys.executable} -m octavo.cli inspect int8.tflite"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=files)
        assert done.returncode == code and clean(done), done
        assert ("Too many files are open at once." in done.stderr) == (code == 2)


PLACES = [
    *(("streams", redirection) for redirection, _ in STREAMS),
    *(("files", limit) for limit in ("5", "9", "32")),
]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=" ".join)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_every_place(files: Path, tmp_path: Path, name: str, place: tuple[str, str]) -> None:
    shutil.copytree(files, tmp_path / "here")
    kind, value = place
    if kind == "streams":
        done = shell(COMMANDS[name], value, tmp_path / "here")
        assert done.returncode == (2 if value.startswith(">/dev/full") else 0), done
        assert "Traceback" not in done.stderr
    else:
        command = f"ulimit -n {value}; {sys.executable} -m octavo.cli {COMMANDS[name]}"
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path / "here"
        )
        assert clean(done), done
    assert left(tmp_path / "here") == []


@pytest.mark.slow
@pytest.mark.parametrize("pages", range(0, 16, 2))
@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_on_a_disk_that_gets_full(files: Path, disk: Path, name: str, pages: int) -> None:
    write_model(disk / "model.tflite", b"former", SIDECAR)
    fill(disk, pages)
    before = {path.name: sha256(path) for path in disk.iterdir()}
    words = COMMANDS[name].replace("out/", f"{disk}/").replace("-o out", f"-o {disk}").split()
    done = started(*words, cwd=files)
    assert clean(done), done
    assert left(disk) == []
    after = {path.name: sha256(path) for path in disk.iterdir() if path.is_file()}
    if done.returncode == 2:
        assert "No space left on device" in done.stderr or "Could not write" in done.stderr
        assert {key: after[key] for key in before} == before
        assert not (disk / "folder").exists()
    assert sidecar.read(disk / "model.tflite") is not None
