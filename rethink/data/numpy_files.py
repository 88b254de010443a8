"""Opens NumPy's files: a .npz archive, or a folder of .npy files, with images and labels for each split."""

import contextlib
import logging
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Literal, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rethink.data import cache, parallel
from rethink.data.arrays import check_images, choose_splits, dataset_from_arrays, make_dataset
from rethink.data.class_labels import encode_labels
from rethink.data.dataset import Dataset
from rethink.schema import validation
from rethink.schema.errors import UserError, exists, unreadable

IMAGES, LABELS = ("x", "images"), ("y", "labels")  # what arrays are called, with the name of a split at either side
CLASS_NAMES = "class_names"  # an array of strings
EXPECTED = "x_train and y_train, or train_images and train_labels, and so with test"

MIB = 2**20

_log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """The names of the arrays of one split."""

    images: str = ""
    labels: str = ""


def open_npz(location: str, config: ConfigDict) -> Dataset:
    """Returns the splits of a .npz file, with images as of `make_dataset` and labels as of `encode_labels`.

    Names of arrays are x_SPLIT and y_SPLIT (Keras) or SPLIT_images and SPLIT_labels (MedMNIST); x and y, or images and
    labels alone are "train". `class_names`, an array of strings, names the classes 0, 1, ...; other arrays are ignored.
    Images are kept in `data.cache_dir` as .npy files, from which they are streamed where they are many.

    Args:
      location: the file.
      config: the config section `data`.

    Raises:
      UserError: the file is not there, is damaged or lacks arrays, or as `make_dataset`.
    """
    where = f"data.name='{config.name}'"
    path = _find(location, where, f"type npz:FILE, such as npz:data/mine.npz, with {EXPECTED}")
    if path.is_dir():
        raise UserError(f"{where} is a folder: type npz:FILE, or npy:FOLDER for a folder of .npy files.")
    with _wrap_read_errors(path, where):
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UserError(f"{where} is a single array: type npy:FOLDER for a folder of .npy files, with {EXPECTED}.")
    with file:
        pairs = _find_pairs(file.files, where)
        chosen = _choose(pairs, config, where)
        raw = {role: _read_array(file, pairs[split].labels, path, where) for role, split in chosen.items()}
        names = _read_array(file, CLASS_NAMES, path, where) if CLASS_NAMES in file.files else ()
        labels, class_names = encode_labels(raw, where, _check_class_names(names, where))
        splits = {
            role: (_cache_images(file, path, split, pairs[split], labels[role], config), labels[role])
            for role, split in chosen.items()
        }
        return make_dataset(config.name, splits, class_names)


def open_npy(location: str, config: ConfigDict) -> Dataset:
    """Returns the splits of a folder of .npy files, whose names are those of the arrays of `open_npz`.

    The files are mapped into memory: nothing is decoded, so that nothing is cached.

    Args:
      location: the folder.
      config: the config section `data`.

    Raises:
      UserError: as `open_npz`.
    """
    where = f"data.name='{config.name}'"
    folder = _find(location, where, f"type npy:FOLDER, such as npy:data/mine, with the files {EXPECTED} (.npy)")
    if not folder.is_dir():
        raise UserError(f"{where} is a file: type npy:FOLDER with the folder of the files {EXPECTED} (.npy).")
    try:
        files = {path.stem: path for path in sorted(folder.glob("*.npy"))}
    except PermissionError as error:
        raise unreadable(str(folder), error) from error
    pairs = _find_pairs(files, where)
    chosen = _choose(pairs, config, where)
    names = _read_npy(files[CLASS_NAMES], where) if CLASS_NAMES in files else ()
    splits = {}
    for role, split in chosen.items():
        images, labels = (files[name] for name in pairs[split])
        splits[role] = (_read_npy(images, where, "r"), _read_npy(labels, where))
    return dataset_from_arrays(config.name, splits, _check_class_names(names, where))


def _find(location: str, where: str, remedy: str) -> pathlib.Path:
    """Returns the path of a file or folder that is there."""
    path = validation.expand_path(location, "data.name")
    if not location or not exists(path):
        raise UserError(f"{where}: {f'there is no {path}' if location else 'a path is missing'}: {remedy}.")
    return path


def _find_pairs(names: Iterable[str], where: str) -> dict[str, Pair]:
    """Returns split -> the names of its arrays; one of a pair that lacks the other is "".

    Raises:
      UserError: two arrays could be the same.
    """
    role = "|".join((*IMAGES, *LABELS))
    pattern = re.compile(rf"(?P<role>{role})(_(?P<split>\w+))?|(?P<split2>\w+)_(?P<role2>{role})", re.IGNORECASE)
    pairs: dict[str, Pair] = {}
    for name in names:
        match = pattern.fullmatch(name)
        if not match:
            continue
        split = (match["split"] or match["split2"] or "train").lower()
        field = "images" if (match["role"] or match["role2"]).lower() in IMAGES else "labels"
        pair = pairs.get(split, Pair())
        if getattr(pair, field):
            raise UserError(
                f"{where} has {getattr(pair, field)} and {name}, both {field} of '{split}': leave one of them out."
            )
        pairs[split] = pair._replace(**{field: name})
    if not any(pair.images and pair.labels for pair in pairs.values()):
        found = ", ".join(list(names)[:10]) or "nothing"
        raise UserError(f"{where} has no images with labels (it has {found}): name them {EXPECTED}.")
    return pairs


def _choose(pairs: dict[str, Pair], config: ConfigDict, where: str) -> dict[str, str]:
    """Returns "train" and "test" -> the split that the config chooses; leaves in `pairs` what has images and labels.

    Raises:
      UserError: a chosen split is not there, or lacks one of its arrays.
    """
    for split in (config.train_split, config.test_split):
        pair = pairs.get(split)
        if pair and not (pair.images and pair.labels):
            missing = "labels" if pair.images else "images"
            raise UserError(f"{where} has {pair.images or pair.labels} without its {missing}: name arrays {EXPECTED}.")
    for split in [split for split, pair in pairs.items() if not (pair.images and pair.labels)]:
        del pairs[split]
    return choose_splits(list(pairs), config)


def _cache_images(
    file: np.lib.npyio.NpzFile, path: pathlib.Path, split: str, pair: Pair, labels: np.ndarray, config: ConfigDict
) -> np.ndarray:
    """Returns the images of a split, mapped from the cache where there is one."""
    where = f"data.name='{config.name}'"
    assert file.zip
    members = {entry.filename.removesuffix(".npy"): entry for entry in file.zip.infolist()}
    source = {
        "file": cache.stamp_files([path]),
        "arrays": [[name, members[name].file_size, members[name].CRC] for name in pair],
    }

    def read() -> cache.Arrays:
        _log.info("Reading %s of %s, once.", pair.images, path)
        with _wrap_read_errors(path, where, pair.images):
            images = _read_member(file, members[pair.images])
        return check_images(images, f"{where}, split '{split}'"), labels

    return cache.load_or_make(config.cache_dir, f"{path.stem}-{split}", source, read, mapped=True)[0]


def _read_member(file: np.lib.npyio.NpzFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Returns an array of a .npz file, and shows how far it is where that takes a while."""
    assert file.zip
    label = f"Reading {member.filename} (MiB)"
    with file.zip.open(member) as stream, parallel.show_progress(label, member.file_size // MIB) as report:
        return np.lib.format.read_array(_Reported(stream, report), allow_pickle=False)


class _Reported:
    """A stream that reports how much of it was read, in MiB."""

    def __init__(self, stream: IO[bytes], report: Callable[[int], None]):
        self._stream, self._report = stream, report

    def read(self, size: int = -1, /) -> bytes:
        """Returns the next `size` bytes, or fewer."""
        self._report(self._stream.tell() // MIB)
        return self._stream.read(size)


def _read_array(file: np.lib.npyio.NpzFile, name: str, path: pathlib.Path, where: str) -> np.ndarray:
    """Returns an array of a .npz file."""
    with _wrap_read_errors(path, where, name):
        return file[name]


def _read_npy(path: pathlib.Path, where: str, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Returns the array of a .npy file, in memory or mapped."""
    with _wrap_read_errors(path, where):
        return np.load(path.resolve(), mmap_mode, allow_pickle=False)


def _check_class_names(names: Iterable[str], where: str) -> list[str]:
    """Returns the names of the classes, or [] for none."""
    names = np.asarray(names)
    if names.ndim != 1 or (names.size and names.dtype.kind != "U"):
        raise UserError(
            f"{where} has class_names of {names.dtype}{list(names.shape)}: give an array of strings, [classes]."
        )
    return names.tolist()


@contextlib.contextmanager
def _wrap_read_errors(path: pathlib.Path, where: str, name: str = "") -> Iterator[None]:
    """Turns whatever NumPy raises over a file, or over the array `name` in it, into one line."""
    what = f"{where}: {name} in {path}" if name else f"{where}: {path}"
    try:
        yield
    except (UserError, MemoryError):
        raise
    except PermissionError as error:
        raise unreadable(str(path), error) from error
    except Exception as error:  # on damaged bytes NumPy's reader raises anything: TokenError, EOFError, zlib.error, ...
        said = " ".join(str(error).split())[:200]
        if "Object arrays" in said or "Python objects" in said:
            raise UserError(
                f"{what} holds Python objects, which are never loaded: save an array of numbers or strings, such as "
                "numpy.array(values.tolist())."
            ) from error
        if "pickled" in said:  # NumPy takes any file that is none of its own for this
            raise UserError(f"{what} is no file of NumPy's: save it by numpy.savez or numpy.save.") from error
        raise UserError(
            f"{what} can't be read ({type(error).__name__}: {said}): save it again, or bring it back from a copy."
        ) from error
