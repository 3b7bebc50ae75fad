"""Every entry is whole, and stands for what its list is of; recipes, help, documents and reports show all of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest
from shell import octavo

from octavo.quantization.observer import Observer
from octavo.quantization.observers import OBSERVERS as LOADED_OBSERVERS
from octavo.recipe.choices import OBSERVERS, PASSES, Choice
from octavo.recipe.schema import QuantizeRecipe
from octavo.tuning.tune import TUNING_PASSES

ENTRIES = [(name, choice) for choices in (OBSERVERS, PASSES) for name, choice in choices.items()]
RECIPES = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "choice"), ENTRIES, ids=[name for name, _ in ENTRIES])
def test_an_entry_has_words_for_every_place(name: str, choice: Choice) -> None:
    assert choice.title and choice.about[0].islower() and not set(choice.about) & set(":;")
    # The only one that needs no paper: it is what the words say.
    assert bool(choice.source) or name == "minmax"
    assert f"| `{name}` | {choice.about} |" in RECIPES


@pytest.mark.parametrize("choices", [OBSERVERS, PASSES], ids=["observers", "passes"])
def test_titles_and_places_are_different(choices: Mapping[str, Choice]) -> None:
    for words in ("title", "about", "where"):
        assert len({getattr(choice, words) for choice in choices.values()}) == len(choices)


def test_entries_stand_for_observers_and_passes() -> None:
    """Imported by name, which the test of floors does not see: each from its own room."""
    assert tuple(LOADED_OBSERVERS) == tuple(OBSERVERS) and tuple(TUNING_PASSES) == tuple(PASSES)
    assert {choice.where.split(".")[0] for choice in OBSERVERS.values()} == {"quantization"}
    assert {choice.where.split(".")[0] for choice in PASSES.values()} == {"tuning"}
    assert all(isinstance(observer, Observer) for observer in LOADED_OBSERVERS.values())
    for one in TUNING_PASSES.values():
        samples = "images" if one.reads is None else "rows"
        assert list(inspect.signature(one.run).parameters) == ["graph", "ranges", samples, "plan", "progress"]


def test_recipes_accept_the_names_and_no_other() -> None:
    named, left_out = get_args(QuantizeRecipe.model_fields["observer"].annotation)
    assert get_args(named) == tuple(OBSERVERS) and left_out is type(None)
    (items, _) = get_args(QuantizeRecipe.model_fields["tune"].annotation)
    assert get_args(items) == tuple(PASSES)


def test_the_help_of_quantize_explains_them_all() -> None:
    # Lines are broken at spaces, and after hyphens.
    shown = " ".join(octavo("quantize", "--help").stdout.split()).replace("- ", "-")
    for name, choice in ENTRIES:
        assert f"{name}: {choice.about}" in shown
