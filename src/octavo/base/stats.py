"""Statistics: intervals of an accuracy, and of the paired difference of two accuracies on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, log10, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
# Resamples of a bootstrap interval. The ends of a 95% percentile interval then vary by about a tenth of its width.
_RESAMPLES = 1000
# The most places drawn at once: 32 MB of them, whatever the number of items.
_PLACES = 4_000_000
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


def wider_needed(loss: Interval, trials: int, margin: float, share: bool) -> int | None:
    """How many items would show that a loss lies below a margin, for a score that is no count of right answers.

    An interval narrows with the root of the number of items.

    Args:
        loss: The loss that was seen, with its interval.
        trials: The number of items.
        margin: The largest acceptable loss.
        share: Whether the score is a share. Then the number is no lower than for items of which none changed.

    Returns:
        The number. None if the loss itself is no less than the margin, or the interval has no end: then more items are
        not expected to show it.

    Example:
        >>> wider_needed(Interval(0.01, -0.03, 0.05), trials=100, margin=0.02, share=False)
        1600
    """
    room = margin - loss.value
    if not (room > 0 and isfinite(loss.high)):
        return None
    needed = int(np.ceil(trials * ((loss.high - loss.value) / room) ** 2))
    return max(needed, items_needed(0, 0, 1, min(room, 1.0)) or 0) if share else needed


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


def bootstrap(statistic: Callable[[npt.NDArray[np.float64]], float], count: int, seed: int = 0) -> Interval:
    """A statistic of many items with its 95% percentile bootstrap interval, for figures that have no formula.

    Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13; drawn by `scipy.stats.bootstrap`. A
    difference of two models is paired if both read the same weights.

    Args:
        statistic: The figure, from the weight of each item: how often it is drawn, float64 ``(count,)``. NaN if these
            items do not define it.
        count: The number of items.
        seed: Of the draws.

    Returns:
        The interval. Its ends are infinite for a single item, which says nothing about others.

    Example:
        >>> values = np.arange(1.0, 101.0)
        >>> mean = bootstrap(lambda weights: float(weights @ values / weights.sum()), 100)
        >>> mean.value, 44 < mean.low < 46, 55 < mean.high < 57  # 50.5 plus and minus 1.96 standard errors of 2.9
        (50.5, True, True)
    """
    from scipy.stats import bootstrap as resample

    value = statistic(np.ones(count))
    if count < 2:
        return Interval(value, -np.inf, np.inf)

    def drawn(places: npt.NDArray[Any]) -> float:
        return statistic(np.bincount(places, minlength=count).astype(np.float64))

    made = resample(
        (np.arange(count),),
        drawn,
        n_resamples=_RESAMPLES,
        batch=max(1, _PLACES // count),
        vectorized=False,
        method="percentile",
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    )
    found = made.bootstrap_distribution
    if not np.isfinite(found).any():
        return Interval(value, -np.inf, np.inf)
    low, high = np.nanquantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high))
