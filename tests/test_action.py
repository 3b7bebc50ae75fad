"""The action for GitHub: what the workflow in the documents gives it, and its script, run as a runner does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "actions" / "check" / "action.yml").read_text("utf-8"))
STEPS = ACTION["runs"]["steps"]
CHECK = next(step for step in STEPS if step.get("id") == "check")


def test_the_workflow_in_the_documents_gives_inputs_of_the_action() -> None:
    text = (ROOT / "docs" / "gate.md").read_text("utf-8")
    workflow = next(
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "uses:" in block
    )
    step = next(step for step in workflow["jobs"]["check"]["steps"] if "octavo" in step["uses"])
    required = {name for name, about in ACTION["inputs"].items() if about.get("required")}
    assert required <= step["with"].keys() <= ACTION["inputs"].keys()


def test_every_input_reaches_a_step_and_no_script() -> None:
    used = re.findall(r"\$\{\{ inputs\.(\w+) \}\}", str(STEPS))
    assert set(used) == set(ACTION["inputs"])
    assert not any("${{" in step.get("run", "") for step in STEPS)


@pytest.mark.skipif(sys.platform == "win32", reason="the action runs on Linux and macOS")
def test_the_script_checks_and_writes_the_summary(example_files: Path, tmp_path: Path) -> None:
    shutil.copy(example_files / "int8.tflite", tmp_path / "a model; exit 7.tflite")
    (tmp_path / "budget.yaml").write_text("max_size: 100\n")
    program = tmp_path / "octavo" / "venv" / "bin" / "octavo"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m octavo.cli "$@"\n')
    program.chmod(0o755)
    given = {"MODEL": "a model; exit 7.tflite", "POLICY": "budget.yaml", "ARGUMENTS": "--seconds 0.1 --quiet"}
    environment = {
        **os.environ,
        **dict.fromkeys(CHECK["env"], ""),
        **given,
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", CHECK["run"]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "fails 1 of 1 limits: max_size" in done.stdout
    assert (tmp_path / "summary").read_text("utf-8") == (tmp_path / "octavo" / "check.md").read_text("utf-8")
    paths = dict(line.split("=") for line in (tmp_path / "output").read_text("utf-8").splitlines())
    assert paths == {
        name: str(tmp_path / "octavo" / f"check.{ending}") for name, ending in (("junit", "xml"), ("markdown", "md"))
    }
    assert Path(paths["junit"]).is_file()
