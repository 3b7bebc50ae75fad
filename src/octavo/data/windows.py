"""Windows: pieces of a recording that is longer than a model's input, each as long as the input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy.typing as npt

from octavo.base.errors import DataError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Windows:
    """How recordings are cut for a model's input.

    A recording that is longer than the input is cut from its start on. What remains at its end is shorter than a window
    and left out. All other recordings stay whole, also those that have other axes than the input.

    Args:
        shape: The input's, without the batch axis. The first axis that is longer than 1 counts rows: those of a window.
        step: Rows from the start of a window to that of the next. Below `length`, windows overlap.

    Raises:
        ValueError: The input is one number, or the step is below 1.

    Example:
        >>> import numpy as np
        >>> [piece.tolist() for piece in Windows((3, 1), step=2).of(np.arange(8))]
        [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    """

    shape: tuple[int, ...]
    step: int

    def __post_init__(self) -> None:
        if not all(isinstance(side, int) and side >= 1 for side in self.shape) or math.prod(self.shape) < 2:
            raise ValueError(f"shape must be whole numbers of at least 1, and two or more values, not {self.shape}")
        if not isinstance(self.step, int) or self.step < 1:
            raise ValueError(f"step must be a whole number of at least 1, not {self.step}")

    @property
    def length(self) -> int:
        """The rows of a window."""
        return _long(self.shape)[0]

    def starts(self, recording: Array) -> range | None:
        """The rows at which the windows of a recording start; None if it stays whole."""
        have, wanted = _long(recording.shape), _long(self.shape)
        if len(have) != len(wanted) or have[0] <= wanted[0] or have[1:] != wanted[1:]:
            return None
        return range(0, have[0] - self.length + 1, self.step)

    def of(self, recording: Array) -> list[Array]:
        """The windows of a recording, as views of it; or the recording, if it stays whole."""
        starts = self.starts(recording)
        if starts is None:
            return [recording]
        rows = recording.reshape(_long(recording.shape))
        return [rows[start : start + self.length] for start in starts]

    def describe(self) -> str:
        """One line of text.

        Example:
            >>> Windows((16000, 1), 8000).describe()
            'windows of 16,000 rows, one every 8,000'
        """
        return f"windows of {self.length:,} rows, one every {self.step:,}"

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal object."""
        return {"shape": list(self.shape), "step": self.step}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            DataError: The value is not one that `to_json` writes.
        """
        try:
            return cls(tuple(value["shape"]), value["step"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The stored windows cannot be read: {type(error).__name__}: {error}.",
                "They should hold shape and step, as Octavo wrote them.",
            ) from error


def _long(shape: Sequence[int]) -> list[int]:
    """The axes that are longer than 1: files of numbers state no others."""
    return [side for side in shape if side != 1]
