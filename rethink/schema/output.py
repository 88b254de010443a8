"""Standard output and error that never end a program: what can't be written any more is left out.

A reader that has gone (`| head`), a closed descriptor (`>&-`), a closed terminal or a full disk stop what is shown and
not what is computed; signs that the encoding lacks are written as escapes.
"""

import contextlib
import io
import logging
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def spell_out(text: str, keep: str = "") -> str:
    """Returns text in which what can't be printed, such as a change of direction, is spelt out, but signs to keep."""
    return "".join(sign if sign.isprintable() or sign in keep else ascii(sign)[1:-1] for sign in text)


class _Descriptor(io.RawIOBase):
    """Writes to a file descriptor, and takes what that refuses as written."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        """Writes all of some bytes, or as much as is taken; returns their number."""
        left = memoryview(content)
        with contextlib.suppress(OSError):
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # its reader is slow, and another process has set it not to wait
                    select.select([], [self._descriptor], [])
        return len(content)


def outlast_readers() -> None:
    """Makes standard output and error such streams; those that a test or a notebook has replaced stay."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file that is opened, such as a record, would take its place
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _replace(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _replace(2, sys.stderr)


def _replace(descriptor: int, stream: Any) -> TextIO:
    """Returns a text stream like the one of a descriptor, None where Python found that closed, that goes on."""
    if stream is None:
        return open(os.devnull, "w", errors="backslashreplace")
    with contextlib.suppress(OSError):
        stream.flush()
    raw: Any = _Descriptor(descriptor)  # not buffered, as Python's own with -u
    return io.TextIOWrapper(
        raw,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


@contextlib.contextmanager
def no_new_handler() -> Iterator[None]:
    """Leaves the root logger's handlers as they are; absl, by which Orbax and Grain log, adds one if it has none."""
    has_none = not logging.root.handlers
    if has_none and logging.lastResort:  # what Python shows warnings by then
        logging.root.addHandler(logging.lastResort)
    try:
        yield
    finally:
        if has_none and logging.lastResort:
            logging.root.removeHandler(logging.lastResort)
