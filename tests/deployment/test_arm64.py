"""`scripts/arm64.py`: ARM64's output codes beside this machine's, and what it makes of differences."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scripted import SCRIPTS, module
from smallnet import batch, small_tflite
from tiny import tiny_int8

from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.tflite.graph import Graph

TOOLS = ("apt-get", "dpkg-deb")


def arm64(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "arm64.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_code_that_differs_is_seen_where_it_matters() -> None:
    script = module("arm64")
    rng = np.random.default_rng(0)
    here = {family: rng.integers(-128, 128, (4, 10), dtype=np.int8) for family in ("xnnpack", "builtin", "reference")}
    must = ("reference", "xnnpack")
    assert all(row.proved for row in script.compare(here, here, must))
    for family in here:
        there = {name: codes.copy() for name, codes in here.items()}
        here[family][2, 5], there[family][2, 5] = -128, 127
        rows = {row.family: row for row in script.compare(here, there, must)}
        row = rows[family]
        assert (row.images, row.distinct, row.differing, row.largest) == (4, 4, 1, 255)
        assert [name for name, one in rows.items() if not one.proved] == [family] * (family in must)


def test_one_output_for_all_images_proves_nothing() -> None:
    same = {"reference": np.zeros((4, 10), np.int8)}
    (row,) = module("arm64").compare(same, same, ("reference",))
    assert row.differing == 0 and not row.proved


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("words")
    model = tmp_path / "int8.tflite"
    model.write_bytes(tiny_int8().content)
    cases = [
        ((model, "--root", tmp_path / "new", "--images", 1), "two are the fewest"),
        ((tmp_path / "none.tflite", "--root", tmp_path / "new"), "There is no file"),
    ]
    if shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64"):
        cases.append(((model, "--root", tmp_path), "holds other things"))
    else:
        cases = [((model, "--root", tmp_path), "apt-get install qemu-user-static")]
    for arguments, message in cases:
        done = arm64(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8.tflite", "words.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76"])
def test_arm64_computes_the_same_bits(tmp_path: Path, request: pytest.FixtureRequest, cpu: str) -> None:
    if not (shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")):
        pytest.skip("no QEMU for programs of ARM64: apt-get install qemu-user-static")
    for tool in TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}: ARM64's Python is Debian's")
    source = Graph(small_tflite())
    models = {"small": quantize(source, calibrate(source, batch())).content, "tiny": tiny_int8().content}
    for name, content in models.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
    # Kept between test runs, as pytest keeps its own notes.
    root = request.config.cache.mkdir("arm64")
    done = arm64(*sorted(tmp_path.glob("*.tflite")), "--root", root, "--cpu", cpu)
    if done.returncode == 2 and "could not be had" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if ".tflite" in line]
    # XNNPACK leaves Softmax to the built-in kernels, which round otherwise on ARM.
    expected = {"small.tflite": "yes", "tiny.tflite": "no", "tiny.tflite without Softmax": "yes"}
    assert {name: must for name, family, must, *_ in rows if family == "xnnpack"} == expected
    assert all(must == "yes" for _, family, must, *_ in rows if family == "reference")
    for _, _, must, images, distinct, differing, _ in rows:
        assert images == "16" and int(distinct) > 8
        assert differing == "0" or must == "no"
