from __future__ import annotations

from pathlib import Path

import pytest

from octavo.base.errors import RecipeError
from octavo.recipe.policy import load_policy


def said(tmp_path: Path, text: str) -> str:
    path = tmp_path / "budget.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_policy(path)
    return str(caught.value)


def test_mistakes_are_named_with_their_lines(tmp_path: Path) -> None:
    found = said(tmp_path, "max_size: -4\nmax_sise: 3\nmax_drop: -0.5\nundecided: maybe\n")
    assert "budget.yaml' has 4 mistakes:" in found
    assert "line 1: 'max_size': input should be greater than or equal to 0, not -4" in found
    assert "line 2: unknown key 'max_sise'; did you mean 'max_size'?" in found
    assert "line 3: 'max_drop'" in found
    assert "line 4: 'undecided': input should be 'fail' or 'warn', not 'maybe'" in found


def test_a_policy_limits_something(tmp_path: Path) -> None:
    assert "it sets no limit: set one or more of max_drop, worst_score" in said(tmp_path, "undecided: warn\n")
    assert "compares two or three kernel families, not xnnpack" in said(tmp_path, "bit_equal: [xnnpack]\n")
    assert "not xnnpack, xnnpack" in said(tmp_path, "bit_equal: [xnnpack, xnnpack]\n")
    assert "should be a mapping" in said(tmp_path, "- max_size\n")
    assert "sets 'max_size' twice, on line 1 and line 2" in said(tmp_path, "max_size: 1\nmax_size: 2\n")
    with pytest.raises(RecipeError, match="There is no policy"):
        load_policy(tmp_path / "none.yaml")


def test_only_what_is_set_is_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "budget.yaml"
    path.write_text("max_cpu_ops: 0\nmax_size: 300_000\nmax_drop: null\n")
    assert load_policy(path).limits == ("max_size", "max_cpu_ops")
    assert load_policy(path).undecided == "fail"
