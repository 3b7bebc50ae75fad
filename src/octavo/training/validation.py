"""Validation by a team: every process scores its share of the batches, and the sums behind loss and accuracy add up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.training.team import Team

Array = npt.NDArray[Any]


class Validation:
    """A compiled model on one device of each process, with weights of any kind, such as averaged ones.

    Keras' own `evaluate` divides every batch among all devices, and the last batch of a set seldom can be divided.

    Args:
        model: A compiled Keras model, on JAX.
        team: Who trains it.
    """

    def __init__(self, model: Any, team: Team) -> None:
        self._model = model
        self._team = team
        jit = load("jax").jit
        # Made once, so that JAX compiles them once.
        self._test = jit(model.test_step)
        self._predict = jit(lambda trained, other, inputs: model.stateless_call(trained, other, inputs)[0])

    def logs(self, weights: list[Array], batches: Any) -> dict[str, float]:
        """What Keras' `evaluate` gives for batches, over all processes.

        Args:
            weights: In the order of the model's.
            batches: All batches; each process takes its share of them.
        """
        model = self._model
        counters = [np.zeros(v.shape, v.dtype) for v in model.metrics_variables]
        state = (*self._divided(weights), counters)
        for step in self._share(batches):
            _, state = self._test(state, batches[step])
        parts = self._team.gathered_arrays([np.asarray(value) for value in state[2]])
        # A metric of Keras is a sum and a count.
        for variable, values in zip(model.metrics_variables, zip(*parts, strict=True), strict=True):
            variable.assign(np.sum(values, axis=0, dtype=np.float64).astype(variable.dtype))
        return {name: float(value) for name, value in model.get_metrics_result().items()}

    def outputs(self, weights: list[Array], batches: Any) -> list[list[Array]]:
        """The outputs for each batch, one array for each output of the model, from all processes."""
        trained, other = self._divided(weights)
        made: list[Array] = []
        for step in self._share(batches):
            given = self._predict(trained, other, batches[step][0])
            made += [np.asarray(value) for value in (given if isinstance(given, list) else [given])]
        found = self._team.gathered_arrays(made)
        parts, each = [iter(arrays) for arrays in found], sum(map(len, found)) // len(batches)
        return [[next(parts[step % len(parts)]) for _ in range(each)] for step in range(len(batches))]

    def _share(self, batches: Any) -> Iterator[int]:
        return iter(range(self._team.place.rank, len(batches), self._team.place.world))

    def _divided(self, weights: list[Array]) -> tuple[list[Array], list[Array]]:
        """Weights as the values of the variables that train, and of all others, such as the states of generators."""
        model = self._model
        values = {v.path: value for v, value in zip(model.weights, weights, strict=True)}
        parts = (model.trainable_variables, model.non_trainable_variables)
        trained, other = ([values[v.path] if v.path in values else np.array(v.numpy()) for v in p] for p in parts)
        return trained, other
