"""Pixel corruption: destroys the structure of images as a function of (seed, example id).

A new kind of corruption is one row of `PIXEL_CORRUPTION`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from rethink import randomness
from rethink.data import preprocessing
from rethink.schema.errors import pick

# The quantiles of the normal distribution at the middle of each of 2**16 equal steps of probability, and the 8-bit
# codes that stand for them, float64 and uint8 [2**16]: from 0 to 255, and symmetric about their middle. A pixel that is
# drawn by the number of its quantile needs no arithmetic whose last bit could differ between platforms.
NORMAL = scipy.special.ndtri((np.arange(2**16) + 0.5) / 2**16)
CODES = np.round(127.5 + 127.5 / NORMAL[-1] * NORMAL).astype(np.uint8)
SCALE_BITS = 16  # significant ones: its product with 8 bits is exact in float32, fused with the addition or not


class Moments(NamedTuple):
    """Mean and standard deviation of each channel over the clean training images, and draws from that Gaussian.

    Attributes:
      mean, std: float64 [channels], in 0..255.
      quantiles: uint8 [2**16, channels], the pixel value at each quantile of the Gaussian, rounded and clipped.
      encoding: float32 [2, channels], the offset and the scale with which `CODES` have this mean, as near as float32
        comes, and this variance, to 2 in 100,000.
    """

    mean: np.ndarray
    std: np.ndarray
    quantiles: np.ndarray
    encoding: np.ndarray


def make_moments(mean: np.ndarray, std: np.ndarray) -> Moments:
    """Returns the moments with what draws of their Gaussian need."""
    quantiles = np.clip(np.round(mean + std * NORMAL[:, None]), 0, 255).astype(np.uint8)
    fraction, exponent = np.frexp(std / CODES.std())
    scale = np.ldexp(np.round(fraction * 2**SCALE_BITS), exponent - SCALE_BITS)
    return Moments(mean, std, quantiles, np.stack([mean - scale * CODES.mean(), scale]).astype(np.float32))


def count_values(images: np.ndarray) -> np.ndarray:
    """Returns how often each value occurs in each channel of uint8 images [..., channels]: int64 [channels, 256]."""
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])


def measure_moments(counts: np.ndarray) -> Moments:
    """Returns the moments of images from how often each value occurs, int64 [channels, 256]; counts of parts add up."""
    values = np.arange(256, dtype=np.float64)
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    variance = weights @ values**2 - mean**2
    return make_moments(mean, np.sqrt(np.maximum(variance, 0)))


def _keep_images(key, ids, images, moments, channels_together):
    return images


def _shuffle_alike(key, ids, images, moments, channels_together):
    """Applies one permutation, a function of the key alone, to every image."""
    places = _split_places(images, channels_together)
    return places[:, _draw_order(key, places.shape[1])].reshape(images.shape)


def _shuffle_each(key, ids, images, moments, channels_together):
    """Applies a permutation of its own to each image."""
    places = _split_places(images, channels_together)
    shuffle = jax.vmap(lambda example_key, image: image[_draw_order(example_key, places.shape[1])])
    return shuffle(randomness.example_keys(key, ids), places).reshape(images.shape)


def _draw_gaussian(key, ids, images, moments, channels_together):
    """Replaces each image by the codes of independent draws from a Gaussian."""
    return jnp.asarray(CODES)[_draw_quantiles(key, ids, images)]


def _draw_clipped(key, ids, images, moments, channels_together):
    """Replaces each image by independent draws with the data set's moments of each channel, rounded and clipped."""
    channel = jnp.arange(images.shape[-1], dtype=jnp.int32)
    return jnp.asarray(moments.quantiles)[_draw_quantiles(key, ids, images), channel]


def _draw_quantiles(key: jax.Array, ids: jax.Array, images: jax.Array) -> jax.Array:
    """Returns the number of a quantile for each value of images of this shape, int32 in 0..2**16 - 1."""
    draw = jax.vmap(lambda example_key: jax.random.bits(example_key, images.shape[1:], jnp.uint16))
    return draw(randomness.example_keys(key, ids)).astype(jnp.int32)


def _split_places(images: jax.Array, channels_together: bool) -> jax.Array:
    """Returns images [n, places, values]: a place is a pixel with all its channels, or a single value."""
    height, width, channels = images.shape[1:]
    return images.reshape(len(images), height * width if channels_together else height * width * channels, -1)


def _draw_order(key: jax.Array, places: int) -> jax.Array:
    """Returns a permutation of the places, int32 [places]."""
    return jax.random.permutation(key, jnp.arange(places, dtype=jnp.int32))


# Kind -> (key, ids, images, moments, channels_together) -> images, as in `corrupt_images`.
PIXEL_CORRUPTION: dict[str, Callable[..., jax.Array]] = {
    "none": _keep_images,
    "shuffled_pixels": _shuffle_alike,
    "random_pixels": _shuffle_each,
    "gaussian": _draw_gaussian,
    "gaussian_clipped": _draw_clipped,
}
GAUSSIAN = ("gaussian", "gaussian_clipped")  # the kinds that read the moments
# The kinds that do the same to every image. The paper applies the one permutation to the test images as well.
SHARED_WITH_TEST = ("none", "shuffled_pixels")


@functools.partial(jax.jit, static_argnames=("kind", "channels_together"))
def corrupt_images(
    key: jax.Array, ids: jax.Array, images: jax.Array, moments: Moments, *, kind: str, channels_together: bool
) -> jax.Array:
    """Returns the images with their structure destroyed, uint8 [examples, height, width, channels].

    `shuffled_pixels` applies one permutation to every image, `random_pixels` another one to each image; `gaussian`
    replaces an image by draws with the data set's mean and variance per channel, of which the codes are returned
    (`choose_encoding` says what they stand for); `gaussian_clipped` rounds and clips the draws to 0..255, which leaves
    less variance.

    Args:
      key: a stream of `randomness.key_for`.
      ids: uint32 [examples].
      images: uint8 [examples, height, width, channels].
      moments: of the clean training images; only the kinds of `GAUSSIAN` read them.
      kind: a name of `PIXEL_CORRUPTION`.
      channels_together: the channels of a pixel move together; otherwise every value moves by itself.

    Raises:
      UserError: the kind is unknown.

    Source: Zhang et al. (2017), section 2.
    """
    corrupt = pick(PIXEL_CORRUPTION, kind, "corruption.pixels")
    return corrupt(key, ids, images, moments, channels_together)


def choose_encoding(moments: Moments, *, kind: str) -> np.ndarray:
    """Returns the encoding of images of a kind, float32 [2, channels]; see `preprocessing.decode_images`.

    Args:
      moments: of the clean training images; only `gaussian` reads them.
    """
    return moments.encoding if kind == "gaussian" else preprocessing.clean_encoding(moments.encoding.shape[-1])
