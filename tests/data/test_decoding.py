"""Encoded bytes to stored images: exact values, one size where the config sets it, and errors that name the example."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rethink.data import decoding
from rethink.schema.errors import UserError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 17, 3)).astype(np.uint8)


def decode(encoded, image_size=0, where="x", channels=None):
    return decoding.decode_image(encoded, channels=channels, image_size=image_size, where=where)


def encode(image, form="PNG", **options):
    """Returns the bytes of a Pillow image, or of an array."""
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def smooth(height, width):
    """An RGB image that JPEG and resizing hardly change: red grows downwards, green to the right."""
    down, right = np.meshgrid(np.linspace(0, 255, height), np.linspace(0, 255, width), indexing="ij")
    return np.stack([down, right, np.full_like(down, 90)], axis=-1).round().astype(np.uint8)


def test_png_comes_back_exactly():
    np.testing.assert_array_equal(decode(encode(PIXELS)), PIXELS, strict=True)


def test_jpeg_comes_back_nearly():
    decoded = decode(encode(smooth(40, 60), "JPEG", quality=95))
    assert (decoded.shape, decoded.dtype) == ((40, 60, 3), np.uint8)
    assert abs(decoded.astype(int) - smooth(40, 60)).mean() < 3


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_grey_stays_one_channel_where_the_set_declares_none(form):
    grey = smooth(20, 30)[..., 0]
    decoded = decode(encode(grey, form))
    assert (decoded.shape, decoded.dtype) == ((20, 30, 1), np.uint8)
    assert abs(decoded[..., 0].astype(int) - grey).max() <= (0 if form == "PNG" else 8)


def test_black_and_white_is_grey():
    mask = PIXELS[..., 0] > 100
    decoded = decode(encode(Image.fromarray(mask)))
    np.testing.assert_array_equal(decoded, np.uint8(255) * mask[..., None], strict=True)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_grey_becomes_colour_in_a_set_of_colours(form):
    decoded = decode(encode(PIXELS[..., 0], form), channels=3)
    np.testing.assert_array_equal(decoded, np.repeat(decode(encode(PIXELS[..., 0], form)), 3, axis=-1), strict=True)
    assert decode(encode(PIXELS[..., 0], form), channels=3, image_size=8).shape == (8, 8, 3)


def test_colour_becomes_grey_in_a_grey_set():
    decoded = decode(encode(smooth(20, 30)), channels=1)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decoded[..., 0], smooth(20, 30) @ weights, atol=1)


def test_transparency_is_kept_in_a_set_that_declares_it():
    four = RNG.integers(0, 256, (12, 17, 4)).astype(np.uint8)
    np.testing.assert_array_equal(decode(encode(four), channels=4), four, strict=True)


def png_of_16_bits(pixels, colour_type):
    """Returns the bytes of a PNG file of uint16 pixels; Pillow writes grey ones only."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    )


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize(
    "colour_type, values", [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["grey", "RGB", "grey with alpha", "RGBA"]
)
def test_values_that_8_bits_do_not_hold_are_refused(colour_type, values, channels):
    encoded = png_of_16_bits(np.full((12, 17, values), 256, np.uint16), colour_type)
    assert Image.open(io.BytesIO(encoded)).size == (17, 12)
    with pytest.raises(UserError, match="8 bits"):
        decode(encoded, channels=channels)


@pytest.mark.parametrize("form", ["TIFF", "PPM"])
def test_a_format_that_may_hold_more_than_8_bits_is_refused(form):
    with pytest.raises(UserError, match="in a format of PNG, JPEG"):
        decode(encode(PIXELS, form))


def test_a_palette_becomes_rgb():
    few = Image.fromarray(PIXELS).quantize(16)
    decoded = decode(encode(few))
    np.testing.assert_array_equal(decoded, np.asarray(few.convert("RGB")), strict=True)
    assert len(np.unique(decoded.reshape(-1, 3), axis=0)) > 4


def test_transparency_is_dropped_and_the_colours_kept():
    alpha = RNG.integers(0, 256, (12, 17, 1)).astype(np.uint8)
    np.testing.assert_array_equal(decode(encode(np.concatenate([PIXELS, alpha], -1))), PIXELS, strict=True)


@pytest.mark.parametrize(
    "height, width, size", [(48, 64, 32), (64, 48, 32), (20, 31, 32), (31, 31, 7), (5, 200, 8), (33, 33, 33), (1, 9, 4)]
)
def test_a_size_makes_every_image_a_square_of_it(height, width, size):
    assert decode(encode(smooth(height, width)), size).shape == (size, size, 3)
    assert decode(encode(smooth(height, width)[..., 0]), size).shape == (size, size, 1)


@pytest.mark.parametrize("height, width", [(12, 12), (12, 17), (12, 18), (21, 12)])
def test_where_the_shorter_side_fits_the_centre_is_cut_out_exactly(height, width):
    image = RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
    top, left = (height - 12) // 2, (width - 12) // 2
    np.testing.assert_array_equal(decode(encode(image), 12), image[top : top + 12, left : left + 12])


def test_the_shorter_side_is_scaled_and_the_longer_cut():
    decoded = decode(encode(smooth(80, 160)), 40).astype(int)
    assert decoded[0, :, 0].max() < 8 and decoded[-1, :, 0].min() > 247  # all of the shorter side
    assert (
        abs(decoded[:, 0, 1].mean() - 255 / 4) < 4 and abs(decoded[:, -1, 1].mean() - 255 * 3 / 4) < 4
    )  # half of the longer
    np.testing.assert_array_equal(decoded[..., 2], 90)


def test_a_smaller_image_is_an_average_of_all_pixels():
    board = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    assert abs(decode(encode(board.astype(np.uint8)), 16).astype(int) - 127).max() < 16


@pytest.mark.parametrize("size", [0, 8])
@pytest.mark.parametrize(
    "encoded", [b"", b"garbage", encode(PIXELS)[:100], encode(PIXELS)[:-300], encode(smooth(40, 60), "JPEG")[:300]]
)
def test_bytes_that_do_not_decode_are_refused_by_name(encoded, size):
    with pytest.raises(UserError) as error:
        decode(encoded, size, "data.name='some', split 'train', example 7")
    assert str(error.value).startswith("data.name='some', split 'train', example 7 does not decode (")
    assert "\n" not in str(error.value)


def test_an_image_of_a_size_that_would_fill_the_memory_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UserError, match="^x does not decode "):
        decode(encode(PIXELS))


def test_a_damaged_image_never_raises_anything_else():
    encoded = encode(PIXELS)
    for place in range(0, len(encoded), 3):
        damaged = bytearray(encoded)
        damaged[place] ^= 1 << place % 8
        try:
            assert decode(bytes(damaged)).dtype == np.uint8
        except UserError:
            pass
