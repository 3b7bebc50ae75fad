"""Clipped weights: the range of their codes with the least squared error, which makes each step finer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# The candidates for a channel's range, as shares of its largest weight.
_SHARES = np.arange(100, 29, -1) / 100


def least_squares(weights: Array, highest: int, importance: Array | None = None) -> Array:
    """The largest real that each channel's codes reach, with the least squared error of the weights.

    Args:
        weights: ``(..., channels)``: the last axis is that of the channels.
        highest: The highest code; the lowest is its negative.
        importance: What the squared error of each weight is multiplied by, of a shape that broadcasts to that of the
            weights; 1 by default. With the variance of the input that a weight multiplies it is the error of the
            output, for inputs that are not correlated.

    Returns:
        ``(channels,)``, float64; 0 for a channel of zeros.

    Example:
        Seven codes a side, for one weight of 9 among many of 0 to 7:

        >>> weights = np.append(np.tile(np.arange(8.0), 9), 9.0)[:, None]
        >>> least_squares(weights, highest=7)
        array([7.11])

        The same where the weight of 9 matters much more than the others:

        >>> least_squares(weights, highest=7, importance=np.append(np.ones(72), 1000.0)[:, None])
        array([9.])
    """
    rows = weights.reshape(-1, weights.shape[-1]).astype(np.float64)
    weighed = 1.0 if importance is None else np.broadcast_to(importance, weights.shape).reshape(rows.shape)
    largest = np.abs(rows).max(axis=0)
    best, least = largest.copy(), np.full(largest.shape, np.inf)
    for share in _SHARES:
        step = np.where(largest > 0, largest, 1.0) * share / highest
        codes = np.clip(np.rint(rows / step), -highest, highest)
        error = (weighed * np.square(codes * step - rows)).sum(axis=0)
        best, least = np.where(error < least, largest * share, best), np.minimum(error, least)
    return np.asarray(best)
