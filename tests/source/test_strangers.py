"""Files of strangers: what would kill this process kills a child, and is one error here."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File, values
from tiny import tiny_tflite, write_folder

import octavo
from octavo.base import child, limits, trial
from octavo.base.errors import ModelError, OctavoError
from octavo.recipe.options import Inputs
from octavo.runtime.litert import interpreter
from octavo.source import tried
from octavo.source.keras_file import check_claims
from octavo.source.load import load_model
from octavo.source.tried import try_made
from octavo.tflite.graph import Graph

SOURCE = Path(octavo.__file__).parents[1]


def _no_beta(path: Path) -> Path:
    """An int8 Softmax whose factor is 0: XNNPACK runs it, and the reference kernels abort."""
    file = File()
    x, out = file.tensor("x", (1, 4, 4, 3), "int8"), file.tensor("out", (1, 4, 4, 3), "int8")
    for index, scale, zero in ((x, 0.1, 0), (out, 1 / 256, -128)):
        from ai_edge_litert import schema_py_generated as schema

        made = file.at.tensors[index].quantization = schema.QuantizationParametersT()
        made.scale, made.zeroPoint = np.array([scale], np.float32), np.array([zero], np.int64)
    file.op("SOFTMAX", [x], [out], "Softmax", beta=0.0)
    path.write_bytes(file.ports([x], [out]).bytes())
    return path


@pytest.mark.usefixtures("started_children")
def test_a_kernel_family_that_aborts_does_so_in_a_child(tmp_path: Path) -> None:
    path = _no_beta(tmp_path / "m.tflite")
    assert load_model(path).graph.ops[0].kind == "SOFTMAX"
    with pytest.raises(ModelError, match=r"LiteRT crashed on .*signal"):
        load_model(path, kernels=["reference"])
    with pytest.raises(ModelError, match="LiteRT crashed"):
        octavo.slim(path, tmp_path / "out.tflite")
    with pytest.raises(ModelError, match="LiteRT crashed"):
        octavo.benchmark([path], kernels=["reference"])
    assert not (tmp_path / "out.tflite").exists()


def test_shapes_that_a_file_states_wrongly_become_litert_s(tmp_path: Path) -> None:
    file = File()
    x, out = file.tensor("x", (1, 6)), file.tensor("out", (1, 65535))
    file.dense(x, file.constant("weight", values(4, 6)), out)
    (tmp_path / "m.tflite").write_bytes(file.ports([x], [out]).bytes())
    loaded = load_model(tmp_path / "m.tflite")
    assert loaded.graph.tensors[loaded.graph.outputs[0]].shape == (1, 4)
    assert "states wrongly" in " ".join(loaded.canonical)
    made = interpreter(loaded.content)
    made.invoke()
    assert made.get_tensor(out).shape == (1, 4)


def test_a_trial_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "model_seconds", lambda size: 0.0)
    with pytest.raises(ModelError, match="was given up"):
        load_model(_no_beta(tmp_path / "m.tflite"))


@pytest.mark.parametrize("refused", [False, True])
def test_the_child_makes_a_form_only_where_the_runtime_refuses_another(
    refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_tflite())
    refusal, exposed = tried.refusal, Graph.exposed
    forms: list[str] = []

    def run(content: bytes, *others: Any) -> str:
        reduces = any(op.kind == "REDUCE_MIN" for op in Graph(content).ops)
        forms.append("reduced" if reduces else "as it is" if content == tiny_tflite() else "exposed")
        return "no" if reduces and refused else refusal(content, *others)

    made: list[Graph] = []
    monkeypatch.setattr(tried, "refusal", run)
    monkeypatch.setattr(Graph, "exposed", lambda self, tensors: made.append(self) or exposed(self, tensors))
    tried._given(str(tmp_path / "m.tflite"), "m", None, None, ["xnnpack"], "read", "to_change")
    assert forms == ["as it is", "reduced", *(["exposed"] if refused else [])]
    assert len(made) == int(refused)


def test_the_child_imports_only_what_reading_and_running_need() -> None:
    """Every command waits for it."""
    code = (
        "import sys; sys.path.append(sys.argv[1]); import octavo.source.tried; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = child.run(child.code_command(code, SOURCE))
    assert done.returncode == 0, done.stderr
    assert {"numpy", "octavo"} <= set(done.stdout.split())
    assert not {"scipy", "pydantic", "yaml", "PIL", "rich", "typer", "tensorflow", "keras"} & set(done.stdout.split())


def _archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return path


def _weights(shape: tuple[int, ...]) -> bytes:
    h5py = pytest.importorskip("h5py")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        # Chunks that nobody wrote take no space.
        file.create_dataset("vars/0", shape, "f4", chunks=(1,) * len(shape))
    return stream.getvalue()


def test_weights_of_other_files_or_in_too_many_pieces(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(bytes(64))
    damage = {
        "external.h5": lambda file: file.create_dataset("w", (4,), "f4", external=[(str(tmp_path / "secret"), 0, 16)]),
        "link.h5": lambda file: file.__setitem__("w", h5py.ExternalLink(str(tmp_path / "other.h5"), "/w")),
        "pieces.h5": lambda file: file.create_dataset("w", (1000, 1000), "f4", chunks=(1, 1)),
    }
    for name, change in damage.items():
        with h5py.File(tmp_path / name, "w") as file:
            change(file)
        with pytest.raises(ModelError, match=r"from another file|1,000,000 pieces"):
            check_claims(tmp_path / name)


def test_keras_files_that_claim_too_much(tmp_path: Path) -> None:
    config = json.dumps({"class_name": "Sequential", "config": {}}).encode()
    check_claims(_archive(tmp_path / "good.keras", config__json=config))
    for name, members in {
        "bomb.keras": {"config__json": config, "zeros": bytes(100 << 20)},
        "deep.keras": {"config__json": b'{"a":' * 2000 + b"1" + b"}" * 2000},
        "nan.keras": {"config__json": b'{"a": NaN}'},
    }.items():
        with pytest.raises(ModelError, match=name):
            check_claims(_archive(tmp_path / name, **members))
    huge = _weights((40_000, 40_000))
    parts = {"config.json": config, "model.weights.h5": huge}
    with zipfile.ZipFile(tmp_path / "huge.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    (tmp_path / "huge.h5").write_bytes(huge)
    for name in ("huge.keras", "huge.h5"):
        with pytest.raises(ModelError, match=r"6\.4 GB of weights"):
            check_claims(tmp_path / name)


@pytest.mark.slow
def test_a_keras_layer_that_asks_for_all_memory_ends_a_child(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()]).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"filters": 4', b'"filters": 400000000')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(OctavoError):
        octavo.inspect(path)


_CLASSIFIER = {"image": (1, 8, 8, 3), "mean": (1, 3), "logits": (1, 3), "chances": (1, 3)}


@pytest.mark.filterwarnings("ignore::octavo.data.dataset.OctavoWarning")
def test_a_quantized_form_that_aborts_does_so_in_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"LiteRT crashed on the quantized form of 'm' .*signal"):
        try_made(_no_beta(tmp_path / "m.tflite").read_bytes(), "'m'", ["reference"])
    file = File()
    x, mean, logits, out = (file.tensor(name, shape) for name, shape in _CLASSIFIER.items())
    file.op("MEAN", [x, file.constant("axes", np.array([1, 2], np.int32))], [mean], "Reducer")
    file.dense(mean, file.constant("weight", values(3, 3)), logits)
    file.op("SOFTMAX", [logits], [out], "Softmax", beta=1.0)
    (tmp_path / "float.tflite").write_bytes(file.ports([x], [out]).bytes())
    ask, died = trial.Attendant.ask, list[str]()

    def dies(self: trial.Attendant, line: str, name: str, seconds: float) -> str:
        """Lets the trial of the float model go on, and kills that of what is made of it."""
        if "made.tflite" in line:
            died.append(line)
            assert self._process is not None
            self._process.kill()
        return ask(self, line, name, seconds)

    monkeypatch.setattr(trial.Attendant, "ask", dies)
    photos = write_folder(tmp_path / "photos", 12)
    given = (tmp_path / "float.tflite", Inputs(photos, scale=(0, 1)))
    for number, command in enumerate(
        (
            lambda: octavo.quantize(*given, tmp_path / "out.tflite"),
            lambda: octavo.sensitivity(*given, calibration=6),
            lambda: octavo.calibrate(*given, sizes=(4,), draws=1, validation=6),
            lambda: octavo.search(*given, tmp_path / "out.tflite", octavo.Goal(drop=1.0)),
        ),
        1,
    ):
        with pytest.raises(ModelError, match="crashed on the quantized form of"):
            command()
        assert len(died) == number
    assert not (tmp_path / "out.tflite").exists()
