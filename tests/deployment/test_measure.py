"""Deployment's measurements: what fails is named and ends nothing, and nothing is started that was not asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tiny import CLASSES, tiny_int8, tiny_tflite

from octavo.base.errors import ModelError
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.deployment import measure as deployment
from octavo.deployment.targets.ask import every
from octavo.deployment.targets.browser import Browser
from octavo.deployment.targets.litert import LiteRT
from octavo.deployment.targets.target import Trial
from octavo.recipe.schema import DeploymentRecipe
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    before, after = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    before.write_bytes(tiny_tflite())
    after.write_bytes(tiny_int8().content)
    return before, after


def measure(files: tuple[Path, Path], **asked: Any) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    images = ImageSet(list(pixels), None, CLASSES, tuple("abcd"))
    feed = Feed(images, Preprocess((8, 8)), Model(Graph.read(files[1]), workers=1).inputs)
    return deployment.measure(*files, feed, DeploymentRecipe(seconds=0.05, **asked)).to_json()


def test_every_target_answers_and_no_browser_is_started(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(self: Browser, trial: Trial) -> None:
        raise AssertionError("a browser was started")

    monkeypatch.setattr(Browser, "takes", started)
    value = measure(files)
    named = [row["target"] for row in value["targets"]]
    assert named == [target.name for target in every()]
    ids = [row["id"] for row in value["targets"]]
    assert ids == [target.id for target in every()] and len(set(ids)) == len(ids)
    browser = value["targets"][3]
    assert (
        browser["takes"]["answer"] is None
        and "a run starts a browser only if deployment.browser is set" in browser["takes"]["about"]
    )
    assert browser["runs"] is browser["costs"] is None
    # A target's latency is the benchmark's, where that has timed it.
    timed = {row["kernels"]: row["latency"] for row in value["benchmark"]["timings"] if row["model"] == "int8.tflite"}
    for family in ("xnnpack", "builtin"):
        row = next(row for row in value["targets"] if row["id"] == f"litert-{family}")
        assert row["costs"]["facts"] == timed[family]
        assert row["runs"]["facts"]["images"] == 4 and "correct" not in row["runs"]["facts"]
    json.dumps(value, allow_nan=False)


def test_a_wanted_browser_is_asked(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    row = measure(files, browser=True)["targets"][3]
    assert "Chromium is not installed" in row["takes"]["about"]


def test_a_target_that_fails_is_named_and_ends_nothing(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: LiteRT, trial: Trial) -> None:
        raise KeyError("sram")

    monkeypatch.setattr(LiteRT, "costs", fails)
    monkeypatch.setattr(LiteRT, "runs", fails)
    value = measure(files)
    row = next(row for row in value["targets"] if row["id"] == LiteRT("builtin").id)
    assert row["takes"]["answer"] is True
    assert row["runs"]["answer"] is False and row["runs"]["about"] == "it failed (KeyError: 'sram')"
    assert row["costs"]["answer"] is None
    assert value["targets"][-1]["target"] == "Edge TPU (pre-flight)"


def test_kernels_that_fail_are_named_and_the_others_timed(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = deployment.benchmark

    def benchmark(*given: Any, families: Any, **more: Any) -> Any:
        if families == ["builtin"]:
            raise ModelError("LiteRT refuses the model: no kernel.", "Advice.")
        return real(*given, families=families, **more)

    monkeypatch.setattr(deployment, "benchmark", benchmark)
    value = measure(files, targets=False)
    assert [row["kernels"] for row in value["benchmark"]["timings"]] == ["xnnpack", "xnnpack"]
    (failed,) = value["not_timed"]
    assert failed["kernels"] == "builtin" and failed["about"].startswith("LiteRT refuses the model: no kernel.")
    assert value["targets"] is None


def test_a_browser_without_targets_is_a_contradiction() -> None:
    with pytest.raises(ValidationError, match=r"set deployment\.targets too"):
        DeploymentRecipe(targets=False, browser=True)
