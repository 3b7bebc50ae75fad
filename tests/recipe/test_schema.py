from __future__ import annotations

from pathlib import Path

import pytest

from octavo.base.errors import RecipeError
from octavo.recipe.schema import load_recipe, names


def _mistakes(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    return str(caught.value)


def test_the_built_in_recipes_are_valid() -> None:
    assert set(names()) == {"digits", "cifar10", "cifar10-224", "cifar10-full", "cifar10-lite", "cifar10-scratch"}
    for name in names():
        assert load_recipe(name).name == name


def test_the_reports_experiment() -> None:
    recipe = load_recipe("cifar10-224")
    assert (recipe.data.train, recipe.data.test, recipe.train.epochs, recipe.calibrate.images) == (5000, 1000, 5, 100)
    assert (recipe.preprocess.size, recipe.preprocess.scale, recipe.model.alpha) == (224, (-1.0, 1.0), 1.0)
    # The recipe `cifar10` differs in the size of the input alone.
    smaller = load_recipe("cifar10")
    assert smaller.preprocess.size == 128
    told = {"name": recipe.name, "title": recipe.title, "preprocess": recipe.preprocess}
    assert smaller.model_copy(update=told) == recipe


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train.epochs=3", 3),
        ("train.learning_rate=1e-3", 0.001),
        ("train.augment.flip=true", True),
        ("model.weights=some/path.weights.h5", "some/path.weights.h5"),
        ("preprocess.scale=[0, 1]", (0.0, 1.0)),
        ("data.train=null", None),
        ("qat.start=null", ()),
        ("qat.start=[adaround]", ("adaround",)),
        ("train.augment={flip: true, shift: 0.1}", None),
    ],
)
def test_any_key_can_be_set(setting: str, value: object) -> None:
    found: object = load_recipe("cifar10", [setting])
    for part in setting.partition("=")[0].split("."):
        found = getattr(found, part)
    if setting.startswith("train.augment={"):
        assert (found.flip, found.shift) == (True, 0.1)  # type: ignore[attr-defined]
    else:
        assert found == value


def test_mistakes_are_named_with_their_lines(tmp_path: Path) -> None:
    text = "name: mine\ndata:\n  source: digits\ntrain:\n  epochs: -1\n  optimiser: adam\n  batch: many\n"
    said = _mistakes(tmp_path, text)
    assert "has 3 mistakes" in said
    assert "line 5: 'train.epochs': input should be greater than or equal to 1, not -1" in said
    assert "line 6: unknown key 'train.optimiser'; did you mean 'train.optimizer'?" in said
    assert "line 7: 'train.batch'" in said


def test_unknown_keys_may_look_like_a_type(tmp_path: Path) -> None:
    """Pydantic names forms of a value so: 'tuple[float, float]'."""
    said = _mistakes(tmp_path, "name: a\ndata: {source: digits}\ntr[a]in: 1\ntrain: {'list[int]': 2}\n")
    assert "line 3: unknown key 'tr[a]in'; did you mean 'train'?" in said
    assert "line 4: unknown key 'train.list[int]'" in said


def test_missing_keys_twice_set_keys_and_no_yaml(tmp_path: Path) -> None:
    assert "'name' is missing" in _mistakes(tmp_path, "data: {source: digits}\n")
    said = _mistakes(tmp_path, "name: a\nname: b\ndata: {source: digits}\n")
    assert "sets 'name' twice, on line 1 and line 2" in said
    assert "not valid YAML" in _mistakes(tmp_path, "name: [")
    assert "should be a mapping" in _mistakes(tmp_path, "- just\n- a list\n")
    assert "should be a mapping" in _mistakes(tmp_path, "")


def test_scale_must_rise(tmp_path: Path) -> None:
    said = _mistakes(tmp_path, "name: a\ndata: {source: digits}\npreprocess:\n  scale: [1, -1]\n")
    assert "must be below the second" in said


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    said = _mistakes(tmp_path, "name: !!python/object/apply:os.system ['true']\n")
    assert "not valid YAML" in said


@pytest.mark.parametrize("setting", ["train.epochs", "=3", "name.x=3", "train.epochs=[", "nothing=1"])
def test_wrong_settings(setting: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe("digits", [setting])


def test_no_such_recipe() -> None:
    with pytest.raises(RecipeError, match="There is no recipe 'digitz'"):
        load_recipe("digitz")
