"""Owns the cache of decoded images: plain .npy files with a SHA-256 each, beside the description they were made from.

Refuses to trust what it reads: a file whose checksum is off is made again, and says so. No pickle anywhere.
"""

import hashlib
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from rethink.schema import validation
from rethink.schema.errors import UserError

_log = logging.getLogger(__name__)
_NAMES = ("images", "labels")

Arrays = tuple[np.ndarray, np.ndarray]


def load_or_make(root: str, name: str, source: dict[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """Returns (images, labels) from the cache, or from `make` and then kept.

    Args:
      root: the cache directory; "" for no cache.
      name: a readable prefix of the entry.
      source: JSON values that determine the arrays; any change makes another entry.

    Raises:
      UserError: the directory can't be written, or has no meaning (`~nobody`).
    """
    if not root:
        return make()
    digest = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()
    folder = validation.expand_path(root, "data.cache_dir") / f"{name.replace('/', '-')}-{digest[:16]}"
    if folder.exists():
        try:
            return _read(folder)
        except Exception as error:  # on damaged bytes NumPy's reader raises anything: TokenError, EOFError, ...
            _log.warning("Cache entry %s is damaged (%s): made again.", folder, error)
    arrays = make()
    try:
        _write(folder, source, arrays)
    except OSError as error:
        raise UserError(
            f"data.cache_dir='{root}' can't be written ({error.strerror}): "
            "choose another with --config.data.cache_dir=DIR, or '' for no cache."
        ) from error
    return arrays


def _read(folder: pathlib.Path) -> Arrays:
    checksums = json.loads((folder / "entry.json").read_text())["sha256"]
    images, labels = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in _NAMES)
    for name, array in zip(_NAMES, (images, labels), strict=True):
        if _checksum(array) != checksums[name]:
            raise ValueError(f"checksum of {name}.npy")
    return images, labels


def _write(folder: pathlib.Path, source: dict[str, Any], arrays: Arrays) -> None:
    """Writes an entry beside its place and moves it there whole; of two writers at once one wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, array in zip(_NAMES, arrays, strict=True):
            np.save(draft / f"{name}.npy", array, allow_pickle=False)
        checksums = {name: _checksum(array) for name, array in zip(_NAMES, arrays, strict=True)}
        (draft / "entry.json").write_text(json.dumps({"source": source, "sha256": checksums}, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        try:
            os.replace(draft, folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _checksum(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
