"""The deterministic steps from a stored image to the model's input: centre crop, scale to 0..1, whitening.

Random crops and other random changes are augmentation, in regularization/augmentation.py.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rethink.schema.errors import UserError, pick


def crop_size(image_shape: tuple[int, int, int], crop: int) -> tuple[int, int]:
    """Returns (height, width) after a centre crop to `crop` pixels a side; crop 0 keeps the image as it is.

    Raises:
      UserError: the image is smaller than the crop.
    """
    height, width, _ = image_shape
    if crop > min(height, width):
        raise UserError(
            f"preprocess.crop={crop} is larger than the images ({height}x{width}): "
            f"set --config.preprocess.crop to at most {min(height, width)}, or 0 for no crop."
        )
    return (crop, crop) if crop else (height, width)


def crop_centre(images: jax.Array, crop: int) -> jax.Array:
    """Returns the central crop x crop pixels of images [..., height, width, channels]; crop 0 returns all of them."""
    height, width = images.shape[-3:-1]
    rows, columns = (crop, crop) if crop else (height, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[..., top : top + rows, left : left + columns, :]


def clean_encoding(channels: int) -> np.ndarray:
    """Returns the offset 0 and the scale 1 of images as stored, float32 [2, channels]."""
    return np.stack([np.zeros(channels, np.float32), np.ones(channels, np.float32)])


def is_encoded(encoding: np.ndarray) -> bool:
    """Returns whether images of this encoding, float32 [2, channels], are not as stored."""
    return not np.array_equal(encoding, clean_encoding(encoding.shape[-1]))


def decode_images(images: jax.Array, encoding: jax.Array) -> jax.Array:
    """Returns (offset + scale * image) / 255, float32 [..., height, width, channels]: in 0..1 for images as stored.

    Args:
      images: uint8 [..., height, width, channels].
      encoding: float32 [2, channels], the offset and the scale of all of them.
    """
    offset, scale = encoding
    return (offset + scale * images.astype(jnp.float32)) / 255


def round_images(images: np.ndarray, encoding: np.ndarray) -> np.ndarray:
    """Returns images to look at, uint8: decoded, rounded and clipped to 0..255. Arguments are as of `decode_images`."""
    offset, scale = encoding
    return np.clip(np.round(offset + scale * images), 0, 255).astype(np.uint8)


def keep_values(images: jax.Array) -> jax.Array:
    """Returns the images as they are."""
    return images


def whiten_per_image(images: jax.Array) -> jax.Array:
    """Returns (x - mean) / max(std, 1 / sqrt(N)) over the N values of each image, float32.

    Args:
      images: float32 [batch, height, width, channels].

    Source: Zhang et al. (2017), appendix A ("per_image_whitening" of TensorFlow).
    """
    axes = (-3, -2, -1)
    count = images.shape[-3] * images.shape[-2] * images.shape[-1]
    mean = jnp.mean(images, axes, keepdims=True)
    std = jnp.std(images, axes, keepdims=True)
    return (images - mean) / jnp.maximum(std, 1.0 / jnp.sqrt(jnp.float32(count)))


def scale_symmetric(images: jax.Array) -> jax.Array:
    """Returns images of 0..1 scaled to -1..1, the usual input of Inception V3."""
    return 2 * images - 1


WHITENINGS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "none": keep_values,
    "per_image": whiten_per_image,
    "symmetric": scale_symmetric,
}


def whiten_images(images: jax.Array, whitening: str) -> jax.Array:
    """Returns the images whitened, float32 [batch, height, width, channels].

    Args:
      images: float32 [batch, height, width, channels] in 0..1.
      whitening: a name of `WHITENINGS`.

    Raises:
      UserError: the whitening is unknown.
    """
    return pick(WHITENINGS, whitening, "preprocess.whiten")(images)


def check_whitening(image_shape: tuple[int, int, int], whitening: str) -> None:
    """Checks that the whitening leaves something of images of this shape.

    Raises:
      UserError: the whitening is unknown, or makes 0 of every image.
    """
    if pick(WHITENINGS, whitening, "preprocess.whiten") is whiten_per_image and math.prod(image_shape) == 1:
        raise UserError(
            "preprocess.whiten=per_image makes 0 of images of a single value: set --config.preprocess.whiten=symmetric,"
            " or --config.preprocess.crop to 2 or more."
        )


def preprocess_images(images: jax.Array, encoding: jax.Array, *, crop: int, whitening: str) -> jax.Array:
    """Returns the model's input in evaluation, float32 [batch, crop, crop, channels].

    Args:
      images, encoding: as of `decode_images`.
      crop: pixels a side; 0 for all.
      whitening: a name of `WHITENINGS`.
    """
    return whiten_images(decode_images(crop_centre(images, crop), encoding), whitening)
