"""Float graphs of rare forms: without weights, with an output that is given twice, has no axes, or is a constant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File, answers, values

import octavo
from octavo.base.errors import ModelError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph


def _dense() -> tuple[File, int, int, int]:
    """A file with an input, a weight, and the result of both."""
    file = File()
    x, y, w = file.tensor("x", (1, 8)), file.tensor("y", (1, 4)), file.constant("w", values(4, 8))
    file.dense(x, w, y)
    return file, x, w, y


def _quantized(file: File, tmp_path: Path) -> list[np.ndarray]:
    """Checks that every int8 output is near LiteRT's float output, and gives the int8 outputs."""
    content, samples = file.bytes(), values(40, 8)
    (tmp_path / "float.tflite").write_bytes(content)
    made = octavo.quantize(tmp_path / "float.tflite", samples, tmp_path / "int8.tflite", images=40)
    assert not made.proof.kept_in_float
    int8 = Model(Graph.read(made.path))
    given = int8.run_all([(int8.inputs[0].encode(sample),) for sample in samples])
    wanted = [answers(content, sample[None]) for sample in samples]
    for place, values_of in enumerate(given):
        real = np.stack([np.reshape(one[place], values_of.shape[1:]) for one in wanted])
        np.testing.assert_allclose(values_of, real, atol=0.05 * np.abs(real).max())
    return given


def test_a_model_without_weights(tmp_path: Path) -> None:
    file = File()
    x, y = file.tensor("x", (1, 8)), file.tensor("y", (1, 8))
    file.op("TANH", [x], [y])
    assert len(_quantized(file.ports([x], [y]), tmp_path)) == 1


def test_an_output_that_is_given_twice(tmp_path: Path) -> None:
    file, x, _, y = _dense()
    file.signature("serve", {"x": x}, {"first": y, "second": y})
    first, second = _quantized(file.ports([x], [y, y]), tmp_path)
    np.testing.assert_array_equal(first, second)
    assert [op.kind for op in Graph.read(tmp_path / "int8.tflite").ops] == ["FULLY_CONNECTED"]


def test_an_output_without_axes(tmp_path: Path) -> None:
    file, x, _, y = _dense()
    mean = file.tensor("mean", ())
    file.op("MEAN", [y, file.constant("axes", np.array([0, 1], np.int32))], [mean], "Reducer", keepDims=False)
    (made,) = _quantized(file.ports([x], [mean]), tmp_path)
    assert made.shape == (40,)


def test_a_constant_output_is_refused_with_that_reason(tmp_path: Path) -> None:
    file, x, w, y = _dense()
    (tmp_path / "float.tflite").write_bytes(file.ports([x], [y, w]).bytes())
    with pytest.raises(ModelError, match="has an output that is a constant, the same for every input: 'w'"):
        octavo.quantize(tmp_path / "float.tflite", values(40, 8), tmp_path / "int8.tflite", images=40)
    assert not (tmp_path / "int8.tflite").exists()


def test_the_writer_gets_no_constant_that_nothing_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would store them all, and a tuning pass leaves the constants that it replaced."""
    from litert_quantizer.model_modifier import ModelModifier

    file, x, _, y = _dense()
    graph = file.ports([x], [y]).graph()
    graph = graph.replaced({"w": values(4, 8, seed=1)})
    sizes: list[int] = []
    modify = ModelModifier.modify_model

    def seen(self: ModelModifier, *rest: Any, **more: Any) -> Any:
        sizes.append(sum(len(raw.data) for raw in self._model.buffers if raw.data is not None))
        return modify(self, *rest, **more)

    monkeypatch.setattr(ModelModifier, "modify_model", seen)
    made = quantize(graph, calibrate(graph, values(4, 8)))
    assert sizes == [values(4, 8).nbytes]
    assert all(check.passed for check in prove(made).checks)
