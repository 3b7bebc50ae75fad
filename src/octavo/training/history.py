"""The history of a training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pydantic import model_validator

from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.base.artefact import Artefact, Part
from octavo.base.metric import Metric
from octavo.quantization.ranges import TensorRanges

# Called after every epoch, once it can be resumed from: what is trained, and the epoch's row of the history.
Watch = Callable[[str, Mapping[str, Any]], None]


def unwatched(title: str, row: Mapping[str, Any]) -> None:
    """A `Watch` that does nothing."""


@dataclass
class History:
    """The history of a training.

    Args:
        epochs: One row per epoch, with the fields of `Epoch`.
        parameters: How many numbers the network has, and how many of them trained.
        best_epoch: The epoch whose weights were kept; None without validation images.
        seconds: The time of all epochs, including work such as re-estimating batch norms.
        images_per_second: Training images per second in the last epoch, including the time of validation.
        resumed: How often the training was resumed.
        peak_rate: The peak learning rate, if it was found by search.
        metric: What the validation images are scored by.
        labelled: Whether the task says what the outputs should be. If not, the float model alone taught them.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, int] = field(default_factory=dict)
    best_epoch: int | None = None
    seconds: float = 0.0
    images_per_second: float = 0.0
    resumed: int = 0
    peak_rate: float | None = None
    metric: Metric = SingleLabelScores.metric
    labelled: bool = True

    def add(self, row: dict[str, Any], images: int) -> None:
        """Adds an epoch and how many images it trained on."""
        self.epochs.append(row)
        self.seconds += row["seconds"]
        self.images_per_second = round(images / row["seconds"], 1)

    @property
    def last_is_best(self) -> bool:
        """Whether the last epoch is better on the validation images than all before it.

        By the score, in the direction of its metric; by the loss if an epoch has no score.
        """
        values, higher = [row["val_score"] for row in self.epochs], self.metric.higher
        if None in values:
            values, higher = [row["val_loss"] for row in self.epochs], False
        if None in values:
            return False
        *before, last = values
        return all(last > value if higher else last < value for value in before)

    def to_json(self) -> dict[str, Any]:
        """The history as a JSON value."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**value, "metric": Metric(**value["metric"])})


class Epoch(Part):
    """One pass over the training images.

    Args:
        epoch: Its number, from 1.
        loss: Mean loss on the training images.
        accuracy: On the training images, as trained; None for other tasks than one class per image.
        val_loss: Mean loss on the validation images; None where there are none.
        val_accuracy: On the validation images; None where there are none, and for other tasks.
        val_score: The task's score on the validation images; None where it is not known.
        learning_rate: In its last step.
        seconds: How long it took.
    """

    epoch: int
    loss: float
    accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    val_score: float | None
    learning_rate: float
    seconds: float


class TrainingRecord(Artefact):
    """The training of the float control.

    Args:
        epochs: One row per epoch.
        parameters: How many numbers the network has (`total`), and how many of them trained (`trainable`).
        best_epoch: The epoch whose weights were kept; None without validation images.
        seconds: The time of all epochs, including work such as re-estimating batch norms.
        images_per_second: Training images per second in the last epoch, including the time of validation.
        resumed: How often the training was resumed.
        peak_rate: The peak learning rate, if it was found by search.
        metric: What `val_score` is, by which the best epoch was chosen.
        labelled: Whether the task says what the outputs should be. If not, the float model alone taught them.
    """

    file = "control.json"
    what = "the history of a training"
    version = 2

    epochs: list[Epoch]
    parameters: dict[str, int]
    best_epoch: int | None
    seconds: float
    images_per_second: float
    resumed: int
    peak_rate: float | None
    metric: Metric
    labelled: bool

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if self.parameters and not {"total", "trainable"} <= self.parameters.keys():
            raise ValueError("the parameters have no total, or no trainable ones")
        return self

    @classmethod
    def of(cls, history: History, **more: Any) -> Self:
        """The record of a training.

        Args:
            history: The history.
            more: The fields that this record has beyond those of the history.
        """
        return cls.model_validate({**history.to_json(), **more})


class KerasBytes(Part):
    """Bytes of the `.keras` file.

    Args:
        keras_with_optimizer: With the optimizer's state.
        keras: Without it.
    """

    keras_with_optimizer: int
    keras: int


class BaselineRecord(TrainingRecord):
    """The training of the float baseline.

    Args:
        bytes: Of the `.keras` file.
    """

    file = "history.json"

    bytes: KerasBytes


class QatRecord(TrainingRecord):
    """The quantization-aware training.

    Args:
        ranges: The ranges that it learned.
    """

    file = "qat.json"
    version = 3

    ranges: TensorRanges


def line(row: dict[str, Any], epochs: int, metric: Metric = SingleLabelScores.metric) -> str:
    """An epoch's row as text."""
    text = f"epoch {row['epoch']} of {epochs}, loss {row['loss']:.4f}"
    if row["accuracy"] is not None:
        text += f", accuracy {row['accuracy']:.2%}"
    if row["val_accuracy"] is not None:
        text += f", validation {row['val_accuracy']:.2%}"
    elif row["val_score"] is not None:
        text += f", validation {metric.title} {metric.text(row['val_score'])}"
    elif row["val_loss"] is not None:
        text += f", validation loss {row['val_loss']:.4f}"
    return f"{text}, {row['seconds']:.0f} s"
