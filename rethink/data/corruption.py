"""Owns the randomization tests of the paper's section 2: what is done to labels and to pixels.

Refuses position: every op is a pure function of (key, example id, example), never of where in a stream an example
stands. So an example is corrupted alike in every epoch, after every restart and on any number of devices.
All ops act on the raw uint8 image, before any crop.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data.sources import Split

LABELS = ("none", "uniform", "symmetric")
PIXELS = ("none", "shuffled_pixels", "random_pixels", "gaussian")


CHUNK = 4096  # examples corrupted in one call


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


@functools.partial(jax.jit, static_argnames=("kind", "num_classes"))
def corrupt_labels(
    key: jax.Array, ids: jax.Array, labels: jax.Array, probability: jax.Array, *, kind: str, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Redraws each label with the given probability.

    `uniform` draws over all classes, so the true one may come again (the paper's "random" and "partially corrupted
    labels"); `symmetric` draws over the other classes only (the convention of the noisy-label literature).
    The same uniform number is compared with every probability, so the sets of redrawn examples are nested.

    Args:
      key: a stream of `randomness.key_for`.
      ids: uint32 [n], labels: int32 [n], probability: float32 scalar in 0..1.

    Returns:
      (given labels int32 [n], redrawn bool [n]). A redrawn label may equal the true one under `uniform`.
    """
    if kind == "none":
        return labels, jnp.zeros(labels.shape, bool)

    def corrupt_one(example_key, label):
        coin, draw = jax.random.split(example_key)
        redrawn = jax.random.uniform(coin, (), jnp.float32) < probability
        if kind == "uniform":
            other = jax.random.randint(draw, (), 0, num_classes, jnp.int32)
        else:
            other = (label + 1 + jax.random.randint(draw, (), 0, num_classes - 1, jnp.int32)) % num_classes
        return jnp.where(redrawn, other, label).astype(jnp.int32), redrawn

    return jax.vmap(corrupt_one)(randomness.example_keys(key, ids), labels)


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


class Recipe(NamedTuple):
    """What is done to one split: the kinds, and the keys that fix every draw."""

    labels: str
    label_probability: float
    pixels: str
    channels_together: bool
    num_classes: int
    label_key: jax.Array
    pixel_key: jax.Array

    def apply(
        self, ids: jax.Array, images: jax.Array, labels: jax.Array, moments: Moments
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns (images, given labels, redrawn) of ids uint32 [n], images uint8 [n, ...], labels int32 [n]."""
        given, redrawn = corrupt_labels(
            self.label_key,
            ids,
            labels,
            jnp.float32(self.label_probability),
            kind=self.labels,
            num_classes=self.num_classes,
        )
        images = corrupt_images(
            self.pixel_key, ids, images, moments, kind=self.pixels, channels_together=self.channels_together
        )
        return images, given, redrawn


def make_recipe(config: ConfigDict, seed: int, num_classes: int, *, train: bool) -> Recipe:
    """Returns the recipe of the config section `corruption` for the train or the test split.

    The test split keeps its images, but for the permutation that `shuffled_pixels` shares with train (paper, section
    2), and its labels, unless `test_labels` says otherwise.
    """
    shared = config.pixels in ("none", "shuffled_pixels")
    return Recipe(
        labels=config.labels if train or config.test_labels else "none",
        label_probability=config.label_probability,
        pixels=config.pixels if train or shared else "none",
        channels_together=config.channels_together,
        num_classes=num_classes,
        label_key=randomness.key_for(seed, "labels", "train" if train else "test"),
        pixel_key=randomness.key_for(seed, "pixels"),
    )


class Corrupted(NamedTuple):
    """A corrupted split: images uint8 [n, height, width, channels], labels as given and true_labels int32 [n], ids
    uint32 [n], redrawn bool [n]. What really changed is `labels != true_labels`."""

    images: np.ndarray
    labels: np.ndarray
    true_labels: np.ndarray
    ids: np.ndarray
    redrawn: np.ndarray


def corrupt_split(split: Split, recipe: Recipe, moments: Moments) -> Corrupted:
    """Returns a whole split, corrupted once; chunks run on all cores."""

    def corrupt_chunk(start: int) -> tuple[np.ndarray, ...]:
        rows = slice(start, start + CHUNK)
        ids, images, labels = (jnp.asarray(part[rows]) for part in (split.ids, split.images, split.labels))
        return jax.device_get(recipe.apply(ids, images, labels, moments))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = list(pool.map(corrupt_chunk, range(0, len(split.labels), CHUNK)))
    images, labels, redrawn = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    return Corrupted(images, labels, split.labels, split.ids, redrawn)
