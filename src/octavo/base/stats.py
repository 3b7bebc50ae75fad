"""Statistics: intervals of an accuracy, and of the paired difference of two accuracies on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
# Nobody has more items.
_MOST_NEEDED = 10**9


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


def paired_difference(losses: float, gains: float, trials: int) -> Interval:
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


def items_needed(losses: int, gains: int, trials: int, margin: float) -> int | None:
    """How many items would show that a paired difference lies above a margin, if they change as those that were seen.

    The smallest number of items whose interval (`paired_difference`) lies above ``-margin``, with losses and gains in
    the shares that were seen. It is a lower limit where hardly any item changed: the true shares may be larger.

    Args:
        losses: Items right before and wrong after (b).
        gains: Items wrong before and right after (c).
        trials: All items.
        margin: The largest acceptable loss, as a share above 0.

    Returns:
        The number. None if the difference itself is no better than ``-margin``: then more items are not expected to
        show it.

    Example:
        >>> items_needed(losses=0, gains=0, trials=16, margin=0.005)  # more than z² (1 - margin) / margin
        765
    """
    if (gains - losses) / trials <= -margin:
        return None

    def shown(count: int) -> bool:
        return paired_difference(losses * count / trials, gains * count / trials, count).low > -margin

    high = 1
    while not shown(high):
        high *= 2
        if high > _MOST_NEEDED:
            return None
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


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
