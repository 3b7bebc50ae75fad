"""Samples of several arrays each: one array per input of the model, under the input's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Sample = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Columns(Sequence[Sample]):
    """Arrays of one length; the sample at a place holds what each of them holds there.

    Args:
        arrays: By the input's name, each ``(N, ...)``: the model's own inputs, float or whole numbers.

    Raises:
        ValueError: There are none, or their lengths differ.

    Example:
        >>> columns = Columns({"speed": np.zeros((3, 1)), "image": np.ones((3, 8, 8, 1))})
        >>> len(columns), sorted(columns[0])
        (3, ['image', 'speed'])
    """

    arrays: Mapping[str, Array]

    def __post_init__(self) -> None:
        if len({len(array) for array in self.arrays.values()}) != 1:
            raise ValueError(f"expected arrays of one length, not {[array.shape for array in self.arrays.values()]}")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __iter__(self) -> Iterator[Sample]:
        return (self[place] for place in range(len(self)))

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice | npt.NDArray[Any]) -> Columns: ...
    def __getitem__(self, place: int | slice | npt.NDArray[Any]) -> Sample | Columns:
        """One sample, or the samples at several places."""
        found = {name: array[place] for name, array in self.arrays.items()}
        return found if isinstance(place, int | np.integer) else Columns(found)
