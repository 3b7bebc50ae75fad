"""Axes: the keys of a recipe that a sweep varies, each over a list of values or over a range."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import yaml

from octavo.base.artefact import Part
from octavo.base.border import parse_yaml
from octavo.base.errors import OctavoError, RecipeError

_WHOLE = r"[-+]?\d+"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER}):({_NUMBER})(?::(log|{_NUMBER}))?\s*")


class Values(Part):
    """A key with several values.

    Args:
        key: The key, dotted.
        texts: The values, as in YAML.
    """

    key: str
    texts: tuple[str, ...]


class Range(Part):
    """A key with a range of numbers, from which a search draws.

    Args:
        key: The key, dotted.
        low: The lowest value.
        high: The highest value.
        log: Whether the logarithm is drawn evenly.
        step: The distance between values; None if any number between the ends is one.
        whole: Whether the values are whole numbers.
    """

    key: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def ends(self) -> tuple[float, ...]:
        """The lowest and the highest value."""
        return tuple(int(end) if self.whole else end for end in (self.low, self.high))


def divided(given: Sequence[str]) -> tuple[list[str], list[Values | Range]]:
    """The settings with one value each, and the axes.

    A list of values has commas outside of brackets and quotes: `a,b` is two values, `[0,1]` is one. A range is
    ``low:high``, ``low:high:log`` or ``low:high:step``. A later setting of a key replaces an earlier one.

    Args:
        given: ``key=value`` texts.

    Raises:
        RecipeError: The ends of a range are in the wrong order, or no logarithm or step fits between them.

    Example:
        >>> single, axes = divided(["train.epochs=3", "preprocess.scale=[0,1],[-1,1]", "train.batch=8:64:log"])
        >>> single, axes[0].texts, (axes[1].low, axes[1].high, axes[1].log, axes[1].whole)
        (['train.epochs=3'], ('[0,1]', '[-1,1]'), (8.0, 64.0, True, True))
    """
    single: dict[str, str] = {}
    axes: dict[str, Values | Range] = {}
    for setting in given:
        key, _, text = setting.partition("=")
        key = key.strip()
        single.pop(key, None)
        axes.pop(key, None)
        if (found := _range(setting, key, text)) is not None:
            axes[key] = found
        elif len(texts := tuple(dict.fromkeys(_items(text)))) > 1:
            axes[key] = Values(key=key, texts=texts)
        else:
            single[key] = f"{key}={texts[0]}" if _items(text)[1:] else setting
    return list(single.values()), list(axes.values())


def _range(setting: str, key: str, text: str) -> Range | None:
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    low, high, how = float(found[1]), float(found[2]), found[3]
    step = float(how) if how not in (None, "log") else None
    if low >= high:
        raise RecipeError(f"'{setting}' is no range: {found[1]} is not below {found[2]}.")
    if how == "log" and low <= 0:
        raise RecipeError(f"'{setting}': a logarithmic range starts above 0.")
    if step is not None and not 0 < step <= high - low:
        raise RecipeError(f"'{setting}': a step is above 0, and at most {high - low:g} here.")
    whole = all(re.fullmatch(_WHOLE, part) for part in (found[1], found[2], how) if part not in (None, "log"))
    return Range(key=key, low=low, high=high, log=how == "log", step=step, whole=whole)


def _items(text: str) -> list[str]:
    """The values of a list without its brackets, as they are written; one value if the text is no list."""
    listed = f"[{text}]"
    try:
        _, root = parse_yaml(listed)
    except (OctavoError, yaml.YAMLError):
        # Whatever it is, whoever reads the setting names the mistake.
        return [text]
    nodes = root.value if isinstance(root, yaml.SequenceNode) else []
    # A value such as ``a] [b`` would end the list early.
    if not isinstance(root, yaml.SequenceNode) or root.end_mark.index != len(listed) or len(nodes) < 2:
        return [text]
    return [listed[node.start_mark.index : node.end_mark.index].strip() for node in nodes]


def settings(values: Mapping[str, object]) -> list[str]:
    """A choice of values as ``key=value`` texts.

    Example:
        >>> settings({"preprocess.scale": "[0, 1]", "train.learning_rate": 1e-05})
        ['preprocess.scale=[0, 1]', 'train.learning_rate=1e-05']
    """
    return [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]


def named(values: Mapping[str, object]) -> str:
    """The name of a choice of values, in which keys are as short as they can be.

    Example:
        >>> named({"preprocess.size": "96", "train.learning_rate": 0.0123456})
        'size 96, learning_rate 0.0123'
        >>> named({"train.epochs": "3", "qat.epochs": "2"})
        'train.epochs 3, qat.epochs 2'
    """
    last = {key: key.rpartition(".")[2] for key in values}
    short = {key: name if list(last.values()).count(name) == 1 else key for key, name in last.items()}
    return ", ".join(
        f"{short[key]} {f'{value:.3g}' if isinstance(value, float) else value}" for key, value in values.items()
    )
