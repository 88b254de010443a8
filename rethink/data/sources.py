"""Owns where examples come from: the embedded digits, and TFDS image classification sets on disk.

Refuses to change an example beyond the stored size that the config asks for, and never replaces one set by another.
With prepare.py the only importer of TFDS.
"""

import logging
import math
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rethink import randomness, settings
from rethink.data import cache, decoding

CHUNK = 1024  # records decoded at a time
EMBEDDED = "digits"

_log = logging.getLogger(__name__)


class Split(NamedTuple):
    """Examples as stored: images uint8 [n, height, width, channels], labels int32 [n], ids uint32 [n].

    An id is the example's position in the full split as stored, so that a subset keeps the ids of the whole.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


class DataSet(NamedTuple):
    """A data set in memory: `name` with its version, the decoder with its version, and both splits."""

    name: str
    decoder: str
    num_classes: int
    train: Split
    test: Split


def load(config: ConfigDict) -> DataSet:
    """Returns the data set of the config section `data`, restricted to its `train_examples`.

    Raises:
      UserError: it is not there and can't be prepared, is no image classification set, or has too few examples.
    """
    data = _load_digits(config) if config.name == EMBEDDED else _load_tfds(config)
    return data._replace(train=_subset(data.train, config))


def _subset(split: Split, config: ConfigDict) -> Split:
    """Returns the fixed subset of `train_examples`, in order of ids; a smaller one is contained in a larger."""
    have, wanted = len(split.labels), config.train_examples
    if wanted > have:
        raise settings.UserError(
            f"data.train_examples={wanted} is more than {config.name} has: set it to at most {have}, or 0 for all."
        )
    if not wanted:
        return split
    rows = np.sort(randomness.permutation(randomness.key_for(config.split_seed, "subset"), have)[:wanted])
    return Split(*(np.ascontiguousarray(part[rows]) for part in split))


def _load_digits(config: ConfigDict) -> DataSet:
    """Returns scikit-learn's handwritten digits, 1,797 images of 8x8x1, split by `split_seed`."""
    import sklearn
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    order = randomness.permutation(randomness.key_for(config.split_seed, "digits_split"), len(labels))
    num_test = math.ceil(config.test_fraction * len(labels))

    def take(rows: np.ndarray) -> Split:
        rows = np.sort(rows)
        return Split(images[rows], labels[rows], rows.astype(np.uint32))

    return DataSet(
        name=f"digits (scikit-learn {sklearn.__version__})",
        decoder="none",
        num_classes=10,
        train=take(order[num_test:]),
        test=take(order[:num_test]),
    )


def _load_tfds(config: ConfigDict) -> DataSet:
    """Returns a TFDS set from its directory, prepared first where it is not there yet."""
    builder = _open_builder(config)
    image_key, label_key = _keys(builder, config)
    num_classes = builder.info.features[label_key].num_classes

    def load_split(name: str) -> Split:
        files, count = _split_files(builder, name, config)
        source = {
            "set": builder.info.full_name,
            "split": name,
            "files": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files],
            "decoder": decoding.DECODER,
            "image_size": config.image_size,
        }

        def decode() -> tuple[np.ndarray, np.ndarray]:
            _log.info("Decoding %s %s: %s images, once.", config.name, name, f"{count:,}")
            return _decode_split(_read_records(builder, name, (image_key, label_key)), count, num_classes, config, name)

        images, labels = cache.load_or_make(config.cache_dir, f"{config.name}-{name}", source, decode)
        return Split(images, labels, np.arange(count, dtype=np.uint32))

    return DataSet(
        name=builder.info.full_name,
        decoder=decoding.DECODER,
        num_classes=num_classes,
        train=load_split(config.train_split),
        test=load_split(config.test_split),
    )


def _open_builder(config: ConfigDict):
    """Returns the TFDS builder of the newest prepared version of `data.name` below `data.dir`."""
    import tensorflow_datasets as tfds

    if not re.fullmatch(r"[A-Za-z0-9_]+(/[A-Za-z0-9_.-]+)?(:\d+\.\d+\.\d+)?", config.name):
        raise settings.UserError(
            f"data.name='{config.name}' is no data set's name: type 'digits', a TFDS name such as 'cifar10', "
            "or name/config:1.0.0."
        )
    root = pathlib.Path(config.dir or tfds.core.constants.DATA_DIR).expanduser()
    if config.dir and not root.is_dir():
        raise settings.UserError(
            f"data.dir='{config.dir}' is not a directory: create it, or leave it empty to use TFDS's own."
        )
    directory = _newest_version(root, config.name)
    if directory is None:
        from rethink.data import prepare

        prepare.prepare(config.name.partition(":")[0], str(root))
        directory = _newest_version(root, config.name)
        if directory is None:
            raise settings.UserError(
                f"data.name='{config.name}' was prepared in {root} in another version: leave the version out."
            )
    return tfds.builder_from_directory(directory)


def _newest_version(root: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns the directory of the newest prepared version of `name` (or of the version it names), None without."""
    name, _, version = name.partition(":")
    found = [
        info.parent
        for info in (root / name).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", info.parent.name) and version in ("", info.parent.name)
    ]
    return max(found, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def _keys(builder, config: ConfigDict) -> tuple[str, str]:
    """Returns the names of the image and of the label feature."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    supervised = builder.info.supervised_keys
    keys = supervised[:2] if supervised else ("image", "label")
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if all(key in features and isinstance(features[key], kind) for key, kind in zip(keys, kinds, strict=True)):
        return keys
    raise settings.UserError(
        f"data.name='{config.name}' is no image classification set (its features: {', '.join(features)}): "
        "choose one with an image and a class label, such as 'cifar10'."
    )


def _split_files(builder, split: str, config: ConfigDict) -> tuple[list[pathlib.Path], int]:
    """Returns the shard files of a split and its number of examples."""
    splits = builder.info.splits
    if split not in splits:
        field = "train_split" if split == config.train_split else "test_split"
        raise settings.UserError(settings.unknown(f"data.{field}", split, list(splits)))
    files = [pathlib.Path(path) for path in splits[split].filepaths]
    missing = [path.name for path in files if not path.exists()]
    if missing or not splits[split].num_examples:
        what = f"lacks {missing[0]}" if missing else "is empty"
        where = f"data.name='{config.name}', split '{split}' in {builder.data_dir}"
        raise settings.UserError(f"{where} {what}: prepare it again.")
    return files, splits[split].num_examples


def _read_records(builder, split: str, keys: tuple[str, str]) -> Iterator[tuple[bytes, int]]:
    """Yields (encoded image, label) in storage order, the order that example ids count."""
    import tensorflow_datasets as tfds

    skip = {keys[0]: tfds.decode.SkipDecoding()}
    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        source = builder.as_data_source(split=split, decoders=skip)
        for start in range(0, len(source), CHUNK):
            for record in source.__getitems__(range(start, min(start + CHUNK, len(source)))):
                yield record[keys[0]], int(record[keys[1]])
        return
    try:
        import tensorflow as tf
    except ImportError:
        raise settings.UserError(
            f"{builder.data_dir} holds {builder.info.file_format.value} files, which TensorFlow reads: "
            "pip install -e '.[tf]', or prepare the set as array_record."
        ) from None
    with tf.device("CPU"):
        # One file after the other, unshuffled: storage order.
        read = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        for record in builder.as_dataset(split=split, decoders=skip, shuffle_files=False, read_config=read):
            yield record[keys[0]].numpy(), int(record[keys[1]])


def _decode_split(
    records: Iterable[tuple[bytes, int]], count: int, num_classes: int, config: ConfigDict, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (images uint8 [count, height, width, channels], labels int32 [count])."""
    images, labels = None, np.empty(count, np.int32)
    for i, (encoded, label) in enumerate(records):
        where = f"data.name='{config.name}', split '{split}', example {i}"
        image = decoding.decode(encoded, config.image_size, where)
        if images is None:
            images = np.empty((count, *image.shape), np.uint8)
        if image.shape != images.shape[1:]:
            raise settings.UserError(
                f"{where} is {_size(image)} where the first is {_size(images[0])}: "
                "set --config.data.image_size to bring all images to one size."
            )
        if not 0 <= label < num_classes:
            raise settings.UserError(f"{where} has label {label}, outside 0..{num_classes - 1}: prepare the set again.")
        images[i], labels[i] = image, label
    return images, labels


def _size(image: np.ndarray) -> str:
    return "x".join(map(str, image.shape))
