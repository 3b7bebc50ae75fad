"""The history of a training, epoch by epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from octavo.base.artefact import Artefact, Part
from octavo.quantization.ranges import TensorRanges


@dataclass
class History:
    """The history of a training.

    Args:
        epochs: One row per epoch: loss, accuracy, validation loss and accuracy, learning rate, seconds.
        parameters: How many numbers the network has, and how many of them trained.
        best_epoch: The epoch whose weights were kept; None without validation images.
        seconds: The time of all epochs, including work such as re-estimating batch norms.
        images_per_second: Training images per second in the last epoch, including the time of validation.
        resumed: How often the training was resumed.
        peak_rate: The peak learning rate, if it was found by search.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, int] = field(default_factory=dict)
    best_epoch: int | None = None
    seconds: float = 0.0
    images_per_second: float = 0.0
    resumed: int = 0
    peak_rate: float | None = None

    def add(self, row: dict[str, Any], images: int) -> None:
        """Adds an epoch and how many images it trained on."""
        self.epochs.append(row)
        self.seconds += row["seconds"]
        self.images_per_second = round(images / row["seconds"], 1)

    @property
    def last_is_best(self) -> bool:
        """Whether the last epoch's validation accuracy is above that of all before it."""
        *before, last = [row["val_accuracy"] for row in self.epochs]
        return all(last > value for value in before)

    def to_json(self) -> dict[str, Any]:
        """The history as a JSON value."""
        return asdict(self)


class Epoch(Part):
    """One pass over the training images.

    Args:
        epoch: Its number, from 1.
        loss: Mean loss on the training images.
        accuracy: On the training images, as trained.
        val_loss: Mean loss on the validation images; None where there are none.
        val_accuracy: On the validation images; None where there are none.
        learning_rate: In its last step.
        seconds: How long it took.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None
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
    """

    file = "control.json"
    what = "the history of a training"

    epochs: list[Epoch]
    parameters: dict[str, int]
    best_epoch: int | None
    seconds: float
    images_per_second: float
    resumed: int
    peak_rate: float | None

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

    ranges: TensorRanges


def line(row: dict[str, Any], epochs: int) -> str:
    """An epoch's row as text."""
    text = f"epoch {row['epoch']} of {epochs}, loss {row['loss']:.4f}"
    if row["accuracy"] is not None:
        text += f", accuracy {row['accuracy']:.2%}"
    if row["val_accuracy"] is not None:
        text += f", validation {row['val_accuracy']:.2%}"
    return f"{text}, {row['seconds']:.0f} s"
