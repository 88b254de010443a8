"""Decodes PNG, JPEG and other bytes to images as stored, and resizes them where the config sets a size.

Random crops and colours are augmentation, in regularization/augmentation.py.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import PIL
from PIL import Image

from rethink.schema.errors import UserError

DECODER = f"Pillow {PIL.__version__}"
RULES = 2  # part of what is cached: raised where a file is decoded to other values than before
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")  # all but PNG hold 8 bits a value at most
FILE_FORMATS = (*FORMATS, "TIFF")  # of a user's own files
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's, by number of channels
_CHANNELS = {"1": 1, "L": 1, "LA": 2, "P": 3, "PA": 4, "RGB": 3, "RGBX": 3, "RGBA": 4, "CMYK": 3, "YCbCr": 3}
_GREY_16 = ("I;16", "I;16B")

# Of a PNG file: its first bytes and the places of the values of IHDR, which comes first.
_PNG, _PNG_SIZE, _PNG_BITS, _PNG_COLOURS = b"\x89PNG\r\n\x1a\n", slice(16, 24), 24, 25
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by its type of colours
_HEAD_BYTES = 4096

_TIFF_BITS, _TIFF_COLOURS, _TIFF_SIGNS, _EXIF_ORIENTATION = 258, 262, 339, 0x0112  # tags
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_ON_ITS_SIDE = 5  # from this one on, height and width change places


class BadImageError(ValueError):
    """Bytes that are no image which can be used: why, in one line."""


class Header(NamedTuple):
    """What the first bytes of a file say of its image: 1 to 4 channels, of 8 or 16 bits; upright."""

    height: int
    width: int
    channels: int
    bits: int


def decode_image(encoded: bytes, *, channels: int | None, image_size: int, where: str) -> np.ndarray:
    """Returns the image of a prepared set, uint8 [height, width, channels], 0..255, not turned.

    Args:
      encoded: the bytes of a file of one of `FORMATS`.
      channels: of the data set; an image that has others is converted, as ImageNet has grey JPEGs among its colours.
        None keeps grey as one channel and makes RGB of all else.
      image_size: > 0 resizes the shorter side to this (bilinear) and crops the centre square; 0 keeps the size.
      where: names the example in an error.

    Raises:
      UserError: the bytes don't decode, are of another format, of a huge image, or have more than 8 bits a value.

    Source: Pillow.
    """
    try:
        with _bad_images(FORMATS):
            image, bits = _open_image(io.BytesIO(encoded), FORMATS)
            if bits > 8:
                raise BadImageError(f"values of {bits} bits, which 8 bits don't hold")
            return _to_pixels(image, channels, image_size)
    except BadImageError as error:
        raise UserError(
            f"{where} does not decode ({error}): prepare the data set again, with images of 8 bits a value in a format "
            f"of {', '.join(FORMATS)}."
        ) from error


def decode_file(encoded: bytes, *, channels: int | None, bits: int, image_size: int) -> np.ndarray:
    """Returns the image of a user's file, uint8 or uint16 [height, width, channels], turned as its EXIF data say.

    Of several frames it is the first. Grey becomes colour by repetition, colour grey by weights (ITU-R 601);
    transparency is left out unless there are 2 or 4 channels. 8 bits become 16 by x 257, so that white stays white.

    Args:
      encoded: the bytes of a file of one of `FILE_FORMATS`.
      channels: 1 to 4; None as of `decode_image`.
      bits: 8 or 16, at least those of the file.
      image_size: as of `decode_image`.

    Raises:
      BadImageError: the bytes don't decode, or have values that neither 8 bits nor grey of 16 bits hold.
    """
    with _bad_images(FILE_FORMATS):
        image, own_bits = _open_image(io.BytesIO(encoded), FILE_FORMATS)
        if own_bits > 8:  # in the order of bytes that Pillow resizes
            image = Image.fromarray(np.asarray(image).astype(np.uint16))
        turn = _TURNS.get(_read_orientation(image))
        if turn is not None:
            image = image.transpose(turn)
        if own_bits <= 8:
            pixels = _to_pixels(image, channels, image_size)
            return pixels if bits == 8 else pixels * np.uint16(257)
        grey = np.asarray(_resize_and_crop(image, image_size) if image_size else image).astype(np.uint16)[..., None]
        channels = channels or 1
        colours = np.repeat(grey, 1 if channels < 3 else 3, axis=-1)
        opaque = np.full((*grey.shape[:2], channels - colours.shape[-1]), 2**16 - 1, np.uint16)
        return np.concatenate([colours, opaque], axis=-1)


def read_header(file: BinaryIO) -> Header:
    """Returns what the first bytes of an open file say, without decoding it.

    Raises:
      BadImageError: as `decode_file`, as far as the first bytes tell.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    with _bad_images(FILE_FORMATS):
        if _is_plain_png(head):
            height, width = (int.from_bytes(head[_PNG_SIZE][side]) for side in (slice(4, 8), slice(0, 4)))
            if 0 < height * width <= (Image.MAX_IMAGE_PIXELS or 0):
                return Header(height, width, _PNG_CHANNELS[head[_PNG_COLOURS]], _check_png_bits(head))
        image, bits = _open_image(file, FILE_FORMATS)
        width, height = image.size
        if _read_orientation(image) >= _FIRST_ON_ITS_SIDE:
            height, width = width, height
        return Header(height, width, _CHANNELS.get(image.mode, 1), bits)


def _is_plain_png(head: bytes) -> bool:
    """Returns whether a file's first bytes are of a PNG image that nothing turns: Pillow opens it more slowly."""
    before, pixels, _ = head.partition(b"IDAT")
    return before.startswith(_PNG) and bool(pixels) and b"eXIf" not in before and head[_PNG_COLOURS] in _PNG_CHANNELS


@contextlib.contextmanager
def _bad_images(formats: tuple[str, ...]) -> Iterator[None]:
    """Turns what Pillow raises over bytes, which may be anything, into a BadImageError."""
    try:
        yield
    except (BadImageError, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise BadImageError(f"no image in a format of {', '.join(formats)}") from error
    except Exception as error:
        raise BadImageError(" ".join(str(error).split())[:200] or type(error).__name__) from error


def _open_image(file: BinaryIO, formats: tuple[str, ...]) -> tuple[Image.Image, int]:
    """Returns an image that is not decoded yet, and its bits a value, 8 or 16."""
    head = file.read(_PNG_COLOURS + 1)
    file.seek(0)
    if not head:
        raise BadImageError("no byte in it")
    image: Image.Image = Image.open(file, formats=formats)
    if image.format == "PNG":
        return image, _check_png_bits(head)
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore
        bits = _check_bits(max(tags.get(_TIFF_BITS, (1,))), image.mode in _GREY_16)
        if 2 in tags.get(_TIFF_SIGNS, (1,)):
            raise BadImageError("values with a sign, which can't be read")
        if bits > 8 and tags.get(_TIFF_COLOURS) == 0:
            raise BadImageError("grey of 16 bits in which white is zero, which can't be read")
        return image, bits
    return image, 8


def _check_png_bits(head: bytes) -> int:
    return _check_bits(head[_PNG_BITS], head[_PNG_COLOURS] == 0)


def _check_bits(bits: int, is_grey: bool) -> int:
    """Returns in how many bits values are stored: 8 or 16.

    Raises:
      BadImageError: in neither; Pillow cuts colours of 16 bits to 8 without a word.
    """
    if bits > 8 and not (bits == 16 and is_grey):
        raise BadImageError(f"values of {bits} bits; up to 8 bits can be read, and grey of 16 bits")
    return 8 if bits <= 8 else 16


def _read_orientation(image: Image.Image) -> int:
    """Returns the orientation of the EXIF data, 1 where there are none that can be read; Pillow turns TIFF itself."""
    if "exif" not in image.info:
        return 1
    with contextlib.suppress(Exception):  # of damaged data, which are no harm to the image
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    return 1


def _to_pixels(image: Image.Image, channels: int | None, image_size: int) -> np.ndarray:
    """Returns the image in 8 bits, uint8 [height, width, channels]; arguments are as of `decode_image`."""
    mode = MODES[channels or (1 if image.mode in ("1", "L", "LA") else 3)]
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # without which Pillow warns
    if image.mode != mode:
        image = image.convert(mode)
    if image_size:
        image = _resize_and_crop(image, image_size)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Returns the image with its shorter side scaled to `size`, then its central size x size square."""
    if min(image.size) != size:
        scale = size / min(image.size)
        image = image.resize([max(size, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
    left, top = ((side - size) // 2 for side in image.size)
    return image.crop((left, top, left + size, top + size))
