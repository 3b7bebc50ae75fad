from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.quantization.histogram import HALF, Histogram

FLOATS = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40)


def oracle(values: np.ndarray) -> tuple[float, dict[int, int]]:
    """Width and counts in float64, one value after the other."""
    largest = float(np.abs(values.astype(np.float64)).max())
    width = 2.0**-120
    while largest >= HALF * width:
        width *= 2
    counts: dict[int, int] = {}
    for value in values.astype(np.float64):
        place = int(value / width)  # towards 0
        counts[place] = counts.get(place, 0) + 1
    return width, counts


def as_dict(seen: Histogram) -> dict[int, int]:
    return {int(place) - HALF + 1: int(seen.counts[place]) for place in np.flatnonzero(seen.counts)}


@given(FLOATS)
def test_counts_are_those_of_a_loop_over_float64(values: list[float]) -> None:
    array = np.float32(values)
    seen = Histogram.of(array)
    assert (seen.width, as_dict(seen)) == oracle(array)


@given(FLOATS, st.randoms())
def test_merging_in_any_order_counts_as_all_at_once(values: list[float], random) -> None:  # type: ignore[no-untyped-def]
    array = np.float32(values)
    order = list(range(len(array)))
    random.shuffle(order)
    seen = Histogram.empty()
    while order:
        size = random.randint(1, 3)
        part, order = order[:size], order[size:]
        new = Histogram.of(array[part])
        seen = seen.merged(new) if random.random() < 0.5 else new.merged(seen)
    assert (seen.width, as_dict(seen)) == oracle(array)
    assert (seen.low, seen.high) == (array.min(), array.max())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_visible(bad: float) -> None:
    seen = Histogram.of(np.float32([1.0, bad])).merged(Histogram.of(np.float32([2.0])))
    assert not np.all(np.isfinite([seen.low, seen.high]))


def test_memory_does_not_grow() -> None:
    rng = np.random.default_rng(0)
    seen = Histogram.empty()
    for power in range(0, 30, 3):
        seen = seen.merged(Histogram.of(np.float32(rng.normal(0, 10.0**power, 1000))))
    assert seen.counts.shape == (2 * HALF - 1,) and seen.counts.sum() == 10_000
