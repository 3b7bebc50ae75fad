"""`octavo recipes`: the built-in recipes."""

from __future__ import annotations

from octavo.recipe.schema import load_recipe, names


def recipes() -> dict[str, str]:
    """What the built-in recipes train, by their names.

    Example:
        >>> recipes()["digits"]
        'Handwritten digits, bundled with scikit-learn: all images, 64 pixels, 8 epochs'
    """
    return {name: load_recipe(name).summary for name in names()}
