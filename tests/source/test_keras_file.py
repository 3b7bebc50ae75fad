from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from octavo.base.errors import ModelError, OctavoError
from octavo.source.keras_file import load_keras, save


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
        with pytest.raises(OctavoError, match="nothing was left half written"):
            save(_model(), tmp_path / "model.keras")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_text_named_keras(tmp_path: Path) -> None:
    (tmp_path / "words.keras").write_text("words")
    with pytest.raises(ModelError, match="is a zip archive, and this is none"):
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
