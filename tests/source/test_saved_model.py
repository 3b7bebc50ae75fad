"""SavedModels, exported in this process, which has TensorFlow already, but for the first test."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octavo.base import trial
from octavo.base.errors import ModelError
from octavo.runtime.litert import Model
from octavo.source import exported
from octavo.source.load import load_model


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does what the child process that exports does, without starting one."""
    survived = trial.survived

    def without_child(command: list[str], *rest: Any) -> subprocess.CompletedProcess[str]:
        if exported.__name__ not in command:
            return survived(command, *rest)
        arguments = command[command.index(exported.__name__) + 1 :]
        return subprocess.CompletedProcess(command, exported._export(*arguments), "", "")

    monkeypatch.setattr(trial, "survived", without_child)
    monkeypatch.setattr(trial, "confine", lambda memory: None)


def _save(module: Any, path: Path, **signatures: Any) -> Path:
    import tensorflow as tf

    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def _module(shape: list[int | None], body: Any) -> Any:
    """A module with a function of one image."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))
    module.run = tf.function(lambda image: body(module, image), [tf.TensorSpec(shape, tf.float32, name="image")])
    return module


def _network(module: Any, image: Any) -> Any:
    import tensorflow as tf

    return tf.nn.softmax(tf.reshape(tf.matmul(tf.reduce_mean(image, [1, 2]), module.weights), [-1, 2, 2]))


def test_a_keras_export(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    network = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dense(3)]
    model = keras.Sequential([keras.Input((6, 6, 3)), *network])
    model.export(tmp_path / "saved", verbose=False)
    graph = load_model(tmp_path / "saved").graph
    assert [op.kind for op in graph.ops] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"], "batch 1: no shape arithmetic"
    images = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(Model(graph).predict(images), np.asarray(model.predict_on_batch(images)), atol=1e-5)


@pytest.mark.usefixtures("here")
def test_functions_of_tensorflow(tmp_path: Path) -> None:
    module = _module([None, 4, 4, 3], _network)
    graph = load_model(_save(module, tmp_path / "saved", serving_default=module.run)).graph
    assert [graph.tensors[i].name for i in graph.inputs] == ["image"]
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(Model(graph).predict(images), module.run(images), atol=1e-6)


@pytest.mark.usefixtures("here")
def test_the_only_signature_is_taken_and_of_several_none(tmp_path: Path) -> None:
    module = _module([1, 4, 4, 3], _network)
    assert load_model(_save(module, tmp_path / "one", classify=module.run)).graph.ops
    _save(module, tmp_path / "two", a=module.run, b=module.run.get_concrete_function())
    with pytest.raises(ModelError, match="has the signatures a, b; one called 'serving_default'"):
        load_model(tmp_path / "two")


@pytest.mark.parametrize("shape", [[None, None, 4, 3], [2, 4, 4, 3]])
@pytest.mark.usefixtures("here")
def test_open_sizes_and_other_batches_are_refused(tmp_path: Path, shape: list[int | None]) -> None:
    module = _module(shape, _network)
    with pytest.raises(ModelError, match=r"Input 'image' of the SavedModel .* takes \(('any'|2), "):
        load_model(_save(module, tmp_path / "saved", serving_default=module.run))


@pytest.mark.parametrize("kind", ["float64", "string"])
@pytest.mark.usefixtures("here")
def test_inputs_of_other_types_are_named(tmp_path: Path, kind: str) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.run = tf.function(tf.identity, [tf.TensorSpec([None, 4], kind, name="input")])
    with pytest.raises(ModelError, match=f"Input 'input' of the SavedModel .* takes {kind}; float32"):
        load_model(_save(module, tmp_path / "saved", serving_default=module.run))


@pytest.mark.usefixtures("here")
def test_functions_that_reach_files_are_never_run(tmp_path: Path) -> None:
    import tensorflow as tf

    target = tmp_path / "written"

    def inner(value: Any) -> Any:
        tf.io.write_file(str(target), "written by the model")
        return value

    hidden = tf.function(inner)
    module = _module([None, 4, 4, 3], lambda module, image: _network(module, hidden(image)))
    _save(module, tmp_path / "saved", serving_default=module.run)
    assert not target.exists()
    with pytest.raises(ModelError, match=r"has functions that access files or call Python \(WriteFile\)"):
        load_model(tmp_path / "saved")
    assert not target.exists()


@pytest.mark.usefixtures("here")
def test_tables_that_are_filled_from_files_are_refused(tmp_path: Path) -> None:
    """Loading runs what fills a table, not only calling does."""
    import tensorflow as tf

    (tmp_path / "words.txt").write_text("a\nb\n")
    key, value = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    words = tf.lookup.TextFileInitializer(str(tmp_path / "words.txt"), tf.string, key, tf.int64, value)
    module = _module([None, 4, 4, 3], _network)
    module.table = tf.lookup.StaticHashTable(words, -1)
    with pytest.raises(ModelError, match=r"InitializeTableFromTextFileV2"):
        load_model(_save(module, tmp_path / "saved", serving_default=module.run))


@pytest.mark.usefixtures("here")
def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder, but not a SavedModel"):
        load_model(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x07\x12\x00not what it says" * 9)
    with pytest.raises(ModelError, match="is not a SavedModel"):
        load_model(tmp_path)


@pytest.mark.usefixtures("here")
def test_tensorflow_1(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, [None, 3])
        v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"image": image}, {"twice": image * 2})
    with pytest.raises(ModelError, match=r"was written by TensorFlow 1.*from_saved_model"):
        load_model(tmp_path / "saved")
