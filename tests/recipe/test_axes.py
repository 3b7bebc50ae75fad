"""What varies in a sweep, as it is written on the command line."""

from __future__ import annotations

import pytest

from octavo.base.errors import RecipeError
from octavo.recipe.axes import Range, Values, divided, named


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("96,128, 96", ("96", "128")),
        ("[0, 1],[-1, 1]", ("[0, 1]", "[-1, 1]")),
        ("my.mod:build,other:make", ("my.mod:build", "other:make")),
        ('"a, b",c', ('"a, b"', "c")),
        ("{CONV_2D: float},{}", ("{CONV_2D: float}", "{}")),
        ("null,0.5", ("null", "0.5")),
    ],
)
def test_commas_outside_of_brackets_and_quotes_divide(text: str, texts: tuple[str, ...]) -> None:
    assert divided([f"key={text}"]) == ([], [Values(key="key", texts=texts)])


@pytest.mark.parametrize("text", ["96", "[0, 1]", '"a, b"', "{x: 1, y: 2}", "", ",", "a] [b", "my.mod:build"])
def test_one_value_is_a_setting(text: str) -> None:
    assert divided([f"key={text}"]) == ([f"key={text}"], [])


def test_the_same_value_twice_is_one() -> None:
    assert divided(["seed=1,1"]) == (["seed=1"], [])


@pytest.mark.parametrize(
    ("text", "range_"),
    [
        ("1e-5:1e-3:log", Range(key="key", low=1e-5, high=1e-3, log=True)),
        ("8:64", Range(key="key", low=8, high=64, whole=True)),
        ("8:64:8", Range(key="key", low=8, high=64, step=8, whole=True)),
        ("-1:1:0.5", Range(key="key", low=-1, high=1, step=0.5)),
        ("1:10:log", Range(key="key", low=1, high=10, log=True, whole=True)),
    ],
)
def test_ranges(text: str, range_: Range) -> None:
    assert divided([f"key={text}"]) == ([], [range_])


@pytest.mark.parametrize(
    ("text", "said"),
    [("3:2", "3 is not below 2"), ("0:1:log", "starts above 0"), ("0:1:2", "at most 1 here"), ("0:1:-1", "above 0")],
)
def test_impossible_ranges(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        divided([f"key={text}"])


def test_a_later_setting_replaces_an_earlier_one() -> None:
    assert divided(["seed=0,1", "seed=2", "size=1", "size=1:3"]) == (
        ["seed=2"],
        [Range(key="size", low=1, high=3, whole=True)],
    )


def test_names_are_as_short_as_they_can_be() -> None:
    assert named({"train.learning_rate": 0.00123456, "model.alpha": "0.35"}) == "learning_rate 0.00123, alpha 0.35"
    assert named({"train.epochs": 3, "qat.epochs": 2}) == "train.epochs 3, qat.epochs 2"
