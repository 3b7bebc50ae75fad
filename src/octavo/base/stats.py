"""Statistics: intervals of an accuracy, and of the paired difference of two accuracies on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log10, sqrt

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Args:
        value: The estimate, a share or a difference of shares.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def proportion(successes: int, trials: int) -> Interval:
    """A share with its 95% Wilson score interval (Wilson 1927), which is also valid near 0 and 1.

    Args:
        successes: The number of successes.
        trials: The number of trials; at least 1.

    Example:
        >>> share = proportion(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
        >>> round(share.low, 4), round(share.high, 4)
        (0.2553, 0.3662)
    """
    from scipy.stats import binomtest

    bounds = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(successes / trials, float(bounds.low), float(bounds.high))


def paired_difference(losses: int, gains: int, trials: int) -> Interval:
    """The difference of two shares measured on the same items, with Tango's 95% score interval.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17. It is valid even if hardly any item changed, as in float against int8.

    Args:
        losses: Items right before and wrong after (McNemar's b).
        gains: Items wrong before and right after (McNemar's c).
        trials: All items.

    Returns:
        After minus before: ``(gains - losses) / trials`` and its interval.

    Example:
        >>> change = paired_difference(losses=7, gains=1, trials=21)
        >>> round(change.value, 3), round(change.low, 3), round(change.high, 3)
        (-0.286, -0.517, -0.026)
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + CONFIDENCE / 2))
    n = trials

    def score(difference: float) -> float:
        # The probability of a loss under this difference, by maximum likelihood (Tango 1998, section 3).
        a = 2 * n
        b = -gains - losses + (2 * n - gains + losses) * difference
        c = -losses * difference * (1 - difference)
        loss = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * loss + difference * (1 - difference))
        distance = gains - losses - n * difference
        return distance / sqrt(variance) if variance > 1e-12 else (0.0 if abs(distance) < 1e-12 else distance * 1e6)

    value = (gains - losses) / n
    edge = 1 - 1e-9
    # The score falls as the difference rises, and is 0 at the estimate.
    low = brentq(lambda d: score(d) - z, -edge, value) if score(-edge) > z and value > -edge else -1.0
    high = brentq(lambda d: score(d) + z, value, edge) if score(edge) < -z and value < edge else 1.0
    return Interval(value, float(low), float(high))


def decibels(signal: float, noise: float) -> float | None:
    """A ratio of two powers in dB: ``10 log10(signal / noise)``. None if that is no finite number.

    Example:
        >>> decibels(100.0, 1.0), decibels(1.0, 0.0), decibels(1e-300, 1e300), decibels(float("nan"), 1.0)
        (20.0, None, None, None)
    """
    if not (signal > 0 and noise > 0 and isfinite(signal) and isfinite(noise)):
        return None
    ratio = signal / noise
    return 10 * log10(ratio) if ratio > 0 and isfinite(ratio) else None


def mcnemar(losses: int, gains: int) -> float:
    """McNemar's exact two-sided p-value: how likely is so uneven a split of the changed items by chance?

    Args:
        losses: Items right before and wrong after (b).
        gains: Items wrong before and right after (c).

    Example:
        >>> round(mcnemar(7, 1), 4)
        0.0703
    """
    from scipy.stats import binomtest

    return 1.0 if losses + gains == 0 else float(binomtest(losses, losses + gains, 0.5).pvalue)


def median_interval(values: Sequence[float] | npt.NDArray[np.float64]) -> Interval:
    """The median with its distribution-free 95% interval: two order statistics, by the sign test.

    The widest pair of ranks counted in from both ends that still holds the median with 95% (Conover 1999, "Practical
    Nonparametric Statistics", section 3.2). With fewer than six values no pair does, and the interval is their range.

    Args:
        values: At least one.

    Example:
        >>> middle = median_interval(range(1, 11))  # Conover's tables: ranks 2 and 9 of 10
        >>> middle.value, middle.low, middle.high
        (5.5, 2.0, 9.0)
    """
    from scipy.stats import binom

    ordered = np.sort(np.asarray(values, np.float64))
    # The largest number r of values outside either end with P(X < r) at most 2.5%, X ~ Binomial(n, 1/2).
    outside = int(binom.ppf((1 - CONFIDENCE) / 2, len(ordered), 0.5))
    outside = max(outside, 1)
    return Interval(float(np.median(ordered)), float(ordered[outside - 1]), float(ordered[-outside]))
