"""What is done to the labels and pixels of one split, from the config, and how a whole split is corrupted.

Every function depends on (key, example id, example) and never on a position in a stream, so an example is corrupted
alike in every epoch, after every restart and on any number of devices. All act on the image as stored, before any crop.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink import jax_options, randomness
from rethink.data import parallel
from rethink.data.corruption.label_file import FileTable, check_clean_labels
from rethink.data.corruption.labels import LABEL_NOISE, corrupt_labels
from rethink.data.corruption.moments import Moments, no_moments
from rethink.data.corruption.noise import DataFacts, open_nothing
from rethink.data.corruption.pixels import PIXEL_CORRUPTION, SHARED_WITH_TEST, choose_encoding, corrupt_images
from rethink.data.corruption.transitions import check_matrix, divide_rows, read_bytes
from rethink.data.dataset import Split
from rethink.data.preprocessing import is_encoded
from rethink.schema.errors import UserError, pick

CHUNK = 4096  # examples corrupted in one call


class CorruptionSpec(NamedTuple):
    """What is done to one split: the kinds of corruption, and the keys that fix every draw.

    Attributes:
      labels: as in the config section `corruption`, "none" for a split that keeps its labels.
      label_table: what the kind of noise has opened; label_file: SHA-256 of its file, "" where it reads none.
      label_probability, pixels, channels_together: as in the config section `corruption`.
    """

    labels: str
    label_table: Any
    label_file: str
    label_probability: float
    pixels: str
    channels_together: bool
    num_classes: int
    label_key: jax.Array
    pixel_key: jax.Array

    @property
    def label_kind(self) -> str:
        """The name of the label noise in `LABEL_NOISE`."""
        return self.labels.partition(":")[0]

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
            images,
            self.label_table,
            kind=self.label_kind,
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


def keeps_labels(config: ConfigDict) -> bool:
    """Returns whether the config section `corruption` is to leave a part of the labels as they are."""
    noise = pick(LABEL_NOISE, config.labels.partition(":")[0], "corruption.labels")
    return config.label_probability < 1 or noise.open is not open_nothing


def make_corruption_spec(config: ConfigDict, facts: DataFacts, *, train: bool) -> CorruptionSpec:
    """Returns what the config section `corruption` does to the train or to the test split.

    The test split keeps its labels, unless `test_labels` is set, and its images, unless `test_pixels` is, but for the
    permutation that `shuffled_pixels` shares with train. What is drawn for it comes from streams of its own, so that no
    test image has the draw of the train image with its id.

    Args:
      config: the config section `corruption`.
      facts: of the split.

    Raises:
      UserError: a kind of corruption is unknown, the label noise changes no label, or as of its `LabelNoise.open`.

    Source: Zhang et al. (2017), section 2.
    """
    # Here, as the test split would hide an unknown kind.
    kind, _, argument = config.labels.partition(":")
    noise = pick(LABEL_NOISE, kind, "corruption.labels")
    if kind != "none" and facts.num_classes == 1:
        raise UserError(
            f"corruption.labels='{config.labels}' changes no label where there is one class: set "
            "--config.corruption.labels=none, or another --config.data.classes."
        )
    corrupts_labels = train or config.test_labels
    table, digest = (), ""
    if corrupts_labels:
        table = noise.open(argument, config, facts)
        digest = hashlib.sha256(read_bytes(argument, "corruption.labels")).hexdigest() if noise.reads_file else ""
    pick(PIXEL_CORRUPTION, config.pixels, "corruption.pixels")
    is_shared = config.pixels in SHARED_WITH_TEST
    part = "train" if train else "test"
    return CorruptionSpec(
        labels=config.labels if corrupts_labels else "none",
        label_table=table,
        label_file=digest,
        label_probability=config.label_probability,
        pixels=config.pixels if train or is_shared or config.test_pixels else "none",
        channels_together=config.channels_together,
        num_classes=facts.num_classes,
        label_key=randomness.key_for(facts.seed, "labels", part),
        pixel_key=randomness.key_for(facts.seed, *(("pixels",) if train or is_shared else ("pixels", part))),
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
        with jax_options.fixed_in_thread():
            ids, images, labels = (jnp.asarray(part[rows]) for part in (split.ids, split.images, split.labels))
            return jax.device_get(spec.apply(ids, images, labels, moments))

    with ThreadPoolExecutor(parallel.count_cores()) as pool:
        chunks = list(pool.map(corrupt_chunk, range(0, len(split.labels), CHUNK)))
    images, labels, resampled = (np.concatenate(arrays) for arrays in zip(*chunks, strict=True))
    encoding = spec.encoding(moments)
    image_changed = (images != split.images).any(axis=(1, 2, 3)) | is_encoded(encoding)
    return Corrupted(images, encoding, labels, split.labels, split.ids, resampled, image_changed)


def redraw_labels(
    labels: np.ndarray,
    config: ConfigDict,
    facts: DataFacts,
    images: np.ndarray | None = None,
    matrix: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (given labels int32 [n], resampled bool [n]) of training examples, with the bits of a run.

    Args:
      labels: true labels, int [n].
      config: the config section `corruption`; its pixels are not looked at.
      facts: of the examples; `ids` None stands for 0 to n - 1.
      images: uint8, uint16 or float32 [n, height, width, channels], which `instance` reads.
      matrix: float [classes, classes], of which labels are drawn where `config.labels` is "matrix".

    Raises:
      UserError: as `make_corruption_spec`; labels are none of 0 to K - 1; images or matrix are missing.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < facts.num_classes)).all():
        raise UserError(f"labels must be whole numbers in 0..num_classes - 1 = {facts.num_classes - 1}, of shape [n].")
    if not len(labels):
        return labels.astype(np.int32), np.zeros(0, bool)
    if config.labels == "instance" and images is None:
        raise UserError("corruption.labels='instance' reads the images: give images=, [n, height, width, channels].")
    if images is not None and (images.ndim != 4 or len(images) != len(labels)):
        raise UserError(
            f"images= has shape {list(images.shape)}: give [n, height, width, channels], one to each label."
        )
    if images is None:
        images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    ids = np.arange(len(labels), dtype=np.uint32) if facts.ids is None else facts.ids
    facts = facts._replace(ids=ids, image_shape=images.shape[1:])
    config = ConfigDict({**config, "pixels": "none"})
    if config.labels == "matrix" and matrix is None:
        raise UserError("corruption.labels='matrix' draws by a matrix: give matrix=, or type matrix:FILE.")
    if config.labels == "matrix":
        table = divide_rows(check_matrix(np.asarray(matrix), facts.num_classes, "matrix="))
        spec = make_corruption_spec(ConfigDict({**config, "labels": "none"}), facts, train=True)
        spec = spec._replace(labels="matrix", label_table=table)
    else:
        spec = make_corruption_spec(config, facts, train=True)
    split = Split(images, labels.astype(np.int32), np.asarray(ids, np.uint32))
    corrupted = corrupt_split(split, spec, no_moments(images.shape[-1]))
    if isinstance(spec.label_table, FileTable):
        check_clean_labels(spec.label_table, split.ids, split.labels, f"corruption.labels='{config.labels}'")
    return corrupted.labels, corrupted.resampled
