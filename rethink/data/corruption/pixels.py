"""Pixel corruption: destroys the structure of images as a function of (seed, example id)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from rethink import randomness

PIXEL_CORRUPTION = ("none", "shuffled_pixels", "random_pixels", "gaussian")


class Moments(NamedTuple):
    """Mean and standard deviation per channel of the clean training images, float64 [channels], in 0..255.

    quantiles: uint8 [2**16, channels], the pixel value at each quantile of that Gaussian, rounded and clipped. Drawn by
    number, a pixel needs no arithmetic whose last bit could differ between programs and platforms.
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
    """Returns the moments of the images whose values were counted; counts of parts may be added first."""
    values = np.arange(256, dtype=np.float64)
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    variance = weights @ values**2 - mean**2
    return make_moments(mean, np.sqrt(np.maximum(variance, 0)))


@functools.partial(jax.jit, static_argnames=("kind", "channels_together"))
def corrupt_images(
    key: jax.Array, ids: jax.Array, images: jax.Array, moments: Moments, *, kind: str, channels_together: bool
) -> jax.Array:
    """Destroys the structure of images.

    `shuffled_pixels` applies one permutation to every image, `random_pixels` another one to each image, `gaussian`
    replaces an image by draws with the data set's mean and variance per channel, rounded and clipped to 0..255.

    Args:
      key: a stream of `randomness.key_for`.
      ids: uint32 [n], images: uint8 [n, height, width, channels].
      moments: of the clean training images; only `gaussian` reads them.
      channels_together: the channels of a pixel move together; otherwise every value moves by itself.

    Returns:
      uint8 [n, height, width, channels].
    """
    if kind == "none":
        return images
    shape = images.shape[1:]
    if kind == "gaussian":

        def draw_one(example_key):
            numbers = jax.random.bits(example_key, shape, jnp.uint16)
            return jnp.asarray(moments.quantiles)[numbers, jnp.arange(shape[-1], dtype=jnp.int32)]

        return jax.vmap(draw_one)(randomness.example_keys(key, ids))

    places = shape[0] * shape[1] if channels_together else shape[0] * shape[1] * shape[2]
    pixels = images.reshape(len(images), places, -1)
    order = functools.partial(jax.random.permutation, x=jnp.arange(places, dtype=jnp.int32))
    if kind == "shuffled_pixels":
        moved = pixels[:, order(key)]
    else:
        moved = jax.vmap(lambda example_key, pixel: pixel[order(example_key)])(
            randomness.example_keys(key, ids), pixels
        )
    return moved.reshape(images.shape)
