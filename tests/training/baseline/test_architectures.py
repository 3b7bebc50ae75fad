"""Networks that a recipe can name: of Keras, and of a function of the user's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from octavo.base.errors import ModelError, OctavoError, RecipeError
from octavo.data.dataset import OctavoWarning
from octavo.recipe.schema import ModelRecipe, load_recipe
from octavo.training.baseline import build, check_scale
from octavo.training.baseline.network import backbone_layers

CODE = """
import keras

def network(input_shape, classes, end="softmax"):
    inputs = keras.Input(input_shape)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(classes, activation=end)(features))

def logits(input_shape, classes):
    return network(input_shape, classes, end=None)

def other(input_shape, classes):
    return network(input_shape, classes + 1)

def nothing(input_shape, classes):
    return None

def broken(input_shape, classes):
    raise KeyError("oh")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in a folder that is not the current one."""
    (tmp_path / "of_the_user.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "of_the_user", raising=False)
    return "of_the_user"


def test_a_network_of_keras() -> None:
    made = build(ModelRecipe(architecture="keras.applications.MobileNetV3Small"), (32, 32, 3), 5, seed=0)
    assert (made.input_shape, made.output_shape) == ((None, 32, 32, 3), (None, 5))
    assert [layer.name for layer in made.layers[-3:]] == ["pool", "dropout", "classifier"]
    assert made.name == "mobilenetv3small" and len(list(backbone_layers(made))) > 50
    with pytest.raises(RecipeError, match=r"no network 'EficientNetB0'.*EfficientNetB0"):
        build(ModelRecipe(architecture="keras.applications.EficientNetB0"), (32, 32, 3), 5, seed=0)
    with pytest.raises(RecipeError, match="cannot be made"):
        build(ModelRecipe(architecture="keras.applications.Xception"), (32, 32, 3), 5, seed=0)


def test_the_scale_is_the_networks() -> None:
    """Keras' own preprocessing says it: none for networks that scale pixels inside."""
    for name, scale in (("EfficientNetB0", (0.0, 255.0)), ("Xception", (-1.0, 1.0))):
        check_scale(f"keras.applications.{name}", scale, pretrained=True)
        with pytest.raises(RecipeError, match=r"preprocess\.scale to"):
            check_scale(f"keras.applications.{name}", (0.0, 2.0), pretrained=True)
    with pytest.warns(OctavoWarning, match="different means"):
        check_scale("keras.applications.DenseNet121", (0.0, 1.0), pretrained=True)
    check_scale("keras.applications.Xception", (0.0, 2.0), pretrained=False)
    with pytest.raises(RecipeError, match=r"\[0, 255\]"):
        check_scale("keras.applications.EfficientNetB0", (-1.0, 1.0), pretrained=False)


def test_a_network_of_a_function(module: str) -> None:
    recipe = ModelRecipe(architecture=f"{module}:network")
    first, same, other = (build(recipe, (8, 8, 3), 4, seed=seed) for seed in (0, 0, 1))
    assert first.output_shape == (None, 4)
    assert (first.get_weights()[0] == same.get_weights()[0]).all()
    assert (first.get_weights()[0] != other.get_weights()[0]).any()
    for name, why in (
        ("logits", "End it with a softmax"),
        ("other", r"to \(None, 5\), and .* to \(None, 4\) was expected"),
        ("nothing", "returns a NoneType"),
        ("broken", "fails: KeyError: 'oh'"),
    ):
        with pytest.raises(ModelError, match=why):
            build(ModelRecipe(architecture=f"{module}:{name}"), (8, 8, 3), 4, seed=0)
    with pytest.raises(OctavoError, match="no function 'missing'"):
        build(ModelRecipe(architecture=f"{module}:missing"), (8, 8, 3), 4, seed=0)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["model.architecture=resnet"], "model.architecture"),
        (["model.architecture=a.b:c", "model.weights=imagenet"], "a.b:c has no weights"),
        (["model.architecture=keras.applications.Xception", "model.alpha=0.5"], "has no alpha"),
        (["model.architecture=keras.applications.Xception", "train.layer_decay=0.9"], r"train\.layer_decay needs"),
        (["model.architecture=a.b:c", "train.unfreeze_from=head"], r"train\.unfreeze_from needs"),
    ],
)
def test_keys_that_the_network_does_not_have(settings: list[str], why: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\ndata: {source: digits}\n")
    with pytest.raises(RecipeError, match=why):
        load_recipe(tmp_path / "recipe.yaml", settings)
