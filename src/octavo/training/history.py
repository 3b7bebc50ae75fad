"""What happened in a training, epoch by epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class History:
    """What happened in training.

    Args:
        epochs: One row an epoch: loss, accuracy, validation loss and accuracy, learning rate, seconds.
        parameters: How many numbers the network has, and how many of them trained.
        best_epoch: The epoch whose weights were kept, where validation images chose.
        seconds: Of all epochs and of what belongs to them, such as re-estimating batch norms.
        images_per_second: Trained in the last epoch, its validation included in the time.
        resumed: How often training was taken up again.
        peak_rate: The peak learning rate, where it was searched for.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, int] = field(default_factory=dict)
    best_epoch: int | None = None
    seconds: float = 0.0
    images_per_second: float = 0.0
    resumed: int = 0
    peak_rate: float | None = None

    def add(self, row: dict[str, Any], images: int) -> None:
        """Takes in an epoch and how many images it trained on."""
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


def line(row: dict[str, Any], epochs: int) -> str:
    """An epoch's row for people."""
    text = f"epoch {row['epoch']} of {epochs}, loss {row['loss']:.4f}"
    if row["accuracy"] is not None:
        text += f", accuracy {row['accuracy']:.2%}"
    if row["val_accuracy"] is not None:
        text += f", validation {row['val_accuracy']:.2%}"
    return f"{text}, {row['seconds']:.0f} s"
