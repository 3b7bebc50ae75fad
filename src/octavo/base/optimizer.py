"""A separate learning rate for each variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def share_rates(optimizer: Any, share: Callable[[int, Any], Any]) -> None:
    """Makes a Keras optimizer use a share of its `learning_rate` for each variable.

    Args:
        optimizer: A Keras optimizer; changed on the instance, so that a saved model holds a plain one that loads
            anywhere.
        share: ``(place, step) -> share``, for a variable's place among the trained ones and the step counted from 0,
            which is a tensor on some backends. The share is a number, or one for each channel of the last axis.
    """
    update = optimizer.update_step

    def shared(gradient: Any, variable: Any, learning_rate: Any) -> Any:
        place = optimizer._get_variable_index(variable)
        return update(gradient, variable, learning_rate * share(place, optimizer.iterations))

    optimizer.update_step = shared


def keep_weights(optimizer: Any) -> None:
    """Stops `fit` from ending with the averaged weights in place of the trained ones.

    Every epoch is one `fit`, so training must continue with the weights themselves; the average is used at the end.
    """
    optimizer.finalize_variable_values = lambda variables: None
