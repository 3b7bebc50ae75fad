"""At most so many of many items, spread evenly over them."""

from __future__ import annotations

import numpy as np

from octavo.base.affine import IntArray


def evenly(total: int, most: int) -> IntArray:
    """The places of at most `most` of `total` items, from the first to the last.

    Args:
        total: How many items there are.
        most: How many to take; all of them if there are fewer.

    Returns:
        int64, ascending.

    Example:
        >>> evenly(10, 4).tolist(), evenly(3, 4).tolist()
        ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.unique(np.linspace(0, total - 1, min(most, total)).astype(np.int64))
