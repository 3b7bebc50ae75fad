from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils
from tiny import tiny_tflite

from octavo.base.errors import MissingDependencyError, ModelError
from octavo.runtime.litert import Model
from octavo.source.load import load_model
from octavo.tflite.graph import Graph, serialize


class _Code:
    """What unpickling would run."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.pt", r"PyTorch pickle.*octavo\.from_torch\(module\.eval\(\), .*out='model\.tflite'\)"),
        ("model.pth", r"PyTorch pickle"),
        ("model.pt2", r"octavo\.from_torch\(torch\.export\.load\('.*model\.pt2'\), out='model\.tflite'\)"),
        ("model.safetensors", r"weights only"),
        ("model.ckpt", r"checkpoint"),
        ("model.pb", r"SavedModel folder.*from_frozen_graph"),
        ("model.tflite", r"TFL3"),
    ],
)
def test_what_is_not_opened_is_told_what_to_do_and_never_run(tmp_path: Path, name: str, said: str) -> None:
    import pickle

    (tmp_path / name).write_bytes(pickle.dumps(_Code(tmp_path / "ran")))
    with pytest.raises(ModelError, match=said):
        load_model(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def _program(folder: Path, body: str) -> None:
    """A stand-in for onnx2tf, which writes what the real one writes."""
    path = folder / "onnx2tf"
    path.write_text(f"#!{sys.executable}\nimport json, pathlib, sys\nout = pathlib.Path(sys.argv[4])\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


def test_onnx_without_its_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    with pytest.raises(MissingDependencyError, match=r"pipx install onnx2tf.*converted/model_float32\.tflite"):
        load_model(tmp_path / "model.onnx")


def test_onnx_is_what_its_converter_makes_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    (tmp_path / "float.tflite").write_bytes(tiny_tflite())
    copy = (
        f"(out / 'model_float32.tflite').write_bytes(pathlib.Path({str(tmp_path / 'float.tflite')!r}).read_bytes())\n"
    )
    report = "report = {'overall_metrics': {'max_abs': %s, 'ref_max_abs': 1.0}}\n"
    write = "(out / 'model_accuracy_report.json').write_text(json.dumps(report))\n"
    _program(tmp_path, copy + report % 1e-7 + write)
    assert load_model(tmp_path / "model.onnx").graph.content == tiny_tflite()
    _program(tmp_path, copy + report % 0.1 + write)
    with pytest.raises(ModelError, match=r"do not compute the same: they differ by up to 0\.1"):
        load_model(tmp_path / "model.onnx")
    opened = copy.replace("float.tflite", "open.tflite")
    model = flatbuffer_utils.read_model(str(tmp_path / "float.tflite"))
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shapeSignature = [-1, 8, 8, 3]
    (tmp_path / "open.tflite").write_bytes(serialize(model))
    name = Graph(tiny_tflite()).tensors[Graph(tiny_tflite()).inputs[0]].name
    fixed = f"assert sys.argv[6] == '{name}:1,3,8,8', sys.argv\n{copy}"
    choice = f"if '-ois' in sys.argv:\n{indent(fixed, '    ')}else:\n    {opened}"
    _program(tmp_path, choice + report % 1e-7 + write)
    assert load_model(tmp_path / "model.onnx").graph.content == tiny_tflite(), "converted again with a batch of 1"
    _program(tmp_path, "sys.exit('ERROR: no such op')")
    with pytest.raises(ModelError, match=r"could not convert .* \(ERROR: no such op\)"):
        load_model(tmp_path / "model.onnx")


@pytest.mark.skipif(shutil.which("onnx2tf") is None, reason="the program onnx2tf is not installed")
def test_onnx_by_the_real_converter(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    graph = make.make_graph(
        [
            make.make_node("Conv", ["image", "weights"], ["made"], pads=[1, 1, 1, 1]),
            make.make_node("GlobalMaxPool", ["made"], ["score"]),
        ],
        "network",
        [make.make_tensor_value_info("image", kinds.FLOAT, ["batch", 3, 8, 8])],
        [make.make_tensor_value_info("score", kinds.FLOAT, ["batch", 4, 1, 1])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9), tmp_path / "model.onnx")
    made = load_model(tmp_path / "model.onnx").graph
    assert made.tensors[made.inputs[0]].shape == (1, 8, 8, 3)
    # By hand: correlation with the kernel at every place, zeros around, the largest of each channel.
    image = np.random.default_rng(1).normal(size=(8, 8, 3)).astype(np.float32)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
    wanted = np.einsum("yxcij,ocij->yxo", windows, weights).max(axis=(0, 1))
    np.testing.assert_allclose(Model(made).predict(image[None]).ravel(), wanted, rtol=1e-4)
