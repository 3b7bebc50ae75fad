"""The ranges that calibration finds: for every activation, the lowest and highest real that int8 must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

Range = tuple[float, float]


@dataclass(frozen=True, repr=False)
class Ranges:
    """The range of every activation of a graph.

    Args:
        observer: Which observer found them.
        images: How many images it saw.
        of: Lowest and highest real by tensor name.

    Example:
        >>> Ranges("minmax", 100, {"image": (-1.0, 1.0)}).to_json()["tensors"]["image"]
        {'min': -1.0, 'max': 1.0}
    """

    observer: str
    images: int
    of: Mapping[str, Range]

    def __repr__(self) -> str:
        return f"Ranges({self.observer} of {self.images:,} images, {len(self.of)} tensors)"

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal object."""
        tensors = {name: {"min": low, "max": high} for name, (low, high) in self.of.items()}
        return {"observer": self.observer, "images": self.images, "tensors": tensors}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        of = {name: (entry["min"], entry["max"]) for name, entry in value["tensors"].items()}
        return cls(value["observer"], value["images"], of)
