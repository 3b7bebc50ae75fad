from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octavo
from octavo.base.errors import MissingDependencyError, ModelError
from octavo.runtime.litert import Model, interpreter


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jax", None)
    with pytest.raises(MissingDependencyError, match=r"needs jax, for JAX functions.*\[jax\]"):
        octavo.from_jax(lambda x: x, np.zeros((1, 3), np.float32), out=tmp_path / "float.tflite")


def _jax() -> Any:
    pytest.importorskip("litert_converter", reason="the extra jax is not installed")
    return pytest.importorskip("jax", reason="the extra jax is not installed")


def test_a_convolutional_network(tmp_path: Path) -> None:
    jax = _jax()
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.3, (3, 3, 3, 8)).astype(np.float32)
    dense = rng.normal(size=(8, 4)).astype(np.float32)

    def classify(image: Any) -> Any:
        made = jax.lax.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.nn.softmax(jax.nn.relu(made).mean((1, 2)) @ dense)

    graph = octavo.from_jax(classify, np.zeros((1, 16, 16, 3), np.float32), out=tmp_path / "float.tflite")
    assert [op.kind for op in graph.ops] == ["CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    assert next(iter(graph.arguments.values())) == "image"
    images = rng.uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(Model(graph).predict(images), classify(images), atol=1e-6)
    assert (tmp_path / "float.tflite").read_bytes() == graph.content


def test_trees_of_inputs_and_outputs(tmp_path: Path) -> None:
    _jax()

    def apply(first: Any, rest: Any) -> Any:
        return {"sum": first + 2 * rest["b"], "difference": first - rest["a"]}

    ones = np.ones((1, 3), np.float32)
    graph = octavo.from_jax(apply, ones, {"a": ones, "b": ones}, out=tmp_path / "float.tflite")
    made = interpreter(graph.content)
    values = {"first": 1.0, "rest['a']": 10.0, "rest['b']": 100.0}
    for index in graph.inputs:
        made.set_tensor(index, values[graph.arguments[index]] * ones)
    made.invoke()
    assert {float(made.get_tensor(index).max()) for index in graph.outputs} == {201.0, -9.0}


def test_what_cannot_be_traced(tmp_path: Path) -> None:
    _jax()
    with pytest.raises(ModelError, match=r"could not convert the JAX function 'choose' \(TracerBoolConversionError"):
        octavo.from_jax(choose, np.ones((1, 3), np.float32), out=tmp_path / "float.tflite")
    assert list(tmp_path.iterdir()) == []


def choose(value: Any) -> Any:
    return value if value.sum() > 0 else -value
