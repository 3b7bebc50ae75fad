"""TFLite metadata: read as another tool wrote it, written so that another reads it, and no bit of the model moved."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell import octavo
from tiny import CLASSES, pictures, tiny_int8

from octavo.analysis.inspect import inspect
from octavo.base.errors import ModelError
from octavo.data.preprocess import Preprocess
from octavo.deployment.described import contents, described, for_mediapipe, normalization
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.rewrite.raw_pixels import raw_pixels
from octavo.rewrite.strip import strip
from octavo.runtime.litert import Model
from octavo.source.sidecar import Sidecar
from octavo.tflite import metadata
from octavo.tflite.graph import Graph

# What the metadata writer of MediaPipe 0.10.21 makes of an image classifier with mean and deviation 127.5.
MEDIAPIPE = base64.b64decode("""
HAAAAE0wMDEUABQAEAAMAAAACAAAAAAAAAAEABQAAAAQAAAAGAAAAOQBAAA0AgAABQAAADEuMC4wAAAAAQAAABAAAAAMAAwAAAAAAAgABAAMAAAACAAAAO
wAAAABAAAAGAAAAAAAEgAYABQAEAAAAAwAAAAIAAQAEgAAABQAAAB8AAAAfAAAAIgAAACsAAAAAQAAABAAAAAAAAoAEAAMAAgABwAKAAAAAAAAAggAAAA8
AAAAMwAAAExhYmVscyBmb3IgY2F0ZWdvcmllcyB0aGF0IHRoZSBtb2RlbCBjYW4gcmVjb2duaXplLgAKAAAAbGFiZWxzLnR4dAAAiP///3z///8IAAAAAA
AAAZj///8hAAAAU2NvcmUgb2YgdGhlIGxhYmVscyByZXNwZWN0aXZlbHkuAAAABQAAAHNjb3JlAAAAAQAAABQAAAAQABgAFAAQAAAADAAIAAQAEAAAABgA
AAAYAAAAXAAAAHAAAACQAAAABAAEAAQAAAABAAAADAAAAAgADAALAAQACAAAABAAAAAAAAABCAAMAAgABAAIAAAACAAAAAwAAAABAAAAAAD/QgEAAAAAAP
9CCAAKAAkABAAIAAAADAAAAAACBgAIAAcABgAAAAAAAAEcAAAASW5wdXQgaW1hZ2UgdG8gYmUgcHJvY2Vzc2VkLgAAAAAFAAAAaW1hZ2UAAABPAAAASWRl
bnRpZnkgdGhlIG1vc3QgcHJvbWluZW50IG9iamVjdCBpbiB0aGUgaW1hZ2UgZnJvbSBhIGtub3duIHNldCBvZiBjYXRlZ29yaWVzLgAPAAAASW1hZ2VDbG
Fzc2lmaWVyAA==
""")
BELONGS = Sidecar(Preprocess((8, 8)), CLASSES)


def test_what_mediapipe_wrote_is_read() -> None:
    assert metadata.decode(MEDIAPIPE) == {
        "name": "ImageClassifier",
        "description": "Identify the most prominent object in the image from a known set of categories.",
        "subgraph_metadata": [
            {
                "input_tensor_metadata": [
                    {
                        "name": "image",
                        "description": "Input image to be processed.",
                        "content": {
                            "content_properties_type": "ImageProperties",
                            "content_properties": {"color_space": "RGB"},
                        },
                        "process_units": [
                            {"options_type": "NormalizationOptions", "options": {"mean": [127.5], "std": [127.5]}}
                        ],
                    }
                ],
                "output_tensor_metadata": [
                    {
                        "name": "score",
                        "description": "Score of the labels respectively.",
                        "content": {"content_properties_type": "FeatureProperties", "content_properties": {}},
                        "associated_files": [
                            {
                                "name": "labels.txt",
                                "description": "Labels for categories that the model can recognize.",
                                "type": "TENSOR_AXIS_LABELS",
                            }
                        ],
                    }
                ],
            }
        ],
        "min_parser_version": "1.0.0",
    }


class Walk:
    """A position in a flatbuffer, followed by the numbers of the format's specification and nothing of Octavo."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def number(self, form: str, at: int) -> int:
        return int(struct.unpack_from(f"<{form}", self.data, at)[0])

    def field(self, slot: int) -> int:
        vtable = self.at - self.number("i", self.at)
        assert 4 + 2 * slot < self.number("H", vtable), "the table is too short for this field"
        offset = self.number("H", vtable + 4 + 2 * slot)
        assert offset, "the field is left out"
        return self.at + offset

    def __getitem__(self, slot: int) -> Walk:
        place = self.field(slot)
        return Walk(self.data, place + self.number("I", place))

    def entry(self, index: int) -> Walk:
        assert index < self.number("I", self.at)
        place = self.at + 4 + 4 * index
        return Walk(self.data, place + self.number("I", place))

    def text(self) -> str:
        return self.data[self.at + 4 : self.at + 4 + self.number("I", self.at)].decode()

    def floats(self) -> list[float]:
        return list(struct.unpack_from(f"<{self.number('I', self.at)}f", self.data, self.at + 4))

    def byte(self, slot: int) -> int:
        return self.data[self.field(slot)]


def test_what_is_written_lies_where_the_schema_says() -> None:
    data = metadata.encode(contents(tiny_int8(), Sidecar(Preprocess((8, 8), scale=(0.0, 1.0)), CLASSES)))
    assert data[4:8] == b"M001"
    model = Walk(data, struct.unpack_from("<I", data)[0])
    assert model[0].text() == "Image classifier of 3 classes" and model[7].text() == "1.0.0"
    image, scores = (model[3].entry(0)[slot].entry(0) for slot in (2, 3))
    assert image[0].text() == "image" and "8×8 RGB, bicubic" in image[1].text()
    # A content's union: 2 is ImageProperties, whose color space 1 is RGB; 1 is FeatureProperties.
    assert image[3].byte(0) == 2 and image[3][1].byte(0) == 1
    assert scores[3].byte(0) == 1
    unit = image[4].entry(0)
    assert unit.byte(0) == 1 and unit[1][0].floats() == [0.0] and unit[1][1].floats() == [255.0]
    file = scores[6].entry(0)
    assert file[0].text() == "labels.txt" and file.byte(2) == 2


@pytest.mark.parametrize("scale", [(-1.0, 1.0), (0.0, 1.0), (-0.996, 1.004), (0.0, 255.0)])
def test_mean_and_deviation_are_the_scale(scale: tuple[float, float]) -> None:
    preprocess = Preprocess((8, 8), scale=scale)
    found = normalization(preprocess)
    pixels = np.arange(256)
    by_schema = (pixels - found["mean"][0]) / found["std"][0]
    np.testing.assert_allclose(preprocess.normalize(pixels), by_schema, rtol=0, atol=1e-6 * (scale[1] - scale[0]))


@pytest.mark.parametrize(("channels", "color"), [("rgb", "RGB"), ("bgr", "UNKNOWN"), ("gray", "GRAYSCALE")])
def test_the_schema_knows_no_bgr(channels: Any, color: str) -> None:
    value = contents(tiny_int8(), Sidecar(Preprocess((8, 8), channels=channels), CLASSES))
    image = value["subgraph_metadata"][0]["input_tensor_metadata"][0]
    assert image["content"]["content_properties"] == {"color_space": color}
    assert metadata.decode(metadata.encode(value)) == value


def test_labels_are_packed_and_no_output_changes() -> None:
    graph = tiny_int8()
    made = described(graph, BELONGS)
    assert made.content == described(graph, BELONGS).content
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        assert archive.testzip() is None
        (entry,) = archive.infolist()
        assert entry.compress_type == zipfile.ZIP_STORED and archive.read("labels.txt") == b"blue\ngreen\nred\n"
    value = metadata.read(made.content)
    assert value == contents(graph, BELONGS)
    assert metadata.labels(made.content, value) == list(CLASSES)
    seen = BELONGS.preprocess.normalize(pictures(40)[0])
    for family in ("xnnpack", "builtin", "reference"):
        said = [Model(one, family, workers=1).predict(seen) for one in (graph, made)]
        assert np.array_equal(*said) and len(np.unique(said[0], axis=0)) > 5
    # Written again, there is one entry and one archive.
    again = described(made, BELONGS)
    assert again.content.count(b"TFLITE_METADATA") == 1
    assert again.content.count(b"PK\x05\x06") == 1


def test_metadata_of_others_stay_and_slim_drops_ours() -> None:
    from ai_edge_litert.tools import flatbuffer_utils

    graph = tiny_int8()
    names = [item.name for item in flatbuffer_utils.read_model_from_bytearray(bytearray(graph.content)).metadata or ()]
    made = described(graph, BELONGS)
    kept = [item.name for item in flatbuffer_utils.read_model_from_bytearray(bytearray(made.content)).metadata]
    assert kept == [*names, b"TFLITE_METADATA"]
    assert metadata.read(strip(made).content) is None


@given(st.integers(4, len(MEDIAPIPE) - 1), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_damage_is_an_error_of_ours_or_harmless(place: int, value: int) -> None:
    damaged = bytearray(MEDIAPIPE)
    damaged[place] = value
    try:
        json.dumps(metadata.decode(bytes(damaged)))
    except ModelError as error:
        assert "TFLite metadata" in str(error)


def test_a_table_named_from_everywhere_is_not_followed_for_ever() -> None:
    files = [{"name": "a"}] * 20_000
    with pytest.raises(ModelError, match="damaged"):
        metadata.decode(metadata.encode({"associated_files": files}))


def test_labels_that_are_not_packed_are_named() -> None:
    value = contents(tiny_int8(), BELONGS)
    made = metadata.attach(tiny_int8(), value, {})
    with pytest.raises(ModelError, match=r"The metadata name 'labels\.txt', which is not packed"):
        metadata.labels(made.content, value)
    assert inspect(made)["metadata"] == {"damaged": "The metadata name 'labels.txt', which is not packed in the model."}


def test_inspect_shows_them(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(described(tiny_int8(), BELONGS).content)
    value = json.loads(octavo("inspect", tmp_path / "model.tflite", "--json").stdout)
    assert value["metadata"]["labels"] == list(CLASSES) and value["metadata"]["min_parser_version"] == "1.0.0"
    assert sum(value["breakdown"].values()) == value["bytes"]
    # They are no weights.
    assert value["breakdown"]["weights"] == inspect(tiny_int8())["breakdown"]["weights"]
    assert "Image classifier of 3 classes (3 labels)" in octavo("inspect", tmp_path / "model.tflite").stdout


def test_mediapipe_takes_bytes_of_raw_pixels_only() -> None:
    with pytest.raises(ModelError, match="--pixels uint8"):
        for_mediapipe(tiny_int8(), BELONGS)
    raw = raw_pixels(tiny_int8(), BELONGS.preprocess)
    with pytest.raises(ModelError, match="RGB models only"):
        for_mediapipe(raw.graph, Sidecar(Preprocess((8, 8), scale=raw.preprocess.scale, channels="bgr"), CLASSES))
    made = for_mediapipe(raw.graph, Sidecar(raw.preprocess, CLASSES))
    assert [made.tensors[port].dtype for port in (made.inputs[0], made.outputs[0])] == ["uint8", "uint8"]


CLASSIFY = """
import json, sys
import numpy as np
import mediapipe as mp
from mediapipe.tasks import python
from mediapipe.tasks.python import vision
options = vision.ImageClassifierOptions(base_options=python.BaseOptions(model_asset_path=sys.argv[1]))
with vision.ImageClassifier.create_from_options(options) as classifier:
    for image in np.load(sys.argv[2]):
        found = classifier.classify(mp.Image(image_format=mp.ImageFormat.SRGB, data=image)).classifications[0]
        print(json.dumps({one.category_name: one.score for one in found.categories}))
"""


def test_mediapipe_says_what_octavo_says(tmp_path: Path) -> None:
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("MediaPipe is not installed: pip install mediapipe")
    raw = raw_pixels(tiny_int8(), BELONGS.preprocess)
    made = for_mediapipe(raw.graph, Sidecar(raw.preprocess, CLASSES))
    images = pictures(12)[0]
    (tmp_path / "model.tflite").write_bytes(made.content)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", CLASSIFY, str(tmp_path / "model.tflite"), str(tmp_path / "images.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = np.array([[row[name] for name in CLASSES] for row in rows], np.float32)
    said = Model(raw.graph, workers=1).predict(raw.preprocess.normalize(images))
    assert np.array_equal(found, said) and len(np.unique(said, axis=0)) > 3


def test_a_single_output_is_labelled_with_the_class_that_it_is_of() -> None:
    import tensorflow as tf

    weights = np.random.default_rng(0).normal(0, 1, (3, 1)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], tf.float32)])
    def classify(image):  # type: ignore[no-untyped-def]
        return tf.sigmoid(tf.matmul(tf.reduce_mean(image, axis=[1, 2]), weights))

    graph = Graph(bytes(tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()]).convert()))
    seen = BELONGS.preprocess.normalize(pictures(12)[0])
    made = described(
        Graph(quantize(graph, calibrate(graph, seen)).content), Sidecar(Preprocess((8, 8)), ("cat", "dog"))
    )
    value = metadata.read(made.content)
    assert value is not None and metadata.labels(made.content, value) == ["dog"]
