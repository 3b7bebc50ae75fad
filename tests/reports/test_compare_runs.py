"""Several runs on one page: paired where the images are the same, and nothing claimed where they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rundir import write_run
from shell import octavo, refused

from octavo.base.errors import OctavoError
from octavo.base.stats import paired_difference
from octavo.recipe.schema import load_recipe
from octavo.reports.compare_runs import compare_runs

LABELS = np.arange(60) % 3


def _run(folder: Path, right: np.ndarray, size: int, milliseconds: float, **changes: Any) -> Path:
    """A run whose int8 model is right about some images."""
    folder.mkdir(parents=True)

    def measured(value: dict[str, Any]) -> None:
        value["models"]["int8"]["score"] = {"value": right.mean(), "low": right.mean() - 0.1, "high": 1.0}
        value["models"]["int8"]["latency"]["median_ms"] = milliseconds
        for name in ("float", "int8"):
            value["models"][name]["file"] = f"{name}.tflite"

    write_run(folder, evaluation=measured, **changes)
    (folder / "float.tflite").write_bytes(b"\0" * 1000)
    (folder / "int8.tflite").write_bytes(b"\0" * size)
    answers = np.where(right, LABELS, (LABELS + 1) % 3)
    np.savez(folder / "predictions.npz", labels=LABELS, ids=LABELS.astype(str), int8=np.eye(3)[answers])
    return folder


def _right(*wrong: int) -> np.ndarray:
    return ~np.isin(np.arange(60), wrong)


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """The first, a larger and better one, one with other images, and one that has kept no answers."""

    def larger(recipe: dict[str, Any]) -> None:
        recipe["preprocess"]["size"] = 96
        recipe["model"]["alpha"] = 2.0

    def elsewhere(data: dict[str, Any]) -> None:
        data["test"]["digest"] = "0" * 64

    made = [
        _run(tmp_path / "first", _right(1, 2, 3, 4), 400, 1.0),
        _run(tmp_path / "b|<b>", _right(4, 5), 900, 3.0, recipe=larger),
        _run(tmp_path / "other" / "first", _right(*range(20)), 800, 2.0, data=elsewhere),
        _run(tmp_path / "silent", _right(7), 500, 4.0),
    ]
    (made[3] / "predictions.npz").unlink()
    return made


def test_differences_are_paired_where_the_images_are_the_same(runs: list[Path], tmp_path: Path) -> None:
    made = compare_runs(runs, tmp_path / "out")
    parent = tmp_path.name
    assert [row.name for row in made.runs] == [f"{parent}/first", "b|<b>", "other/first", "silent"]
    # Lost: image 5; gained: images 1, 2 and 3.
    assert [row.difference for row in made.runs] == [None, paired_difference(1, 3, 60), None, None]
    assert [row.bytes for row in made.runs] == [400, 900, 800, 500]
    # The last is the most accurate, and smaller than the second, which is faster; the third has no merit.
    assert [row.front for row in made.runs] == [["bytes", "median_ms"], ["median_ms"], [], ["bytes", "median_ms"]]
    assert type(made).read(tmp_path / "out" / made.file) == made


def test_recipes_show_the_keys_in_which_they_differ(runs: list[Path], tmp_path: Path) -> None:
    made = compare_runs(runs[:2], tmp_path / "out")
    recipe = load_recipe("digits")
    assert [(item.key, item.values) for item in made.recipes] == [
        ("preprocess.size", [str(recipe.preprocess.size), "96"]),
        ("model.alpha", [str(recipe.model.alpha), "2.0"]),
    ]


def test_the_page_says_what_cannot_be_said(runs: list[Path], tmp_path: Path) -> None:
    compare_runs(runs, tmp_path / "out")
    for name in ("compare-runs.md", "compare-runs.html"):
        text = (tmp_path / "out" / name).read_text("utf-8")
        assert "other/first and silent: other test images than those of" in text
        assert "cannot be told apart on 60 images" in text and "not measured side by side" in text
        assert "<b>" not in text.replace("&lt;b>", "").replace("&lt;b&gt;", "")
    page = (tmp_path / "out" / "compare-runs.html").read_text("utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "") and "<svg" in page
    assert (tmp_path / "out" / "report_files" / "fronts.svg").is_file()


def test_the_same_recipe_and_other_machines(runs: list[Path], tmp_path: Path) -> None:
    manifest = json.loads((runs[3] / "manifest.json").read_text())
    manifest["machine"]["cpu"] = "another cpu"
    (runs[3] / "manifest.json").write_text(json.dumps(manifest))
    made = compare_runs([runs[0], runs[3]], tmp_path / "out")
    text = (tmp_path / "out" / "compare-runs.md").read_text("utf-8")
    assert made.recipes == [] and "The recipes are the same" in text
    assert "different machines (a cpu, another cpu)" in text


def test_one_run_is_not_compared(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(OctavoError, match="Two runs or more"):
        compare_runs(runs[:1], tmp_path / "out")
    assert "is not a run directory" in refused(octavo("compare-runs", runs[0], tmp_path, "--out", tmp_path / "out"))
    said = octavo("compare-runs", *runs[:2], "--out", tmp_path / "out")
    assert said.returncode == 0 and "minus the first" in said.stdout, said.stderr
