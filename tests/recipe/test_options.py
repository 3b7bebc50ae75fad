from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from octavo.base.errors import OctavoError
from octavo.recipe.options import (
    Fields,
    InputFields,
    Inputs,
    Quantization,
    QuantizationFields,
    inputs_of,
    options_of,
)
from octavo.recipe.schema import QuantizeRecipe, load_recipe


def test_fields_replace_those_of_the_records() -> None:
    inputs, quantization = options_of("photos", Quantization(tune=()), {"images": 20, "observer": "mse"})
    assert inputs == Inputs(Path("photos"), images=20)
    assert quantization == Quantization(observer="mse", tune=())
    record = Inputs(Path("photos"), images=20, seed=3)
    assert inputs_of(record, {}) == record
    assert inputs_of(record, {"seed": 4}) == Inputs(Path("photos"), images=20, seed=4)
    assert inputs_of(None, {}).data is None
    assert options_of("photos", quantization, {"precision": None})[1].precision == {}
    assert options_of("photos", quantization, {"tune": ["bias", "compensate"]})[1].tune == ("bias", "compensate")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"observer": "median"}, "`observer` should be 'minmax', .* not 'median'"),
        ({"images": "many"}, "`images`: .* not 'many'"),
        ({"tune": ["bias", "adaquant"]}, "`tune`, item 2 should be .* not 'adaquant'"),
        ({"precision": {"CONV_2D": "int3"}}, "`precision` of 'CONV_2D' should be .* not 'int3'"),
        ({"channels": "cmyk"}, "`channels` should be 'rgb', .* not 'cmyk'"),
    ],
)
def test_a_wrong_value_is_one_message_that_names_the_argument(given: Any, said: str) -> None:
    with pytest.raises(OctavoError, match=said):
        options_of("photos", Quantization(), given)


def test_records_are_checked_too_and_unknown_fields_are_type_errors() -> None:
    with pytest.raises(OctavoError, match="`observer` should be"):
        options_of("photos", Quantization(observer="median"), {})  # type: ignore[arg-type]
    unknown: Any = {"picture": 3}
    with pytest.raises(TypeError, match="unexpected keyword argument 'picture'"):
        options_of("photos", Quantization(), unknown)
    both: Any = {"observer": "mse"}
    with pytest.raises(TypeError, match="unexpected keyword argument 'observer'"):
        inputs_of("photos", both)


def test_what_a_function_has_no_use_for_is_refused() -> None:
    Quantization(allow_float=True).refuse("observer", "tune", "precision", why="No.")
    with pytest.raises(OctavoError, match=r"Not here\. Leave out `observer` and `precision`\."):
        Quantization(observer="mse", precision={"*": "int4"}).refuse("observer", "tune", "precision", why="Not here.")


def test_every_field_has_the_same_name_and_type_as_keyword_and_in_recipes() -> None:
    for record, keywords in ((Inputs, InputFields), (Quantization, QuantizationFields)):
        names = {item.name for item in fields(record)} - {"data"}
        assert set(get_type_hints(keywords)) == names
        assert all(item.metadata["help"] for item in fields(record))
    assert set(get_type_hints(Fields)) == set(get_type_hints(InputFields)) | set(get_type_hints(QuantizationFields))
    hints = get_type_hints(Quantization)
    recipe = {name: field for name, field in QuantizeRecipe.model_fields.items() if name not in ("method", "path")}
    assert set(recipe) == set(hints)
    for name in ("observer", "allow_float"):
        assert recipe[name].annotation == hints[name] and recipe[name].default == getattr(Quantization(), name)
    assert get_args(recipe["tune"].annotation) == get_args(hints["tune"])
    assert QuantizeRecipe().options == Quantization()


def test_recipes_of_the_first_version_have_the_observer_among_the_images(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("name: old\ndata: {source: digits}\ncalibrate: {images: 20, observer: mse}\n", "utf-8")
    recipe = load_recipe(str(path))
    assert (recipe.quantize.observer, recipe.calibrate.images) == ("mse", 20)
    assert load_recipe("digits", ["calibrate.observer=mae"]).quantize.observer == "mae"
