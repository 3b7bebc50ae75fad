from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from trees import encode, picture

from octavo.data import decode as module
from octavo.data.decode import FORMATS, decode


@pytest.mark.parametrize("kind", sorted(set(FORMATS.values())))
def test_every_format_named_is_read(kind):
    flat = np.full((6, 5, 3), (200, 100, 50), np.uint8)
    pixels = decode(encode(flat, kind))
    assert pixels.shape == (6, 5, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - flat).max() <= 8  # JPEG, WebP and GIF's palette are not exact.


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(mode):
    stream = io.BytesIO()
    Image.fromarray(np.full((6, 5, 3), 255, np.uint8)).convert(mode).save(
        stream, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    )
    assert np.all(decode(stream.getvalue()) >= 254)


def test_sixteen_bit_grays_keep_their_contrast():
    gray = np.array([[0, 256, 40_000, 65_535]], np.uint16)
    pixels = decode(encode(gray))
    assert pixels[0, :, 0].tolist() == [0, 1, 156, 255]


def test_floating_point_images_are_refused():
    assert "32-bit pixels" in decode(encode(np.zeros((2, 2), np.float32), "TIFF"))


def test_the_cameras_orientation_is_followed():
    image = Image.fromarray(picture(0))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise to see it upright.
    stream = io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    np.testing.assert_array_equal(decode(stream.getvalue()), np.rot90(picture(0), -1))


def test_a_truncated_image_of_any_length_is_a_reason_and_never_an_exception():
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        content = encode(picture(0, (20, 20)), kind)
        for end in range(0, len(content) // 2, 7):
            assert isinstance(decode(content[:end]), str), (kind, end)


def test_random_damage_never_raises():
    random = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "PPM", "BMP"):
        whole = np.frombuffer(encode(picture(0, (20, 20)), kind), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            places = random.integers(0, len(whole), 4)
            damaged[places] = random.integers(0, 256, 4)
            assert isinstance(decode(damaged.tobytes()), str | np.ndarray)


def png_of_size(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_193, 11_000, 60_000])  # Above our limit, Pillow's warning, and Pillow's error.
def test_a_decompression_bomb_is_a_reason(side):
    reason = decode(png_of_size(side, side))
    assert isinstance(reason, str) and ("pixels" in reason)


def test_the_limit_is_on_pixels(monkeypatch):
    monkeypatch.setattr(module, "MOST_PIXELS", 30)
    assert isinstance(decode(encode(picture(0, (6, 5)))), np.ndarray)
    assert decode(encode(picture(0, (6, 6)))) == "6×6 pixels, more than 30"


def test_postscript_is_never_tried():
    assert decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n") == "not an image of a known format"
