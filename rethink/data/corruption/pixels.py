"""Pixel corruption: destroys the structure of images as a function of (seed, example id).

A new kind of corruption is one row of `PIXEL_CORRUPTION`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rethink import randomness
from rethink.data import preprocessing
from rethink.data.corruption.moments import CODES, Moments
from rethink.schema.errors import pick


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
    """Replaces each image by draws with the data set's moments of each channel, clipped to what may be stored."""
    channel = jnp.arange(images.shape[-1], dtype=jnp.int32)
    return jnp.asarray(moments.quantiles)[_draw_quantiles(key, ids, images), channel]


def _draw_quantiles(key: jax.Array, ids: jax.Array, images: jax.Array) -> jax.Array:
    """Returns the number of a quantile for each value of images of this shape, int32 in 0..2**16 - 1."""
    draw = jax.vmap(lambda example_key: jax.random.bits(example_key, images.shape[1:], jnp.uint16))
    return draw(randomness.example_keys(key, ids)).astype(jnp.int32)


def _split_places(images: jax.Array, channels_together: bool) -> jax.Array:
    """Returns images [n, places, values]: a place is a pixel with all its channels, or a single value.

    Where there is one pixel, as in a feature vector, its values move by themselves.
    """
    height, width, channels = images.shape[1:]
    pixels = height * width
    return images.reshape(len(images), pixels if channels_together and pixels > 1 else pixels * channels, -1)


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
    """Returns the images with their structure destroyed, of their shape and, but for `gaussian`, of their dtype.

    `shuffled_pixels` applies one permutation to every image, `random_pixels` another one to each image; `gaussian`
    replaces an image by draws with the data set's mean and variance per channel, of which the codes are returned, uint8
    (`choose_encoding` says what they stand for); `gaussian_clipped` clips the draws to what such images may hold, and
    rounds those of integers, which leaves less variance.

    Args:
      key: a stream of `randomness.key_for`.
      ids: uint32 [examples].
      images: uint8, uint16 or float32 [examples, height, width, channels].
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
