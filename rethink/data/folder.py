"""Opens a folder of image files: split/class/file, class/file, or files with a metadata file.

What a file holds is told by its bytes; its name says only whether it is meant to be an image.
"""

import dataclasses
import hashlib
import io
import json
import logging
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.data import cache, decoding, folder_layout, parallel
from rethink.data.class_labels import encode_labels
from rethink.data.dataset import BadFile, Dataset, Split, SplitSource, format_shape
from rethink.schema import validation
from rethink.schema.errors import UserError, pick, unreadable

BAD_FILES = {"error": False, "skip": True}  # whether they are left out, for which all files are decoded

_log = logging.getLogger(__name__)


def open_folder(location: str, config: ConfigDict) -> Dataset:
    """Returns the images of a folder, not read yet: "train" and "test", or "train" alone where it has no splits.

    An id is the position of an example among all files of its split, sorted by their paths, or among the rows of the
    metadata; it is the same whether files are bad or not.

    Args:
      location: the folder.
      config: the config section `data`.

    Raises:
      UserError: there is no such folder, its layout is none of those, files or labels can't be used, or images are of
        several sizes.
    """
    root = validation.expand_path(location, "data.name")
    if not location or not root.is_dir():
        raise UserError(f"data.name='{config.name}' is no folder: type folder:PATH, such as folder:data/pets.")
    where = f"data.name='{config.name}'"
    tree = folder_layout.walk(root)
    layout = folder_layout.find_layout(root, tree, where, config)
    labels, class_names = encode_labels(
        {split: examples.labels for split, examples in layout.examples.items()}, where, layout.class_names
    )

    # Check all files, and choose the one form of all images.
    headers = {split: _read_headers(root, tree, each, config) for split, each in layout.examples.items()}
    bad = _collect_bad_files(root, layout.examples, headers, where, config)
    for split, values in headers.items():
        if not values.all(axis=1).any():
            raise UserError(
                f"{where}, split '{split}' has no file that can be used: bring the folder back from a copy."
            )
    every_path = [path for examples in layout.examples.values() for path in examples.paths]
    form = _choose_form(np.concatenate(list(headers.values())), every_path, where, config)

    splits: dict[str, SplitSource] = {}
    for split, examples in layout.examples.items():
        ids = np.flatnonzero(headers[split].all(axis=1)).astype(np.uint32)
        paths = tuple(examples.paths[row] for row in ids)
        splits[split] = FolderSplit(
            root=str(root),
            where=where,
            paths=paths,
            stamp=_hash_json([(path, tree.files[path]) for path in paths]),
            ids=ids,
            labels=labels[split][ids],
            form=form,
            image_size=config.image_size,
            cache_dir=config.cache_dir,
        )
    name = f"folder:{root.resolve().name}" + (f" ({', '.join(layout.split_names)})" if layout.split_names else "")
    return Dataset(name, decoding.DECODER, class_names, len(splits["train"].ids), splits, bad_files=tuple(bad))


@dataclasses.dataclass(frozen=True, eq=False)
class FolderSplit:
    """A full split of a folder, a `SplitSource`: every process opens the files by itself.

    Attributes:
      root: the folder; where: names the data set in an error.
      paths: of the examples, relative to the root; stamp: changes when one of the files does.
      ids, labels: of the examples, uint32 and int32 [examples].
      form: of all images: height, width, channels and bits of a value.
      image_size, cache_dir: as in the config section `data`.
    """

    root: str
    where: str
    paths: Sequence[str]
    stamp: str
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
        """The dtype of every image: uint8, or uint16 where a file has 16 bits."""
        return np.dtype(f"u{self.form.bits // 8}")

    def load(self) -> Split:
        """Returns the whole split, decoded once and kept in the cache.

        Raises:
          UserError: a file does not decode, or has changed since the data set was opened.
        """
        source = {
            "files": self.stamp,
            "labels": _hash_json(self.labels.tolist()),
            "form": self.form,
            "decoder": decoding.DECODER,
            "image_size": self.image_size,
        }
        name = f"{_cache_name(self.root)}-images"
        images, labels = cache.load_or_make(self.cache_dir, name, source, self._decode_all)
        return Split(images, labels, self.ids)

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order.

        Raises:
          UserError: as `load`.
        """
        images = np.empty((len(rows), *self.image_shape), self.image_dtype)
        for i, row in enumerate(rows):
            images[i] = self._decode(int(row))
        return Split(images, self.labels[rows], self.ids[rows])

    def _decode_all(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns all images and labels."""
        count = len(self.ids)
        _log.info("Decoding %s: %s images, once.", self.where, f"{count:,}")
        images = np.empty((count, *self.image_shape), self.image_dtype)
        for row, image in enumerate(
            parallel.map_in_order(self._decode, range(count), total=count, label="decoding images")
        ):
            images[row] = image
        return images, self.labels

    def _decode(self, row: int) -> np.ndarray:
        """Returns the image of a row."""
        path = self.paths[row]
        form = self.form
        try:
            image = decoding.decode_file(
                _read_file(os.path.join(self.root, path)),
                channels=form.channels,
                bits=form.bits,
                image_size=self.image_size,
            )
        except decoding.BadImageError as error:
            raise UserError(f"{self.where}: '{path}' is a bad file ({error}): {_REMEDY}") from error
        if image.shape != self.image_shape:
            raise UserError(
                f"{self.where}: '{path}' is {format_shape(image.shape)} where the others are "
                f"{format_shape(self.image_shape)}: set --config.data.image_size to bring all images to one size."
            )
        return image


_REMEDY = "mend it, or leave out all such files with --config.data.bad_files=skip."


# Files.


def _read_file(path: str) -> bytes:
    """Returns the bytes of a file.

    Raises:
      UserError: it can't be read, or is not there any more.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise _no_access(path, error) from error


def _no_access(path: str, error: OSError) -> UserError:
    """Returns the error of a file that was there when the folder was listed."""
    if isinstance(error, PermissionError):
        return unreadable(path, error)
    return UserError(f"{path} can't be read any more ({error.strerror}): bring it back, and start again.")


def _inspect(path: str, whole: bool) -> decoding.Header | str:
    """Returns what the first bytes of a file say, or why it is bad; `whole` decodes it to the end too."""
    try:
        if not whole:
            with open(path, "rb", buffering=0) as file:
                return decoding.read_header(file)
        encoded = _read_file(path)
        header = decoding.read_header(io.BytesIO(encoded))
        decoding.decode_file(encoded, channels=None, bits=header.bits, image_size=0)
        return header
    except decoding.BadImageError as error:
        return str(error)
    except OSError as error:
        raise _no_access(path, error) from error


def _read_headers(
    root: pathlib.Path, tree: folder_layout.Tree, examples: folder_layout.Examples, config: ConfigDict
) -> np.ndarray:
    """Returns height, width, channels and bits of every example, int32 [examples, 4]: zeros where its file is bad.

    They are kept in the cache. With `bad_files=skip` all files are decoded for it, as any may end too soon.
    """
    whole = pick(BAD_FILES, config.bad_files, "data.bad_files")
    count = len(examples.paths)

    def inspect(row: int) -> Sequence[int]:
        if not examples.present[row]:
            return (0, 0, 0, 0)
        header = _inspect(os.path.join(root, examples.paths[row]), whole)
        return (0, 0, 0, 0) if isinstance(header, str) else header

    def make() -> tuple[np.ndarray, np.ndarray]:
        found = parallel.map_in_order(inspect, range(count), total=count, label="looking at images")
        return np.array(list(found), np.int32).reshape(count, 4), np.empty(0, np.int32)

    stamp = _hash_json([(path, tree.files.get(path)) for path in examples.paths])
    source = {"files": stamp, "decoder": decoding.DECODER, "whole": whole}
    return cache.load_or_make(config.cache_dir, f"{_cache_name(str(root))}-headers", source, make)[0]


def _collect_bad_files(
    root: pathlib.Path,
    examples: dict[str, folder_layout.Examples],
    headers: dict[str, np.ndarray],
    where: str,
    config: ConfigDict,
) -> list[BadFile]:
    """Returns the files that are left out.

    Raises:
      UserError: there are some, and `bad_files` is "error".
    """
    whole = pick(BAD_FILES, config.bad_files, "data.bad_files")
    bad = []
    for split, of_split in examples.items():
        for row in np.flatnonzero(~headers[split].all(axis=1)).tolist():
            path = of_split.paths[row]
            reason = str(_inspect(os.path.join(root, path), whole)) if of_split.present[row] else "no such file"
            bad.append(BadFile(split, row, path, reason))
    if bad and not whole:
        raise UserError(
            f"{where}: {_count(len(bad), 'bad file')}, the first '{bad[0].path}' ({bad[0].reason}): {_REMEDY}"
        )
    if bad:
        _log.warning(
            "%s: %s left out (%s).",
            where,
            _count(len(bad), "bad file"),
            folder_layout.name_some([one.path for one in bad]),
        )
    return bad


def _choose_form(headers: np.ndarray, paths: list[str], where: str, config: ConfigDict) -> decoding.Header:
    """Returns the form of all images: grey only where all files are, 16 bits where one is.

    Args:
      headers: of all examples, int32 [examples, 4], zeros for bad ones; paths: theirs.

    Raises:
      UserError: they are of several sizes, and `image_size` sets none.
    """
    good = headers.all(axis=1)
    sizes, counts = np.unique(headers[good, :2], axis=0, return_counts=True)
    usual = sizes[counts.argmax()]
    other = good & (headers[:, :2] != usual).any(axis=1)
    if other.any() and not config.image_size:
        first = int(other.argmax())
        raise UserError(
            f"{where}: {int(other.sum()):,} of {int(good.sum()):,} images are not {format_shape(tuple(usual))} as most "
            f"are, the first '{paths[first]}' of {format_shape(tuple(headers[first, :2]))}: set "
            f"--config.data.image_size to bring all images to one size, such as {min(usual)}."
        )
    height, width = (config.image_size,) * 2 if config.image_size else map(int, usual)
    kinds = headers[good, 2]
    if not config.channels and (clear := int(np.isin(kinds, (2, 4)).sum())):
        _log.info("%s: transparency of %d images is left out; data.channels=4 keeps it.", where, clear)
    return decoding.Header(height, width, config.channels or (1 if kinds.max() < 3 else 3), int(headers[good, 3].max()))


def _cache_name(root: str) -> str:
    """Returns the name of a folder as the cache may have it."""
    return "folder-" + re.sub(r"[^A-Za-z0-9._-]", "_", os.path.basename(root))[:60]


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"
