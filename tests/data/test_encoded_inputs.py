"""Samples for models of several inputs, of any rank and type."""

from __future__ import annotations

import numpy as np
import pytest

from octavo.base.affine import QParams
from octavo.base.errors import DataError
from octavo.data.columns import Columns
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.runtime.litert import Port

SPEED = Port("serving_default_speed:0", (1, 2), "float32", None)
STEPS = Port("model/steps", (1, 3), "int32", None, argument="steps")
CODES = Port("codes", (1, 2), "int8", QParams.from_range(-1.0, 1.0))


def _set(**arrays: np.ndarray) -> ImageSet:
    columns = Columns(arrays)
    return ImageSet(columns, None, (), tuple(str(place) for place in range(len(columns))))


def test_a_sample_is_a_tuple_in_the_order_of_the_inputs() -> None:
    speed, steps = np.arange(8.0).reshape(4, 2), np.arange(12).reshape(4, 3)
    feed = Feed(_set(steps=steps, speed=speed, more=steps), None, [SPEED, STEPS])
    first, second = feed[2]
    assert first.dtype == np.float32 and second.dtype == np.int32
    np.testing.assert_array_equal(first, speed[2])
    np.testing.assert_array_equal(second, steps[2])
    assert len(feed[:]) == 4


@pytest.mark.parametrize("name", ["speed", "serving_default_speed:0"])
def test_one_input_by_its_name(name: str) -> None:
    feed = Feed(_set(**{name: np.ones((3, 2))}), None, [SPEED])
    np.testing.assert_array_equal(feed[0], [1, 1])


def test_reals_become_codes() -> None:
    values = np.array([[-5.0, 5.0], [0.0, 1.0]], np.float32)
    plain = ImageSet(values, None, (), ("a", "b"))
    assert Feed(plain, None, [CODES])[:][0].tolist() == [-128, 127]
    assert Feed(plain, None, [CODES.real])[0].tolist() == [-5.0, 5.0]


@pytest.mark.parametrize(
    ("arrays", "ports", "message"),
    [
        ({"speed": np.ones((3, 2))}, [SPEED, STEPS], r"none for the input 'steps' \(N, 3\) int32"),
        ({"speed": np.ones((3, 4)), "steps": np.ones((3, 3))}, [SPEED, STEPS], "inputs of 2 for 'speed', .* have 4"),
        ({"speed": np.ones((3, 2)), "steps": np.full((3, 3), 0.5)}, [SPEED, STEPS], "'steps' takes whole numbers"),
        ({"speed": np.full((3, 2), np.nan)}, [SPEED], "NaN or infinite values for input 'speed'"),
    ],
)
def test_data_that_do_not_fit_are_one_message(arrays: dict[str, np.ndarray], ports: list[Port], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Feed(_set(**arrays), None, ports)


def test_one_array_does_not_feed_two_inputs() -> None:
    plain = ImageSet(np.ones((3, 2), np.float32), None, (), ("a", "b", "c"))
    with pytest.raises(DataError, match=r"has 2 inputs, but the data hold one array\."):
        Feed(plain, None, [SPEED, STEPS])


def test_pixels_of_another_type_are_not_taken_for_the_models_own_input() -> None:
    pixels = ImageSet(np.full((2, 4, 4, 3), 200, np.int64), None, (), ("a", "b"))
    port = Port("image", (1, 4, 4, 3), "float32", None)
    with pytest.raises(DataError, match="have the type int64"):
        Feed(pixels, Preprocess((4, 4)), [port])
