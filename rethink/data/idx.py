"""Opens idx files, the format of MNIST's own, gzipped or not: a file of images and one of labels for each split."""

import gzip
import math
import pathlib
import re
import struct
import zlib

import numpy as np
from ml_collections import ConfigDict

from rethink.data import cache
from rethink.data.arrays import check_images, choose_splits, make_dataset
from rethink.data.class_labels import encode_labels
from rethink.data.dataset import Dataset
from rethink.schema import validation
from rethink.schema.errors import UserError, unreadable

# The third byte of a file -> the type of its values.
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# train-images-idx3-ubyte.gz, train-images.idx3-ubyte, emnist-letters-test-labels-idx1-ubyte
FILE_NAME = re.compile(r"(?P<split>.+)-(?P<what>images|labels)[-.]idx\d-\w+(\.gz)?")
TEST_NAME = "t10k"  # what MNIST's own files have for "test"


def open_idx(location: str, config: ConfigDict) -> Dataset:
    """Returns the splits of a folder of idx files: SPLIT-images-idx3-ubyte[.gz] and SPLIT-labels-idx1-ubyte[.gz].

    Images are as of `make_dataset`, labels as of `encode_labels`; the "t10k" of MNIST's own files is "test". Images are
    kept in `data.cache_dir` as .npy files, from which they are streamed where they are many.

    Args:
      location: the folder, with what the names of its files begin with if it has several sets: emnist/emnist-letters.
      config: the config section `data`.

    Raises:
      UserError: a file is not there, can't be read, is damaged or no idx file; or as `make_dataset`.
    """
    where = f"data.name='{config.name}'"
    files = _find_files(location, where)
    chosen = choose_splits(list(files), config)
    labels, class_names = encode_labels({role: read_idx(files[chosen[role]]["labels"]) for role in chosen}, where)
    splits = {
        role: (_cache_images(files[split], labels[role], f"{where}, split '{split}'", config), labels[role])
        for role, split in chosen.items()
    }
    return make_dataset(config.name, splits, class_names)


def _cache_images(pair: dict[str, pathlib.Path], labels: np.ndarray, where: str, config: ConfigDict) -> np.ndarray:
    """Returns the images of a split, mapped from the cache where there is one."""
    path = pair["images"]
    source = {"files": cache.stamp_files(pair.values())}

    def make() -> cache.Arrays:
        return check_images(read_idx(path), where), labels

    return cache.load_or_make(config.cache_dir, path.name.partition(".")[0], source, make, mapped=True)[0]


def _find_files(location: str, where: str) -> dict[str, dict[str, pathlib.Path]]:
    """Returns split -> "images" and "labels" -> the file.

    Raises:
      UserError: there are none, those of several sets, or one without the other.
    """
    path = validation.expand_path(location, "data.name")
    if path.is_file():
        raise UserError(f"{where} is a file: type idx:{path.parent} for all files of its set.")
    folder, prefix = (path, "") if not location or path.is_dir() else (path.parent, f"{path.name}-")
    try:
        matches = [
            match for name in sorted(path.name for path in folder.iterdir()) if (match := FILE_NAME.fullmatch(name))
        ]
    except OSError as error:
        raise UserError(f"{where}: {folder} can't be read ({error.strerror}): type idx:FOLDER.") from error
    matches = [match for match in matches if match["split"].startswith(prefix)]
    if not location or not matches:
        raise UserError(
            f"{where} has no idx files: type idx:FOLDER, with {prefix}train-images-idx3-ubyte and "
            f"{prefix}train-labels-idx1-ubyte, gzipped or not, in the folder."
        )
    sets = sorted({match["split"].rpartition("-")[0] for match in matches})
    if len(sets) > 1:
        raise UserError(
            f"{where} has idx files of several sets ({', '.join(sets)}): type one, such as "
            f"--config.data.name=idx:{folder / (sets[0] or sets[1])}"
        )
    files: dict[str, dict[str, pathlib.Path]] = {}
    for match in matches:
        split = match["split"].rpartition("-")[2]
        of_split = files.setdefault("test" if split == TEST_NAME else split, {})
        of_split.setdefault(match["what"], folder / match[0])  # before the same file with .gz
    for split, of_split in files.items():
        if len(of_split) == 1:
            ((what, file),) = of_split.items()
            lacking = {"images": "labels", "labels": "images"}[what]
            raise UserError(f"{where}, split '{split}' has {file.name} and no file of {lacking}: put it beside it.")
    return files


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Returns the array of an idx file, gzipped or not: of the type and the shape that its header says.

    The header: 2 zero bytes, a byte for the type, one for the number of dimensions, their sizes as big-endian uint32.

    Raises:
      UserError: the file can't be read, is damaged, is no idx file, or is shorter or longer than its header says.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): bring it back from a copy.") from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    rank = content[3] if len(content) > 3 else 0
    start = 4 + 4 * rank
    if not rank or content[:2] != b"\0\0" or content[2] not in TYPES or len(content) < start:
        raise UserError(f"{path} is no idx file (it begins with {content[:4].hex(' ') or 'nothing'}): bring it back.")
    shape = struct.unpack(f">{rank}I", content[4:start])
    dtype = np.dtype(TYPES[content[2]])
    size = math.prod(shape) * dtype.itemsize
    if size != len(content) - start:
        raise UserError(
            f"{path} is damaged: it has {len(content) - start:,} bytes of values where its header says "
            f"{' x '.join(map(str, shape))} {dtype.name}, {size:,} bytes: bring it back from a copy."
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
