"""Ranges of weights against a finer search, and against the error of outputs, in float64."""

from __future__ import annotations

import numpy as np

from octavo.quantization.clipped_weights import least_squares


def error(weights: np.ndarray, largest: np.ndarray, highest: int, importance: float | np.ndarray = 1.0) -> np.ndarray:
    """The squared error of each channel."""
    step = largest / highest
    off = np.clip(np.rint(weights / step), -highest, highest) * step - weights
    return np.asarray((importance * off**2).sum(axis=0))


def test_the_range_is_the_best_of_a_finer_search() -> None:
    weights = np.random.default_rng(0).standard_t(4, size=(300, 6)) * np.logspace(-4, 2, 6)
    extreme = np.abs(weights).max(axis=0)
    found = error(weights, least_squares(weights, 7), 7)
    best = np.min([error(weights, extreme * share, 7) for share in np.linspace(0.2, 1.2, 2001)], axis=0)
    assert np.all(found <= 1.02 * best)
    assert np.all(found < 0.8 * error(weights, extreme, 7))
    # At 8 bits no weight is worth clipping, but for a step's worth.
    assert np.all(least_squares(weights, 127) >= 0.9 * extreme)


def test_a_channel_of_zeros_has_no_range() -> None:
    np.testing.assert_array_equal(least_squares(np.array([[0.0, 1.0], [0.0, -7.0]]), 7), [0.0, 7.0])


def test_importance_is_what_the_inputs_add() -> None:
    """Against the outputs' error itself, on inputs that are independent and of very different sizes."""
    rng = np.random.default_rng(2)
    weights = rng.standard_t(4, size=(60, 6))
    rows = rng.normal(size=(20_000, 60)) * np.logspace(-1, 1, 60)
    importance = np.square(rows).mean(axis=0)[:, None]

    def of_outputs(largest: np.ndarray) -> np.ndarray:
        step = largest / 7
        off = np.clip(np.rint(weights / step), -7, 7) * step - weights
        return np.asarray(np.square(rows @ off).mean(axis=0))

    found = least_squares(weights, 7, importance)
    assert np.allclose(of_outputs(found), error(weights, found, 7, importance), rtol=0.1)
    assert np.all(of_outputs(found) <= 1.1 * of_outputs(least_squares(weights, 7)))
    assert of_outputs(found).sum() < 0.9 * of_outputs(least_squares(weights, 7)).sum()
