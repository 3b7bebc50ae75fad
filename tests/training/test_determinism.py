"""Deterministic training: what it fixes, where it is refused, and that it does what it promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from octavo.base.errors import OctavoError, RecipeError
from octavo.recipe.schema import load_recipe
from octavo.training.determinism import is_deterministic, make_deterministic

SCRIPT = Path(__file__).parents[2] / "scripts" / "determinism.py"


def test_it_is_refused_where_nothing_trains(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"\0")
    wanted = ["deterministic=true", "data.path=photos"]
    assert load_recipe("digits", wanted[:1]).deterministic
    assert load_recipe(model, [*wanted, "quantize.method=qat"]).deterministic
    with pytest.raises(RecipeError) as refused:
        load_recipe(model, wanted)
    assert "this recipe trains nothing" in str(refused.value)


def test_it_is_refused_after_tensorflow_has_worked() -> None:
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.constant(1)
    with pytest.raises(OctavoError, match="before its first work only"):
        make_deterministic()
    assert not is_deterministic()


def _trained(threads: int, *flags: str) -> dict[str, str]:
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--one", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.slow
def test_the_number_of_threads_changes_weights_and_the_flag_prevents_it() -> None:
    pytest.importorskip("tensorflow")
    one, five = _trained(1), _trained(5)
    # Post-training quantization never depends on it.
    assert one["ptq"] == five["ptq"] and one["batches"] == five["batches"]
    assert one["trained"] != five["trained"] and one["qat"] != five["qat"]
    one, five = _trained(1, "--deterministic"), _trained(5, "--deterministic")
    assert one["trained"] == five["trained"] and one["qat"] == five["qat"]
