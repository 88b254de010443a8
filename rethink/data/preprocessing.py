"""The deterministic steps from a stored image to the model's input: centre crop, scale to 0..1, whitening.

Random crops and other random changes are augmentation, in regularization/augmentation.py.
"""

import logging
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rethink.schema.errors import UserError, pick

CHECKED_TOGETHER = 1024  # examples
UINT8_SPAN, UINT16_SPAN, VECTOR_SPAN = (0.0, 255.0), (0.0, 65535.0), (0.0, 1.0)  # see `value_span`
MOST_SPREAD = 100  # ratio of the standard deviations of two features, above which a warning says so

_log = logging.getLogger(__name__)


def value_span(dtype: np.dtype, has_vectors: bool, value_range: tuple[float, float]) -> tuple[float, float]:
    """Returns the values as stored that the model sees as 0 and as 1: vectors are taken as they are.

    Args:
      dtype: of the images, uint8, uint16 or float32.
      value_range: the config field `data.value_range`, which is that of float32 images.

    Raises:
      UserError: the range is none, or has no effect on images of this dtype.
    """
    ends = np.array(value_range, np.float64).astype(np.float32)
    if len(ends) != 2 or not np.isfinite(ends).all() or not ends[0] < ends[1]:
        raise UserError(
            f"data.value_range={tuple(value_range)} is no range: set --config.data.value_range='(LOW, HIGH)', two "
            "numbers of which the second is larger, such as '(0.0, 1.0)'."
        )
    low, high = map(float, value_range)
    if dtype == np.float32 and not has_vectors:
        return low, high
    if (low, high) != (0.0, 1.0):
        kind = "feature vectors, which are taken as they are" if has_vectors else f"images of {dtype}"
        raise UserError(
            f"data.value_range=({low:g}, {high:g}) is of float32 images, and has no effect on {kind}: leave it at "
            "'(0.0, 1.0)'."
        )
    return VECTOR_SPAN if has_vectors else {"uint8": UINT8_SPAN, "uint16": UINT16_SPAN}[dtype.name]


def check_values(
    images: np.ndarray, ids: np.ndarray, value_range: tuple[float, float], *, has_vectors: bool, where: str
) -> None:
    """Checks that images, or feature vectors, as stored hold what their kind may hold; integers always do.

    Args:
      images: uint8, uint16 or float32 [examples, height, width, channels]; ids: uint32 [examples].
      value_range: the config field `data.value_range`.
      where: names data set and split in an error.

    Raises:
      UserError: the first value that is not finite or, but for vectors, outside the range.
    """
    if images.dtype != np.float32:
        return
    low, high = np.array(value_span(images.dtype, has_vectors, value_range), np.float32)
    for start in range(0, len(images), CHECKED_TOGETHER):
        block = images[start : start + CHECKED_TOGETHER]
        is_good = np.isfinite(block) if has_vectors else (low <= block) & (block <= high)
        if is_good.all():
            continue
        first = np.unravel_index(np.argmin(is_good), block.shape)
        value, example = block[first], f"{where}, example {ids[start + first[0]]}"
        if not np.isfinite(value):
            raise UserError(f"{example} holds {value} at {list(map(int, first[1:]))}: replace it by a finite number.")
        span = images[np.isfinite(images)]
        raise UserError(
            f"{example} holds {value:g}, outside data.value_range=({low:g}, {high:g}): say what the values span, such "
            f"as --config.data.value_range='({span.min()!s}, {span.max()!s})'."
        )


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


def decode_images(images: jax.Array, encoding: jax.Array, span: tuple[float, float] = UINT8_SPAN) -> jax.Array:
    """Returns images as the model sees them, float32 [..., height, width, channels]: in 0..1 for images as stored.

    They are (offset + scale * image - low) / (high - low), which is exactly what is stored where that spans 0 to 1.

    Args:
      images: uint8, uint16 or float32 [..., height, width, channels].
      encoding: float32 [2, channels], the offset and the scale of all of them.
      span: (low, high), of `value_span`.
    """
    offset, scale = encoding
    low, high = span
    values = offset + scale * images.astype(jnp.float32)
    if low:
        values = values - low
    return values if high - low == 1 else values / (high - low)


def round_images(images: np.ndarray, encoding: np.ndarray, span: tuple[float, float] = UINT8_SPAN) -> np.ndarray:
    """Returns images to look at, uint8: brought to 0..255, rounded and clipped. Arguments are as of `decode_images`."""
    offset, scale = encoding
    low, high = span
    values = offset + scale * images
    if span != UINT8_SPAN:
        values = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


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


def resolve_whitening(whitening: str, has_vectors: bool) -> str:
    """Returns the name in `WHITENINGS` that "auto" stands for, other names as they are."""
    return {"auto": "none" if has_vectors else "per_image"}.get(whitening, whitening)


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


def preprocess_images(
    images: jax.Array,
    encoding: jax.Array,
    *,
    crop: int,
    whitening: str,
    span: tuple[float, float] = UINT8_SPAN,
) -> jax.Array:
    """Returns the model's input in evaluation, float32 [batch, crop, crop, channels].

    Args:
      images, encoding, span: as of `decode_images`.
      crop: pixels a side; 0 for all.
      whitening: a name of `WHITENINGS`.
    """
    return whiten_images(decode_images(crop_centre(images, crop), encoding, span), whitening)


def warn_of_scales(vectors: np.ndarray) -> None:
    """Warns where the features of vectors [n, 1, 1, features] have scales so different that networks learn little."""
    spreads = vectors.reshape(len(vectors), -1).std(axis=0, dtype=np.float64)
    spreads = spreads[spreads > 0]
    if len(spreads) and spreads.max() > MOST_SPREAD * spreads.min():
        _log.warning(
            "The standard deviations of the features go from %.3g to %.3g, and a network hardly learns from the small "
            "ones: standardize the features of all splits by train's, (x - x_train.mean(0)) / x_train.std(0).",
            spreads.min(),
            spreads.max(),
        )
