from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from octavo.base.stats import items_needed, mcnemar, paired_difference, proportion

# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
WILSON = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("successes", "trials", "low", "high"), WILSON)
def test_proportion_equals_the_published_table(successes: int, trials: int, low: float, high: float) -> None:
    found = proportion(successes, trials)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.value == successes / trials


def _tango_by_scan(b: int, c: int, n: int) -> tuple[float, float]:
    """The interval by scanning differences, with the constrained probability maximized numerically.

    Written from the definition: a multinomial likelihood over (loss, gain, rest), no closed form.
    """
    inside = []
    for difference in np.linspace(-0.999, 0.999, 3997):
        loss = np.linspace(max(1e-9, -difference + 1e-9), min(1.0, (1 - difference) / 2) - 1e-9, 4001)
        gain, rest = loss + difference, 1 - 2 * loss - difference
        keep = (gain > 0) & (rest > 0)
        loss, gain, rest = loss[keep], gain[keep], rest[keep]
        if not len(loss):
            continue
        likelihood = b * np.log(loss) + c * np.log(gain) + (n - b - c) * np.log(rest)
        best = loss[likelihood.argmax()]
        variance = n * (2 * best + difference - difference**2)
        if abs(c - b - n * difference) <= 1.959964 * np.sqrt(variance):
            inside.append(difference)
    return min(inside), max(inside)


@pytest.mark.parametrize(("b", "c", "n"), [(7, 1, 21), (5, 9, 100), (30, 12, 200), (1, 0, 40)])
def test_paired_difference_equals_the_likelihood_scan(b: int, c: int, n: int) -> None:
    found = paired_difference(b, c, n)
    low, high = _tango_by_scan(b, c, n)
    assert found.low == pytest.approx(low, abs=2e-3)
    assert found.high == pytest.approx(high, abs=2e-3)


def test_paired_difference_equals_the_published_example() -> None:
    # Fagerland, Lydersen and Laake 2014, airway hyper-responsiveness: n11=1, n12=1, n21=7, n22=12.
    found = paired_difference(losses=7, gains=1, trials=21)
    assert (round(found.value, 3), round(found.low, 3), round(found.high, 3)) == (-0.286, -0.517, -0.026)


@given(st.integers(1, 400), st.data())
def test_paired_difference_holds_its_value_and_mirrors(n: int, data: st.DataObject) -> None:
    b = data.draw(st.integers(0, n))
    c = data.draw(st.integers(0, n - b))
    found, mirrored = paired_difference(b, c, n), paired_difference(c, b, n)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(-mirrored.high, abs=1e-6)


def test_no_change_still_leaves_doubt_that_shrinks_with_more_images() -> None:
    few, many = paired_difference(0, 0, 100), paired_difference(0, 0, 10_000)
    assert few.low < -0.02
    assert -0.001 < many.low < 0


def test_mcnemar_equals_the_binomial_sum() -> None:
    # 2 * (C(8,0) + C(8,1)) / 2**8
    assert mcnemar(7, 1) == pytest.approx(2 * 9 / 256)
    assert mcnemar(0, 0) == 1.0


@pytest.mark.parametrize("margin", [0.001, 0.005, 0.02, 0.3])
def test_items_needed_without_any_change_is_tangos_closed_form(margin: float) -> None:
    """With no change at all the interval is +-z^2 / (n + z^2), so n has to pass z^2 (1 - margin) / margin."""
    z = float(norm.ppf(0.975))
    assert items_needed(0, 0, 16, margin) == int(z**2 * (1 - margin) / margin) + 1
    assert items_needed(0, 0, 5000, margin) == items_needed(0, 0, 16, margin)


@pytest.mark.parametrize(("losses", "gains", "trials"), [(30, 30, 1000), (12, 9, 1000), (5, 20, 400), (200, 190, 2000)])
def test_items_needed_is_that_of_a_normal_interval_where_many_change(losses: int, gains: int, trials: int) -> None:
    """Float64: z^2 (p - d^2) / (margin + d)^2, with p the share of changed items and d their difference."""
    p, d, margin = (losses + gains) / trials, (gains - losses) / trials, 0.01
    wanted = norm.ppf(0.975) ** 2 * (p - d * d) / (margin + d) ** 2
    found = items_needed(losses, gains, trials, margin)
    assert found is not None
    assert found == pytest.approx(wanted, rel=0.1, abs=400)
    low = paired_difference(losses * found / trials, gains * found / trials, found).low
    before = paired_difference(losses * (found - 1) / trials, gains * (found - 1) / trials, found - 1).low
    assert before <= -margin < low


def test_no_number_of_items_shows_what_is_not_so() -> None:
    assert items_needed(20, 0, 1000, 0.02) is None
    assert items_needed(20, 0, 1000, 0.01) is None
