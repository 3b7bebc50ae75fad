"""Parsers of a stranger's data, on damaged and made-up input: they give a value or one error, whatever comes."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from octavo.base.errors import OctavoError
from octavo.data.decode import decode
from octavo.data.open import open_dataset
from octavo.recipe.schema import load_recipe
from octavo.source.sidecar import SidecarRecord
from octavo.tflite import metadata
from octavo.tflite.graph import Graph

MANY = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _npz() -> bytes:
    stream = io.BytesIO()
    images = np.arange(4 * 6 * 6 * 3, dtype=np.uint8).reshape(4, 6, 6, 3)
    np.savez(stream, x_train=images, y_train=np.arange(4) % 2, x_test=images, y_test=np.arange(4) % 2)
    return stream.getvalue()


def _image(form: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)).save(stream, form)
    return stream.getvalue()


def _model() -> bytes:
    made = File()
    x, out = made.tensor("x", (1, 6)), made.tensor("out", (1, 4))
    made.dense(x, made.constant("weight", values(4, 6)), out)
    graph = made.ports([x], [out]).graph()
    return metadata.attach(graph, {"name": "m", "subgraph_metadata": [{"input_tensor_metadata": [{}]}]}, {}).content


SIDECAR = b'{"schema": 1, "sha256": "00", "classes": ["a", "b"], "preprocess": null}'
RECIPE = (Path(__file__).parent.parent / "src/octavo/recipe/builtin/digits.yaml").read_bytes()


def _on_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def parse(content: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            return read(path)

    return parse


def _graph(content: bytes) -> object:
    return Graph(content), metadata.read(content)


PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "npz": (_on_file("d.npz", lambda path: open_dataset("path", path)), _npz()),
    "recipe": (_on_file("r.yaml", lambda path: load_recipe(str(path))), RECIPE),
    "sidecar": (_on_file("m.json", SidecarRecord.read), SIDECAR),
    "model": (_graph, _model()),
    **{form: (decode, _image(form)) for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP")},
}


@st.composite
def damaged(draw: Any, good: bytes) -> bytes:
    """A good file with some bytes replaced, removed or repeated."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(data) - 1, 0)))
        end = start + draw(st.sampled_from([0, 1, 4, 8, 64]))
        data[start:end] = draw(
            st.binary(max_size=8) | st.sampled_from([b"\xff" * 4, b"\0" * 8, b"[" * 400, b"-1", b"9" * 20])
        )
    return bytes(data)


@pytest.mark.parametrize("name", PARSERS)
def test_damaged_and_made_up_files(name: str) -> None:
    parse, good = PARSERS[name]
    parse(good)

    @MANY
    @given(damaged(good) | st.binary(max_size=200))
    def check(content: bytes) -> None:
        try:
            parse(content)
        except OctavoError as error:
            assert str(error)

    check()


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@MANY
@given(VALUES)
def test_any_value_in_a_sidecar(value: Any) -> None:
    record = {"schema": 1, "sha256": "0", "classes": ["a"], "preprocess": value}
    for made in (record, {**record, "classes": value}, {**record, "schema": value}):
        try:
            SidecarRecord.from_json(made, Path("m.json"))
        except OctavoError as error:
            assert str(error)
