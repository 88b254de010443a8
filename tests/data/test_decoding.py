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


# A user's own files.


def read_file(encoded, channels=None, bits=8, image_size=0):
    """Decodes a file, and checks that its header says as much."""
    header = decoding.read_header(io.BytesIO(encoded))
    pixels = decoding.decode_file(encoded, channels=channels, bits=max(bits, header.bits), image_size=image_size)
    if not image_size:
        assert pixels.shape[:2] == header[:2]
    assert pixels.dtype == (np.uint16 if max(bits, header.bits) == 16 else np.uint8)
    return pixels


COLOUR = RNG.integers(0, 256, (4, 6, 3)).astype(np.uint8)
ALPHA = RNG.integers(0, 256, (4, 6, 1)).astype(np.uint8)
GREY_16 = RNG.integers(0, 2**16, (4, 6)).astype(np.uint16)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_every_format_without_loss_gives_its_pixels(form):
    options = {"lossless": True} if form == "WEBP" else {}
    np.testing.assert_array_equal(read_file(encode(COLOUR, form, **options)), COLOUR, strict=True)


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.fromarray(np.full((4, 6), value, np.uint8)) for value in (10, 200)]
    for form in ("GIF", "TIFF", "WEBP", "PNG"):
        options = {"lossless": True} if form == "WEBP" else {}
        animation = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
        assert (read_file(animation) == 10).all()


@pytest.mark.parametrize(
    "image, channels, expected",
    [
        (np.dstack([COLOUR[..., 0], ALPHA]), None, COLOUR[..., :1]),
        (np.dstack([COLOUR[..., 0], ALPHA]), 2, np.dstack([COLOUR[..., :1], ALPHA])),
        (np.dstack([COLOUR, ALPHA]), None, COLOUR),
        (np.dstack([COLOUR, ALPHA]), 4, np.dstack([COLOUR, ALPHA])),
        (COLOUR, 4, np.dstack([COLOUR, np.full_like(ALPHA, 255)])),
        (COLOUR[..., 0] > 99, None, np.uint8(255) * (COLOUR[..., :1] > 99)),
        (GREY_16, None, GREY_16[..., None]),
        (GREY_16, 3, np.repeat(GREY_16[..., None], 3, axis=-1)),
        (GREY_16, 4, np.dstack([*[GREY_16] * 3, np.full_like(GREY_16, 65535)])),
    ],
    ids=["LA", "LA kept", "RGBA", "RGBA kept", "opaque", "1 bit", "16 bits", "16 bits to RGB", "16 bits to RGBA"],
)
def test_modes_become_the_channels_of_the_set(image, channels, expected):
    np.testing.assert_array_equal(read_file(encode(image), channels), expected, strict=True)


@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_grey_of_16_bits_is_kept_in_tiff_too(byte_order):
    encoded = encode(
        Image.frombytes("I;16" + ("B" if byte_order == ">u2" else ""), (6, 4), GREY_16.astype(byte_order).tobytes()),
        "TIFF",
    )
    np.testing.assert_array_equal(read_file(encoded)[..., 0], GREY_16, strict=True)
    assert read_file(encoded, image_size=2).shape == (2, 2, 1)


def test_8_bits_among_16_keep_black_and_white():
    eight = np.array([[0, 1, 255]], np.uint8)
    np.testing.assert_array_equal(read_file(encode(eight), bits=16)[0, :, 0], np.array([0, 257, 65535], np.uint16))


def test_a_palette_with_transparency_keeps_its_colours():
    few = Image.fromarray(COLOUR).quantize(8)
    encoded = encode(few, transparency=bytes(range(8)))
    np.testing.assert_array_equal(read_file(encoded), np.asarray(few.convert("RGB")), strict=True)
    assert set(read_file(encoded, 4)[..., 3].ravel()) <= set(range(8))


def test_a_cmyk_jpeg_becomes_rgb():
    flat = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert abs(read_file(encode(flat, "JPEG")).astype(int) - (255, 0, 0)).max() < 10


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_an_image_is_turned_as_its_exif_data_say_but_not_that_of_a_prepared_set(form, orientation):
    ramp = np.add.outer(np.arange(8) * 20, np.arange(16) * 5).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(form, {})
    encoded = encode(ramp, form, exif=exif, **options)
    turned = {1: ramp, 2: ramp[:, ::-1], 3: ramp[::-1, ::-1], 4: ramp[::-1], 5: ramp.T, 6: ramp[::-1].T}
    turned |= {7: ramp[::-1, ::-1].T, 8: ramp[:, ::-1].T}
    assert abs(read_file(encoded, 1)[..., 0].astype(int) - turned[orientation]).max() < 6
    if form != "TIFF":
        stored = decoding.decode_image(encoded, channels=1, image_size=0, where="x")
        assert abs(stored[..., 0].astype(int) - ramp).max() < 6


def sixteen_bits_rgb(form):
    """The bytes of a file with colours of 16 bits, which Pillow reads as 8."""
    if form == "PNG":
        return png_of_16_bits(np.full((4, 6, 3), 256, np.uint16), 2)
    encoded = bytearray(encode(np.full((4, 6, 3), 9, np.uint8), "TIFF"))
    return bytes(encoded).replace(b"\x08\x00\x08\x00\x08\x00", b"\x10\x00\x10\x00\x10\x00")


@pytest.mark.parametrize(
    "encoded, reason",
    [
        (b"", "no byte in it"),
        (b"\x00" * 50, "no image in a format of PNG, JPEG"),
        (encode(COLOUR)[:60], ""),
        (encode(COLOUR, "JPEG")[:200], ""),
        (encode(COLOUR, "PPM"), "no image in a format"),
        (encode(GREY_16.astype(np.float32), "TIFF"), "values of 32 bits"),
        (encode(Image.fromarray(GREY_16.astype(np.int32)), "TIFF"), "values of 32 bits"),
        (sixteen_bits_rgb("PNG"), "values of 16 bits"),
        (sixteen_bits_rgb("TIFF"), "values of 16 bits"),
    ],
)
def test_a_bad_file_tells_why(encoded, reason):
    with pytest.raises(decoding.BadImageError) as error:
        read_file(encoded)
    assert reason in str(error.value) and str(error.value).isprintable() and "0x" not in str(error.value)


def test_a_huge_image_is_a_bad_file(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(decoding.BadImageError, match="24 pixels"):
        decoding.read_header(io.BytesIO(encode(COLOUR)))


def test_damage_anywhere_is_an_image_or_a_reason():
    for form in ("PNG", "TIFF", "GIF", "BMP", "WEBP", "JPEG"):
        encoded = encode(COLOUR, form)
        for place in range(0, len(encoded), 1 + len(encoded) // 60):
            damaged = bytearray(encoded)
            damaged[place] ^= 1 << place % 8
            try:
                read_file(bytes(damaged))
            except decoding.BadImageError as error:
                assert str(error).isprintable()


def test_grey_of_16_bits_is_resized_in_either_order_of_bytes():
    ramp = np.linspace(0, 60_000, 64).reshape(8, 8).astype(np.uint16)
    big = encode(Image.frombytes("I;16B", (8, 8), ramp.astype(">u2").tobytes()), "TIFF")
    assert big[:2] == b"MM"
    resized = [decoding.decode_file(file, channels=1, bits=16, image_size=4) for file in (encode(ramp, "TIFF"), big)]
    np.testing.assert_array_equal(*resized)


@pytest.mark.parametrize(
    "dtype, tag, value, reason",
    [(np.uint16, 262, 0, "white is zero"), (np.uint8, 339, 2, "values with a sign")],
)
def test_tiff_of_values_that_pillow_reads_as_others_are_bad_files(dtype, tag, value, reason):
    encoded = encode(np.zeros((2, 2), dtype), "TIFF", tiffinfo={tag: value})
    for read in (
        lambda: decoding.read_header(io.BytesIO(encoded)),
        lambda: decoding.decode_file(encoded, channels=1, bits=16, image_size=0),
    ):
        with pytest.raises(decoding.BadImageError, match=reason):
            read()
