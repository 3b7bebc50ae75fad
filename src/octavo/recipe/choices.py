"""What a recipe chooses among by name: observers and tuning passes. One entry each, which all lists of them show.

An entry is words, and the place of what it stands for. That is imported when it is first used, so that recipes, help
and reports can name everything and load nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """One thing that can be chosen.

    Args:
        title: What reports call it.
        about: What it does, in half a sentence, for help and documents.
        source: Where it was published; empty where it needs no source.
        where: Its module below `octavo`, and its name there.
    """

    title: str
    about: str
    source: str
    where: str


OBSERVERS: Mapping[str, Choice] = {
    "minmax": Choice(
        title="min-max observer",
        about="keeps every value seen",
        source="",
        where="quantization.minmax:MINMAX",
    ),
    "percentile": Choice(
        title="99.99% percentile observer",
        about="cuts off 0.005% of the values at each end",
        source="Wu et al. 2020, arXiv 2004.09602, section 5",
        where="quantization.percentile:PERCENTILE",
    ),
    "mse": Choice(
        title="least-squared-error observer",
        about="has the least squared error of clipping and rounding together",
        source="Banner et al. 2019, arXiv 1810.05723, section 3",
        where="quantization.least_error:MSE",
    ),
    "mae": Choice(
        title="least-absolute-error observer",
        about="has the least absolute error of clipping and rounding together",
        source="Banner et al. 2019, arXiv 1810.05723, section 3",
        where="quantization.least_error:MAE",
    ),
    "entropy": Choice(
        title="entropy (KL) observer",
        about="has the least Kullback-Leibler divergence from the values",
        source="Migacz, GTC 2017, slides 29 to 38",
        where="quantization.entropy:ENTROPY",
    ),
}

PASSES: Mapping[str, Choice] = {
    "equalize": Choice(
        title="Cross-layer equalization",
        about="scales channels that share a range, so that it suits them alike",
        source="Nagel et al. 2019, arXiv 1906.04721, section 4.1",
        where="tuning.equalize:equalize",
    ),
    "bias": Choice(
        title="Bias correction",
        about="corrects biases for what rounded weights shift on average",
        source="Nagel et al. 2019, arXiv 1906.04721, section 4.2",
        where="tuning.bias_correction:correct_biases",
    ),
    "compensate": Choice(
        title="Compensated rounding",
        about="rounds weights so that outputs, not weights, come out nearest",
        source="objective of Nagel et al. 2020, arXiv 2004.10568; order of Frantar et al. 2022, arXiv 2210.17323",
        where="tuning.compensate:compensate",
    ),
    "adaround": Choice(
        title="Learned rounding (AdaRound)",
        about="learns whether to round each weight up or down, which takes minutes and suits 4 bits",
        source="Nagel et al. 2020, arXiv 2004.10568",
        where="tuning.adaround:adaround",
    ),
}

# The names as types: what a recipe and the command line accept.
if TYPE_CHECKING:
    ObserverName = str
    PassName = str
else:
    ObserverName = Literal[tuple(OBSERVERS)]
    PassName = Literal[tuple(PASSES)]


def explained(choices: Mapping[str, Choice], mark: str = "") -> str:
    """All names of some choices, each with what it does, for a line of help.

    Args:
        choices: The choices.
        mark: Set around every name, such as a backtick.

    Example:
        >>> explained({name: OBSERVERS[name] for name in ("minmax", "percentile")})
        'minmax: keeps every value seen; percentile: cuts off 0.005% of the values at each end'
    """
    return "; ".join(f"{mark}{name}{mark}: {choice.about}" for name, choice in choices.items())


def titled(choices: Mapping[str, Choice], name: str) -> str:
    """What reports call a choice; its name, where another version of Octavo wrote one that is none today.

    Example:
        >>> titled(OBSERVERS, "minmax"), titled(OBSERVERS, "former")
        ('min-max observer', 'former')
    """
    return choices[name].title if name in choices else name


class Loaded(Mapping[str, T], Generic[T]):
    """What some choices stand for, by name, each imported when it is first asked for.

    Args:
        choices: The choices.
    """

    def __init__(self, choices: Mapping[str, Choice]) -> None:
        self._choices = choices

    def __getitem__(self, name: str) -> T:
        module, _, attribute = self._choices[name].where.partition(":")
        found: T = getattr(import_module(f"octavo.{module}"), attribute)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)
