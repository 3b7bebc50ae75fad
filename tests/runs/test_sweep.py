from __future__ import annotations

import json
from pathlib import Path

import pytest
from rundir import evaluation
from tiny import tiny_int8

from octavo.base.errors import RecipeError
from octavo.base.stats import Interval
from octavo.runs.sweep import Sweep, compare_variants, recommended, variants


def test_one_value_each_is_one_nameless_variant() -> None:
    (made,) = variants(["train.epochs=3", "preprocess.size=96", "preprocess.scale=[0, 1]"])
    assert made.name == "" and made.settings == ("train.epochs=3", "preprocess.size=96", "preprocess.scale=[0, 1]")


def test_lists_make_all_combinations_once() -> None:
    made = variants(["seed=1", "preprocess.size=[96, 128, 96]", "model.alpha=0.35,1.0"])
    assert [each.name for each in made] == [
        "size 96, width 0.35",
        "size 96, width 1.0",
        "size 128, width 0.35",
        "size 128, width 1.0",
    ]
    assert made[1].settings == ("seed=1", "preprocess.size=96", "model.alpha=1.0")


def test_an_empty_list() -> None:
    with pytest.raises(RecipeError, match="gives no value"):
        variants(["preprocess.size=,"])


def _run(path: Path, accuracy: float) -> None:
    path.mkdir()
    (path / "int8.tflite").write_bytes(tiny_int8().content)
    found = evaluation()
    share = {"score": Interval(accuracy, accuracy - 0.02, accuracy + 0.02)}
    models = {name: model.model_copy(update=share) for name, model in found.models.items()}
    found.model_copy(update={"images": 900, "models": models}).write(path / found.file)


def test_finished_runs_side_by_side(tmp_path: Path) -> None:
    for name, accuracy in (("a", 0.8), ("b", 0.85)):
        _run(tmp_path / name, accuracy)
    value = compare_variants([("size 96", tmp_path / "a"), ("size 128", tmp_path / "b")])
    assert [row.accuracy for row in value.variants] == [0.8, 0.85]
    # One 8 x 8 x 6 activation and the 8 x 8 x 3 image are alive together, each a multiple of 16 bytes.
    assert value.variants[0].arena == 8 * 8 * (6 + 3)
    assert value.recommended == "size 128"
    assert all(row.p90_ms >= row.median_ms > 0 for row in value.variants)
    # What it shows: itself in a line, a picture and a table in a notebook, and itself as JSON.
    text, page = repr(value), value._repr_html_()
    assert len(text) < 2000 and "2 variants; recommended: size 128, 85.00% of 900 images" in text
    assert page.count("<img ") == 1 and page.count("<tr>") == 1 + 2 and "size 96" in page
    assert Sweep.from_json(json.loads(json.dumps(value.to_json())), tmp_path / "sweep.json") == value


def test_the_fastest_that_is_as_good_is_recommended() -> None:
    rows = [
        {"name": name, "accuracy": value, "interval": {"low": value - 0.02, "high": value + 0.02}}
        for name, value in (("fast", 0.80), ("middle", 0.835), ("slow", 0.85))
    ]
    assert recommended(rows)["name"] == "middle"
    assert recommended(rows[:1])["name"] == "fast"
