"""What is found in parts of the samples is merged in their order, without copying all of it for each part."""

from __future__ import annotations

import pytest

from octavo.data.pass_over import merged


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 1024])
def test_parts_are_merged_in_order_and_each_is_copied_a_few_times(count: int) -> None:
    copied = 0

    def joined(one: list[int], other: list[int]) -> list[int]:
        nonlocal copied
        copied += len(one) + len(other)
        return one + other

    assert merged(([place] for place in range(count)), joined) == list(range(count))
    assert copied <= count * count.bit_length()
