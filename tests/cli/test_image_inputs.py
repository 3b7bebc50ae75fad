"""Models of several inputs of which some are images: pictures are resized and scaled, other arrays are as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File
from PIL import Image
from shell import octavo, refused

import octavo as package
from octavo import Preprocess
from octavo.base.errors import DataError, ModelError, OctavoError
from octavo.data.columns import Columns
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.deployment.targets.litert import LiteRT
from octavo.recipe.schema import QatRecipe
from octavo.runtime.litert import Model, inputs_of
from octavo.source import sidecar
from octavo.source.load import load_model, preprocess_for
from octavo.tflite.graph import Graph

N, SIZE = 60, 8


def network(scale: tuple[float, float], image: str = "image", rescales: bool = False) -> bytes:
    """Tells bright pictures from dark ones, helped by a vector; the threshold is the middle of `scale`."""
    low, high = scale
    file = File()
    vector, picture = file.tensor("vector", (1, 4)), file.tensor(image, (1, SIZE, SIZE, 3))
    inner = picture
    if rescales:
        inner = file.tensor("scaled", (1, SIZE, SIZE, 3))
        file.op("MUL", [picture, file.constant("factor", np.float32(1 / 255).reshape(1))], [inner], "Mul")
    mean, seen, told, both = (file.tensor(name, (1, n)) for name, n in (("m", 3), ("s", 2), ("t", 2), ("b", 2)))
    file.op("MEAN", [inner, file.constant("axes", np.array([1, 2], np.int32))], [mean], "Reducer", keepDims=False)
    gain, middle = 40 / (high - low) / 3, 20 * (low + high) / (high - low)
    weights, bias = np.float32([[gain] * 3, [-gain] * 3]), np.float32([-middle, middle])
    file.dense(mean, file.constant("w", weights), seen, file.constant("c", bias))
    file.dense(vector, file.constant("v", np.float32([[1, 0.5, 0, 0], [0, 0, 0.5, 1]])), told)
    file.op("ADD", [seen, told], [both], "Add")
    shares = file.tensor("shares", (1, 2))
    file.op("SOFTMAX", [both], [shares], "Softmax", beta=1.0)
    return file.ports([vector, picture], [shares]).bytes()


def pair() -> bytes:
    """The difference of a colour picture and a grey one, as two numbers."""
    file = File()
    left, right = file.tensor("left", (1, 8, 8, 3)), file.tensor("right", (1, 4, 4, 1))
    one, other, made = file.tensor("one", (1, 3)), file.tensor("other", (1, 1)), file.tensor("made", (1, 3))
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.op("MEAN", [left, axes], [one], "Reducer", keepDims=False)
    file.op("MEAN", [right, axes], [other], "Reducer", keepDims=False)
    file.op("SUB", [one, other], [made], "Sub")
    return file.ports([left, right], [made]).bytes()


def pictures(side: int = 11) -> np.ndarray:
    """Bright and dark pictures in turn, larger than the input."""
    noise = np.random.default_rng(0).integers(0, 20, (N, side, side + 2, 3))
    return np.asarray(noise + np.where(np.arange(N) % 2, 90, 145)[:, None, None, None], np.uint8)


VECTORS = np.random.default_rng(1).normal(size=(N, 4)).astype(np.float32)
LABELS = np.arange(N) % 2


def by_hand(images: np.ndarray, low: float, high: float, size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """The same input by Pillow and NumPy alone."""
    small = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC), np.float32) for one in images]
    return np.stack(small) / np.float32(255 / (high - low)) + np.float32(low)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model for [0, 1], the samples as pictures, and the same samples scaled by hand."""
    (tmp_path / "float.tflite").write_bytes(network((0, 1)))
    np.savez(tmp_path / "pictures.npz", image=pictures(), vector=VECTORS, y=LABELS)
    np.savez(tmp_path / "scaled.npz", image=by_hand(pictures(), 0, 1), vector=VECTORS, y=LABELS)
    return tmp_path


def stored(model: Path) -> Any:
    return json.loads(sidecar.path_of(model).read_text("utf-8"))["preprocess"]


WANTED = {"image": {"size": [8, 8], "interpolation": "bicubic", "scale": [0.0, 1.0], "channels": "rgb"}}


def test_pictures_give_the_bytes_of_arrays_scaled_by_hand(folder: Path) -> None:
    calls = {"all": ("--scale", "0,1"), "named": ("--scale", "image=0,1"), "apart": ("--scale", "image=0", "1")}
    for name, flags in calls.items():
        done = octavo(
            *("quantize", folder / "float.tflite", "--data", folder / "pictures.npz", *flags),
            *("-o", folder / f"{name}.tflite", "--images", "40"),
        )
        assert done.returncode == 0, done.stderr
    done = octavo(
        *("quantize", folder / "float.tflite", "--data", folder / "scaled.npz"),
        *("-o", folder / "scaled.tflite", "--images", "40"),
    )
    assert done.returncode == 0, done.stderr
    given = {"image": pictures(), "vector": VECTORS}
    package.quantize(folder / "float.tflite", given, folder / "python.tflite", images=40, scale={"image": (0, 1)})
    hand = {"image": by_hand(pictures(), 0, 1), "vector": VECTORS}
    package.quantize(folder / "float.tflite", hand, folder / "hand.tflite", images=40)
    wanted = (folder / "scaled.tflite").read_bytes()
    for name in calls:
        assert (folder / f"{name}.tflite").read_bytes() == wanted, name
        assert stored(folder / f"{name}.tflite") == WANTED
    assert (folder / "python.tflite").read_bytes() == (folder / "hand.tflite").read_bytes()
    # Arrays that are the input say nothing of pixels.
    assert stored(folder / "scaled.tflite") is None and stored(folder / "hand.tflite") is None


def test_the_commands_read_the_sidecar_and_agree_with_arrays_scaled_by_hand(folder: Path) -> None:
    made = folder / "int8.tflite"
    data, hand = folder / "pictures.npz", folder / "scaled.npz"
    package.quantize(folder / "float.tflite", data, made, images=40, scale=(0, 1))
    for call in (
        ("evaluate", made),
        ("compare", folder / "float.tflite", made),
    ):
        found, wanted = (octavo(*call, "--data", source, "--json") for source in (data, hand))
        assert found.returncode == wanted.returncode == 0, found.stderr + wanted.stderr
        assert _same(json.loads(found.stdout)) == _same(json.loads(wanted.stdout)), call[0]
    assert package.evaluate(made, data).score().value == 1


@pytest.mark.slow
def test_the_other_commands_take_pictures_too(folder: Path) -> None:
    made, data = folder / "int8.tflite", folder / "pictures.npz"
    package.quantize(folder / "float.tflite", data, made, images=40, scale=(0, 1))
    survey = package.targets(made, data, targets=[LiteRT("reference")])
    assert survey[0].runs.about == "same class as XNNPACK on 16 of 16 images, right on 16"
    for call in (
        ("sensitivity", folder / "float.tflite", "--calibration", "20"),
        ("calibrate", folder / "float.tflite", "--sizes", "8,16", "--draws", "1"),
    ):
        done = octavo(*call, "--data", data, "--scale", "0,1")
        assert done.returncode == 0, done.stderr
    done = octavo("slim", made, "-o", folder / "slim.tflite", "--data", data)
    assert done.returncode == 0, done.stderr
    assert stored(folder / "slim.tflite") == WANTED and "'image' 8×8 RGB" in done.stdout
    assert "does not take one image" in refused(octavo("slim", made, "-o", folder / "other.tflite", "--pixels", "int8"))


def _same(value: Any) -> Any:
    """A result without where its data come from."""
    if isinstance(value, dict):
        return {key: _same(item) for key, item in value.items() if key not in ("data", "source", "digest", "latency")}
    return [_same(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("scale", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_labelled_samples_show_the_scale(tmp_path: Path, scale: tuple[float, float]) -> None:
    (tmp_path / "float.tflite").write_bytes(network(scale))
    np.savez(tmp_path / "data.npz", image=pictures(), vector=VECTORS, y=LABELS)
    done = octavo(
        "quantize", tmp_path / "float.tflite", "--data", tmp_path / "data.npz", "-o", tmp_path / "int8.tflite"
    )
    assert done.returncode == 0, done.stderr
    assert stored(tmp_path / "int8.tflite")["image"]["scale"] == list(scale)
    assert f"The pixels of 'image' are scaled to [{scale[0]:g}, {scale[1]:g}], since it is right for" in done.stderr


def test_a_first_op_that_rescales_shows_the_scale_too(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(network((0, 1), rescales=True))
    given = {"image": pictures(), "vector": VECTORS}
    package.quantize(tmp_path / "float.tflite", given, tmp_path / "int8.tflite", images=40)
    assert stored(tmp_path / "int8.tflite")["image"]["scale"] == [0, 255]


def test_pictures_of_an_unknown_scale_are_refused_by_the_inputs_name(folder: Path) -> None:
    np.savez(folder / "plain.npz", image=pictures(), vector=VECTORS)
    call = ("quantize", folder / "float.tflite", "--data", folder / "plain.npz", "-o", folder / "int8.tflite")
    said = refused(octavo(*call))
    assert "pictures for the input 'image'" in said and "image=0,255" in said and "--scale" in said
    for scale, words in (
        ("photo=0,1", "--scale names the input 'photo', but the images that"),
        ("vector=0,1", "are 'image'"),
        ("image=0", "expected two numbers, and 'image=0' was given"),
    ):
        assert words in refused(octavo(*call, "--scale", scale))
    assert "given for all images" in refused(octavo(*call, "--scale", "0,1", "--scale", "image=0,1"))
    with pytest.raises(OctavoError, match="`scale` of 'image', item 2"):
        package.quantize(folder / "float.tflite", folder / "plain.npz", folder / "x.tflite", scale={"image": [0]})
    assert not (folder / "int8.tflite").exists()


def test_two_images_each_have_their_own_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(pair())
    rng = np.random.default_rng(2)
    left, right = (rng.integers(0, 256, shape, np.uint8) for shape in ((40, 10, 10, 3), (40, 9, 9)))
    scale = {"left": (0.0, 1.0), "right": (-2.0, 2.0)}
    package.quantize(
        tmp_path / "float.tflite",
        {"left": left, "right": right},
        tmp_path / "int8.tflite",
        images=40,
        scale=scale,
        tune=(),
    )
    hand = {"left": by_hand(left, 0, 1), "right": by_hand(right, -2, 2, (4, 4))[..., None]}
    package.quantize(tmp_path / "float.tflite", hand, tmp_path / "hand.tflite", images=40, tune=())
    assert (tmp_path / "int8.tflite").read_bytes() == (tmp_path / "hand.tflite").read_bytes()
    loaded = load_model(tmp_path / "int8.tflite")
    known = preprocess_for(loaded)
    assert known == {
        "left": Preprocess((8, 8), scale=(0, 1)),
        "right": Preprocess((4, 4), scale=(-2, 2), channels="gray"),
    }
    # One that gets arrays in the form of the input beside one that gets pictures.
    mixed = ImageSet(Columns({"left": left, "right": hand["right"]}), None, (), tuple(map(str, range(40))))
    whole = ImageSet(Columns(hand), None, (), mixed.ids)
    ports = inputs_of(loaded.graph)
    for one, other in zip(Feed(mixed, known, ports), Feed(whole, None, ports), strict=True):
        assert all(map(np.array_equal, one, other))


def test_options_of_images_go_to_the_inputs_that_they_fit(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(pair())
    loaded = load_model(tmp_path / "float.tflite")
    wanted = package.Inputs(channels="bgr", interpolation="nearest", scale=(0, 1))
    assert preprocess_for(loaded, wanted) == {
        "left": Preprocess((8, 8), "nearest", (0, 1), "bgr"),
        "right": Preprocess((4, 4), "nearest", (0, 1), "gray"),
    }
    (tmp_path / "float.tflite").write_bytes(network((0, 1)))
    with pytest.raises(ModelError, match=r"no image that .* takes has as many channels"):
        preprocess_for(load_model(tmp_path / "float.tflite"), package.Inputs(channels="gray"))
    vectors = File()
    a, b, c = (vectors.tensor(name, (1, 3)) for name in "abc")
    vectors.op("ADD", [a, b], [c], "Add")
    (tmp_path / "plain.tflite").write_bytes(vectors.ports([a, b], [c]).bytes())
    with pytest.raises(ModelError, match="takes no images"):
        preprocess_for(load_model(tmp_path / "plain.tflite"), wanted)


def test_a_feed_refuses_pictures_without_a_scale_and_pictures_of_other_shapes() -> None:
    graph = Graph(network((0, 1)))
    samples = ImageSet(Columns({"image": pictures(), "vector": VECTORS}), None, (), tuple(map(str, range(N))))
    with pytest.raises(DataError, match="nothing says how their pixels are scaled"):
        Feed(samples, None, inputs_of(graph))
    odd = ImageSet(Columns({"image": pictures()[..., :2], "vector": VECTORS}), None, (), samples.ids)
    with pytest.raises(DataError, match=r"should be uint8 of shape \(H, W, 3\)"):
        Feed(odd, {"image": Preprocess((8, 8))}, inputs_of(graph))


def test_earlier_sidecars_are_read_as_before(folder: Path) -> None:
    made = folder / "float.tflite"
    known = sidecar.Sidecar({"image": Preprocess((8, 8))}, ("bright", "dark"))
    known.write(made)
    assert sidecar.read(made) == known == sidecar.Sidecar.from_json(known.to_json())
    for one in (Preprocess((8, 8)), None):
        before = sidecar.Sidecar(one)
        before.write(made)
        value = json.loads(sidecar.path_of(made).read_text("utf-8"))
        sidecar.path_of(made).write_text(json.dumps(value | {"schema": 3}), "utf-8")
        assert sidecar.read(made) == before


def test_a_deployed_folder_takes_pictures_for_the_inputs_that_are_images(folder: Path) -> None:
    made = folder / "int8.tflite"
    package.quantize(folder / "float.tflite", folder / "pictures.npz", made, images=40, scale=(0, 1))
    done = octavo("deploy", made, "--out", folder / "out")
    assert done.returncode == 0, done.stderr
    assert "'image' 8×8 RGB, bicubic, pixels 0..255 to 0..1" in (folder / "out" / "model-card.md").read_text("utf-8")
    images = pictures()
    np.savez(folder / "one.npz", image=images[0], vector=VECTORS[0])
    np.savez(folder / "two.npz", image=by_hand(images[:1], 0, 1), vector=VECTORS[0])
    Image.fromarray(images[0]).save(folder / "photo.png")
    np.save(folder / "vector.npy", VECTORS[0])
    files = ("one.npz", "two.npz", "image=photo.png,vector=vector.npy")
    rows = json.loads(_predict(folder, *files, "--json", "--top", "2").stdout)
    assert rows[0]["classes"] == rows[1]["classes"] == rows[2]["classes"]
    graph = Graph.read(made)
    samples = ImageSet(Columns({"image": images[:1], "vector": VECTORS[:1]}), None, (), ("0",))
    feed = Feed(samples, preprocess_for(load_model(made)), inputs_of(graph))
    wanted = Model(graph).run(feed)[0]
    assert [one["probability"] for one in rows[0]["classes"]] == sorted(map(float, wanted.ravel()), reverse=True)
    np.savez(folder / "odd.npz", image=images[:, :, :, :2], vector=VECTORS[0])
    for file, said in (
        ("odd.npz", "holds a picture of"),
        ("image=photo.png", "has no array 'vector'"),
        ("image=vector.npy,vector=vector.npy", "holds an array of (4,)"),
        ("image=none.png,vector=vector.npy", "There is no file 'none.png'"),
    ):
        done = _predict(folder, file)
        assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def _predict(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(folder / "out" / "predict.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.slow
def test_a_run_from_such_a_model(folder: Path) -> None:
    done = octavo(
        *("run", folder / "float.tflite", "--data", folder / "pictures.npz", "--scale", "image=0,1"),
        *("--images", "30", "--out", folder / "run", "--set", "deployment.seconds=0.05"),
    )
    assert done.returncode == 0, done.stderr
    assert stored(folder / "run" / "int8.tflite") == WANTED
    assert "image&#39;: bicubic resize to 8 × 8" in (folder / "run" / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_training_gives_the_bytes_of_arrays_scaled_by_hand(folder: Path) -> None:
    recipe = QatRecipe(epochs=1, learning_rate=1e-4, batch=8)
    options: dict[str, Any] = {"pictures": {"scale": {"image": (0, 1)}}, "scaled": {}}
    for name, more in options.items():
        out = folder / f"{name}.tflite"
        package.qat(folder / "float.tflite", folder / f"{name}.npz", out, recipe=recipe, images=20, **more)
    assert (folder / "pictures.tflite").read_bytes() == (folder / "scaled.tflite").read_bytes()
    assert stored(folder / "pictures.tflite") == WANTED and stored(folder / "scaled.tflite") is None
