"""Models from paths: what comes in as users have it, and leaves in canonical form."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from handmade import File, answers, values
from shell import octavo as shell
from shell import refused

import octavo
from octavo.base.errors import DataError, ModelError
from octavo.base.progress import Silent
from octavo.recipe.options import Inputs
from octavo.source.load import load_float, load_model, preprocess_for
from octavo.tflite.graph import Graph


class Heard(Silent):
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def classifier(size: int = 8, half: bool = True, batch: int = -1) -> File:
    """A convolution, its mean over the image, and a dense layer; open height and width where `size` is -1."""
    file = File()
    image = file.tensor("image", (batch, size, size, 3))
    seen = file.tensor("seen", (batch, *([max(size - 2, -1)] * 2), 4))
    kernel, bias = values(4, 3, 3, 3), file.constant("bias", values(4, seed=1))
    weight = file.constant("kernel", kernel.astype(np.float16) if half else kernel)
    if half:
        stored, weight = weight, file.tensor("kernel32", kernel.shape)
        file.op("DEQUANTIZE", [stored], [weight], "Dequantize")
    options = {"strideH": 1, "strideW": 1, "padding": 1, "fusedActivationFunction": 1}
    file.op("CONV_2D", [image, weight, bias], [seen], "Conv2D", **options)
    mean, out = file.tensor("mean", (batch, 4)), file.tensor("out", (batch, 3))
    file.op("MEAN", [seen, file.constant("axes", np.array([1, 2], np.int32))], [mean], "Reducer")
    file.dense(mean, file.constant("weight", values(3, 4, seed=2)), out)
    return file.ports([image], [out])


def photos(path: Path, *sizes: tuple[int, int]) -> Path:
    """An image folder with two pictures of each size for each of two classes."""
    from PIL import Image

    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (path / label).mkdir(parents=True, exist_ok=True)
        for number, (height, width) in enumerate([*sizes] * 2):
            pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / label / f"{number}.png")
    return path


def written(path: Path, file: File) -> Path:
    path.write_bytes(file.bytes())
    return path


def test_what_a_file_runs_as_stays_and_what_is_changed_becomes_plain(tmp_path: Path) -> None:
    path = written(tmp_path / "half.tflite", classifier())
    runs, heard = load_model(path), Heard()
    assert runs.canonical == ("The open batch became 1.",)
    assert "float16" in {tensor.dtype for tensor in runs.graph.tensors}
    changed = load_float(path, progress=heard)
    assert changed.canonical == (
        "The open batch became 1.",
        "1 float16 constants became float32, which holds each of their values exactly.",
    )
    assert heard.lines == list(changed.canonical), "each is said once"
    assert {tensor.dtype for tensor in changed.graph.tensors} == {"float32", "int32"}
    assert changed.content == path.read_bytes()
    image = values(1, 8, 8, 3, seed=4)
    wanted = answers(path.read_bytes(), image)[0]
    for loaded in (runs, changed):
        np.testing.assert_array_equal(answers(loaded.graph.content, image)[0], wanted)


def test_a_file_with_nothing_to_do_is_read_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "plain.tflite", classifier(half=False, batch=1))
    loaded = load_float(path)
    assert loaded.canonical == ()
    assert loaded.graph.content == path.read_bytes()


def test_open_sizes_take_what_is_asked_for_before_the_file_is_run(tmp_path: Path) -> None:
    # A window of 3 by 3 does not fit into the image of 1 by 1 that LiteRT takes an open one for.
    path = written(tmp_path / "open.tflite", classifier(size=-1))
    with pytest.raises(ModelError, match=r"\(open, open, open, 3\)\. Set `size` to a height and width"):
        load_model(path)
    assert load_model(path, size=(7, 9)).graph.tensors[0].shape == (1, 7, 9, 3)
    assert load_model(path, images=lambda: (5, 6)).graph.tensors[0].shape == (1, 5, 6, 3)


def test_a_size_at_which_a_file_cannot_run_is_one_clear_error(tmp_path: Path) -> None:
    path = written(tmp_path / "open.tflite", classifier(size=-1))
    with pytest.raises(ModelError, match=r"LiteRT cannot run '.*open\.tflite'"):
        load_model(path, size=(2, 2))


def two_signatures(path: Path) -> Path:
    file = File()
    for number, (key, kind) in enumerate((("up", "LOGISTIC"), ("flat", "TANH"))):
        if number:
            file.subgraph(key)
        x, y = file.tensor(f"{key}_x", (-1, 4)), file.tensor(f"{key}_y", (-1, 4))
        file.op(kind, [x], [y])
        file.ports([x], [y]).signature(key, {"x": x}, {"y": y})
    return written(path, file)


def test_a_signature_is_one_graph(tmp_path: Path) -> None:
    path = two_signatures(tmp_path / "two.tflite")
    loaded = load_model(path, signature="flat")
    assert [op.kind for op in loaded.graph.ops] == ["TANH"]
    assert loaded.canonical == ("The signature 'flat' is used, of 'up', 'flat'.", "The open batch became 1.")
    with pytest.raises(ModelError, match="has 2 signatures"):
        load_model(path)


def test_quantize_takes_the_images_own_size_where_a_file_leaves_it_open(tmp_path: Path) -> None:
    path, out = written(tmp_path / "open.tflite", classifier(size=-1)), tmp_path / "int8.tflite"
    with pytest.warns(octavo.data.dataset.OctavoWarning):
        octavo.quantize(path, photos(tmp_path / "one", (10, 12)), out, tune=())
    int8 = Graph(out.read_bytes())
    assert int8.tensors[int8.inputs[0]].shape == (1, 10, 12, 3)
    assert not any(n < 1 for tensor in int8.tensors for n in tensor.shape), "what is written has static sizes"
    several = photos(tmp_path / "several", (10, 12), (9, 9))
    with pytest.warns(octavo.data.dataset.OctavoWarning):
        with pytest.raises(ModelError, match="Set `size` to a height and width"):
            octavo.quantize(path, several, out, tune=())
        octavo.quantize(path, several, out, tune=(), size=(6, 8))
    assert Graph(out.read_bytes()).tensors[0].shape == (1, 6, 8, 3)


def test_inspect_shows_what_was_done_and_the_facts_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "half.tflite", classifier())
    value = octavo.inspect(path)
    assert value["canonical"] == list(load_float(path).canonical)
    assert value["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert value["bytes"] == path.stat().st_size == sum(value["breakdown"].values())
    assert value["no_int8_form"] == []


def test_the_shell_has_the_same_flags(tmp_path: Path) -> None:
    path = two_signatures(tmp_path / "two.tflite")
    assert "Choose with --signature." in refused(shell("inspect", path))
    shown = shell("inspect", path, "--signature", "up", "--json")
    assert json.loads(shown.stdout)["ops"] == [{"op": "LOGISTIC", "count": 1, "macs": 0}]
    opened = written(tmp_path / "open.tflite", classifier(size=-1))
    assert "such as --size 224 224" in refused(shell("inspect", opened))
    assert "float32 [1, 6, 7, 3]" in shell("inspect", opened, "--size", 6, 7).stdout


def test_images_of_integers_are_pixels_as_they_are(tmp_path: Path) -> None:
    file = File()
    x, real, y = file.tensor("x", (1, 4, 4, 3), "int32"), *(file.tensor(name, (1, 4, 4, 3)) for name in ("real", "y"))
    file.op("CAST", [x], [real], "Cast")
    file.op("MUL", [real, file.constant("scale", np.float32(1 / 255))], [y], "Mul")
    path = written(tmp_path / "pixels.tflite", file.ports([x], [y]))
    for load, dtype in ((load_model, "int32"), (load_float, "uint8")):
        loaded = load(path)
        preprocess = preprocess_for(loaded)
        assert preprocess is not None and preprocess.scale == (0.0, 255.0)
        assert loaded.graph.tensors[loaded.graph.inputs[0]].dtype == dtype
    assert loaded.canonical == ("Input 'x' takes bytes: int32 became uint8.",)


@pytest.mark.slow
def test_a_keras_model_that_loops_is_refused_with_the_line_that_cures_it(tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((300, 3)), keras.layers.LSTM(5), keras.layers.Dense(2)]
    keras.Sequential(layers).save(tmp_path / "rnn.keras")
    with pytest.raises(ModelError, match=r"a recurrent layer, LSTM, .*keras\.layers\.LSTM\(5, unroll=True\)"):
        load_model(tmp_path / "rnn.keras")


@pytest.mark.parametrize("scale", [(3.0, 1.0), (1.0, 1.0), (0.0, float("inf"))])
def test_a_scale_that_does_not_rise_is_refused_as_such(scale: tuple[float, float], tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(classifier().bytes())
    loaded = load_float(tmp_path / "float.tflite")
    with pytest.raises(DataError, match=f"`scale` should be two finite numbers, .* and is {scale[0]:g},{scale[1]:g}"):
        preprocess_for(loaded, Inputs(scale=scale))
