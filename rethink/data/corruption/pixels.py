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
from rethink.schema.errors import pick


class Moments(NamedTuple):
    """Mean and standard deviation of each channel over the clean training images, and draws from that Gaussian.

    Attributes:
      mean, std: float64 [channels], in 0..255.
      quantiles: uint8 [2**16, channels], the pixel value at each quantile of the Gaussian, rounded and clipped. A pixel
        drawn by the number of its quantile needs no arithmetic whose last bit could differ between platforms.
    """

    mean: np.ndarray
    std: np.ndarray
    quantiles: np.ndarray


def make_moments(mean: np.ndarray, std: np.ndarray) -> Moments:
    """Returns the moments with their quantiles, at the middle of each of 2**16 equal steps of probability."""
    normal = scipy.special.ndtri((np.arange(2**16) + 0.5) / 2**16)
    quantiles = np.clip(np.round(mean + std * normal[:, None]), 0, 255).astype(np.uint8)
    return Moments(mean, std, quantiles)


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
    """Replaces each image by independent draws with the data set's mean and variance of each channel."""
    shape = images.shape[1:]

    def draw_one(example_key):
        numbers = jax.random.bits(example_key, shape, jnp.uint16)
        return jnp.asarray(moments.quantiles)[numbers, jnp.arange(shape[-1], dtype=jnp.int32)]

    return jax.vmap(draw_one)(randomness.example_keys(key, ids))


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
}
# The kinds that do the same to every image. The paper applies the one permutation to the test images as well.
SHARED_WITH_TEST = ("none", "shuffled_pixels")


@functools.partial(jax.jit, static_argnames=("kind", "channels_together"))
def corrupt_images(
    key: jax.Array, ids: jax.Array, images: jax.Array, moments: Moments, *, kind: str, channels_together: bool
) -> jax.Array:
    """Returns the images with their structure destroyed, uint8 [examples, height, width, channels].

    `shuffled_pixels` applies one permutation to every image, `random_pixels` another one to each image; `gaussian`
    replaces an image by draws with the data set's mean and variance per channel, rounded and clipped to 0..255.

    Args:
      key: a stream of `randomness.key_for`.
      ids: uint32 [examples].
      images: uint8 [examples, height, width, channels].
      moments: of the clean training images; only `gaussian` reads them.
      kind: a name of `PIXEL_CORRUPTION`.
      channels_together: the channels of a pixel move together; otherwise every value moves by itself.

    Raises:
      UserError: the kind is unknown.

    Source: Zhang et al. (2017), section 2.
    """
    corrupt = pick(PIXEL_CORRUPTION, kind, "corruption.pixels")
    return corrupt(key, ids, images, moments, channels_together)
