from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.base.affine import QParams
from octavo.base.errors import QuantizationError

reals = st.floats(-1e4, 1e4, allow_nan=False, width=32)


@given(reals, reals)
def test_activation_parameters_hold_the_range_and_represent_zero_exactly(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    q = QParams.from_range(low, high)
    zero = q.dequantize(q.quantize(np.zeros(1)))
    assert zero[0] == 0.0
    step = float(q.scale[0])
    assert q.minimum[0] <= min(low, 0) + step
    assert q.maximum[0] >= max(high, 0) - step
    assert -128 <= q.zero_point[0] <= 127


@given(st.lists(reals, min_size=1, max_size=50))
def test_codes_are_the_float64_formula(values: list[float]) -> None:
    real = np.array(values)
    q = QParams.from_range(float(real.min()), float(real.max()))
    wanted = [
        min(max(int(np.sign(v / s) * np.floor(abs(v / s) + 0.5)) + int(q.zero_point[0]), -128), 127)
        for v, s in ((v, float(q.scale[0])) for v in values)
    ]
    assert q.quantize(real).tolist() == wanted


@given(st.lists(reals, min_size=2, max_size=50))
def test_round_trip_is_within_half_a_step_and_monotonic(values: list[float]) -> None:
    real = np.sort(np.array(values))
    q = QParams.from_range(float(real.min()), float(real.max()))
    back = q.dequantize(q.quantize(real)).astype(np.float64)
    inside = (real >= q.minimum[0]) & (real <= q.maximum[0])
    assert np.all(np.abs(back - real)[inside] <= q.scale[0] * (0.5 + 1e-5))
    assert np.all(np.diff(back) >= 0)


def test_beyond_the_range_it_saturates() -> None:
    q = QParams.from_range(-1, 1)
    assert q.quantize(np.array([-9.0, 9.0])).tolist() == [-128, 127]


def test_weights_are_symmetric_per_channel() -> None:
    weights = np.array([[1.0, -2.0], [10.0, 5.0]])
    q = QParams.symmetric(np.abs(weights).max(axis=1), axis=0)
    assert q.quantize(weights).tolist() == [[64, -127], [127, 64]]
    assert not q.zero_point.any()
    assert (q.qmin, q.qmax) == (-127, 127)


def test_bias_scale_is_the_float32_product() -> None:
    image, weight = np.array([0.1], np.float32), np.array([0.3, 0.7], np.float32)
    q = QParams.bias(image, weight)
    assert q.scale.tolist() == [np.float32(0.1) * np.float32(0.3), np.float32(0.1) * np.float32(0.7)]
    assert q.quantize(np.array([1.0, 1.0])).dtype == np.int32


@pytest.mark.parametrize(("image", "weight"), [(1e28, 1e12), (1e-30, 1e-30)])
def test_a_bias_scale_beyond_float32_is_refused(image: float, weight: float) -> None:
    with pytest.raises(QuantizationError, match="float32 does not hold the product"):
        QParams.bias(np.array([image], np.float32), np.array([1.0, weight], np.float32))


def test_a_model_of_tensorflows_converter_has_the_same_input_scale() -> None:
    """TensorFlow's converter on inputs that fill [-1, 1]: the published 0.00784, zero point -1."""
    q = QParams.from_range(-1.0, 1.0)
    assert (float(q.scale[0]), int(q.zero_point[0])) == (pytest.approx(0.007843137718737125), -1)


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero"),
    [(0, 255, 1.0, -128), (-255, 0, 1.0, 127), (0, 6, 6 / 255, -128), (2, 4, 4 / 255, -128), (0, 0, 1e-9, -128)],
)
def test_ranges_by_hand(low: float, high: float, scale: float, zero: int) -> None:
    q = QParams.from_range(low, high)
    assert (float(q.scale[0]), int(q.zero_point[0])) == (pytest.approx(scale), zero)


def test_json_keeps_every_bit() -> None:
    for q in (QParams.from_range(-0.1, 0.7), QParams.symmetric(np.array([0.1, 1 / 3]), axis=3)):
        again = QParams.from_json(json.loads(json.dumps(q.to_json())))
        assert again == q
        assert hash(again) == hash(q)


@pytest.mark.parametrize(
    "made",
    [
        lambda: QParams(np.array([0.0]), np.array([0])),
        lambda: QParams(np.array([np.nan]), np.array([0])),
        lambda: QParams(np.array([1.0, 1.0]), np.array([0, 0])),
        lambda: QParams(np.array([1.0]), np.array([0, 0])),
        lambda: QParams(np.array([1.0]), np.array([200])),
        lambda: QParams.from_range(1.0, -1.0),
        lambda: QParams.from_range(np.nan, 1.0),
    ],
)
def test_nonsense_is_refused(made) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"scale|zero point|range"):
        made()
