"""Float32 arithmetic that no compiler changes, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from octavo.simulate.precise import precise, product, quotient, wide


@pytest.mark.parametrize("compiled", [False, True])
def test_products_and_quotients_are_numpys_bit_for_bit(compiled: bool) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    values, scale = rng.uniform(1e-4, 1, 10_000).astype("f4"), np.float32(0.0078431)
    # A quarter of the quotients are another number when multiplied with the reciprocal.
    assert np.mean(values / scale != values * (np.float32(1) / scale)) > 0.2

    def both(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return quotient(x, y), product(x, y) + 1.0

    run = tf.function(both, jit_compile=True) if compiled else both
    divided, multiplied = run(ops.convert_to_tensor(values), ops.convert_to_tensor(scale))
    np.testing.assert_array_equal(np.asarray(divided), values / scale)
    # A fused sum would round once, not twice.
    np.testing.assert_array_equal(np.asarray(multiplied), values * scale + np.float32(1))


def test_precise_is_float64() -> None:
    with wide():
        third = precise(ops.convert_to_tensor(np.float32(1))) / 3.0
        assert float(third) == 1 / 3
