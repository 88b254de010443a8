"""Owns the randomization tests of the paper's section 2: what is done to labels and to pixels.

Refuses position: every op is a pure function of (key, example id, example), never of where in a stream an example
stands. So an example is corrupted alike in every epoch, after every restart and on any number of devices.
All ops act on the raw uint8 image, before any crop.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data.corruption.labels import corrupt_labels
from rethink.data.corruption.pixels import Moments, corrupt_images
from rethink.data.dataset import Split

CHUNK = 4096  # examples corrupted in one call


class CorruptionSpec(NamedTuple):
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
        """Returns (images, given labels, resampled) of ids uint32 [n], images uint8 [n, ...], labels int32 [n]."""
        given, resampled = corrupt_labels(
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
        return images, given, resampled


def make_corruption_spec(config: ConfigDict, seed: int, num_classes: int, *, train: bool) -> CorruptionSpec:
    """Returns the recipe of the config section `corruption` for the train or the test split.

    The test split keeps its images, but for the permutation that `shuffled_pixels` shares with train (paper, section
    2), and its labels, unless `test_labels` says otherwise.
    """
    shared = config.pixels in ("none", "shuffled_pixels")
    return CorruptionSpec(
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
    uint32 [n], resampled bool [n]. What really changed is `labels != true_labels`."""

    images: np.ndarray
    labels: np.ndarray
    true_labels: np.ndarray
    ids: np.ndarray
    resampled: np.ndarray


def corrupt_split(split: Split, recipe: CorruptionSpec, moments: Moments) -> Corrupted:
    """Returns a whole split, corrupted once; chunks run on all cores."""

    def corrupt_chunk(start: int) -> tuple[np.ndarray, ...]:
        rows = slice(start, start + CHUNK)
        ids, images, labels = (jnp.asarray(part[rows]) for part in (split.ids, split.images, split.labels))
        return jax.device_get(recipe.apply(ids, images, labels, moments))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = list(pool.map(corrupt_chunk, range(0, len(split.labels), CHUNK)))
    images, labels, resampled = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    return Corrupted(images, labels, split.labels, split.ids, resampled)
