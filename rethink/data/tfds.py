"""Owns the reading of TFDS image classification sets from disk, prepared first where they are not there yet.

Refuses TensorFlow, but for directories of tfrecord files. With prepare.py the only importer of TFDS.
"""

import contextlib
import dataclasses
import functools
import itertools
import logging
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.data import cache, decoding, download
from rethink.data.dataset import Dataset, Split, test_indices, train_indices
from rethink.schema import validation
from rethink.schema.errors import UserError, unknown_name

CHUNK = 1024  # records read at a time

_log = logging.getLogger(__name__)


def open_tfds(config: ConfigDict) -> Dataset:
    """Opens the newest prepared version of `data.name` below `data.dir`; see `sources.open_set`."""
    import tensorflow_datasets as tfds

    directory = _directory(config)
    with wrap_read_errors(directory):
        builder = tfds.builder_from_directory(directory)
        keys = _keys(builder, config)
        num_classes = builder.info.features[keys[1]].num_classes

    def open_split(field: str) -> TfdsSplit:
        name = config[field]
        if name not in builder.info.splits:
            raise UserError(unknown_name(f"data.{field}", name, list(builder.info.splits)))
        info = builder.info.splits[name]
        split = TfdsSplit(
            set_name=config.name,
            directory=str(builder.data_dir),
            name=name,
            keys=keys,
            num_classes=num_classes,
            count=info.num_examples,
            ids=np.arange(info.num_examples, dtype=np.uint32),
            image_size=config.image_size,
            cache_dir=config.cache_dir,
        )
        missing = [path.name for path in split.files if not path.exists()]
        if missing or not info.num_examples:
            what = f"lacks {missing[0]}" if missing else "is empty"
            raise UserError(f"{split.where} in {builder.data_dir} {what}: prepare it again.")
        return split

    train, test = open_split("train_split"), open_split("test_split")
    _check_shapes(config, train.image_shape, test.image_shape)
    parts = {name: dataclasses.replace(train, ids=ids) for name, ids in train_indices(train.count, config).items()}
    test = dataclasses.replace(test, ids=test_indices(test.count, config))
    return Dataset(builder.info.full_name, decoding.DECODER, num_classes, train.count, {**parts, "test": test})


@dataclasses.dataclass(frozen=True)
class TfdsSplit:
    """A `sources.SplitSource` on disk; cheap to pickle, as every process opens the files for itself.

    Attributes:
      set_name: `data.name`, for errors; directory: of the prepared version; name: of the split.
      keys: names of the image and of the label feature.
      count: examples in the full split; ids: uint32 [n], those used.
      image_size, cache_dir: as in the config section `data`.
    """

    set_name: str
    directory: str
    name: str
    keys: tuple[str, str]
    num_classes: int
    count: int
    ids: np.ndarray
    image_size: int
    cache_dir: str

    @property
    def where(self) -> str:
        """Names the split in an error."""
        return f"data.name='{self.set_name}', split '{self.name}'"

    @functools.cached_property
    def files(self) -> list[pathlib.Path]:
        """The shards."""
        return [pathlib.Path(path) for path in self._builder.info.splits[self.name].filepaths]

    @functools.cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels), as the set declares it, or as its first example has it."""
        height, width, channels = self._declared_shape
        if self.image_size:
            height = width = self.image_size
        if height and width and channels:
            return height, width, channels
        if self._random_access:
            return self._read(self.ids[:1], None).images.shape[1:]
        return self._decode(itertools.islice(self._records(), 1), np.zeros(1, np.uint32), None).images.shape[1:]

    def load(self) -> Split:
        """Returns the whole split, decoded once and kept in the cache."""
        source = {
            "set": self._builder.info.full_name,
            "split": self.name,
            "files": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in self.files],
            "decoder": decoding.DECODER,
            "image_size": self.image_size,
        }
        images, labels = cache.load_or_make(self.cache_dir, f"{self.set_name}-{self.name}", source, self._decode_all)
        if len(self.ids) == self.count:
            return Split(images, labels, self.ids)
        return Split(images[self.ids], labels[self.ids], self.ids)

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order, by random access.

        Raises:
          UserError: the files are tfrecord, which are read from start to end only.
        """
        if not self._random_access:
            raise UserError(
                f"{self.where} holds tfrecord files, which can't be streamed in a random order: "
                "prepare the set as array_record, or set --config.data.feed=resident."
            )
        return self._read(self.ids[rows], self.image_shape)

    def _read(self, ids: np.ndarray, shape: tuple[int, ...] | None) -> Split:
        """Returns the examples `ids`, in their order; of a `shape` as in `_decode`."""
        with wrap_read_errors(self.directory):
            records = self._data_source.__getitems__([int(i) for i in ids])
        return self._decode(((record[self.keys[0]], int(record[self.keys[1]])) for record in records), ids, shape)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def _builder(self) -> Any:
        import tensorflow_datasets as tfds

        return tfds.builder_from_directory(self.directory)

    @property
    def _declared_shape(self) -> tuple[int | None, int | None, int | None]:
        """(height, width, channels); None where images differ."""
        return self._builder.info.features[self.keys[0]].shape

    @property
    def _random_access(self) -> bool:
        return self._builder.info.file_format.value == "array_record"

    @functools.cached_property
    def _data_source(self) -> Any:
        import tensorflow_datasets as tfds

        return self._builder.as_data_source(split=self.name, decoders={self.keys[0]: tfds.decode.SkipDecoding()})

    def _decode_all(self) -> tuple[np.ndarray, np.ndarray]:
        _log.info("Decoding %s %s: %s images, once.", self.set_name, self.name, f"{self.count:,}")
        split = self._decode(self._records(), np.arange(self.count, dtype=np.uint32), self.image_shape)
        return split.images, split.labels

    def _records(self) -> Iterator[tuple[bytes, int]]:
        """Yields (encoded image, label) in storage order, the order that example ids count."""
        with wrap_read_errors(self.directory):
            yield from self._read_records()

    def _read_records(self) -> Iterator[tuple[bytes, int]]:
        image, label = self.keys
        if self._random_access:
            for start in range(0, self.count, CHUNK):
                for record in self._data_source.__getitems__(range(start, min(start + CHUNK, self.count))):
                    yield record[image], int(record[label])
            return
        try:
            import tensorflow as tf
        except ImportError:
            raise UserError(
                f"{self.where} in {self.directory} holds tfrecord files, which TensorFlow reads: "
                "pip install -e '.[tf]', or prepare the set as array_record."
            ) from None
        import tensorflow_datasets as tfds

        with tf.device("CPU"):
            # One file after the other, unshuffled: storage order.
            read = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
            skip = {image: tfds.decode.SkipDecoding()}
            examples = self._builder.as_dataset(split=self.name, decoders=skip, shuffle_files=False, read_config=read)
            for example in examples:
                yield example[image].numpy(), int(example[label])

    def _decode(self, records: Iterator[tuple[bytes, int]], ids: np.ndarray, shape: tuple[int, ...] | None) -> Split:
        """Returns the decoded examples, all of `shape`, or, where that is None, of the first one's."""
        channels = self._declared_shape[-1]
        images, labels = np.empty(0, np.uint8), np.empty(len(ids), np.int32)
        for i, (encoded, label) in enumerate(records):
            where = f"{self.where}, example {ids[i]}"
            image = decoding.decode_image(encoded, channels=channels, image_size=self.image_size, where=where)
            if i == 0:
                images = np.empty((len(ids), *(shape or image.shape)), np.uint8)
            if image.shape != images.shape[1:]:
                raise UserError(
                    f"{where} is {_size(image.shape)} where the others are {_size(images.shape[1:])}: "
                    "set --config.data.image_size to bring all images to one size."
                )
            if not 0 <= label < self.num_classes:
                raise UserError(f"{where} has label {label}, outside 0..{self.num_classes - 1}: prepare the set again.")
            images[i], labels[i] = image, label
        return Split(images, labels, ids)


@contextlib.contextmanager
def wrap_read_errors(directory: str | pathlib.Path) -> Iterator[None]:
    """Names the directory in whatever TFDS raises over damaged files, which may be anything."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"The data set in {directory} can't be read ({type(error).__name__}: {reason}): remove that directory and "
            "prepare it again."
        ) from error


def _check_shapes(config: ConfigDict, train: tuple[int, ...], test: tuple[int, ...]) -> None:
    """Checks that one network can take the images of both splits."""
    if train != test:
        way = "choose a set with as many channels in both"
        if train[:2] != test[:2]:
            way = "set --config.data.image_size to bring all images to one size"
        raise UserError(
            f"data.name='{config.name}' has images of {_size(train)} for training and {_size(test)} for testing: {way}."
        )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _directory(config: ConfigDict) -> pathlib.Path:
    """Returns the directory of the newest prepared version of `data.name` below `data.dir`."""
    import tensorflow_datasets as tfds

    if not re.fullmatch(r"[A-Za-z0-9_]+(/[A-Za-z0-9_.-]+)?(:\d+\.\d+\.\d+)?", config.name):
        raise UserError(
            f"data.name='{config.name}' is no data set's name: type 'digits', a TFDS name such as 'cifar10', "
            "or name/config:1.0.0."
        )
    root = validation.expand_path(config.dir or str(tfds.core.constants.DATA_DIR), "data.dir")
    if config.dir and not root.is_dir():
        raise UserError(f"data.dir='{config.dir}' is not a directory: create it, or leave it empty to use TFDS's own.")
    return _newest_version(root, config.name) or download.download_and_prepare(config.name, str(root))


def _newest_version(root: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns the directory of the newest prepared version of `name` (or of the version it names), None without."""
    name, _, version = name.partition(":")
    found = [
        info.parent
        for info in (root / name).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", info.parent.name) and version in ("", info.parent.name)
    ]
    return max(found, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def _keys(builder: Any, config: ConfigDict) -> tuple[str, str]:
    """Returns the names of the image and of the label feature."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    supervised = builder.info.supervised_keys
    keys = supervised[:2] if supervised else ("image", "label")
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if all(key in features and isinstance(features[key], kind) for key, kind in zip(keys, kinds, strict=True)):
        return keys
    raise UserError(
        f"data.name='{config.name}' is no image classification set (its features: {', '.join(features)}): "
        "choose one with an image and a class label, such as 'cifar10'."
    )
