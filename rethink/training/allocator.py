"""Keeps the memory that a step has freed for the next step, in training on CPU: settings of glibc's allocator.

Memory is neither counted nor limited here. By default glibc maps arrays above 32 MiB anew and returns them to the
system, and the first access to each page then takes a large part of a convolutional network's step.
"""

import contextlib
import ctypes
import importlib.util
import platform
from collections.abc import Iterator
from importlib import metadata

import jax

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8  # parameters of mallopt(3)
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_RETURNED = {_MMAP_MAX: 2**16, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}  # what glibc adapts to by itself

_state = {"prepared": False, "keeps": False}  # the C library has no way to read it


def prepare() -> None:
    """Lets the threads that JAX will start share one heap, where it will run on CPU and the C library is glibc.

    A thread with a heap of its own would map large arrays anew whatever is set.
    """
    if platform.libc_ver()[0] == "glibc" and _runs_on_cpu():
        _state["prepared"] = _set({_ARENA_MAX: 1})


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Keeps freed memory in the process while the block lasts, and returns it to the system after; only where prepared.

    The process then has the most memory that the block ever needed. Where large arrays come and go in no fixed order,
    as in the analyses, that may be more than there is: such a block is for training alone.
    """
    was_kept = _state["keeps"]
    _state["keeps"] = was_kept or (_state["prepared"] and _set(_KEPT))
    try:
        yield
    finally:
        if _state["keeps"] and not was_kept:
            _set(_RETURNED)
            ctypes.CDLL(None).malloc_trim(0)
        _state["keeps"] = was_kept


def keeps_freed_memory() -> bool:
    """Returns whether freed memory is kept now."""
    return _state["keeps"]


def _set(values: dict[int, int]) -> bool:
    """Sets parameters of the C library's allocator; returns whether it took all of them."""
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(parameter, value) for parameter, value in values.items()])


def _runs_on_cpu() -> bool:
    """Returns whether JAX will run on CPU, without starting it: by its setting, or as nothing else is installed."""
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
    if platforms:
        return platforms == "cpu"
    return not metadata.entry_points(group="jax_plugins") and not importlib.util.find_spec("libtpu")
