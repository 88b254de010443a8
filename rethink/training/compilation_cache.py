"""Where JAX keeps compiled functions between launches, and what becomes of entries that can't be read or written.

What an entry holds is JAX's: it has no public way to its cache, so two private functions are replaced here.
"""

import contextlib
import errno
import functools
import logging
import os
import pathlib
import time
from typing import Any

import jax

_log = logging.getLogger(__name__)
_WRITING_SECONDS = 60  # JAX writes an entry in place: a younger one may be another process's that is not whole yet
_BROKEN_OFF = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # in the middle of an entry


def use_folder(folder: pathlib.Path) -> None:
    """Lets JAX keep compiled functions in a folder, all of them; one that can't be written is named and left out.

    An entry whose bytes are damaged, as those of one half written when a disk was full, is removed, so that the
    function is compiled and written once more. JAX by itself would warn of it in every launch and keep it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(None, "Permission denied")
    except OSError as error:
        _log.warning(
            "hardware.compilation_cache='%s' can't be written (%s): functions are compiled anew by every launch.",
            folder,
            error.strerror,
        )
        jax.config.update("jax_compilation_cache_dir", None)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _guard_entries()


@functools.cache
def _guard_entries() -> None:
    """Replaces JAX's functions that read and write an entry by ones that mend what fails."""
    from jax._src import compilation_cache

    jax_cache: Any = compilation_cache
    read, write = jax_cache.get_executable_and_time, jax_cache.put_executable_and_time

    def read_or_remove(cache_key: str, *rest: Any) -> tuple[Any, Any]:
        try:
            return read(cache_key, *rest)
        except (MemoryError, OSError):
            return None, None  # it may be whole
        except Exception:  # on damaged bytes anything
            if not _may_be_written(cache_key):
                _remove_entry(cache_key)
                _warn_once("are damaged: they are removed, and compiled once more.")
            return None, None

    def write_or_remove(cache_key: str, *rest: Any) -> None:
        try:
            write(cache_key, *rest)
        except OSError as error:
            if error.errno in _BROKEN_OFF:
                _remove_entry(cache_key)
            _warn_once(f"can't be written ({error.strerror or error}): they are compiled anew by every launch.")

    jax_cache.get_executable_and_time, jax_cache.put_executable_and_time = read_or_remove, write_or_remove


def _may_be_written(cache_key: str) -> bool:
    """Returns whether another process may be writing an entry now."""
    with contextlib.suppress(OSError):
        return time.time() - os.stat(_entry(cache_key)).st_mtime < _WRITING_SECONDS
    return True


def _remove_entry(cache_key: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(_entry(cache_key))


def _entry(cache_key: str) -> str:
    return os.path.join(_folder(), f"{cache_key}-cache")


@functools.cache
def _warn_once(what: str) -> None:
    _log.warning("Compiled functions in %s %s", _folder(), what)


def _folder() -> str:
    return jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
