"""Recipes with comments, and recipes made of options: read back they are what was asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from octavo.base.errors import RecipeError
from octavo.recipe.commented import commented
from octavo.recipe.options import Inputs
from octavo.recipe.own import own_recipe
from octavo.recipe.schema import DataRecipe, Recipe, load_recipe

OWN = own_recipe(
    Path("models/ünïcode #1.keras"),
    Inputs("my: photos", images=20, seed=3, scale=(0, 1), channels="bgr", size=(64, 64)),
    {"quantize": {"method": "qat"}, "qat": {"epochs": 3, "augment": {"flip": True}}},
)
TRAINED = Recipe(name="mine", data=DataRecipe(path=Path("photos")))


@pytest.mark.parametrize("recipe", [OWN, TRAINED, load_recipe("digits")], ids=lambda made: made.name)
def test_what_is_set_is_read_back(recipe: Recipe) -> None:
    assert Recipe.model_validate(yaml.safe_load(commented(recipe))) == recipe


@pytest.mark.parametrize("recipe", [OWN, TRAINED], ids=lambda made: made.name)
def test_every_commented_key_is_its_default(recipe: Recipe) -> None:
    everything = re.sub(r"(?m)^( *)#(?=\S)", r"\1", commented(recipe))
    value = yaml.safe_load(everything)
    assert Recipe.model_validate(value) == recipe
    assert ("train" in value) == (recipe is TRAINED) and ("path" in value["model"]) == (recipe is OWN)
    assert value["qat"]["augment"].keys() == type(recipe.qat.augment).model_fields.keys()


def test_only_what_was_given_is_set() -> None:
    assert OWN.name == "ünïcode #1" and OWN.seed == 3
    assert OWN.inputs == Inputs(Path("my: photos"), 20, 3, None, (64, 64), (0.0, 1.0), None, "bgr")
    assert own_recipe(None, Inputs("photos.tar.gz")).model_dump(exclude_unset=True) == {
        "name": "photos",
        "data": {"path": Path("photos.tar.gz")},
    }
    assert own_recipe(Path("a.keras"), Inputs("photos", task="outputs")).evaluate.task == "outputs"


def test_options_that_make_no_recipe() -> None:
    with pytest.raises(RecipeError, match="`data`"):
        own_recipe(Path("a.keras"), Inputs())
    with pytest.raises(RecipeError, match="square images"):
        own_recipe(Path("a.keras"), Inputs("photos", size=(64, 96)))
    with pytest.raises(RecipeError, match=r"must be below the second"):
        own_recipe(Path("a.keras"), Inputs("photos", scale=(1, 0)))
