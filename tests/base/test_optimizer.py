from __future__ import annotations

import keras
import numpy as np

from octavo.base.optimizer import keep_weights, share_rates


def test_each_variable_steps_at_its_share() -> None:
    first, second = keras.Variable([1.0, 2.0]), keras.Variable([1.0])
    optimizer = keras.optimizers.SGD(0.5)
    share_rates(optimizer, lambda place, step: [1.0, 0.1][place])
    optimizer.apply([keras.ops.array([1.0, 1.0]), keras.ops.array([1.0])], [first, second])
    # By hand: value - rate * share * gradient.
    np.testing.assert_allclose(keras.ops.convert_to_numpy(first), [0.5, 1.5])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(second), [0.95])


def test_a_share_can_depend_on_the_step() -> None:
    variable = keras.Variable([1.0])
    optimizer = keras.optimizers.SGD(0.25)
    share_rates(optimizer, lambda place, step: keras.ops.cast(step < 2, "float32"))
    seen = []
    for _ in range(4):
        optimizer.apply([keras.ops.array([1.0])], [variable])
        seen.append(float(keras.ops.convert_to_numpy(variable)[0]))
    assert seen == [0.75, 0.5, 0.5, 0.5]


def test_fit_leaves_the_trained_weights_in_place() -> None:
    def trained(keep: bool) -> np.ndarray:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
        optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
        if keep:
            keep_weights(optimizer)
        model.compile(optimizer, "mse")
        model.fit(np.ones((4, 1)), np.zeros((4, 1)), batch_size=1, epochs=1, shuffle=False, verbose=0)
        return np.asarray(model.get_weights()[0])

    # w and b see the same gradient 2(w + b); with w = 1, b = 0: the sum shrinks by 1 - 0.4 in each of 4 steps.
    total, weight = 1.0, 1.0
    for _ in range(4):
        weight -= 0.2 * total
        total *= 0.6
    np.testing.assert_allclose(trained(keep=True), [[weight]], rtol=1e-5)
    assert trained(keep=False)[0, 0] > weight + 0.05
