"""Lookups in the simulation: the codes of the int8 file, and gradients where the function has some."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from handmade import File

from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.runtime.litert import Model
from octavo.simulate import Simulation
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import LOOKED_UP

SHAPE = (1, 8, 16)
# What stands beside the input: nothing, or a number at place 0 or 1. Quotients of positive numbers are finite.
NUMBERS: dict[str, tuple[int, float, str]] = {
    "POW": (1, 1.7, "Pow"),
    "DIV": (0, 2.0, "Div"),
    "FLOOR_DIV": (1, 0.7, ""),
    "FLOOR_MOD": (1, 0.7, ""),
    "ATAN2": (1, 0.5, ""),
}
POSITIVE = {"POW", "DIV"}
FLAT = {"FLOOR", "CEIL", "ROUND", "SIGN", "FLOOR_DIV"}


def network(kind: str) -> Graph:
    """A dense layer, the op, and a dense layer."""
    random = np.random.default_rng(3)
    file = File()
    x, hidden = file.tensor("x", SHAPE), file.tensor("hidden", SHAPE)
    found, out = file.tensor("found", SHAPE), file.tensor("out", (1, 8, 6))
    given = hidden
    file.dense(x, file.constant("first", random.normal(0, 0.5, (16, 16)).astype("f4")), hidden)
    if kind in POSITIVE:
        given, moved = file.tensor("above", SHAPE), file.tensor("absolute", SHAPE)
        file.op("ABS", [hidden], [moved], "Abs")
        file.op("ADD", [moved, file.constant("half", np.float32(0.5))], [given], "Add")
    place, number, options = NUMBERS.get(kind, (0, 0.0, ""))
    inputs = [given]
    if kind in NUMBERS:
        shape = SHAPE if kind == "ATAN2" else ()
        inputs.insert(place, file.constant("number", np.full(shape, number, np.float32)))
    file.op(kind, inputs, [found], options)
    file.dense(found, file.constant("second", random.normal(0, 0.5, (6, 16)).astype("f4")), out)
    for raw in file.at.operators:
        if hasattr(raw.builtinOptions, "keepNumDims"):
            raw.builtinOptions.keepNumDims = True
    return file.ports([x], [out]).graph()


@pytest.mark.parametrize("kind", LOOKED_UP)
def test_the_codes_are_those_of_the_file(kind: str) -> None:
    graph = network(kind)
    values = np.random.default_rng(1).normal(0, 1, (24, *SHAPE[1:])).astype("f4")
    simulation = Simulation(graph, calibrate(graph, values))
    made = quantize(simulation.graph, simulation.ranges)
    int8 = Graph(made.content)
    assert {"CAST", "GATHER"} <= {op.kind for op in int8.ops}
    wanted = Model(int8).predict(values)
    np.testing.assert_array_equal(np.asarray(simulation(values)), wanted)
    assert np.ptp(wanted) > 1


@pytest.mark.parametrize("kind", sorted(set(LOOKED_UP) - FLAT))
def test_they_train(kind: str) -> None:
    graph = network(kind)
    values = np.random.default_rng(1).normal(0, 1, (16, *SHAPE[1:])).astype("f4")
    simulation = Simulation(graph, calibrate(graph, values))
    before = [np.asarray(variable) for variable in simulation.trainable_variables]
    simulation.compile(keras.optimizers.Adam(1e-3), "mse", run_eagerly=True)
    simulation.fit(values, np.asarray(simulation(values)) + 1.0, verbose=0)
    after = [np.asarray(variable) for variable in simulation.trainable_variables]
    assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(np.all(np.isfinite(value)) for value in after)
