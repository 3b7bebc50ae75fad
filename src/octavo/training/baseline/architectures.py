"""Networks other than MobileNetV2: those of `keras.applications`, and those of a Python function."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from octavo.base.backend import load
from octavo.base.environment import function
from octavo.base.errors import ModelError, RecipeError
from octavo.data.dataset import OctavoWarning
from octavo.recipe.schema import APPLICATIONS

_PIXELS = (0.0, 255.0)


def application(name: str) -> Callable[..., Any]:
    """The function of `keras.applications` that makes a network.

    Args:
        name: Its name, with `APPLICATIONS` before it.

    Raises:
        RecipeError: There is none.
    """
    applications = load("keras").applications
    short = name.removeprefix(APPLICATIONS)
    names = [each for each in dir(applications) if each[0].isupper()]
    if short not in names:
        close = difflib.get_close_matches(short, names, n=3)
        raise RecipeError(
            f"model.architecture: keras.applications has no network '{short}'.",
            f"Did you mean {' or '.join(close)}?" if close else f"It has {', '.join(names)}.",
        )
    made: Callable[..., Any] = getattr(applications, short)
    return made


def check_scale(name: str, scale: tuple[float, float], pretrained: bool) -> None:
    """Refuses another scale of pixels than the one that a network was made for, where that is known.

    Keras' own `preprocess_input` of the network says which. A network that scales pixels itself takes them as they are.

    Raises:
        RecipeError: The scale is another one.

    Warns:
        OctavoWarning: Its weights were trained with a scale for each channel, which a recipe cannot have.
    """
    wanted = _scale(application(name))
    short = name.removeprefix(APPLICATIONS)
    if wanted is None:
        if pretrained:
            warnings.warn(
                f"The weights of {short} were trained on channels with different means, and this run scales all "
                f"channels to [{scale[0]:g}, {scale[1]:g}]: training must make up for it.",
                OctavoWarning,
                stacklevel=3,
            )
    elif scale != wanted and (pretrained or wanted == _PIXELS):
        raise RecipeError(
            f"{short} takes pixels scaled to [{wanted[0]:g}, {wanted[1]:g}], and preprocess.scale is "
            f"[{scale[0]:g}, {scale[1]:g}].",
            f"Set preprocess.scale to [{wanted[0]:g}, {wanted[1]:g}].",
        )


def _scale(network: Callable[..., Any]) -> tuple[float, float] | None:
    """The input values of pixels 0 and 255; None where they differ between channels."""
    ends = np.repeat(np.array(_PIXELS, np.float32), 3).reshape(1, 2, 1, 3)
    low, high = np.asarray(sys.modules[network.__module__].preprocess_input(ends.copy())).reshape(2, 3)
    same = np.ptp(low) == 0 and np.ptp(high) == 0
    return (float(low[0]), float(high[0])) if same else None


def of_function(name: str, input_shape: tuple[int, int, int], classes: int) -> Any:
    """A classifier that a function makes.

    Args:
        name: ``package.module:function``. It is called with the keywords `input_shape` and `classes`, and returns a
            `keras.Model` from ``(N, height, width, channels)`` to probabilities ``(N, classes)``.
        input_shape: Height, width and channels.
        classes: The number of classes.

    Raises:
        OctavoError: There is no such function in the environment.
        ModelError: It fails, or returns something else.
    """
    keras = load("keras")
    build = function(name)
    try:
        model = build(input_shape=input_shape, classes=classes)
    except Exception as error:  # the user's own code
        raise ModelError(
            f"'{name}' fails: {type(error).__name__}: {error}",
            f"It is called as build(input_shape={input_shape}, classes={classes}).",
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"'{name}' returns a {type(model).__name__}, and a keras.Model was expected.")
    shapes = (model.input_shape, model.output_shape)
    if shapes != ((None, *input_shape), (None, classes)):
        raise ModelError(
            f"The model of '{name}' goes from {shapes[0]} to {shapes[1]}, and from {(None, *input_shape)} to "
            f"{(None, classes)} was expected."
        )
    total = float(np.sum(model(np.zeros((1, *input_shape), np.float32), training=False)))
    if not np.isclose(total, 1.0, atol=1e-3):
        raise ModelError(
            f"The outputs of the model of '{name}' add up to {total:.3g}, and probabilities to 1.",
            "End it with a softmax.",
        )
    return model
