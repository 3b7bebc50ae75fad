"""Formats: the bits of weights, activations and biases of each precision that an op can have. One row per precision.

The int8 and int16x8 rows come from the TFLite 8-bit quantization specification; the int4 row is LiteRT's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# A precision's name, as users write it. A row of `FORMATS` belongs to each.
Precision = Literal["int8", "int4", "int16x8", "float"]

# The precision of every op without another choice.
DEFAULT: Precision = "int8"


@dataclass(frozen=True)
class Format:
    """The number formats of an op in one precision. Weights are symmetric: their zero point is 0.

    Args:
        weights: Bits of a weight.
        activations: Bits of an activation.
        biases: Bits of a bias.
        largest_bias: The largest magnitude of a bias code for which the kernels' sums do not overflow.
        symmetric: Whether activations have zero point 0 too.
        integer: Whether all of them are integers; otherwise they are floats.
        trainable: Whether quantization-aware training simulates it.
        learned: Whether that training learns the scales of its weights. If not, a channel's largest weight sets its
            scale.
        meaning: Its description in reports.
        note: A note after its name in lists, or empty.
    """

    weights: int = 8
    activations: int = 8
    biases: int = 32
    largest_bias: int = 2**30
    symmetric: bool = False
    integer: bool = True
    trainable: bool = True
    learned: bool = False
    meaning: str = ""
    note: str = ""

    @property
    def largest_weight(self) -> int:
        """The largest weight code; the smallest is its negative.

        Example:
            >>> FORMATS["int8"].largest_weight, FORMATS["int4"].largest_weight
            (127, 7)
        """
        return (1 << (self.weights - 1)) - 1

    @property
    def weight_type(self) -> str:
        """The element type of its weights in a file."""
        return f"{'int' if self.integer else 'float'}{self.weights}"

    @property
    def activation_type(self) -> str:
        """The element type of its activations in a file."""
        return f"{'int' if self.integer else 'float'}{self.activations}"


FORMATS: Mapping[Precision, Format] = {
    # |bias| / (input scale * weight scale) must stay below 2**30, or the kernels' int32 sums can overflow.
    "int8": Format(meaning="int8 weights and activations"),
    "int4": Format(weights=4, learned=True, meaning="int4 weights, int8 activations", note="weights"),
    # Its sums are int64, which the kernels multiply by a 16-bit number, so they must stay below 2**47.
    "int16x8": Format(
        activations=16,
        biases=64,
        largest_bias=2**46,
        symmetric=True,
        trainable=False,
        meaning="int8 weights, int16 activations",
        note="16-bit activations",
    ),
    "float": Format(weights=32, activations=32, integer=False, meaning="float32"),
}


def named(mark: str = "") -> str:
    """All precisions in a sentence, each with its note.

    Args:
        mark: Set around every name, such as a backtick.

    Example:
        >>> named()
        'int8, int4 (weights), int16x8 (16-bit activations) or float'
    """
    *first, last = (f"{mark}{name}{mark}{f' ({row.note})' if row.note else ''}" for name, row in FORMATS.items())
    return f"{', '.join(first)} or {last}"


def trainable() -> str:
    """The precisions that quantization-aware training simulates, in a sentence.

    Example:
        >>> trainable()
        'int8, int4 or float'
    """
    *first, last = (name for name, row in FORMATS.items() if row.trainable)
    return f"{', '.join(first)} or {last}"
