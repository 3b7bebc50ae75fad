from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octavo
from octavo.base.errors import MissingDependencyError, ModelError
from octavo.runtime.litert import Model


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"needs torch, for PyTorch modules.*\[torch\]"):
        octavo.from_torch(object(), out=tmp_path / "float.tflite")


def _torch() -> Any:
    pytest.importorskip("litert_torch", reason="the extra torch is not installed")
    return pytest.importorskip("torch", reason="the extra torch is not installed")


def _network(torch: Any) -> Any:
    nn = torch.nn
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 4), nn.Softmax(1)).eval()


def test_a_module_takes_images_with_their_channels_last(tmp_path: Path) -> None:
    torch = _torch()
    network = _network(torch)
    graph = octavo.from_torch(network, torch.zeros(1, 3, 16, 16), out=tmp_path / "float.tflite")
    assert graph.tensors[graph.inputs[0]].shape == (1, 16, 16, 3)
    assert "TRANSPOSE" not in {op.kind for op in graph.ops}
    images = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = network(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(Model(graph).predict(images), wanted, atol=1e-6)
    assert (tmp_path / "float.tflite").read_bytes() == graph.content


def test_an_exported_program_knows_its_inputs(tmp_path: Path) -> None:
    torch = _torch()
    network, example = _network(torch), torch.zeros(1, 3, 16, 16)
    torch.export.save(torch.export.export(network, (example,)), tmp_path / "model.pt2")
    graph = octavo.from_torch(torch.export.load(tmp_path / "model.pt2"), out=tmp_path / "float.tflite")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = network(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(Model(graph).predict(images), wanted, atol=1e-6)


def test_outputs_that_are_images_have_their_channels_last_too(tmp_path: Path) -> None:
    torch = _torch()
    graph = octavo.from_torch(torch.nn.Conv2d(3, 5, 1).eval(), torch.zeros(1, 3, 6, 8), out=tmp_path / "float.tflite")
    assert [graph.tensors[i].shape for i in (*graph.inputs, *graph.outputs)] == [(1, 6, 8, 3), (1, 6, 8, 5)]


def test_training_mode_and_no_inputs_are_refused(tmp_path: Path) -> None:
    torch = _torch()
    with pytest.raises(ModelError, match="in training mode"):
        octavo.from_torch(_network(torch).train(), torch.zeros(1, 3, 16, 16), out=tmp_path / "float.tflite")
    with pytest.raises(ModelError, match="does not know the shapes of its inputs"):
        octavo.from_torch(_network(torch), out=tmp_path / "float.tflite")
