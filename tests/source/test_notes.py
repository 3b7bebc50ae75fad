"""What TFLite metadata say is used where there is no sidecar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import pictures, tiny_tflite

import octavo
from octavo.data.dataset import ImageSet
from octavo.source.classes import names_for
from octavo.source.load import load_model, preprocess_for
from octavo.source.notes import Notes, notes_of
from octavo.tflite.graph import Graph
from octavo.tflite.metadata import attach


def _described(mean: list[float], deviation: list[float], labels: bytes = b"ant\nbee\ncat\n") -> bytes:
    unit = {"options_type": "NormalizationOptions", "options": {"mean": mean, "std": deviation}}
    files = [{"name": "labels.txt", "type": "TENSOR_AXIS_LABELS"}]
    entry = {"name": "image", "process_units": [unit]}
    value = {
        "subgraph_metadata": [
            {
                "input_tensor_metadata": [entry],
                "output_tensor_metadata": [{"name": "classes", "associated_files": files}],
            }
        ]
    }
    return attach(Graph(tiny_tflite()), value, {"labels.txt": labels}).content


@pytest.mark.parametrize(
    ("mean", "deviation", "scale"),
    [([0.0], [255.0], (0.0, 1.0)), ([127.5] * 3, [127.5] * 3, (-1.0, 1.0)), ([0.0], [1.0], (0.0, 255.0))],
)
def test_normalization_is_the_scale(mean: list[float], deviation: list[float], scale: tuple[float, float]) -> None:
    notes = notes_of(_described(mean, deviation))
    assert notes.scale == pytest.approx(scale)
    assert notes.classes == ("ant", "bee", "cat")


def test_what_metadata_do_not_say_is_not_made_up() -> None:
    assert notes_of(tiny_tflite()) == Notes()
    assert notes_of(b"") == Notes()
    assert notes_of(_described([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])).scale is None
    assert notes_of(_described([0.0], [0.0])).scale is None


def test_a_model_is_loaded_as_they_say(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(_described([0.0], [255.0]))
    loaded = load_model(path)
    preprocess = preprocess_for(loaded)
    assert preprocess is not None and preprocess.scale == pytest.approx((0.0, 1.0))
    said = preprocess_for(loaded, octavo.Inputs(scale=(-2.0, 2.0)))
    assert said is not None and said.scale == (-2.0, 2.0)
    pixels, labels = pictures(9)
    folders = ImageSet(pixels, labels, ("x", "y", "z"), tuple(map(str, range(9))))
    assert names_for(loaded, folders) == ("ant", "bee", "cat")


def test_folders_name_classes_only_where_they_are_as_many(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_tflite())
    loaded = load_model(path)
    pixels, labels = pictures(9)
    ids = tuple(map(str, range(9)))
    assert names_for(loaded, ImageSet(pixels, labels, ("x", "y", "z"), ids)) == ("x", "y", "z")
    assert names_for(loaded, ImageSet(pixels, np.minimum(labels, 1), ("x", "y"), ids)) == ()
