"""Opens TFDS image classification sets and reads them from disk; data/download.py prepares those that are missing.

Needs TensorFlow only for directories of tfrecord files. TFDS takes a second to import, so functions import it.
"""

import contextlib
import dataclasses
import functools
import itertools
import logging
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.data import cache, decoding, download, parallel
from rethink.data.dataset import Dataset, Split, format_shape
from rethink.schema import validation
from rethink.schema.errors import UserError, exists, unknown_name, unreadable

CHUNK = 1024  # records read at a time
TFDS_NAME = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_.-]+)?(:\d+\.\d+\.\d+)?")

_log = logging.getLogger(__name__)


def open_tfds(name: str, config: ConfigDict) -> Dataset:
    """Returns the full train and test splits of the newest prepared version of `name` below `data.dir`, not read yet.

    An id is the position of an example in the stored order of its split.

    Args:
      name: as TFDS has it, such as "cifar10", "name/config" or "name:1.0.0".
      config: the config section `data`.

    Raises:
      UserError: the set is not there and can't be prepared, is damaged, holds no images with class labels, or has no
        such splits.
    """
    import tensorflow_datasets as tfds

    # Find the prepared set, and which of its features are the images and the labels.
    directory = _find_directory(name, config)
    with wrap_read_errors(directory):
        builder = tfds.builder_from_directory(directory)
        keys = _find_keys(name, builder)
        class_names = tuple(builder.info.features[keys[1]].names)

    def open_split(field: str) -> TfdsSplit:
        split_name = config[field]
        if split_name not in builder.info.splits:
            raise UserError(unknown_name(f"data.{field}", split_name, list(builder.info.splits)))
        split = TfdsSplit(
            set_name=name,
            directory=str(builder.data_dir),
            name=split_name,
            keys=keys,
            num_classes=len(class_names),
            count=builder.info.splits[split_name].num_examples,
            image_size=config.image_size,
            cache_dir=config.cache_dir,
        )
        # A set that was copied in part has its description, but not all files.
        missing = [path.name for path in split.files if not _can_open(path)]
        if missing or not split.count:
            problem = f"lacks {missing[0]}" if missing else "is empty"
            raise UserError(f"{split.where} in {builder.data_dir} {problem}: prepare it again.")
        return split

    train, test = open_split("train_split"), open_split("test_split")
    return Dataset(builder.info.full_name, decoding.DECODER, class_names, train.count, {"train": train, "test": test})


@dataclasses.dataclass(frozen=True)
class TfdsSplit:
    """A full split on disk, a `SplitSource`. It is cheap to pickle: every process opens the files by itself.

    Attributes:
      set_name: of the data set, for errors.
      directory: of the prepared version.
      name: of the split.
      keys: names of the image and of the label feature.
      count: of the examples.
      image_size, cache_dir: as in the config section `data`.
    """

    set_name: str
    directory: str
    name: str
    keys: tuple[str, str]
    num_classes: int
    count: int
    image_size: int
    cache_dir: str
    paths: tuple[str, ...] = ()
    image_dtype: np.dtype = np.dtype(np.uint8)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """The position of every example, uint32 [count]."""
        return np.arange(self.count, dtype=np.uint32)

    @property
    def where(self) -> str:
        """The split's name in an error."""
        return f"data.name='{self.set_name}', split '{self.name}'"

    @functools.cached_property
    def files(self) -> list[pathlib.Path]:
        """The shards."""
        return [pathlib.Path(path) for path in self._builder.info.splits[self.name].filepaths]

    @functools.cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels), as the set declares it, or else that of its first example."""
        height, width, channels = self._declared_shape
        if self.image_size:
            height = width = self.image_size
        if height and width and channels:
            return height, width, channels
        if self._random_access:
            return self._read_ids(self.ids[:1], None).images.shape[1:]
        return self._decode_records(itertools.islice(self._read_all(), 1), self.ids[:1], None).images.shape[1:]

    def load(self) -> Split:
        """Returns the whole split, decoded once and kept in the cache.

        Raises:
          UserError: the files are damaged, an image does not decode or has another size, or a label has no class.
        """
        source = {
            "set": self._builder.info.full_name,
            "split": self.name,
            "files": cache.stamp_files(self.files),
            "decoder": decoding.DECODER,
            "image_size": self.image_size,
        }
        images, labels = cache.load_or_make(self.cache_dir, f"{self.set_name}-{self.name}", source, self._decode_all)
        return Split(images, labels, self.ids)

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order, by random access.

        Raises:
          UserError: as `load`, or the files are tfrecord, which can only be read from start to end.
        """
        if not self._random_access:
            raise UserError(
                f"{self.where} holds tfrecord files, which can't be streamed in a random order: "
                "prepare the set as array_record, or set --config.data.feed=resident."
            )
        return self._read_ids(self.ids[rows], self.image_shape)

    def _read_ids(self, ids: np.ndarray, shape: tuple[int, ...] | None) -> Split:
        """Returns the examples `ids`, in their order; `shape` as in `_decode_records`."""
        image, label = self.keys
        with wrap_read_errors(self.directory):
            records = self._data_source.__getitems__([int(i) for i in ids])
        return self._decode_records(((record[image], int(record[label])) for record in records), ids, shape)

    def __getstate__(self) -> dict[str, Any]:
        # Without the cached properties: open files can't be pickled, and ids are quickly made again.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def _builder(self) -> Any:
        import tensorflow_datasets as tfds

        with wrap_read_errors(self.directory):
            return tfds.builder_from_directory(self.directory)

    @property
    def _declared_shape(self) -> tuple[int | None, int | None, int | None]:
        """(height, width, channels) of the set's description; None where images differ."""
        return self._builder.info.features[self.keys[0]].shape

    @property
    def _random_access(self) -> bool:
        return self._builder.info.file_format.value == "array_record"

    @functools.cached_property
    def _data_source(self) -> Any:
        """The split's records by position, images encoded."""
        import tensorflow_datasets as tfds

        return self._builder.as_data_source(split=self.name, decoders={self.keys[0]: tfds.decode.SkipDecoding()})

    def _decode_all(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns all images and labels, in stored order."""
        _log.info("Decoding %s %s: %s images, once.", self.set_name, self.name, f"{self.count:,}")
        in_threads = functools.partial(
            parallel.map_in_order, total=self.count, label=f"decoding {self.set_name} {self.name}"
        )
        split = self._decode_records(self._read_all(), self.ids, self.image_shape, in_threads)
        return split.images, split.labels

    def _read_all(self) -> Iterator[tuple[bytes, int]]:
        """Yields (encoded image, label) in stored order, the order of the ids."""
        with wrap_read_errors(self.directory):
            yield from self._read_array_record() if self._random_access else self._read_tfrecord()

    def _read_array_record(self) -> Iterator[tuple[bytes, int]]:
        image, label = self.keys
        for start in range(0, self.count, CHUNK):
            for record in self._data_source.__getitems__(range(start, min(start + CHUNK, self.count))):
                yield record[image], int(record[label])

    def _read_tfrecord(self) -> Iterator[tuple[bytes, int]]:
        """Yields as `_read_all`.

        Raises:
          UserError: TensorFlow, which alone reads these files, is not installed.
        """
        try:
            import tensorflow as tf
        except ImportError:
            raise UserError(
                f"{self.where} in {self.directory} holds tfrecord files, which TensorFlow reads: "
                "pip install -e '.[tf]', or prepare the set as array_record."
            ) from None
        import tensorflow_datasets as tfds

        image, label = self.keys
        with tf.device("CPU"):
            # One file after the other, unshuffled: stored order.
            read = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
            skip = {image: tfds.decode.SkipDecoding()}
            examples = self._builder.as_dataset(split=self.name, decoders=skip, shuffle_files=False, read_config=read)
            for example in examples:
                yield example[image].numpy(), int(example[label])

    def _decode_records(
        self,
        records: Iterator[tuple[bytes, int]],
        ids: np.ndarray,
        shape: tuple[int, ...] | None,
        map_in_order: Callable[..., Iterator[tuple[np.ndarray, int]]] = map,
    ) -> Split:
        """Returns the decoded examples, whose images all have `shape`, or, for None, the shape of the first image.

        Args:
          map_in_order: as `map`, over all records.
        """
        channels = self._declared_shape[-1]

        def decode(number_and_record: tuple[int, tuple[bytes, int]]) -> tuple[np.ndarray, int]:
            i, (encoded, label) = number_and_record
            where = f"{self.where}, example {ids[i]}"
            return decoding.decode_image(encoded, channels=channels, image_size=self.image_size, where=where), label

        images, labels = np.empty(0, np.uint8), np.empty(len(ids), np.int32)
        for i, (image, label) in enumerate(map_in_order(decode, enumerate(records))):
            where = f"{self.where}, example {ids[i]}"
            if i == 0:  # one array of the final size: a list of images would need twice the memory
                images = np.empty((len(ids), *(shape or image.shape)), np.uint8)
            if image.shape != images.shape[1:]:
                raise UserError(
                    f"{where} is {format_shape(image.shape)} where the others are {format_shape(images.shape[1:])}: "
                    "set --config.data.image_size to bring all images to one size."
                )
            if not 0 <= label < self.num_classes:
                raise UserError(f"{where} has label {label}, outside 0..{self.num_classes - 1}: prepare the set again.")
            images[i], labels[i] = image, label
        return Split(images, labels, ids)


@contextlib.contextmanager
def wrap_read_errors(directory: str | pathlib.Path) -> Iterator[None]:
    """Turns whatever the body raises over files that it can't read into a UserError that names the directory.

    TFDS and its readers raise errors of any type.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        for cause in download.iterate_causes(error):
            if isinstance(cause, PermissionError):
                raise unreadable(cause.filename or str(directory), cause) from error
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"The data set in {directory} can't be read ({type(error).__name__}: {reason}): bring it back from a copy, "
            "or prepare it again in another --config.data.dir."
        ) from error


def _can_open(path: pathlib.Path) -> bool:
    """Returns whether there is a file.

    Raises:
      UserError: it may not be read.
    """
    try:
        path.open("rb").close()
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise unreadable(str(path), error) from error
    return True


def _find_directory(name: str, config: ConfigDict) -> pathlib.Path:
    """Returns the directory of the newest version of `name` below `data.dir`, prepared first where there is none.

    Raises:
      UserError: `name` can't be one of TFDS, `data.dir` is no directory, or the set can't be prepared.
    """
    import tensorflow_datasets as tfds

    if not TFDS_NAME.fullmatch(name):
        raise UserError(f"data.name='{config.name}' is no name of TFDS: type tfds:cifar10, or tfds:name/config:1.0.0.")
    root = validation.expand_path(config.dir or str(tfds.core.constants.DATA_DIR), "data.dir")
    if config.dir and not (exists(root) and root.is_dir()):
        raise UserError(f"data.dir='{config.dir}' is not a directory: create it, or leave it empty to use TFDS's own.")
    return _find_newest_version(root, name) or download.download_and_prepare(name, str(root))


def _find_newest_version(root: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns the directory of the newest prepared version of `name`, or of the version after its colon; else None.

    Raises:
      UserError: a directory may not be read, so that nobody knows what it holds.
    """
    name, _, version = name.partition(":")
    if not exists(root / name):
        return None
    try:
        directories = [
            path
            for path in (root / name).iterdir()
            if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and version in ("", path.name)
            if exists(path / "dataset_info.json")
        ]
    except PermissionError as error:
        raise unreadable(str(error.filename), error) from error
    return max(directories, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def _find_keys(name: str, builder: Any) -> tuple[str, str]:
    """Returns the names of the image and of the label feature.

    Raises:
      UserError: the set has no image with one class label.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    supervised = builder.info.supervised_keys
    keys = supervised[:2] if supervised else ("image", "label")
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if all(key in features and isinstance(features[key], kind) for key, kind in zip(keys, kinds, strict=True)):
        return keys
    raise UserError(
        f"data.name='{name}' is no image classification set (its features: {', '.join(features)}): "
        "choose one with an image and a class label, such as 'cifar10'."
    )
