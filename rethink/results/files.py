"""Writes the files of a run directory, whole or by whole lines, under a lock; and recognizes a disk that is full.

What the files hold is not known here.
"""

import contextlib
import errno
import fcntl
import functools
import json
import math
import os
import pathlib
import resource
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rethink.schema.errors import UserError

LOCK = "lock"
LEAST_FILES, MANY_FILES = 128, 4096  # open at a time; a streamed feed opens every shard
ENOUGH_BYTES = 2**26  # a disk with so much left is not full
_FULL_OR_LOCKED = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM)  # seen at the folder too, or it is not meant
_LIMITED = (errno.EDQUOT, errno.EFBIG)  # of this user or process, where the disk itself has room


def raise_file_limit() -> None:
    """Lets this process, and those that it starts, hold as many files open as the system allows it.

    Raises:
      UserError: these are too few for a run.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < LEAST_FILES:
        raise UserError(
            f"A process may hold {wanted} files open here, which are too few, and only the system's administrator can "
            f"raise that limit: 'hard nofile {MANY_FILES}' in /etc/security/limits.conf and a new login, or of a "
            f"container --ulimit nofile={MANY_FILES}; or start a new shell, where a ulimit -n in this one lowered it."
        )


@contextlib.contextmanager
def lock(folder: pathlib.Path) -> Iterator[Callable[[], bool]]:
    """Locks the directory against other writers; the kernel unlocks it when the process dies, so no lock is stale.

    Yields a function: whether the directory is still in its place, neither removed nor moved nor replaced by another.

    Raises:
      UserError: another process holds it.
    """
    with open(folder / LOCK, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"--workdir={folder} is in use by {file.read().strip() or 'another process'}: "
                "wait for it, or choose another --workdir."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield functools.partial(_is_file_at, folder / LOCK, file.fileno())


def remove_empty(paths: Iterable[pathlib.Path]) -> None:
    """Removes lock files, and folders that hold nothing, in the order that they are given; others stay."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink() if path.name == LOCK else path.rmdir()


def _is_file_at(path: pathlib.Path, descriptor: int) -> bool:
    """Returns whether the file that a descriptor has open lies at a path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


def no_room(error: BaseException | None, folder: pathlib.Path) -> str:
    """Returns the system's words if an error comes of a disk that is full or can't be written, "" if it doesn't.

    Another disk than the folder's may be full, such as the memory that worker processes share.
    """
    is_sound = shutil.disk_usage(folder).free > ENOUGH_BYTES and os.access(folder, os.W_OK)
    while error is not None and not isinstance(error, UserError):
        for number in _LIMITED if is_sound else _LIMITED + _FULL_OR_LOCKED:
            words = os.strerror(number)
            # The libraries that write checkpoints pass the words on in errors of their own.
            if getattr(error, "errno", None) == number or words in str(error):
                return words
        error = error.__cause__ or error.__context__
    return ""


def append_line(path: pathlib.Path, row: Mapping[str, Any]) -> None:
    """Appends a JSON object as a line, or nothing where there is no room for all of it."""
    append(path, (json.dumps(row) + "\n").encode())


def append(path: pathlib.Path, content: bytes) -> None:
    """Appends bytes to a file, or nothing where there is no room for all of them."""
    with open(path, "ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(before)
            raise


def write_json(path: pathlib.Path, value: Any) -> None:
    """Replaces a file by a value as JSON; numbers that it does not have, infinite ones and NaN, become null."""
    replace(path, (json.dumps(_finite(value), indent=2, allow_nan=False) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def replace(path: pathlib.Path, content: bytes) -> None:
    """Replaces a file whole: readers see the old content or the new. One draft's name, as there is one writer."""
    draft = path.with_name(f".{path.name}")
    try:
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
