"""The recipe of a run with a user's own images, and with their model if they have one, made of options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from octavo.base.address import stem
from octavo.base.errors import RecipeError
from octavo.recipe.options import Inputs
from octavo.recipe.schema import Recipe, recipe_of


def own_recipe(
    model: Path | None,
    inputs: Inputs,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Sequence[str] | None = None,
) -> Recipe:
    """Makes a recipe in which only the given options are set.

    Args:
        model: A trained model, or None to train a float baseline.
        inputs: The images, how many of them calibrate, the seed, the preprocessing, and the task.
        sections: More keys, by section: ``{"quantize": {"method": "qat"}}``.
        settings: ``key=value`` texts, as for `octavo.load_recipe`.

    Raises:
        RecipeError: An option is not one that a recipe can have.

    Example:
        >>> made = own_recipe(Path("model.keras"), Inputs("photos", scale=(0, 255)), {"quantize": {"method": "qat"}})
        >>> made.name, made.preprocess, made.quantize
        ('model', PreprocessRecipe(scale=(0.0, 255.0)), QuantizeRecipe(method='qat'))
    """
    if inputs.path is None:
        raise RecipeError("There are no images without a path.", "Set `data` to a folder, an archive or an .npz.")
    if inputs.size is not None and inputs.size[0] != inputs.size[1]:
        raise RecipeError(f"A run takes square images, and `size` is {inputs.size[0]} x {inputs.size[1]}.")
    source = model if model is not None else inputs.path
    value: dict[str, Any] = {
        "name": stem(source) or "run",
        "seed": inputs.seed or None,
        "data": {"path": inputs.path},
        "model": _set(path=model, signature=inputs.signature, labels=inputs.labels),
        "preprocess": _set(
            size=None if inputs.size is None else inputs.size[0],
            scale=inputs.scale,
            interpolation=inputs.interpolation,
            channels=inputs.channels,
            window_step=inputs.window_step,
        ),
        "calibrate": _set(images=inputs.images),
        "evaluate": _set(task=inputs.task, output=inputs.output),
    }
    for name, keys in (sections or {}).items():
        value[name] = {**value.get(name, {}), **keys}
    chosen = {name: part for name, part in value.items() if part not in (None, {})}
    return recipe_of(chosen, settings or [], f"the recipe of '{source}'")


def _set(**given: Any) -> dict[str, Any]:
    """What is not None."""
    return {name: value for name, value in given.items() if value is not None}
