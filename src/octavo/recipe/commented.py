"""A recipe as YAML with comments: what is set, and every other key with its meaning and its default, commented out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from octavo.recipe.keyed import Section
from octavo.recipe.schema import ModelRecipe, Recipe

_WIDTH = 100
_HEAD = """\
# A recipe of Octavo. Run it with: octavo run THIS_FILE
# A key behind a # without a space has its default: to change it, remove the #, also before its section's name.
# Paths are relative to the folder in which octavo runs. docs/recipes.md lists all keys and choices.
"""
# Keys that no recipe of this kind may have, or that say nothing in it.
_OF_TRAINING = {f"model.{name}" for name in ModelRecipe.model_fields} - {
    "model.path",
    "model.signature",
    "model.labels",
}
_OF_TRAINING |= {"train", "quantize.path"}
_OF_OWN_MODELS = {"model.path", "model.signature", "model.labels", "quantize.path"}
# Sections that mean something else where the model is the user's.
_ABOUT_OWN = {
    "preprocess": "How an image becomes the model's input. A key that is not set comes from the model's sidecar, else "
    "from its TFLite metadata; the default below is the last resort.",
    "model": "The trained model.",
}


def commented(recipe: Recipe) -> str:
    """A recipe as YAML text with comments.

    Args:
        recipe: The recipe. What was set in it is written, also where it is the default.

    Returns:
        The text; read as YAML it is the recipe.

    Example:
        >>> from octavo.recipe.schema import DataRecipe
        >>> text = commented(Recipe(name="mine", data=DataRecipe(path="photos")))
        >>> [line for line in text.splitlines() if "path:" in line or "epochs:" in line]
        ['  path: photos', '  #epochs: 5', '  #epochs: 2']
    """
    own = recipe.model.path is not None
    hidden, notes = (_OF_TRAINING, _ABOUT_OWN) if own else (_OF_OWN_MODELS, {})
    lines = _keys(recipe, hidden, notes, "", set(recipe.model_fields_set))
    return _HEAD + "\n".join(lines).rstrip("\n") + "\n"


def _keys(section: Section, hidden: set[str], notes: Mapping[str, str], prefix: str, given: set[str]) -> Iterator[str]:
    """The lines of a section's keys; those that are not in `given` are commented out."""
    pad = "  " * prefix.count(".")
    values = section.model_dump(mode="json")
    for key, field in type(section).model_fields.items():
        if f"{prefix}{key}" in hidden:
            continue
        inner, said = getattr(section, key), key in given
        about = str(field.description)
        if not isinstance(inner, Section):
            yield from _comment(about, pad)
            yield f"{pad}{'' if said else '#'}{key}: {_flow(values[key])}"
            continue
        set_inside = inner.model_fields_set if said else set()
        yield from ([] if prefix else [""])
        yield from _comment(about if prefix else notes.get(key, str(type(inner).__doc__)), pad)
        # A section whose keys are all commented out would be null.
        yield f"{pad}{'' if set_inside else '#'}{key}:"
        yield from _keys(inner, hidden, notes, f"{prefix}{key}.", set_inside)


def _comment(text: str, pad: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), _WIDTH - len(pad) - 2):
        yield f"{pad}# {line}"


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    # Of a list, since a document that is a scalar ends in dots.
    return yaml.safe_dump([value], default_flow_style=True, width=float("inf"), allow_unicode=True).strip()[1:-1]
