from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from trees import picture

from octavo.base.errors import DataError
from octavo.data import Preprocess
from octavo.recipe.schema import PreprocessRecipe

EVERY_PIXEL = np.arange(256, dtype=np.uint8)


def test_minus_one_to_one_is_bit_equal_to_what_mobilenet_was_trained_with():
    expected = EVERY_PIXEL.astype(np.float32) / np.float32(127.5) - np.float32(1)
    got = Preprocess((4, 4)).normalize(EVERY_PIXEL)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)


@given(st.floats(-300, 300), st.floats(0.01, 600))
def test_normalize_is_the_line_through_both_ends(low, width):
    high = low + width
    exact = low + EVERY_PIXEL.astype(np.float64) * (high - low) / 255
    got = Preprocess((4, 4), scale=(low, high)).normalize(EVERY_PIXEL)
    np.testing.assert_allclose(got, exact, atol=3e-7 * max(abs(low), abs(high)), rtol=0)


def test_normalize_leaves_its_input_alone():
    pixels = np.full((2, 2), 255, np.float32)
    Preprocess((2, 2)).normalize(pixels)
    assert np.all(pixels == 255)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resize_is_pillows(interpolation):
    image = picture(0, (9, 7))
    expected = np.asarray(Image.fromarray(image).resize((5, 12), Image.Resampling[interpolation.upper()]))
    got = Preprocess((12, 5), interpolation).resize([image])
    np.testing.assert_array_equal(got, expected[None])


def test_images_that_fit_are_unchanged():
    images = np.stack([picture(0), picture(1)])
    np.testing.assert_array_equal(Preprocess((6, 5)).resize(images), images)
    np.testing.assert_array_equal(Preprocess((6, 5)).resize(list(images)), images)


def test_bgr_reverses_the_channels_in_every_path():
    images = np.stack([picture(0), picture(1)])
    preprocess = Preprocess((6, 5), channels="bgr")
    np.testing.assert_array_equal(preprocess.resize(images), images[..., ::-1])
    np.testing.assert_array_equal(preprocess.resize(list(images)), images[..., ::-1])


def test_gray_is_luma_and_keeps_grays():
    gray = np.random.default_rng(0).integers(0, 256, (6, 5), np.uint8)
    preprocess = Preprocess((6, 5), channels="gray")
    np.testing.assert_array_equal(preprocess.resize([np.repeat(gray[..., None], 3, -1)])[0, ..., 0], gray)
    np.testing.assert_array_equal(preprocess.resize([gray])[0, ..., 0], gray)
    colours = picture(0)
    luma = colours @ [0.299, 0.587, 0.114]
    assert np.abs(preprocess.resize([colours])[0, ..., 0] - luma).max() <= 1


def test_gray_images_become_three_equal_channels():
    gray = picture(0)[..., 0]
    for image in (gray, gray[..., None]):
        np.testing.assert_array_equal(Preprocess((6, 5)).resize([image])[0], np.repeat(gray[..., None], 3, -1))


def test_one_pixel_and_mixed_sizes():
    images = [np.full((1, 1, 3), 51, np.uint8), picture(0, (30, 2)), picture(1)]
    inputs = Preprocess((8, 8), scale=(0.0, 1.0)).apply(images)
    assert inputs.shape == (3, 8, 8, 3) and inputs.dtype == np.float32
    np.testing.assert_allclose(inputs[0], 0.2, rtol=1e-6)


def test_no_images_give_an_empty_batch():
    assert Preprocess((8, 8)).apply([]).shape == (0, 8, 8, 3)


def test_float_arrays_pass_as_they_are():
    arrays = np.random.default_rng(0).normal(size=(2, 6, 5, 3))
    np.testing.assert_array_equal(Preprocess((6, 5)).apply(arrays), arrays.astype(np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_float_arrays_must_be_finite_in_float32(bad):
    arrays = np.zeros((3, 6, 5, 3))
    arrays[1, 0, 0, 0] = bad
    with pytest.raises(DataError, match="1 of 3 float images"):
        Preprocess((6, 5)).apply(arrays)


def test_float_arrays_must_have_the_inputs_shape():
    with pytest.raises(DataError, match=r"\(N, 6, 5, 3\), but is \(2, 5, 6, 3\)"):
        Preprocess((6, 5)).apply(np.zeros((2, 5, 6, 3), np.float32))


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.int32), np.zeros((0, 4, 3), np.uint8), np.uint8(3)],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(DataError, match="Image 0 should be uint8"):
        Preprocess((6, 5)).apply([np.asarray(image)])


def test_json_round_trip_is_exact():
    preprocess = Preprocess((3, 4), "nearest", (-0.1, 1 / 3), "bgr")
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess


@pytest.mark.parametrize(
    "change",
    [
        {"size": [0, 4]},
        {"size": [4]},
        {"size": ["a", "b"]},
        {"size": [4, True]},
        {"scale": [1, 1]},
        {"scale": [0, None]},
        {"interpolation": "best"},
        {"channels": "cmyk"},
        {"channels": ["rgb"]},
    ],
)
def test_nonsense_json_is_a_data_error(change):
    with pytest.raises(DataError, match="preprocessing cannot be read"):
        Preprocess.from_json(Preprocess((4, 4)).to_json() | change)
    with pytest.raises(DataError, match="KeyError"):
        Preprocess.from_json({})


def test_from_recipe():
    recipe = PreprocessRecipe(size=32, interpolation="nearest", scale=(0, 1), channels="gray")
    preprocess = Preprocess.from_recipe(recipe)
    assert preprocess == Preprocess((32, 32), "nearest", (0.0, 1.0), "gray")
    assert preprocess.shape == (32, 32, 1)
    assert preprocess.describe() == "32×32 GRAY, nearest, pixels 0..255 to 0..1"
