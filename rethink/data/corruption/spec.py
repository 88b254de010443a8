"""What is done to the labels and pixels of one split, from the config, and how a whole split is corrupted.

Every function depends on (key, example id, example) and never on a position in a stream, so an example is corrupted
alike in every epoch, after every restart and on any number of devices. All act on the image as stored, before any crop.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data.corruption.labels import LABEL_NOISE, corrupt_labels
from rethink.data.corruption.moments import Moments
from rethink.data.corruption.pixels import PIXEL_CORRUPTION, SHARED_WITH_TEST, choose_encoding, corrupt_images
from rethink.data.dataset import Split
from rethink.data.preprocessing import is_encoded
from rethink.schema.errors import UserError, pick

CHUNK = 4096  # examples corrupted in one call


class CorruptionSpec(NamedTuple):
    """What is done to one split: the kinds of corruption, and the keys that fix every draw.

    Attributes:
      labels, label_probability, pixels, channels_together: as in the config section `corruption`.
    """

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
        """Returns the corrupted (images, given labels, resampled).

        Args:
          ids: uint32 [examples].
          images: as stored [examples, height, width, channels].
          labels: true labels, int32 [examples].
          moments: of the clean training images.
        """
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

    def encoding(self, moments: Moments) -> np.ndarray:
        """Returns what the values of the corrupted images stand for: that of `pixels.choose_encoding`."""
        return choose_encoding(moments, kind=self.pixels)


def resolve_seed(config: ConfigDict) -> int:
    """Returns the seed of a config's random labels and pixels: `corruption.seed`, or `seed` where that is -1."""
    return config.seed if config.corruption.seed < 0 else config.corruption.seed


def shifts_images(config: ConfigDict) -> bool:
    """Returns whether the config section `corruption` leaves train images of another distribution than test images.

    The difference between train and test accuracy is no generalization gap then.
    """
    return config.pixels not in SHARED_WITH_TEST and not config.test_pixels


def make_corruption_spec(config: ConfigDict, seed: int, num_classes: int, *, train: bool) -> CorruptionSpec:
    """Returns what the config section `corruption` does to the train or to the test split.

    The test split keeps its labels, unless `test_labels` is set, and its images, unless `test_pixels` is, but for the
    permutation that `shuffled_pixels` shares with train. What is drawn for it comes from streams of its own, so that no
    test image has the draw of the train image with its id.

    Raises:
      UserError: a kind of corruption is unknown, or the label noise changes no label.

    Source: Zhang et al. (2017), section 2.
    """
    # Here, as the test split would hide an unknown kind.
    noise = pick(LABEL_NOISE, config.labels, "corruption.labels")
    if config.labels != "none" and not noise.changed(num_classes):
        raise UserError(
            f"corruption.labels='{config.labels}' changes no label where there is one class: set "
            "--config.corruption.labels=none, or another --config.data.classes."
        )
    pick(PIXEL_CORRUPTION, config.pixels, "corruption.pixels")
    is_shared = config.pixels in SHARED_WITH_TEST
    part = "train" if train else "test"
    return CorruptionSpec(
        labels=config.labels if train or config.test_labels else "none",
        label_probability=config.label_probability,
        pixels=config.pixels if train or is_shared or config.test_pixels else "none",
        channels_together=config.channels_together,
        num_classes=num_classes,
        label_key=randomness.key_for(seed, "labels", part),
        pixel_key=randomness.key_for(seed, *(("pixels",) if train or is_shared else ("pixels", part))),
    )


class Corrupted(NamedTuple):
    """A corrupted split.

    Attributes:
      images: [examples, height, width, channels], of the stored dtype, or uint8 where they are codes.
      encoding: float32 [2, channels], what the images' values stand for; see `preprocessing.decode_images`.
      labels: as given, int32 [examples]; true_labels: before corruption, int32 [examples].
      ids: uint32 [examples].
      resampled: bool [examples]. A resampled label may equal the true one: what changed is `labels != true_labels`.
      image_changed: bool [examples], whether the image is another one than the stored.
    """

    images: np.ndarray
    encoding: np.ndarray
    labels: np.ndarray
    true_labels: np.ndarray
    ids: np.ndarray
    resampled: np.ndarray
    image_changed: np.ndarray

    def take(self, rows: np.ndarray | slice) -> "Corrupted":
        """Returns the examples of these rows."""
        taken = {name: values[rows] for name, values in self._asdict().items() if name != "encoding"}
        return self._replace(**taken)


def corrupt_split(split: Split, spec: CorruptionSpec, moments: Moments) -> Corrupted:
    """Returns the split corrupted as `spec` says, as host arrays; chunks run on all cores."""

    def corrupt_chunk(start: int) -> tuple[np.ndarray, ...]:
        rows = slice(start, start + CHUNK)
        ids, images, labels = (jnp.asarray(part[rows]) for part in (split.ids, split.images, split.labels))
        return jax.device_get(spec.apply(ids, images, labels, moments))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = list(pool.map(corrupt_chunk, range(0, len(split.labels), CHUNK)))
    images, labels, resampled = (np.concatenate(arrays) for arrays in zip(*chunks, strict=True))
    encoding = spec.encoding(moments)
    image_changed = (images != split.images).any(axis=(1, 2, 3)) | is_encoded(encoding)
    return Corrupted(images, encoding, labels, split.labels, split.ids, resampled, image_changed)
