from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octavo.base.errors import ModelError, OctavoError
from octavo.source.keras_file import first_values_are_zeros, load_keras, save


def _model() -> object:
    import keras

    image = keras.Input((4, 4, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    model.compile("adam", "categorical_crossentropy")
    return model


def test_sizes_with_and_without_optimizer_state(tmp_path: Path) -> None:
    """Adam keeps two more numbers for every weight, 4 bytes each."""
    import keras

    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(5000)])
    model.compile("adam", "mse")
    model.fit(np.ones((2, 4, 4, 3)), np.ones((2, 5000)), verbose=0)
    sizes = save(model, tmp_path / "model.keras")
    assert sizes["keras_with_optimizer"] == (tmp_path / "model.keras").stat().st_size
    numbers = 49 * 5000
    assert sizes["keras_with_optimizer"] - sizes["keras"] == pytest.approx(2 * 4 * numbers, rel=0.02)
    assert sizes["keras"] == pytest.approx(4 * numbers, rel=0.05)
    again = load_keras(tmp_path / "model.keras")
    for first, second in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_file_gives_its_values_where_layers_start_from_zeros(tmp_path: Path) -> None:
    import keras

    save(_model(), tmp_path / "model.keras")
    wanted = load_keras(tmp_path / "model.keras").get_weights()
    kinds = [kind for name, kind in vars(keras.initializers).items() if isinstance(kind, type) and name != "Constant"]
    random = [kind() for kind in kinds if "seed" in kind().get_config()]
    with first_values_are_zeros():
        given = load_keras(tmp_path / "model.keras").get_weights()
        assert len(random) > 5 and not any(np.any(made((3, 4), "float32")) for made in random)
    for first, second in zip(given, wanted, strict=True):
        np.testing.assert_array_equal(first, second)
    assert all(np.any(np.asarray(made((3, 4), "float32"))) for made in random)


def test_lambda_layers_are_never_executed(tmp_path: Path) -> None:
    import keras

    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ModelError, match="Lambda layer"):
        load_keras(tmp_path / "lambda.keras")


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OctavoError, match="No file was left half written"):
            save(_model(), tmp_path / "model.keras")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_text_named_keras(tmp_path: Path) -> None:
    (tmp_path / "words.keras").write_text("words")
    with pytest.raises(ModelError, match="is a zip archive, and this file is not"):
        load_keras(tmp_path / "words.keras")
    with pytest.raises(ModelError, match="There is no file"):
        load_keras(tmp_path / "none.keras")


@pytest.mark.parametrize("keep", [0, 10, 1000, -5])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    save(_model(), tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[:keep])
    with pytest.raises(ModelError, match="could not be read as a Keras model"):
        load_keras(tmp_path / "cut.keras")


def test_nan_weights_are_named(tmp_path: Path) -> None:
    model = _model()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])  # type: ignore[attr-defined]
    save(model, tmp_path / "nan.keras")
    with pytest.raises(ModelError, match="NaN or infinity in 2 of its weights"):
        load_keras(tmp_path / "nan.keras")


def _as_keras_2(path: Path, change: Callable[[dict[str, Any]], None], version: str = "2.12.0") -> None:
    """Changes what a whole-model `.h5` says of its layers, as Keras 2 would have said it."""
    import h5py

    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            change(layer)
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = version


def _depthwise(path: Path) -> Any:
    import keras

    layers = keras.layers
    network = [layers.DepthwiseConv2D(3), layers.SeparableConv2D(4, 1), layers.Reshape((9, 4)), layers.LSTM(2)]
    model = keras.Sequential([keras.Input((5, 5, 3)), *network])
    model.save(path)
    return model


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_arguments_of_keras_2_that_meant_nothing_are_left_out(tmp_path: Path) -> None:
    model = _depthwise(tmp_path / "old.h5")

    def change(layer: dict[str, Any]) -> None:
        config = layer["config"]
        if layer["class_name"] == "DepthwiseConv2D":
            config["groups"] = 1
        if layer["class_name"] == "SeparableConv2D":
            config |= {
                "groups": 1,
                "kernel_initializer": {"class_name": "Zeros", "config": {}},
                "kernel_constraint": None,
            }
        if layer["class_name"] == "LSTM":
            config["time_major"] = False
            config["dtype"] = {"class_name": "Policy", "config": {"name": "float32"}}

    _as_keras_2(tmp_path / "old.h5", change)
    before = (tmp_path / "old.h5").read_bytes()
    images = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(load_keras(tmp_path / "old.h5")(images)), np.asarray(model(images)))
    assert (tmp_path / "old.h5").read_bytes() == before, "the user's file stays as it is"


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_arguments_of_keras_2_that_meant_something_are_named(tmp_path: Path) -> None:
    _depthwise(tmp_path / "old.h5")
    _as_keras_2(tmp_path / "old.h5", lambda layer: layer["config"].update({"time_major": True}))
    with pytest.raises(ModelError, match=r"was written by Keras 2\.12\.0, and Keras 3 cannot read it .*time_major"):
        load_keras(tmp_path / "old.h5")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_tensorflow_functions_of_keras_2_are_named(tmp_path: Path) -> None:
    _depthwise(tmp_path / "old.h5")

    def change(layer: dict[str, Any]) -> None:
        if layer["class_name"] == "Reshape":
            layer |= {"class_name": "TFOpLambda", "config": {"name": "times", "function": "math.multiply"}}

    _as_keras_2(tmp_path / "old.h5", change)
    with pytest.raises(ModelError, match=r"TensorFlow functions as layers \(math\.multiply\).*SavedModel"):
        load_keras(tmp_path / "old.h5")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_h5_files_that_are_no_models(tmp_path: Path) -> None:
    import keras

    model = _depthwise(tmp_path / "model.h5")
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ModelError, match="holds weights only"):
        load_keras(tmp_path / "model.weights.h5")
    (tmp_path / "words.h5").write_text("words")
    with pytest.raises(ModelError, match="is an HDF5 file, and this file is not"):
        load_keras(tmp_path / "words.h5")
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image)).save(tmp_path / "code.h5")
    with pytest.raises(ModelError, match="Lambda layer"):
        load_keras(tmp_path / "code.h5")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_layers_of_ones_own_are_named(tmp_path: Path, ending: str) -> None:
    import keras

    class Mine(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + 1

    keras.Sequential([keras.Input((4,)), Mine()]).save(tmp_path / f"model.{ending}")
    with pytest.raises(ModelError, match=r"uses the (class|layer) 'Mine', which Keras does not know.*SavedModel"):
        load_keras(tmp_path / f"model.{ending}")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_files_that_declare_more_than_they_hold(tmp_path: Path, ending: str) -> None:
    """A data set of which nothing was written takes no bytes, and Keras would make room for all of it."""
    import h5py

    path = tmp_path / f"model.{ending}"
    _model().save(path)  # type: ignore[attr-defined]
    inner = path
    if ending == "keras":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "inside")
        inner = tmp_path / "inside" / "model.weights.h5"
    with h5py.File(inner, "r+") as file:
        file.create_dataset("more", (1000, 1000, 1000), "float32")
    if ending == "keras":
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("metadata.json", "config.json", "model.weights.h5"):
                archive.write(tmp_path / "inside" / name, name)
    with pytest.raises(ModelError, match=r"says that it holds 4\.0 GB of weights, but has only \d+,\d+ bytes"):
        load_keras(path)


def test_a_damaged_file_called_lambda_holds_no_lambda(tmp_path: Path) -> None:
    save(_model(), tmp_path / "model.keras")
    (tmp_path / "lambda.keras").write_bytes((tmp_path / "model.keras").read_bytes()[:-40] + b"x" * 40)
    with pytest.raises(ModelError) as caught:
        load_keras(tmp_path / "lambda.keras")
    assert "Lambda layer" not in str(caught.value)
