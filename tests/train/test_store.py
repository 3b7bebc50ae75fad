from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from octavo.errors import ModelError
from octavo.train import load_keras, save


def _model() -> object:
    import keras

    image = keras.Input((4, 4, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    model.compile("adam", "categorical_crossentropy")
    return model


def test_sizes_with_and_without_optimizer_state(tmp_path: Path) -> None:
    model = _model()
    model.fit(np.zeros((2, 4, 4, 3)), np.eye(2), verbose=0)  # type: ignore[attr-defined]
    sizes = save(model, tmp_path / "model.keras")
    assert sizes["keras_with_optimizer"] == (tmp_path / "model.keras").stat().st_size > sizes["keras"]
    again = load_keras(tmp_path / "model.keras")
    for first, second in zip(model.get_weights(), again.get_weights(), strict=True):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(first, second)


def test_lambda_layers_are_never_executed(tmp_path: Path) -> None:
    import keras

    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ModelError, match="Lambda layer"):
        load_keras(tmp_path / "lambda.keras")


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
