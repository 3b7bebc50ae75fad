"""`octavo recipes`: the built-in recipes."""

from __future__ import annotations

from octavo.recipe.schema import load_recipe, names


def recipes() -> dict[str, str]:
    """The titles of the built-in recipes by their names.

    Example:
        >>> recipes()["digits"]
        'Handwritten digits, bundled with scikit-learn'
    """
    return {name: load_recipe(name).title for name in names()}
