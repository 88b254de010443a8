"""Decodes PNG, JPEG and other bytes to uint8 images, and resizes them where the config sets a size.

Random crops and colours are augmentation, in regularization/augmentation.py.
"""

import io

import numpy as np
import PIL
from PIL import Image

from rethink.schema.errors import UserError

DECODER = f"Pillow {PIL.__version__}"
# All but PNG hold 8 bits a value at most. Pillow reads more formats, and cuts 16 bits of some to 8 without a word.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's, by number of channels
PNG_BIT_DEPTH = 24  # the place of the byte that says how many bits a value has: in IHDR, which comes first


def decode_image(encoded: bytes, *, channels: int | None, image_size: int, where: str) -> np.ndarray:
    """Returns the image, uint8 [height, width, channels], 0..255.

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
        image: Image.Image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.format == "PNG" and (bits := encoded[PNG_BIT_DEPTH]) > 8:
            raise ValueError(f"values of {bits} bits, which 8 bits don't hold")
        mode = MODES[channels or (1 if image.mode in ("1", "L", "LA") else 3)]
        if image.mode != mode:
            image = image.convert(mode)
        if image_size:
            image = _resize_and_crop(image, image_size)
        pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{where} does not decode ({error}): prepare the data set again, with images of 8 bits a value in a format "
            f"of {', '.join(FORMATS)}."
        ) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Returns the image with its shorter side scaled to `size`, then its central size x size square."""
    if min(image.size) != size:
        scale = size / min(image.size)
        image = image.resize([max(size, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
    left, top = ((side - size) // 2 for side in image.size)
    return image.crop((left, top, left + size, top + size))
