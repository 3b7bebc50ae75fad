"""The plan of a sweep: which recipes its trials run, how values are chosen, and what makes a trial better."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from octavo.base.artefact import Artefact
from octavo.base.errors import RecipeError
from octavo.recipe.axes import Range, Values, named, settings
from octavo.recipe.schema import Recipe, recipe_of

Objective = Literal["score", "bytes", "median_ms", "arena"]
Sampler = Literal["tpe", "random", "qmc", "nsga2", "gp"]
Pruner = Literal["none", "median", "hyperband", "halving"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)
SAMPLERS: tuple[str, ...] = get_args(Sampler)
PRUNERS: tuple[str, ...] = get_args(Pruner)
JOURNAL = "study.journal"


class Plan(Artefact):
    """The plan of a sweep, in its folder; `octavo worker` needs nothing else.

    Args:
        recipe: The recipe that every trial starts from: all that it sets.
        title: What that recipe is, for messages.
        start: The folder from which relative paths in recipes count.
        axes: The keys that vary.
        trials: How many trials there are.
        sampler: Optuna's sampler, which draws the values of a search; None where all combinations are tried.
        pruner: Optuna's pruner, which stops trials that promise little.
        objectives: What a search improves: the score, or also costs.
        limits: The largest acceptable costs, by name.
        storage: Where Optuna keeps the study: an address, or the name of a journal file in this folder.
        study: The name of the study there.
    """

    file = "plan.json"
    what = "the plan of a sweep"
    remedy = "Set `out` to another folder, or move this one."

    recipe: dict[str, Any]
    title: str
    start: str
    axes: list[Values | Range]
    trials: int
    sampler: Sampler | None
    pruner: Pruner
    objectives: list[Objective]
    limits: dict[str, float]
    storage: str
    study: str

    def combinations(self) -> Iterator[dict[str, str]]:
        """All combinations of the values, where every axis has a list of them."""
        lists = [axis.texts for axis in self.axes if isinstance(axis, Values)]
        for texts in itertools.product(*lists):
            yield {axis.key: text for axis, text in zip(self.axes, texts, strict=True)}

    def ends(self) -> Iterator[dict[str, object]]:
        """The choices in which one axis has one of its values, or an end of its range, and the others their first."""
        every = [axis.texts if isinstance(axis, Values) else axis.ends for axis in self.axes]
        first = {axis.key: values[0] for axis, values in zip(self.axes, every, strict=True)}
        yield dict(first)
        for axis, values in zip(self.axes, every, strict=True):
            for value in values[1:]:
                yield {**first, axis.key: value}

    def recipe_of(self, values: Mapping[str, object]) -> Recipe:
        """The recipe of one trial.

        Args:
            values: A value for every axis, by key: text as in YAML, or a number.

        Raises:
            RecipeError: A key is unknown, or its value is wrong.
        """
        return _anchored(recipe_of(copy.deepcopy(self.recipe), settings(values), self.title), Path(self.start))

    def folder_of(self, place: int) -> str:
        """The name of a trial's run directory."""
        return f"trial-{place:03}"

    def name_of(self, values: Mapping[str, object]) -> str:
        """The name of a trial: its values."""
        return named({axis.key: values[axis.key] for axis in self.axes if axis.key in values})

    def check(self) -> None:
        """Reads the recipes that the trials can have, before any of them runs.

        Raises:
            RecipeError: One of them cannot be.
        """
        for values in self.ends() if self.sampler else self.combinations():
            if not self.recipe_of(values).data.validation and (self.sampler is not None or self.pruner != "none"):
                raise RecipeError(
                    "Searches and pruners choose between trials on validation images, and the recipe has none: test "
                    "images choose nothing.",
                    "Set data.validation to a number of images.",
                )
        if self.pruner != "none":
            if len(self.objectives) > 1:
                raise RecipeError(
                    "A pruner compares one figure, and there are several objectives.", "Leave one of them out."
                )
            first = self.recipe_of(next(self.ends()))
            if first.model.path is not None and first.quantize.method == "ptq":
                raise RecipeError(
                    "A pruner compares trials epoch by epoch, and these train nothing.", "Leave out `pruner`."
                )


def located(storage: str | None) -> str | None:
    """The address of a storage, in which a path does not depend on the current folder.

    Example:
        >>> located("sqlite:////tmp/study.db"), located("grpc://host:13000"), located(None)
        ('sqlite:////tmp/study.db', 'grpc://host:13000', None)
    """
    if storage is None:
        return None
    kind, is_address, path = storage.partition(":///")
    if is_address and kind.startswith("sqlite"):
        return f"{kind}:///{Path(path).absolute()}"
    return storage if "://" in storage else str(Path(storage).absolute())


def _anchored(recipe: Recipe, start: Path) -> Recipe:
    """A recipe whose paths do not depend on the current folder."""
    changes: dict[str, dict[str, Any]] = {}
    for key, path in recipe.files.items():
        if isinstance(path, Path):
            section, name = key.split(".")
            place = start / path.expanduser()
            changes.setdefault(section, {})[name] = str(place) if key == "model.weights" else place
    parts = {section: getattr(recipe, section).model_copy(update=update) for section, update in changes.items()}
    return recipe.model_copy(update=parts)
