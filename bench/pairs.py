"""Differences between two models on the same images, in points, with their 95% intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.stats import Interval, paired_difference

Right = npt.NDArray[np.bool_]


def paired(before: Right, after: Right) -> Interval:
    """The difference of two accuracies on the same images: Tango's interval."""
    return paired_difference(int((before & ~after).sum()), int((~before & after).sum()), len(before))


def mean(gaps: npt.NDArray[Any]) -> Interval:
    """The mean of the differences of all images, with its normal interval.

    Differences of several runs on the same images are averaged image by image first, so that the interval is over the
    images; those on different images are put one behind the other.
    """
    half = 1.96 * gaps.std(ddof=1) / np.sqrt(len(gaps))
    return Interval(gaps.mean(), gaps.mean() - half, gaps.mean() + half)


def points(gap: Interval) -> str:
    return f"{gap.value * 100:+.2f} ({gap.low * 100:+.2f} to {gap.high * 100:+.2f})"


def percent(share: Interval) -> str:
    return f"{share.value:.2%} ({share.low:.2%} to {share.high:.2%})"
