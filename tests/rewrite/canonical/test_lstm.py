"""LSTM layers that are one op, unrolled: the same floats on LiteRT, and an int8 form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from handmade import File, answers, values

from octavo.analysis.answers import answers as judged
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.rewrite.canonical.lstm import MOST_STEPS, lstm
from octavo.rewrite.canonical.passes import plain
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

UNITS, FEATURES = 5, 3


def layer(
    steps: int, clip: float = 0.0, time_major: bool = False, without: tuple[int, ...] = (), scale: float = 1.0
) -> Graph:
    """One LSTM op with made-up weights. `without` are the places of inputs that are left out."""
    random = np.random.default_rng(7)
    file = File()
    shape = (steps, 1, FEATURES) if time_major else (1, steps, FEATURES)
    x, y = file.tensor("x", shape), file.tensor("y", (*shape[:2], UNITS))
    places = [-1] * 24
    places[0] = x
    for place in range(1, 5):
        places[place] = file.constant(f"kernel {place}", random.normal(0, scale, (UNITS, FEATURES)).astype("f4"))
        places[place + 4] = file.constant(f"again {place}", random.normal(0, scale, (UNITS, UNITS)).astype("f4"))
        places[place + 11] = file.constant(f"bias {place}", random.normal(0, scale, UNITS).astype("f4"))
    for place in (18, 19):
        places[place] = file.tensor(f"state {place}", (1, UNITS))
        file.at.tensors[places[place]].isVariable = True
    for place in without:
        places[place] = -1
    fields = {"fusedActivationFunction": schema.ActivationFunctionType.TANH, "cellClip": clip, "timeMajor": time_major}
    file.op("UNIDIRECTIONAL_SEQUENCE_LSTM", places, [y], "UnidirectionalSequenceLSTM", **fields)
    return file.ports([x], [y]).graph()


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize(("steps", "clip"), [(1, 0.0), (7, 0.0), (7, 10.0), (7, 0.75)])
def test_the_floats_are_those_of_the_op(steps: int, clip: float, time_major: bool) -> None:
    graph = layer(steps, clip, time_major, scale=2.0)
    made = plain(graph)
    kinds = [op.kind for op in made.graph.ops]
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" not in kinds and kinds.count("SPLIT") == steps
    # The state can reach bounds below the number of steps alone.
    assert kinds.count("MINIMUM") == kinds.count("MAXIMUM") == (7 if clip == 0.75 else 0)
    assert any(f"1 LSTM of {steps} steps became the ops of its steps" in sentence for sentence in made.changes)
    assert made.graph.variables == () and graph.variables != ()
    given = values(*graph.tensors[graph.inputs[0]].shape, seed=3, scale=2.0)
    (wanted,), (found,) = answers(graph.content, given), answers(made.graph.content, given)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert np.ptp(wanted) > (0.02 if steps == 1 else 0.5)
    if clip == 0.75:
        (free,) = answers(layer(steps, 0.0, time_major, scale=2.0).content, given)
        assert np.abs(free - wanted).max() > 0.05


def test_numpy_computes_the_same() -> None:
    graph = layer(6)
    constant: dict[str, Any] = {t.name: t.constant for t in graph.tensors}
    given = values(1, 6, FEATURES, seed=3, scale=2.0)
    hidden = state = np.zeros(UNITS)
    wanted = []
    for x in given[0].astype("f8"):
        gates = [
            constant[f"kernel {gate}"] @ x + constant[f"again {gate}"] @ hidden + constant[f"bias {gate}"]
            for gate in range(1, 5)
        ]
        enter, keep, leave = (1 / (1 + np.exp(-gates[gate])) for gate in (0, 1, 3))
        state = keep * state + enter * np.tanh(gates[2])
        hidden = leave * np.tanh(state)
        wanted.append(hidden)
    (found,) = answers(plain(graph).graph.content, given)
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_it_becomes_int8() -> None:
    graph = plain(layer(12, 10.0)).graph
    samples = values(40, 12, FEATURES, seed=2, scale=1.0)
    made = quantize(graph, calibrate(graph, samples))
    assert prove(made).kept_in_float == []
    found = judged(graph, Graph(made.content), samples)
    assert found.worst.sqnr is not None and found.worst.sqnr > 25


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(layer(4, without=(1, 5, 12)), id="coupled gates"),
        pytest.param(layer(4, without=(18, 19)), id="no state"),
        pytest.param(layer(MOST_STEPS + 1), id="many steps"),
    ],
)
def test_others_stay(graph: Graph) -> None:
    assert lstm(graph) is None


def test_samples_do_not_see_the_state_that_others_left() -> None:
    graph = layer(5)
    samples = values(6, 5, FEATURES, seed=2, scale=2.0)
    model = Model(graph, workers=2)
    wanted = np.stack([answers(graph.content, sample[None])[0][0] for sample in samples])
    for order in (slice(None), slice(None, None, -1)):
        np.testing.assert_allclose(model.predict(samples[order]), wanted[order], atol=1e-6)
