"""The network: a backbone with a new classifier, and the choice of the layers that train."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from octavo.base.backend import load
from octavo.base.errors import ModelError, RecipeError
from octavo.recipe.schema import LITE, MOBILENET, ModelRecipe, TrainRecipe
from octavo.training.baseline import efficientnet_lite
from octavo.training.baseline.architectures import application, of_function

CLASSIFIER = "classifier"
# The smallest width and height that keras.applications allows.
SMALLEST = 32


def build(recipe: ModelRecipe, input_shape: tuple[int, int, int], classes: int, seed: int) -> Any:
    """A classifier with a known backbone, with ImageNet weights or without; or that of a Python function.

    Args:
        recipe: The network.
        input_shape: Height, width and channels.
        classes: The number of classes.
        seed: Of the initial weights.

    Returns:
        A `keras.Model` from ``(N, height, width, channels)`` to ``(N, classes)`` probabilities.

    Raises:
        ModelError: The weights cannot be downloaded, read, or are not this network's.
        RecipeError: The input is too small, or has channels that the weights do not.
    """
    keras = load("keras")
    if ":" in recipe.architecture:
        keras.utils.set_random_seed(seed)
        return of_function(recipe.architecture, input_shape, classes)
    if min(input_shape[:2]) < SMALLEST and recipe.architecture == MOBILENET:
        raise RecipeError(
            f"MobileNetV2 takes images of at least {SMALLEST} pixels, but the input has {min(input_shape[:2])}.",
            f"Set preprocess.size to {SMALLEST} or more; smaller images are enlarged to it.",
        )
    keras.utils.set_random_seed(seed)
    backbone = _backbone(keras, recipe, input_shape)
    features = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    if recipe.dropout:
        features = keras.layers.Dropout(recipe.dropout, seed=seed, name="dropout")(features)
    outputs = keras.layers.Dense(classes, activation="softmax", name=CLASSIFIER)(features)
    return keras.Model(backbone.input, outputs, name=recipe.architecture.rpartition(".")[2].lower())


def _backbone(keras: Any, recipe: ModelRecipe, input_shape: tuple[int, int, int]) -> Any:
    def make(top: bool, weights: str | None = None) -> Any:
        if recipe.architecture == MOBILENET:
            return keras.applications.MobileNetV2(
                input_shape=input_shape, alpha=recipe.alpha, include_top=top, weights=weights
            )
        if recipe.architecture.startswith(LITE):
            return efficientnet_lite.backbone(recipe.architecture, input_shape, top)
        network = application(recipe.architecture)
        try:
            return network(input_shape=input_shape, include_top=top, weights=weights)
        except ValueError as error:
            raise RecipeError(f"{recipe.architecture} cannot be made: {_first_line(error)}") from error

    if recipe.weights is not None and input_shape[2] != 3:
        raise RecipeError(
            f"ImageNet weights are for 3 colour channels, but the input has {input_shape[2]}.",
            "Set preprocess.channels to rgb, or model.weights to null.",
        )
    if recipe.weights == "imagenet" and recipe.architecture.startswith(LITE):
        raise RecipeError(
            f"Keras has no ImageNet weights of {recipe.architecture}.",
            "Set `weights` (`model.weights` in a recipe) to a .weights.h5 file; docs/runs.md says how to make it.",
        )
    if recipe.weights is None:
        backbone = make(top=False)
    elif recipe.weights == "imagenet":
        try:
            # Keras tells of its download on standard output, which belongs to results.
            with contextlib.redirect_stdout(sys.stderr):
                backbone = make(top=False, weights="imagenet")
        except RecipeError:
            raise
        except Exception as error:  # whatever urllib, ssl or Keras' own cache raise
            raise ModelError(
                f"Keras could not download the ImageNet weights: {_first_line(error)}.",
                "Download them elsewhere and set `weights` (`model.weights` in a recipe) to their path, or to null.",
            ) from error
    else:
        backbone = _loaded(make, Path(recipe.weights).expanduser())
    return backbone if recipe.output_stride == 32 else _finer(keras, backbone, recipe.output_stride)


def _loaded(make: Any, path: Path) -> Any:
    """A backbone with weights from a file, which may hold the 1000-class top as well."""
    if not path.is_file():
        raise ModelError(f"There is no file '{path}'.", "Give the path of a .weights.h5 file of the network.")
    problems = []
    for top in (False, True):
        try:
            made = make(top)
            made.load_weights(path)
        except Exception as error:  # h5py and Keras raise many kinds for a wrong file
            problems.append(_first_line(error))
            continue
        if not top:
            return made
        bare = make(False)
        bare.set_weights(made.get_weights()[: len(bare.get_weights())])
        return bare
    raise ModelError(
        f"'{path}' does not hold the weights of this network: {problems[0]}",
        "Give the .weights.h5 file that Keras writes for the same network (and alpha), with or without its 1000-class "
        "top.",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _finer(keras: Any, backbone: Any, stride: int) -> Any:
    """The same layers and weights, without the first down-samplings, so that the output stride is the one given."""
    halvings = [layer.name for layer in backbone.layers if getattr(layer, "strides", (1, 1)) == (2, 2)]
    kept = halvings[: {16: 1, 8: 2}[stride]]

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if layer.name in kept:
            config["strides"] = (1, 1)
        if any(layer.name == f"{name.removesuffix('depthwise')}pad" for name in kept):
            # Padding for a stride of 2 is asymmetric; without the stride it is one pixel on every side.
            config["padding"] = ((1, 1), (1, 1))
        return type(layer).from_config(config)

    finer = keras.models.clone_model(backbone, clone_function=clone)
    finer.set_weights(backbone.get_weights())
    return finer


def backbone_layers(model: Any) -> Iterator[Any]:
    """The layers before pooling."""
    for layer in model.layers:
        if layer.name == "pool":
            return
        yield layer


def block(layer: Any) -> int:
    """The block a backbone layer is in: 0 for the stem, 1 to 16 for the bottlenecks, 17 for the last convolution."""
    name = str(layer.name)
    if name.startswith("block_"):
        return int(name.split("_")[1])
    if name.startswith("expanded_conv"):
        return 0
    return 17 if name.startswith(("Conv_1", "out_relu")) else 0


def freeze(model: Any, recipe: TrainRecipe, epoch: int) -> None:
    """Sets which layers train in an epoch, and whether batch norms update their statistics.

    Raises:
        RecipeError: `train.unfreeze_from` names no layer.
    """
    keras = load("keras")
    layers = list(backbone_layers(model))
    names = [layer.name for layer in layers]
    first = recipe.unfreeze_from
    if first is not None and first != "head" and first not in names:
        close = difflib.get_close_matches(first, names, n=3)
        raise RecipeError(
            f"train.unfreeze_from: the network has no layer '{first}'.",
            f"Did you mean {' or '.join(close)}?" if close else f"Its layers run from {names[1]} to {names[-1]}.",
        )
    head_only = first == "head" or epoch < recipe.gradual_unfreezing
    start = len(names) if head_only else (names.index(first) if first is not None else 0)
    for place, layer in enumerate(layers):
        # A frozen batch norm normalizes with its stored statistics, also in training.
        norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = place >= start and not (norm and recipe.batch_norm == "frozen")
        if norm and recipe.batch_norm_momentum is not None:
            layer.momentum = recipe.batch_norm_momentum
