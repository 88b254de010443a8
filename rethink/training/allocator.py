"""Owns what glibc does with the memory that a step has freed: in training on CPU it is kept for the next step.

Refuses to count or to limit memory. Left alone, glibc maps arrays above 32 MiB anew and hands them back, and the first
touch of each page then takes a large part of a convolutional network's step.
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
_HANDED_BACK = {_MMAP_MAX: 2**16, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}  # what glibc comes to by itself

_state = {"prepared": False, "keeps": False}  # the C library can't be asked


def prepare() -> None:
    """Lets the threads that JAX will start share one heap, where it will run on CPU and the C library is glibc.

    A thread with a heap of its own would map large arrays anew whatever is set.
    """
    if platform.libc_ver()[0] == "glibc" and _runs_on_cpu():
        _state["prepared"] = _set({_ARENA_MAX: 1})


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Has freed memory kept by the process while the block lasts, and handed back behind it; only where prepared.

    The process then has the most memory that the block ever needed. Where large arrays come and go in no fixed order,
    as in the studies, that may be more than there is: blocks are for training alone.
    """
    before = _state["keeps"]
    _state["keeps"] = before or (_state["prepared"] and _set(_KEPT))
    try:
        yield
    finally:
        if _state["keeps"] and not before:
            _set(_HANDED_BACK)
            ctypes.CDLL(None).malloc_trim(0)
        _state["keeps"] = before


def keeps_freed_memory() -> bool:
    """Returns whether freed memory is kept now."""
    return _state["keeps"]


def _set(values: dict[int, int]) -> bool:
    """Sets parameters of the C library's allocator; returns whether it took all of them."""
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(parameter, value) for parameter, value in values.items()])


def _runs_on_cpu() -> bool:
    """Returns whether JAX will run on CPU, without starting it: as it was told to, or as nothing else is installed."""
    asked = jax.config.jax_platforms  # type: ignore[attr-defined]
    if asked:
        return asked == "cpu"
    return not metadata.entry_points(group="jax_plugins") and not importlib.util.find_spec("libtpu")
