"""What a run needs of the process that it runs in, as a guest of a user's program: set while it is at work only."""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

from ml_collections import ConfigDict

from rethink import jax_options
from rethink.schema import output
from rethink.training import checkpoints, distributed

_lock = threading.Lock()
_shared: list[contextlib.ExitStack] = []  # of the first thread that is at work, once for each that is


@contextlib.contextmanager
def as_guest(hardware: ConfigDict) -> Iterator[None]:
    """Sets what a run computes by while the block lasts; what all threads share is as before when the last has left.

    Args:
      hardware: the config section.

    Raises:
      UserError: as `distributed.initialize_guest`.
    """
    distributed.initialize_guest(hardware)
    with _lock:
        stack = _shared[0] if _shared else contextlib.ExitStack()
        if not _shared:
            stack.enter_context(jax_options.fixed_flax())
            stack.enter_context(_kept_logging())
        _shared.append(stack)
    try:
        with jax_options.fixed_in_thread():
            yield
    finally:
        with _lock:
            _shared.pop()
            if not _shared:
                stack.close()


@contextlib.contextmanager
def _kept_logging() -> Iterator[None]:
    """Leaves handlers, filters and the hook of errors as they were, which Orbax and `Checkpoints` change."""
    absl = logging.getLogger("absl")
    filters, hook = list(absl.filters), sys.unraisablehook
    try:
        with output.no_new_handler():
            yield
    finally:
        absl.filters[:], sys.unraisablehook = filters, hook
        checkpoints.silence_echoes.cache_clear()
