"""Owns what a data set is, whatever it comes from, and the one that ships inside a dependency: the digits.

Refuses to change an example beyond the stored size that the config asks for, and never replaces one set by another.
TFDS sets are opened in tfds_source.py.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np
from ml_collections import ConfigDict

from rethink import randomness, settings

EMBEDDED = "digits"
DIGITS_ONLY = {"train_split": "train", "test_split": "test", "image_size": 0}  # field -> its only value


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


class DataSet(NamedTuple):
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


def open_set(config: ConfigDict) -> DataSet:
    """Opens the data set of the config section `data`, restricted to its `train_examples` and `test_examples`.

    Raises:
      UserError: it is not there and can't be prepared, is damaged, is no image classification set, has too few
        examples, or fields ask of it what it has not.
    """
    if config.train_split == config.test_split:
        raise settings.UserError(
            f"data.train_split and data.test_split are both '{config.test_split}', so that a test would be of memory "
            "alone: set --config.data.test_split to another."
        )
    if config.name == EMBEDDED:
        return _with_classes(_open_digits(config), config.classes)
    from rethink.data import tfds_source  # TFDS takes a second to import

    return _with_classes(tfds_source.open_set(config), config.classes)


def _with_classes(data: DataSet, classes: int) -> DataSet:
    """Returns the data set with its labels modulo `classes`; 0 leaves it as it is."""
    if not classes:
        return data
    if classes < 2 or classes > data.num_classes:
        raise settings.UserError(
            f"data.classes={classes} can't be made of the {data.num_classes} classes of {data.name}: set it to 2 up to "
            f"{data.num_classes}, or to 0 for the classes as they are."
        )
    splits: dict[str, SplitSource] = {name: FoldedSplit(split, classes) for name, split in data.splits.items()}
    return data._replace(num_classes=classes, splits=splits)


def training_rows(count: int, config: ConfigDict) -> dict[str, np.ndarray]:
    """Returns which of `count` examples are for "train" and, where a part is held out, "validation": uint32, ascending.

    Raises:
      UserError: there are fewer than `train_examples`, or the part held out leaves none to train on.
    """
    rows = _subset(count, config, "train_examples")
    if not config.validation_fraction:
        return {"train": rows}
    held_out = math.ceil(config.validation_fraction * len(rows))
    if held_out >= len(rows):
        raise settings.UserError(
            f"data.validation_fraction={config.validation_fraction} holds out all {len(rows)} training examples: "
            "set it so that some are left, such as 0.1."
        )
    order = randomness.permutation(randomness.key_for(config.split_seed, "validation"), len(rows))
    return {"train": rows[np.sort(order[held_out:])], "validation": rows[np.sort(order[:held_out])]}


def test_rows(count: int, config: ConfigDict) -> np.ndarray:
    """Returns which of `count` examples are for testing: uint32, ascending.

    Raises:
      UserError: there are fewer than `test_examples`.
    """
    return _subset(count, config, "test_examples")


def _subset(count: int, config: ConfigDict, field: str) -> np.ndarray:
    """Returns the fixed subset of `config[field]` out of `count`; a smaller one is part of a larger."""
    wanted = config[field]
    if wanted > count:
        raise settings.UserError(
            f"data.{field}={wanted} is more than {config.name} has: set it to at most {count}, or 0 for all."
        )
    if not wanted:
        return np.arange(count, dtype=np.uint32)
    order = randomness.permutation(randomness.key_for(config.split_seed, "subset"), count)
    return np.sort(order[:wanted]).astype(np.uint32)


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


class FoldedSplit:
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


def _open_digits(config: ConfigDict) -> DataSet:
    """Returns scikit-learn's handwritten digits, 1,797 images of 8x8x1, split by `split_seed`."""
    for field, only in DIGITS_ONLY.items():
        if config[field] != only:
            raise settings.UserError(
                f"data.{field}={config[field]!r} has no meaning for the digits: leave it at {only!r}, or choose a TFDS "
                "set with --config.data.name."
            )
    import sklearn
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    order = randomness.permutation(randomness.key_for(config.split_seed, "digits_split"), len(labels))
    num_test = math.ceil(config.test_fraction * len(labels))
    if not 0 < num_test < len(labels):
        raise settings.UserError(
            f"data.test_fraction={config.test_fraction} takes {num_test} of the {len(labels)} digits for testing: "
            "set it so that some are left on both sides, such as 0.2."
        )

    def take(rows: np.ndarray) -> MemorySplit:
        return MemorySplit(Split(images[rows], labels[rows], rows.astype(np.uint32)))

    train, test = np.sort(order[num_test:]), np.sort(order[:num_test])
    return DataSet(
        name=f"digits (scikit-learn {sklearn.__version__})",
        decoder="none",
        num_classes=10,
        full_train_examples=len(train),
        splits={
            **{name: take(train[rows]) for name, rows in training_rows(len(train), config).items()},
            "test": take(test[test_rows(len(test), config)]),
        },
    )
