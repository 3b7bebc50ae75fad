"""Affine quantization: the only scale, zero point, rounding and clipping arithmetic in Octavo.

``real = scale * (code - zero_point)``, after Jacob et al. 2018 (arXiv 1712.05877, equation 1), with the limits
of the TFLite 8-bit quantization specification: activations use codes -128 to 127 with one scale and zero point
per tensor; weights use codes -127 to 127, zero point 0, with one scale per output channel. Where activations have 16
bits, their zero point is 0 too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from octavo.base.errors import QuantizationError

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]

# Below this, a float32 scale would make 1 / scale overflow or lose all precision in the kernels' fixed point.
SMALLEST_SCALE = float(np.float32(1e-9))


@dataclass(frozen=True, eq=False, repr=False)
class QParams:
    """Scale and zero point of one tensor, per tensor or per channel.

    Args:
        scale: float32, shape ``(1,)`` per tensor or ``(channels,)`` per channel; positive and finite.
        zero_point: int32, same shape as `scale`.
        axis: The channel axis; None when one scale serves the whole tensor.
        bits: Width of a code: 8 for weights and activations, 4 and 16 where a mixed model asks for it, 32 or 64 for
            biases.
        narrow: True when the lowest code is left out, so that codes are symmetric about 0 (weights).

    Raises:
        ValueError: A scale is not positive and finite, or shapes disagree.

    Example:
        >>> params = QParams(scale=np.array([0.5]), zero_point=np.array([3]))
        >>> params.quantize(np.array([0.0, 1.0])).tolist(), params.dequantize(np.array([3, 5])).tolist()
        ([3, 5], [0.0, 1.0])
    """

    scale: FloatArray
    zero_point: IntArray
    axis: int | None = None
    bits: int = 8
    narrow: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", np.atleast_1d(np.asarray(self.scale, np.float32)))
        object.__setattr__(self, "zero_point", np.atleast_1d(np.asarray(self.zero_point, np.int32)))
        if self.scale.shape != self.zero_point.shape or self.scale.ndim != 1:
            raise ValueError(f"scale {self.scale.shape} and zero point {self.zero_point.shape} must be equal vectors")
        if self.axis is None and self.scale.size != 1:
            raise ValueError(f"{self.scale.size} scales need an axis")
        if not np.all(np.isfinite(self.scale)) or np.any(self.scale <= 0):
            raise ValueError("a scale must be positive and finite")
        if np.any(self.zero_point < self.qmin) or np.any(self.zero_point > self.qmax):
            raise ValueError(f"a zero point must lie in [{self.qmin}, {self.qmax}]")

    def __repr__(self) -> str:
        if self.axis is None:
            each = f"scale={float(self.scale[0]):g}, zero_point={int(self.zero_point[0])}"
        else:
            low, high = float(self.scale.min()), float(self.scale.max())
            each = f"{self.scale.size} scales of {low:g} to {high:g}, axis={self.axis}"
        return f"QParams({each}, bits={self.bits})"

    @property
    def qmin(self) -> int:
        """The lowest code."""
        return -(1 << (self.bits - 1)) + int(self.narrow)

    @property
    def qmax(self) -> int:
        """The highest code."""
        return (1 << (self.bits - 1)) - 1

    @property
    def minimum(self) -> FloatArray:
        """The real value of the lowest code, float64, one per scale."""
        return self.scale.astype(np.float64) * (self.qmin - self.zero_point.astype(np.float64))

    @property
    def maximum(self) -> FloatArray:
        """The real value of the highest code, float64, one per scale."""
        return self.scale.astype(np.float64) * (self.qmax - self.zero_point.astype(np.float64))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QParams):
            return NotImplemented
        return (
            (self.axis, self.bits, self.narrow) == (other.axis, other.bits, other.narrow)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def __hash__(self) -> int:
        return hash((self.scale.tobytes(), self.zero_point.tobytes(), self.axis, self.bits, self.narrow))

    @classmethod
    def from_range(cls, minimum: float, maximum: float, bits: int = 8) -> Self:
        """Activation parameters for a range of reals: all codes (of 8 bits -128 to 127), and 0.0 exactly representable.

        The range is widened to hold 0, as the specification asks (padding must be exact), and the zero point is
        the rounded code of 0, nudged into the code range (Jacob et al. 2018, section 3).

        Args:
            minimum: Lowest real value seen.
            maximum: Highest real value seen.
            bits: Width of a code.

        Example:
            >>> q = QParams.from_range(-1.0, 1.0)
            >>> float(q.scale[0]), int(q.zero_point[0])
            (0.007843137718737125, -1)
        """
        if not (np.isfinite(minimum) and np.isfinite(maximum)) or minimum > maximum:
            raise ValueError(f"not a range: [{minimum}, {maximum}]")
        low, high = min(float(minimum), 0.0), max(float(maximum), 0.0)
        lowest, steps = -(1 << (bits - 1)), (1 << bits) - 1
        scale = np.float32(max((high - low) / steps, SMALLEST_SCALE))
        # Ties go up, as std::round does for the positive distance that TFLite rounds; NumPy rounds half to even.
        ideal = lowest - low / np.float64(scale)
        zero_point = int(np.clip(np.floor(ideal + 0.5), lowest, lowest + steps))
        return cls(scale=np.array([scale]), zero_point=np.array([zero_point]), bits=bits)

    @classmethod
    def symmetric(cls, largest: FloatArray, axis: int | None, bits: int = 8) -> Self:
        """Parameters of weights, and of 16-bit activations: zero point 0, and as many codes above it as below.

        Args:
            largest: Largest absolute value, one per channel (or one in all when `axis` is None).
            axis: The channel axis, or None.
            bits: Width of a code: 8 for codes -127 to 127, 4 for -7 to 7, 16 for -32767 to 32767.

        Example:
            >>> QParams.symmetric(np.array([1.27, 12.7]), axis=0).scale.round(6).tolist()
            [0.009999999776482582, 0.10000000149011612]
            >>> QParams.symmetric(np.array([1.4]), axis=None, bits=4).quantize(np.array([-1.5, 0.35, 1.4])).tolist()
            [-7, 2, 7]
        """
        highest = (1 << (bits - 1)) - 1
        scale = np.maximum(np.asarray(largest, np.float64) / highest, SMALLEST_SCALE).astype(np.float32)
        return cls(scale=scale, zero_point=np.zeros(scale.shape, np.int32), axis=axis, bits=bits, narrow=True)

    @classmethod
    def bias(cls, input_scale: FloatArray, weight_scale: FloatArray, bits: int = 32) -> Self:
        """Bias parameters: codes at scale ``input_scale * weight_scale``, zero point 0.

        Args:
            input_scale: The activation's scale, shape ``(1,)``.
            weight_scale: The weights' scales, shape ``(channels,)`` or ``(1,)``.
            bits: Width of a code: 32, or 64 beside 16-bit activations.

        Raises:
            QuantizationError: The product is no float32 number above 0.
        """
        with np.errstate(over="ignore", under="ignore"):
            scale = np.asarray(input_scale, np.float32) * np.asarray(weight_scale, np.float32)
        if not np.all(np.isfinite(scale)) or np.any(scale == 0):
            image, low, high = float(np.max(input_scale)), float(np.min(weight_scale)), float(np.max(weight_scale))
            raise QuantizationError(
                f"A bias needs the scale of its op's input ({image:g}) times that of its weights ({low:g} to "
                f"{high:g}), and float32 does not hold the product.",
                "The model's weights or activations are far too large or too small: check its training.",
            )
        return cls(
            scale=scale,
            zero_point=np.zeros(scale.shape, np.int32),
            axis=0 if scale.size > 1 else None,
            bits=bits,
        )

    def part(self, channels: slice) -> Self:
        """The parameters of some of the channels; the same ones where one scale serves the whole tensor.

        Example:
            >>> QParams.symmetric(np.array([1.27, 12.7, 127]), axis=0).part(slice(1, 3)).scale.round(6).tolist()
            [0.10000000149011612, 1.0]
        """
        if self.axis is None:
            return self
        return replace(self, scale=self.scale[channels], zero_point=self.zero_point[channels])

    def _shaped(self, values: FloatArray | IntArray, rank: int) -> FloatArray | IntArray:
        shape = [1] * rank
        if self.axis is not None:
            shape[self.axis] = -1
        return values.reshape(shape) if rank else values.reshape(())

    def quantize(self, real: FloatArray) -> IntArray:
        """Codes of `real`: divided, rounded half away from zero, and clipped; same shape.

        They come as the narrowest of int8, int16, int32 and int64 that holds them: 4-bit codes are int8, unpacked.

        Example:
            >>> QParams.from_range(-1.0, 1.0).quantize(np.array([-2.0, 0.0, 0.5, 1.0])).tolist()
            [-128, -1, 63, 126]
        """
        real = np.asarray(real)
        made = np.empty(real.shape, f"int{max(self.bits, 8)}")
        # In parts, and in place: float64 forms of a large layer or of an image do not fit into a core's cache, and new
        # memory for each step takes longer than the step.
        parts = np.nditer(
            [real, self._shaped(self.scale, real.ndim), self._shaped(self.zero_point, real.ndim), made],
            ["external_loop", "buffered", "zerosize_ok"],
            [["readonly"], ["readonly"], ["readonly"], ["writeonly"]],
            op_dtypes=[np.float64, np.float64, np.float64, made.dtype],
            casting="unsafe",
            buffersize=1 << 14,
        )
        with parts:
            for reals, scale, zero_point, part in parts:
                codes = np.divide(reals, scale)
                codes += np.copysign(0.5, codes)
                np.trunc(codes, out=codes)
                codes += zero_point
                np.clip(codes, self.qmin, self.qmax, out=codes)
                part[...] = codes
        return made

    def dequantize(self, codes: IntArray) -> FloatArray:
        """Reals of `codes`: ``scale * (code - zero_point)``, float32, same shape.

        Example:
            >>> QParams.from_range(-1.0, 1.0).dequantize(np.array([-128, 127])).round(4).tolist()
            [-0.9961000084877014, 1.0039000511169434]
        """
        codes = np.asarray(codes)
        difference = codes.astype(np.float64) - self._shaped(self.zero_point, codes.ndim)
        return (difference * self._shaped(self.scale.astype(np.float64), codes.ndim)).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal object; float32 survives exactly."""
        return {
            "scale": [float(s) for s in self.scale],
            "zero_point": [int(z) for z in self.zero_point],
            "axis": self.axis,
            "bits": self.bits,
            "narrow": self.narrow,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            scale=np.asarray(value["scale"], np.float32),
            zero_point=np.asarray(value["zero_point"], np.int32),
            axis=value["axis"],
            bits=value["bits"],
            narrow=value["narrow"],
        )
