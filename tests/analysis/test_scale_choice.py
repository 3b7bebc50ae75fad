from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from brightness import CLASSES, brightness, write_pictures
from PIL import Image
from shell import octavo, refused

import octavo as package
from octavo.base.errors import DataError
from octavo.data.dataset import OctavoWarning

SCALES = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]


class Told:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def track(self, text: str, total: int):  # type: ignore[no-untyped-def]
        from octavo.base.progress import Silent

        return Silent().track(text, total)


def _quantize(folder: Path, content: bytes, photos: Path, **more: object) -> tuple[tuple[float, float], str]:
    """The scale in the sidecar, and what was said."""
    (folder / "float.tflite").write_bytes(content)
    told = Told()
    package.quantize(folder / "float.tflite", photos, folder / "int8.tflite", images=40, progress=told, **more)  # type: ignore[arg-type]
    stored = json.loads((folder / "int8.tflite.json").read_text())
    return tuple(stored["preprocess"]["scale"]), " ".join(told.said)


@pytest.mark.parametrize("scale", SCALES)
def test_the_scale_of_training_is_found_on_labelled_images(tmp_path: Path, scale: tuple[float, float]) -> None:
    found, said = _quantize(tmp_path, brightness(scale), write_pictures(tmp_path / "photos"))
    assert found == scale
    assert f"pixels are scaled to [{scale[0]:g}, {scale[1]:g}]" in said
    assert f"right for 40 with [{scale[0]:g}, {scale[1]:g}], 20 with" in said and "of 40 labelled images" in said
    scores = package.evaluate(tmp_path / "int8.tflite", tmp_path / "photos")
    assert scores.accuracy().value == 1


def test_a_network_that_rescales_itself_takes_pixels(tmp_path: Path) -> None:
    content = brightness((0.0, 1.0), rescales=True)
    found, said = _quantize(tmp_path, content, write_pictures(tmp_path / "photos"))
    assert found == (0, 255) and "right for 40 with [0, 255]" in said
    plain = write_pictures(tmp_path / "plain")
    for path in list(plain.rglob("*.png")):
        path.rename(plain / f"{path.parent.name}{path.name}")
    for name in CLASSES:
        (plain / name).rmdir()
    found, said = _quantize(tmp_path, content, plain)
    assert found == (0, 255) and "since its first op rescales them" in said


def test_unlabelled_images_keep_the_default_which_is_called_a_guess(tmp_path: Path) -> None:
    photos = write_pictures(tmp_path / "photos", names=("", ""))
    found, said = _quantize(tmp_path, brightness((0.0, 1.0)), photos)
    assert found == (-1, 1) and "This is a guess: set `scale`" in said


def test_two_scales_that_are_both_right_are_a_guess(tmp_path: Path) -> None:
    from tiny import tiny_tflite, write_folder

    found, said = _quantize(tmp_path, tiny_tflite(), write_folder(tmp_path / "photos", 60))
    assert found == (-1, 1) and "This is a guess" in said and "no scale is clearly right: " in said


def test_a_model_that_guesses_with_every_scale_is_an_error_unless_one_is_given(tmp_path: Path) -> None:
    swapped = write_pictures(tmp_path / "photos", names=("dark", "bright"))
    content = brightness((0.0, 1.0))
    with pytest.raises(DataError, match=r"better than guessing among 2 classes: .* of 40 labelled images"):
        _quantize(tmp_path, content, swapped)
    assert not (tmp_path / "int8.tflite").exists()
    with pytest.warns(OctavoWarning, match="no better than guessing"):
        found, _ = _quantize(tmp_path, content, swapped, scale=(0, 1))
    assert found == (0, 1)
    done = octavo(
        *("quantize", tmp_path / "float.tflite", "--data", swapped, "--images", 40),
        *("-o", tmp_path / "x.tflite"),
    )
    assert "Set --scale" in refused(done) and "--labels" in refused(done)


def test_evaluate_finds_the_scale_on_images_that_are_not_scored(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(brightness((0.0, 1.0)))
    photos = write_pictures(tmp_path / "photos")
    told = Told()
    scores = package.evaluate(tmp_path / "model.tflite", photos, progress=told)
    assert scores.accuracy().value == 1 and len(scores.labels) == 12
    assert "right for 48 with [0, 1]" in " ".join(told.said)
    # All of them are test images now: none is left to choose by.
    told = Told()
    with pytest.warns(OctavoWarning, match=r"right for 30 of 60 images, which is no better than guessing"):
        package.evaluate(tmp_path / "model.tflite", photos.rename(tmp_path / "test"), progress=told)
    assert "This is a guess" in " ".join(told.said)


def test_a_quantized_input_says_its_scale(tmp_path: Path) -> None:
    photos = write_pictures(tmp_path / "photos")
    for path in photos.rglob("*.png"):
        pixels = np.array(Image.open(path))
        pixels[0, 0], pixels[0, 1] = 0, 255
        Image.fromarray(pixels).save(path)
    (tmp_path / "float.tflite").write_bytes(brightness((0.0, 1.0)))
    package.quantize(tmp_path / "float.tflite", photos, tmp_path / "int8.tflite", images=40, scale=(0, 1))
    (tmp_path / "int8.tflite.json").unlink()
    told = Told()
    scores = package.evaluate(tmp_path / "int8.tflite", photos.rename(tmp_path / "test"), progress=told)
    assert "scaled to [0, 1], since its input was quantized for that" in " ".join(told.said)
    assert scores.accuracy().value == 1


def test_images_of_another_number_of_classes_choose_nothing(tmp_path: Path) -> None:
    photos = write_pictures(tmp_path / "photos")
    with pytest.warns(OctavoWarning, match="have 2 classes, and .* tells 5 apart: their labels are not used"):
        found, said = _quantize(tmp_path, brightness((0.0, 1.0), softmax=False, outputs=5), photos)
    assert found == (-1, 1) and "This is a guess" in said


def test_flags_take_a_pair_as_one_word_or_two(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(brightness((-1.0, 1.0)))
    photos = write_pictures(tmp_path / "photos")
    made = []
    for words in (["--scale", "-1,1"], ["--scale", "-1", "1"], ["--scale=-1,1"], ["--scale", "-1, 1"]):
        out = tmp_path / "int8.tflite"
        done = octavo("quantize", tmp_path / "float.tflite", "--data", photos, "-o", out, "--images", 40, *words)
        assert done.returncode == 0, done.stderr
        made.append(json.loads((tmp_path / "int8.tflite.json").read_text())["preprocess"]["scale"])
    assert made == [[-1, 1]] * 4
    done = octavo("evaluate", out, "--data", photos, "--scale", "0,1,2")
    assert done.returncode == 2 and "--scale" in done.stderr
