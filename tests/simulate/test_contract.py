"""One contract that every op with an int8 form keeps: it trains, saves, loads, and its int8 form computes the same."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, reject, settings
from oneop import Shape, convert, inputs, one_op, with_kind
from randomop import CASES, Case, cases

from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.runtime.litert import Kernels, Model
from octavo.simulate import Simulation
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import TABLE

# Only by name in a file: TensorFlow's converter writes both as RESHAPE, whatever their shapes.
RENAMED = ("SQUEEZE", "EXPAND_DIMS")
BATCH = 8
# What LiteRT's reference resolver lacks, or computes wrongly (SUM at two scales).
MISSING = {"ELU", "TILE", "DEPTH_TO_SPACE", "SUM"}
# The ops whose codes are XNNPACK's up to one, and why; all others' are equal.
NEARLY = {
    "BATCH_MATMUL": "sums of products are rounded here after a scale in float32, there before",
    "PRELU": "slopes and their products are rounded on the way there",
    "RELU_N1_TO_1": "its end lies halfway between two codes",
}
# How far the reference kernels are from XNNPACK's where that is more than one code. In resizing, the distance of two
# pixels is rounded to 1/1024 of one: half of that by 255 codes, over up to 15 pixels and both axes, and a rounding.
APART = {"RESIZE_BILINEAR": 4}


def codes_of(graph: Graph, values: np.ndarray, kernels: Kernels) -> np.ndarray:
    """LiteRT's output codes, ``(N, *output shape)``."""
    kept: dict[int, np.ndarray] = {}
    model = Model(graph, kernels, workers=1)
    model.each(model.input.encode(values), lambda place, outputs: kept.update({place: outputs[0].copy()}))
    return np.stack([kept[place] for place in range(len(values))]).astype(int)


class NothingToTrainError(Exception):
    """The outputs are all one, such as those of relu(x - max(x))."""


def keeps_the_contract(content: bytes, shape: Shape, low: float, high: float) -> dict[Kernels, int]:
    """Trains, saves, loads and converts a model; gives the largest difference to each kernel family, in codes."""
    graph = Graph(content)
    values = inputs(shape, BATCH, low, high)
    simulation = Simulation(graph, calibrate(graph, values))
    before = [np.asarray(variable) for variable in simulation.trainable_variables]
    outputs = np.asarray(simulation(values))
    if np.ptp(outputs) <= 1e-3:
        raise NothingToTrainError
    noise = np.random.default_rng(2).normal(0, 0.1, outputs.shape) * np.ptp(outputs)
    simulation.compile(keras.optimizers.Adam(1e-3), "mse", run_eagerly=True)
    history = simulation.fit(values, (outputs + noise).astype("f4"), batch_size=BATCH // 2, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    after = [np.asarray(variable) for variable in simulation.trainable_variables]
    assert all(np.all(np.isfinite(value)) for value in after)
    assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True)), "something did not train"

    outputs = np.asarray(simulation(values))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "simulation.keras"
        simulation.save(path)
        again = keras.saving.load_model(path)
    np.testing.assert_array_equal(np.asarray(again(values)), outputs)
    again.snap()
    outputs = np.asarray(again(values))
    # Weights on their grid can give a scale that differs in its last bit, and so move a code from a tie.
    moved = np.abs(np.asarray(simulation(values)) - outputs) > 1e-5 * np.ptp(outputs)
    assert moved.mean() < 0.01

    made = quantize(again.graph, again.ranges)
    prove(made)
    int8 = Graph(made.content)
    params = int8.tensors[int8.outputs[0]].qparams
    assert params is not None
    ours = np.rint(outputs.astype("f8") / params.scale[0]).astype(int) + params.zero_point[0]
    assert np.ptp(ours) > 0, "one code for all would hide every difference"
    families: tuple[Kernels, ...] = ("xnnpack",) if MISSING & {op.kind for op in int8.ops} else ("xnnpack", "reference")
    return {
        kernels: int(np.abs(codes_of(int8, values, kernels).reshape(ours.shape) - ours).max()) for kernels in families
    }


def test_every_row_of_int8_has_random_models() -> None:
    assert set(TABLE) == {*CASES, *RENAMED}


def keeps_it_on_random_models(kind: str, count: int) -> None:
    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(cases(kind))
    def each(case: Case) -> None:
        function, shape, (low, high) = case
        content = convert(function, shape)
        # Some attributes are another op's: a pool of one pixel, a transposition that moves nothing.
        assume(kind in {op.kind for op in Graph(content).ops})
        try:
            found = keeps_the_contract(content, shape, low, high)
        except NothingToTrainError:
            reject()
        assert found["xnnpack"] <= (1 if kind in NEARLY else 0)
        assert found.get("reference", 0) <= APART.get(kind, 1)

    each()


@pytest.mark.parametrize("kind", CASES)
def test_contract(kind: str) -> None:
    keeps_it_on_random_models(kind, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_contract_at_length(kind: str) -> None:
    keeps_it_on_random_models(kind, 15)


@pytest.mark.parametrize("kind", RENAMED)
def test_contract_of_renamed_ops(kind: str) -> None:
    content, shape, (low, high) = one_op(kind)
    assert set(keeps_the_contract(with_kind(content, kind), shape, low, high).values()) == {0}
