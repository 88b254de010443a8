"""Owns what a data set is, whatever it comes from, and the one that ships inside a dependency: the digits.

Refuses to change an example beyond the stored size that the config asks for, and never replaces one set by another.
TFDS sets are opened in tfds_source.py.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.schema.errors import UserError


class Split(NamedTuple):
    """Examples as stored: images uint8 [n, height, width, channels], labels int32 [n], ids uint32 [n].

    An id is the example's position in the full split as stored, so that a subset keeps the ids of the whole.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


class SplitSource(Protocol):
    """A split that is not read yet. A row is a position in `ids`."""

    @property
    def ids(self) -> np.ndarray:
        """The examples that are used, uint32 [n], in ascending order."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""

    def load(self) -> Split:
        """Returns the whole split."""

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order."""


class Dataset(NamedTuple):
    """A data set that is open.

    Attributes:
      name, decoder: with their versions.
      full_train_examples: what the set has for training, before a subset was taken and a part held out.
      splits: "train", "test", and "validation" where a part of train is held out.
    """

    name: str
    decoder: str
    num_classes: int
    full_train_examples: int
    splits: dict[str, SplitSource]

    @property
    def train(self) -> SplitSource:
        """What is trained on."""
        return self.splits["train"]

    @property
    def test(self) -> SplitSource:
        """What is tested on."""
        return self.splits["test"]


class MemorySplit:
    """A split that is in memory as a whole."""

    def __init__(self, split: Split):
        self._split = split
        self.ids = split.ids
        self.image_shape = split.images.shape[1:]

    def load(self) -> Split:
        """Returns the whole split."""
        return self._split

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, in their order."""
        return Split(*(part[rows] for part in self._split))


class ModuloLabels:
    """A split whose labels are taken modulo a number of classes."""

    def __init__(self, split: SplitSource, classes: int):
        self._split, self._classes = split, classes
        self.ids, self.image_shape = split.ids, split.image_shape

    def load(self) -> Split:
        """Returns the whole split."""
        return self._fold(self._split.load())

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, in their order."""
        return self._fold(self._split.read(rows))

    def _fold(self, split: Split) -> Split:
        return split._replace(labels=split.labels % np.int32(self._classes))


def train_indices(count: int, config: ConfigDict) -> dict[str, np.ndarray]:
    """Returns which of `count` examples are for "train" and, where a part is held out, "validation": uint32, ascending.

    Raises:
      UserError: there are fewer than `train_examples`, or the part held out leaves none to train on.
    """
    rows = _subset(count, config, "train_examples")
    if not config.validation_fraction:
        return {"train": rows}
    held_out = math.ceil(config.validation_fraction * len(rows))
    if held_out >= len(rows):
        raise UserError(
            f"data.validation_fraction={config.validation_fraction} holds out all {len(rows)} training examples: "
            "set it so that some are left, such as 0.1."
        )
    order = randomness.draw_permutation(randomness.key_for(config.split_seed, "validation"), len(rows))
    return {"train": rows[np.sort(order[held_out:])], "validation": rows[np.sort(order[:held_out])]}


def test_indices(count: int, config: ConfigDict) -> np.ndarray:
    """Returns which of `count` examples are for testing: uint32, ascending.

    Raises:
      UserError: there are fewer than `test_examples`.
    """
    return _subset(count, config, "test_examples")


def _subset(count: int, config: ConfigDict, field: str) -> np.ndarray:
    """Returns the fixed subset of `config[field]` out of `count`; a smaller one is part of a larger."""
    wanted = config[field]
    if wanted > count:
        raise UserError(
            f"data.{field}={wanted} is more than {config.name} has: set it to at most {count}, or 0 for all."
        )
    if not wanted:
        return np.arange(count, dtype=np.uint32)
    order = randomness.draw_permutation(randomness.key_for(config.split_seed, "subset"), count)
    return np.sort(order[:wanted]).astype(np.uint32)
