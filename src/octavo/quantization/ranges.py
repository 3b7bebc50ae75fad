"""Ranges: the lowest and highest real that integers must represent, for every activation, and for some weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Self

from pydantic import Field

from octavo.base.artefact import Artefact, Part
from octavo.base.errors import ModelError

Range = tuple[float, float]


@dataclass(frozen=True, repr=False)
class Ranges:
    """The range of every activation of a graph, and of the weights whose range is not that of their values.

    Args:
        observer: The name of the observer that found them.
        images: The number of calibration images.
        of: Lowest and highest real by tensor name.
        weights: The largest real that the codes of each output channel reach, by the name of the weights. For weights
            without an entry it is the channel's largest weight.

    Example:
        >>> Ranges("minmax", 100, {"image": (-1.0, 1.0)}).to_json()["tensors"]["image"]
        {'min': -1.0, 'max': 1.0}
    """

    observer: str
    images: int
    of: Mapping[str, Range]
    weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Ranges({self.observer} of {self.images:,} images, {len(self.of)} tensors)"

    def finite(self, name: str) -> Self:
        """The ranges themselves, unless a tensor has NaN or infinity.

        Args:
            name: The graph's name.

        Raises:
            ModelError: A tensor has; they are listed.
        """
        broken = [tensor for tensor, ends in self.of.items() if not all(map(isfinite, ends))]
        if broken:
            raise ModelError(
                f"{name} computes NaN or infinity in {len(broken)} of {len(self.of)} tensors.",
                "Check its weights, and that the images are preprocessed as in its training. The first such tensors:",
                details=broken[:5],
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """The JSON value of these ranges; `from_json` reads it back."""
        return TensorRanges.of(self).model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        found = TensorRanges.model_validate(value).ranges
        return cls(found.observer, found.images, found.of, found.weights)


class Ends(Part):
    """The range of one activation.

    Args:
        min: Lowest real.
        max: Highest real.
    """

    min: float
    max: float


class TensorRanges(Part):
    """The ranges of all activations, and of weights, as stored in files.

    Args:
        observer: The name of the observer that found them.
        images: The number of calibration images.
        tensors: The range of every activation, by the tensor's name.
        weights: The largest real that the codes of each channel reach, by the name of the weights; only where that is
            not the channel's largest weight.
    """

    observer: str
    images: int
    tensors: dict[str, Ends]
    weights: dict[str, tuple[float, ...]] = Field({})

    @classmethod
    def of(cls, ranges: Ranges, **more: Any) -> Self:
        """Makes the stored form of ranges.

        Args:
            ranges: The ranges.
            more: The values of further fields of a subclass.
        """
        tensors = {name: Ends(min=low, max=high) for name, (low, high) in ranges.of.items()}
        weights = dict(ranges.weights)
        return cls(observer=ranges.observer, images=ranges.images, tensors=tensors, weights=weights, **more)

    @property
    def ranges(self) -> Ranges:
        """The same data as `Ranges`."""
        tensors = {name: (ends.min, ends.max) for name, ends in self.tensors.items()}
        return Ranges(self.observer, self.images, tensors, self.weights)


class RangesRecord(TensorRanges, Artefact):
    """The ranges that calibration found.

    Args:
        warnings: The findings of the data checks about the calibration images and the float model.
    """

    file = "ranges.json"
    what = "the ranges of a run"
    version = 2

    warnings: list[str]
