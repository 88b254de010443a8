"""Caches decoded images on disk: .npy files with their SHA-256, beside a description of what they were made from.

Arrays whose checksum is wrong are made again, with a warning. Nothing is pickled.
"""

import hashlib
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

from rethink.schema import validation

_log = logging.getLogger(__name__)
_NAMES = ("images", "labels")  # each is a file NAME.npy

Arrays = tuple[np.ndarray, np.ndarray]


def load_or_make(
    root: str, name: str, source: dict[str, Any], make: Callable[[], Arrays], mapped: bool = False
) -> Arrays:
    """Returns (images, labels) from the cache, or what `make` returns, which is then kept.

    Args:
      root: the cache directory; "" for no cache.
      name: a readable prefix of the folder that holds the arrays.
      source: JSON values that determine the arrays; with any other value they have another folder.
      make: returns (images, labels), arrays of any shape and dtype.
      mapped: whether arrays of the cache are `numpy.memmap`, read where they are indexed; none may be empty.

    A folder that can't be read or written is named in a warning, and the run goes on without it.

    Raises:
      UserError: the directory is in a home directory that there is not (`~nobody`).
    """
    if not root:
        return make()
    digest = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()
    parent = validation.expand_cache_path(root, "data.cache_dir")
    if not parent:
        return make()
    folder = parent / f"{name.replace('/', '-')}-{digest[:16]}"
    try:
        return _read_arrays(folder, mapped)
    except FileNotFoundError as error:
        if folder.exists():
            _log.warning("The cached images in %s are damaged (%s) and are made again.", folder, error)
    except PermissionError as error:
        _log.warning("The cached images in %s can't be read (%s) and are made again.", folder, error.strerror)
        return make()
    except NotADirectoryError:
        pass  # as the writing below says
    except Exception as error:  # on damaged bytes NumPy's reader raises anything: TokenError, EOFError, ...
        _log.warning("The cached images in %s are damaged (%s) and are made again.", folder, error)
    arrays = make()
    try:
        _write_arrays(folder, source, arrays)
        return _read_arrays(folder, mapped) if mapped else arrays
    except OSError as error:
        _log.warning(
            "data.cache_dir='%s' can't be written (%s): images are decoded anew by every launch; choose another with "
            "--config.data.cache_dir=DIR, or '' for no cache.",
            root,
            error.strerror,
        )
    return arrays


def stamp_files(paths: Iterable[pathlib.Path]) -> list[list[Any]]:
    """Returns the place, the bytes and both times of change of each file, JSON values for the `source` of an entry."""
    return [[str(path.resolve()), *stamp(path.stat())] for path in paths]


def stamp(status: os.stat_result) -> tuple[int, int, int]:
    """Returns the bytes of a file and its times of change, in ns: that of the content, which is easily kept by a copy
    or set back, and that of the file system's entry, which can't be.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_arrays(folder: pathlib.Path, mapped: bool) -> Arrays:
    """Returns the arrays of a folder.

    Raises:
      ValueError: a checksum is wrong. Damaged files may raise anything else.
    """
    checksums = json.loads((folder / "entry.json").read_text())["sha256"]
    mode: Literal["r"] | None = "r" if mapped else None
    images, labels = (np.load(folder / f"{name}.npy", mode, allow_pickle=False) for name in _NAMES)
    for name, array in zip(_NAMES, (images, labels), strict=True):
        if _hash_array(array) != checksums[name]:
            raise ValueError(f"checksum of {name}.npy")
    return images, labels


def _write_arrays(folder: pathlib.Path, source: dict[str, Any], arrays: Arrays) -> None:
    """Writes a folder under another name, then renames it, so that it is never half written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, array in zip(_NAMES, arrays, strict=True):
            np.save(draft / f"{name}.npy", array, allow_pickle=False)
        checksums = {name: _hash_array(array) for name, array in zip(_NAMES, arrays, strict=True)}
        (draft / "entry.json").write_text(json.dumps({"source": source, "sha256": checksums}, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        try:
            os.replace(draft, folder)
        except OSError:
            if not folder.exists():  # else another writer was faster, with the same arrays
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _hash_array(array: np.ndarray) -> str:
    """Returns the SHA-256 of dtype, shape and values, 64 hex digits."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
