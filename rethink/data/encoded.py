"""Makes a data set of encoded images, one by one in files or in rows of a table: checks them, decodes, caches.

Where they lie, a source knows: data/folder.py, data/parquet.py.
"""

import dataclasses
import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import numpy as np
from ml_collections import ConfigDict

from rethink.data import cache, decoding, parallel
from rethink.data.class_labels import encode_labels
from rethink.data.dataset import BadFile, Dataset, Split, SplitSource, format_shape
from rethink.schema.errors import UserError, pick

BAD_FILES = {"error": False, "skip": True}  # whether they are left out, for which all images are decoded

_BAD = (0, 0, 0, 0)  # in place of the header of a bad image
_REMEDY = "mend it, or leave out all such files with --config.data.bad_files=skip."
_log = logging.getLogger(__name__)


class EncodedImages(Protocol):
    """The encoded images of a full split by row, which is the id; cheap to pickle."""

    @property
    def paths(self) -> Sequence[str]:
        """The file of each image, relative to the data set; () where they have none."""

    @property
    def stamp(self) -> Any:
        """A JSON value that changes when an image does."""

    def __len__(self) -> int:
        """How many rows there are, bad ones with them."""

    def name(self, row: int) -> str:
        """Returns what an error calls an image."""

    def openers(self, rows: Iterable[int]) -> Iterator[Callable[[], BinaryIO]]:
        """Yields what opens the image of each row, best in ascending order; it raises a BadImageError if there is none.

        Raises:
          UserError: an image that was there can't be read; so may what is yielded.
        """


def dataset_from_encoded(
    name: str,
    images: Mapping[str, EncodedImages],
    labels: Mapping[str, Any],
    class_names: Sequence[str],
    config: ConfigDict,
) -> Dataset:
    """Returns a data set of encoded images, not decoded yet; an image has the same id whether others are bad or not.

    Args:
      name: of the data set; it begins the names of its folders in the cache.
      images: "train", and "test" unless it is to be drawn, -> the images.
      labels: the same -> labels as of `encode_labels`, of bad images too.
      class_names: of the classes 0, 1, ..., where the source declares them.
      config: the config section `data`.

    Raises:
      UserError: images or labels can't be used, or are of several sizes.
    """
    where = f"data.name='{config.name}'"
    numbers, class_names = encode_labels(labels, where, class_names)
    headers = {split: _read_headers(name, each, config) for split, each in images.items()}
    bad = _collect_bad_files(images, headers, where, config)
    for split, values in headers.items():
        if not values.all(axis=1).any():
            raise UserError(f"{where}, split '{split}' has no file that can be used: bring it back from a copy.")
    form = _choose_form(images, headers, where, config)
    ids = {split: np.flatnonzero(values.all(axis=1)).astype(np.uint32) for split, values in headers.items()}
    splits: dict[str, SplitSource] = {
        split: EncodedSplit(
            name=name,
            where=where,
            images=images[split],
            ids=ids[split],
            labels=numbers[split][ids[split]],
            form=form,
            image_size=config.image_size,
            cache_dir=config.cache_dir,
        )
        for split in images
    }
    return Dataset(name, decoding.DECODER, class_names, len(ids["train"]), splits, bad_files=tuple(bad))


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedSplit:
    """A full split of encoded images, a `SplitSource`: every process opens the files by itself.

    Attributes:
      name: of the data set; where: names it in an error.
      images: of all rows.
      ids, labels: of the examples, uint32 and int32 [examples].
      form: of all images: height, width, channels and bits of a value.
      image_size, cache_dir: as in the config section `data`.
    """

    name: str
    where: str
    images: EncodedImages
    ids: np.ndarray
    labels: np.ndarray
    form: decoding.Header
    image_size: int
    cache_dir: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        return self.form.height, self.form.width, self.form.channels

    @property
    def image_dtype(self) -> np.dtype:
        """The dtype of every image: uint8, or uint16 where one has 16 bits."""
        return np.dtype(f"u{self.form.bits // 8}")

    @property
    def paths(self) -> Sequence[str]:
        """The file of each example; () where they have none."""
        paths = self.images.paths
        return tuple(paths[row] for row in self.ids) if paths else ()

    def load(self) -> Split:
        """Returns the whole split, decoded once and kept in the cache.

        Raises:
          UserError: an image does not decode, or has changed since the data set was opened.
        """
        source = {
            "images": _hash_json(self.images.stamp),
            "ids": _hash_json(self.ids.tolist()),
            "labels": _hash_json(self.labels.tolist()),
            "form": self.form,
            "decoder": [decoding.DECODER, decoding.RULES],
            "image_size": self.image_size,
        }
        images, labels = cache.load_or_make(self.cache_dir, f"{_cache_name(self.name)}-images", source, self._load)
        return Split(images, labels, self.ids)

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order.

        Raises:
          UserError: as `load`.
        """
        images = np.empty((len(rows), *self.image_shape), self.image_dtype)
        order = np.argsort(rows, kind="stable")
        ids = self.ids[rows[order]].tolist()
        for place, item in zip(order, zip(ids, self.images.openers(ids), strict=True), strict=True):
            images[place] = self._decode(item)
        return Split(images, self.labels[rows], self.ids[rows])

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns all images and labels."""
        count, rows = len(self.ids), self.ids.tolist()
        _log.info("Decoding %s: %s images, once.", self.where, f"{count:,}")
        images = np.empty((count, *self.image_shape), self.image_dtype)
        items = zip(rows, self.images.openers(rows), strict=True)
        for i, image in enumerate(parallel.map_in_order(self._decode, items, total=count, label="decoding images")):
            images[i] = image
        return images, self.labels

    def _decode(self, item: tuple[int, Callable[[], BinaryIO]]) -> np.ndarray:
        """Returns the image of (row, what opens it)."""
        row, opener = item
        form = self.form
        try:
            encoded = _read(opener)
            image = decoding.decode_file(encoded, channels=form.channels, bits=form.bits, image_size=self.image_size)
        except decoding.BadImageError as error:
            raise UserError(f"{self.where}: '{self.images.name(row)}' is a bad file ({error}): {_REMEDY}") from error
        if image.shape != self.image_shape:
            raise UserError(
                f"{self.where}: '{self.images.name(row)}' is {format_shape(image.shape)} where the others are "
                f"{format_shape(self.image_shape)}: set --config.data.image_size to bring all images to one size."
            )
        return image


def _read(opener: Callable[[], BinaryIO]) -> bytes:
    """Returns the bytes of an image.

    Raises:
      UserError: the disk or the network fails, which says nothing of the image.
    """
    with opener() as file:
        try:
            return file.read()
        except OSError as error:
            name = getattr(file, "name", "An image")
            raise UserError(f"{name} can't be read ({error.strerror}): check the disk, and start again.") from error


def _inspect(opener: Callable[[], BinaryIO], whole: bool) -> decoding.Header | str:
    """Returns what the first bytes of an image say, or why it is bad; `whole` decodes it to the end too."""
    try:
        if not whole:
            with opener() as file:
                return decoding.read_header(file)
        encoded = _read(opener)
        header = decoding.read_header(io.BytesIO(encoded))
        decoding.decode_file(encoded, channels=None, bits=header.bits, image_size=0)
        return header
    except decoding.BadImageError as error:
        return str(error)


def _read_headers(name: str, images: EncodedImages, config: ConfigDict) -> np.ndarray:
    """Returns height, width, channels and bits of every image, int32 [images, 4]: zeros where it is bad.

    They are kept in the cache. With `bad_files=skip` all images are decoded for it, as any may end too soon.
    """
    whole, count = pick(BAD_FILES, config.bad_files, "data.bad_files"), len(images)

    def inspect(opener: Callable[[], BinaryIO]) -> Sequence[int]:
        header = _inspect(opener, whole)
        return _BAD if isinstance(header, str) else header

    def make() -> tuple[np.ndarray, np.ndarray]:
        openers = images.openers(range(count))
        found = parallel.map_in_order(inspect, openers, total=count, label="looking at images")
        return np.array(list(found), np.int32).reshape(count, 4), np.empty(0, np.int32)

    source = {"images": _hash_json(images.stamp), "decoder": [decoding.DECODER, decoding.RULES], "whole": whole}
    return cache.load_or_make(config.cache_dir, f"{_cache_name(name)}-headers", source, make)[0]


def _collect_bad_files(
    images: Mapping[str, EncodedImages], headers: Mapping[str, np.ndarray], where: str, config: ConfigDict
) -> list[BadFile]:
    """Returns the images that are left out.

    Raises:
      UserError: there are some, and `bad_files` is "error".
    """
    whole = pick(BAD_FILES, config.bad_files, "data.bad_files")
    bad = []
    for split, each in images.items():
        rows = np.flatnonzero(~headers[split].all(axis=1)).tolist()
        for row, opener in zip(rows, each.openers(rows), strict=True):
            bad.append(BadFile(split, row, each.name(row), str(_inspect(opener, whole))))
    if not bad:
        return bad
    count = f"{len(bad):,} bad file{'s' if len(bad) > 1 else ''}"
    if not whole:
        raise UserError(f"{where}: {count}, the first '{bad[0].path}' ({bad[0].reason}): {_REMEDY}")
    _log.warning("%s: %s left out, the first '%s' (%s).", where, count, bad[0].path, bad[0].reason)
    return bad


def _choose_form(
    images: Mapping[str, EncodedImages], headers: Mapping[str, np.ndarray], where: str, config: ConfigDict
) -> decoding.Header:
    """Returns the form of all images: grey only where all are, 16 bits where one is.

    Raises:
      UserError: they are of several sizes, and `image_size` sets none.
    """
    good = np.concatenate([values[values.all(axis=1)] for values in headers.values()])
    sizes, counts = np.unique(good[:, :2], axis=0, return_counts=True)
    usual = tuple(sizes[counts.argmax()].tolist())
    if len(sizes) > 1 and not config.image_size:
        split, row = next(
            (split, int(other.argmax()))
            for split, values in headers.items()
            if (other := values.all(axis=1) & (values[:, :2] != usual).any(axis=1)).any()
        )
        raise UserError(
            f"{where}: {len(good) - counts.max():,} of {len(good):,} images are not {format_shape(usual)} as most are, "
            f"the first '{images[split].name(row)}' of {format_shape(tuple(headers[split][row, :2].tolist()))}: set "
            f"--config.data.image_size to bring all images to one size, such as {min(usual)}."
        )
    height, width = (config.image_size,) * 2 if config.image_size else usual
    kinds = good[:, 2]
    if not config.channels and (clear := int(np.isin(kinds, (2, 4)).sum())):
        _log.info("%s: transparency of %d images is left out; data.channels=4 keeps it.", where, clear)
    return decoding.Header(height, width, config.channels or (1 if kinds.max() < 3 else 3), int(good[:, 3].max()))


def _cache_name(name: str) -> str:
    """Returns the name of a data set as the cache may have it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:60]


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
