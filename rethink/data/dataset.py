"""Data types of a data set: its splits, the ids of their examples, subsets and folded classes.

Opens nothing: data/registry.py does, with one module for each source.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np


class Split(NamedTuple):
    """Examples as stored.

    Attributes:
      images: uint8, uint16 or float32 [examples, height, width, channels], as stored. Feature vectors are images of one
        pixel whose channels are the features.
      labels: int32 [examples].
      ids: uint32 [examples]. An id is the position of the example in the full split as stored, so that an example keeps
        its id in every subset.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


class SplitSource(Protocol):
    """A split that is not read yet. A row is a position in `ids`."""

    @property
    def ids(self) -> np.ndarray:
        """The ids of the examples, uint32 [examples], in ascending order."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""

    @property
    def image_dtype(self) -> np.dtype:
        """The dtype of every image: uint8, uint16 or float32."""

    @property
    def paths(self) -> Sequence[str]:
        """The file of each example, relative to the data set, in the order of `ids`; () where they have none."""

    def load(self) -> Split:
        """Returns the whole split."""

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order."""


class BadFile(NamedTuple):
    """A file that was left out: the split and the id of its example, its path in the data set, and why."""

    split: str
    id: int
    path: str
    reason: str


class Dataset(NamedTuple):
    """A data set that is open.

    Attributes:
      name: with its version.
      decoder: what decodes the images, with its version.
      class_names: of the labels 0, 1, ...
      full_train_examples: the training examples of the full set, before a subset is taken and a part is held out.
      splits: "train", "test", and "validation" where a part of train is held out.
      has_vectors: whether the examples are feature vectors, which the model sees as [batch, features].
      bad_files: that were left out.
      train_positions: examples of the stored split whose positions are train's ids, where it has more than
        `full_train_examples`; else 0.
    """

    name: str
    decoder: str
    class_names: tuple[str, ...]
    full_train_examples: int
    splits: dict[str, SplitSource]
    has_vectors: bool = False
    bad_files: tuple[BadFile, ...] = ()
    train_positions: int = 0

    @property
    def image_bytes(self) -> int:
        """The bytes of one image as stored."""
        return math.prod(self.train.image_shape) * self.train.image_dtype.itemsize

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def train(self) -> SplitSource:
        """The split to train on."""
        return self.splits["train"]

    @property
    def test(self) -> SplitSource:
        """The split to test on."""
        return self.splits["test"]


class MemorySplit:
    """A split that is in memory as a whole."""

    def __init__(self, split: Split, paths: Sequence[str] = ()):
        self._split, self.paths = split, paths
        self.ids = split.ids
        self.image_shape, self.image_dtype = split.images.shape[1:], split.images.dtype

    def load(self) -> Split:
        """Returns the whole split."""
        return self._split

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order."""
        return _take_rows(self._split, rows)


class _Derived:
    """What is made of a split, with its images."""

    _split: SplitSource

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        return self._split.image_shape

    @property
    def image_dtype(self) -> np.dtype:
        """The dtype of every image."""
        return self._split.image_dtype


class Subset(_Derived):
    """The part of a split that has the given ids, uint32 [n], in ascending order.

    Pickled, it holds the split and the ids and nothing that was read, so that it can be sent to worker processes.
    """

    def __init__(self, split: SplitSource, ids: np.ndarray):
        if not np.isin(ids, split.ids).all():
            raise ValueError("a subset has ids that its split does not have")
        self._split, self.ids = split, ids

    @property
    def paths(self) -> Sequence[str]:
        """The file of each example; () where they have none."""
        paths = self._split.paths
        return [paths[row] for row in self._rows_of(self.ids)] if paths else ()

    def load(self) -> Split:
        """Returns the whole subset; the full split is loaded for it, as a source that caches keeps that one."""
        return _take_rows(self._split.load(), self._rows_of(self.ids))

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order; only these are read."""
        return self._split.read(self._rows_of(self.ids[rows]))

    def _rows_of(self, ids: np.ndarray) -> np.ndarray:
        """Returns the rows of the full split where these ids stand."""
        return np.searchsorted(self._split.ids, ids)


class ModuloLabels(_Derived):
    """A split with its labels taken modulo a number of classes."""

    def __init__(self, split: SplitSource, num_classes: int):
        self._split, self._num_classes = split, num_classes
        self.ids = split.ids

    @property
    def paths(self) -> Sequence[str]:
        """The file of each example; () where they have none."""
        return self._split.paths

    def load(self) -> Split:
        """Returns the whole split."""
        return self._fold_labels(self._split.load())

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order."""
        return self._fold_labels(self._split.read(rows))

    def _fold_labels(self, split: Split) -> Split:
        return split._replace(labels=split.labels % np.int32(self._num_classes))


def format_shape(shape: tuple[int, ...]) -> str:
    """Returns a shape as text, such as 32x32x3."""
    return "x".join(map(str, shape))


def _take_rows(split: Split, rows: np.ndarray) -> Split:
    return Split(*(array[rows] for array in split))
