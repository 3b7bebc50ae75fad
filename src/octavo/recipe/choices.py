"""The choices of a recipe by name: observers, tuning passes, tasks, trackers. Help, documents and reports list them.

An entry holds texts and the place of its implementation. The implementation is imported on first use, so recipes, help
and reports can name everything without loading it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """One choice.

    Args:
        title: Its name in reports.
        about: What it does, in half a sentence, for help and documents.
        source: Where it was published; empty where it needs no source.
        where: Its module inside `octavo`, and its name there.
    """

    title: str
    about: str
    source: str
    where: str


OBSERVERS: Mapping[str, Choice] = {
    "minmax": Choice(
        title="min-max observer",
        about="from the smallest to the largest value",
        source="",
        where="quantization.minmax:MINMAX",
    ),
    "percentile": Choice(
        title="99.99% percentile observer",
        about="clips 0.005% of the values at each end",
        source="Wu et al. 2020, arXiv 2004.09602, section 5",
        where="quantization.percentile:PERCENTILE",
    ),
    "mse": Choice(
        title="least-squared-error observer",
        about="minimizes the squared error of clipping and rounding together",
        source="Banner et al. 2019, arXiv 1810.05723, section 3",
        where="quantization.least_error:MSE",
    ),
    "mae": Choice(
        title="least-absolute-error observer",
        about="minimizes the absolute error of clipping and rounding together",
        source="Banner et al. 2019, arXiv 1810.05723, section 3",
        where="quantization.least_error:MAE",
    ),
    "entropy": Choice(
        title="entropy (KL) observer",
        about="minimizes the Kullback-Leibler divergence from the values",
        source="Migacz, GTC 2017, slides 29 to 38",
        where="quantization.entropy:ENTROPY",
    ),
}

PASSES: Mapping[str, Choice] = {
    "equalize": Choice(
        title="Cross-layer equalization",
        about="scales channels that share a range, so that all of them use it well",
        source="Nagel et al. 2019, arXiv 1906.04721, section 4.1",
        where="tuning.equalize:EQUALIZE",
    ),
    "bias": Choice(
        title="Bias correction",
        about="corrects biases for the mean shift that rounded weights cause",
        source="Nagel et al. 2019, arXiv 1906.04721, section 4.2",
        where="tuning.bias_correction:BIAS",
    ),
    "compensate": Choice(
        title="Compensated rounding",
        about="rounds weights so that the error of the outputs, not of the weights, is small",
        source="objective of Nagel et al. 2020, arXiv 2004.10568; order of Frantar et al. 2022, arXiv 2210.17323",
        where="tuning.compensate:COMPENSATE",
    ),
    "adaround": Choice(
        title="Learned rounding (AdaRound)",
        about="learns whether to round each weight up or down, which takes minutes and suits 4 bits",
        source="Nagel et al. 2020, arXiv 2004.10568",
        where="tuning.adaround:ADAROUND",
    ),
}

TASKS: Mapping[str, Choice] = {
    "single-label": Choice(
        title="one class per sample",
        about="accuracy of one class per sample",
        source="",
        where="analysis.tasks.single_label:SingleLabel",
    ),
    "multi-label": Choice(
        title="any number of labels per sample",
        about="macro F1 of any number of labels per sample",
        source="",
        where="analysis.tasks.multi_label:MultiLabel",
    ),
    "regression": Choice(
        title="regression",
        about="mean absolute error of numbers",
        source="",
        where="analysis.tasks.regression:Regression",
    ),
    "segmentation": Choice(
        title="segmentation",
        about="mean intersection over union of a class for every pixel",
        source="Everingham et al. 2010, The Pascal Visual Object Classes Challenge, section 4",
        where="analysis.tasks.segmentation:Segmentation",
    ),
    "detection": Choice(
        title="detection",
        about="COCO's average precision of decoded boxes",
        source="Lin et al. 2014, Microsoft COCO, arXiv 1405.0312",
        where="analysis.tasks.detection:Detection",
    ),
    "anomaly": Choice(
        title="anomaly detection by reconstruction",
        about="area under the ROC of the error of an autoencoder",
        source="Banbury et al. 2021, MLPerf Tiny Benchmark, arXiv 2106.07597",
        where="analysis.tasks.anomaly:Anomaly",
    ),
    "outputs": Choice(
        title="outputs, not interpreted",
        about="SQNR of all outputs, without labels",
        source="",
        where="analysis.tasks.outputs:Outputs",
    ),
}

TRACKERS: Mapping[str, Choice] = {
    "tensorboard": Choice(
        title="TensorBoard",
        about="event files in the folder tensorboard of the run",
        source="",
        where="reports.tracking.tensorboard:write",
    ),
    "mlflow": Choice(
        title="MLflow",
        about="a run in the store of MLFLOW_TRACKING_URI, or else in mlflow.db in the current folder",
        source="",
        where="reports.tracking.mlflow:write",
    ),
}

# The names as types, for recipes and the command line.
if TYPE_CHECKING:
    ObserverName = str
    PassName = str
    TaskName = str
    TrackerName = str
else:
    TrackerName = Literal[tuple(TRACKERS)]
    TaskName = Literal[tuple(TASKS)]
    ObserverName = Literal[tuple(OBSERVERS)]
    PassName = Literal[tuple(PASSES)]


def explained(choices: Mapping[str, Choice], mark: str = "") -> str:
    """All names of some choices, each with what it does, for a line of help.

    Args:
        choices: The choices.
        mark: Set around every name, such as a backtick.

    Example:
        >>> explained({name: OBSERVERS[name] for name in ("minmax", "percentile")})
        'minmax: from the smallest to the largest value; percentile: clips 0.005% of the values at each end'
    """
    return "; ".join(f"{mark}{name}{mark}: {choice.about}" for name, choice in choices.items())


def titled(choices: Mapping[str, Choice], name: str) -> str:
    """The title of a choice; its name itself, if another version of Octavo wrote one that no longer exists.

    Example:
        >>> titled(OBSERVERS, "minmax"), titled(OBSERVERS, "former")
        ('min-max observer', 'former')
    """
    return choices[name].title if name in choices else name


class Loaded(Mapping[str, T], Generic[T]):
    """The implementations of some choices by name, each imported on first use.

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
