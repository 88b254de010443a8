"""Streams a data set that does not fit in memory: worker processes read and decode whole batches, in order.

The batches are host arrays as stored. They are corrupted, and moved to the devices, elsewhere.
"""

import contextlib
import gc
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker

import jax
import numpy as np
from absl import flags

from rethink.data.dataset import Split, SplitSource
from rethink.schema import output
from rethink.schema.errors import UserError

with output.no_new_handler():
    import grain

BUFFER = 2  # batches that each worker keeps ready, beside the one that it makes
SHARED_MEMORY = "/dev/shm"  # of Linux, through which workers hand over their batches


class BatchSource:
    """A sequence of batches that grain can index from any process: batch i holds the rows `rows_of(first + i)`.

    `split` and `rows_of` must be picklable.
    """

    def __init__(self, split: SplitSource, rows_of: Callable[[int], np.ndarray], first: int, last: int):
        self._split = split
        self._rows_of = rows_of
        self._first = first
        self._last = last

    def __len__(self) -> int:
        return self._last - self._first

    def __getitem__(self, index: int) -> Split:
        return self._split.read(self._rows_of(self._first + index))


def check_shared_memory(image_bytes: int, examples: int) -> None:
    """Checks that what workers keep ready has room in shared memory, where a lack of it would end them unnamed.

    Args:
      image_bytes: of one image; examples: in one batch of every worker that is at work at a time.

    Raises:
      UserError: there is less.
    """
    if not examples or not os.path.isdir(SHARED_MEMORY):
        return
    needed = (BUFFER + 1) * examples * (image_bytes + 8)  # label int32, id uint32
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        raise UserError(
            f"The workers of a streamed feed need {needed / 2**20:.1f} MiB of shared memory, and {SHARED_MEMORY} has "
            f"{free / 2**20:.1f} MiB: give it more (docker run --shm-size=2g), or set --config.data.workers=0 or "
            "smaller batches (train.batch_size, evaluate.batch_size)."
        )


def stream_batches(
    split: SplitSource, rows_of: Callable[[int], np.ndarray], *, first: int, last: int, workers: int
) -> Generator[Split, None, None]:
    """Yields batches `first` to `last` (exclusive), in order, decoded ahead of need.

    Args:
      split: where to read; picklable.
      rows_of: number of a batch -> its rows of `split`, int [batch]; picklable.
      workers: processes; 0 decodes in a thread of this one.

    Source: Grain, as configured here.
    """
    if not flags.FLAGS.is_parsed():  # grain reads flags of its own; a library's user has none
        flags.FLAGS.mark_as_parsed()
    # Each worker keeps BUFFER batches ready; without workers, a thread of this process does.
    source = grain.MapDataset.source(BatchSource(split, rows_of, first, last))
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=BUFFER)
        read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        batches = iter(source.to_iter_dataset(read).mp_prefetch(options, _start_worker))
    else:
        batches = iter(source.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=BUFFER)))
    batch = None
    try:
        # The first batch starts the workers.
        with _without_interrupts():
            batch = next(batches, None)
        while batch is not None:
            yield Split(*(np.array(array) for array in batch))  # copied out of the memory shared with the worker
            batch = next(batches, None)
    finally:
        batches.close()
        if workers:
            del batches, batch
            _free_shared_memory()


def _start_worker(index: int, count: int) -> None:
    """Keeps a worker off the accelerators, as it only draws the order, and makes it end with its parent process.

    Grain's workers would outlive a parent that is killed, and wait for it to take their batches. When the last of them
    has ended, Python's resource tracker frees the shared memory.
    """
    jax.config.update("jax_platforms", "cpu")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Waits for the parent process to end, then ends this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _free_shared_memory() -> None:
    """Waits until the batches that were read are freed, so that a process that ends now leaves none of them behind."""
    gc.collect()  # the last ones are in a cycle
    # Grain frees in threads of its own and offers no way to wait for them: tasks put behind what is queued there.
    threads = getattr(grain.multiprocessing.SharedMemoryArray, "_del_thread_pool", None)
    if threads:
        threads.map(time.sleep, [0.01] * 8, chunksize=1)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Blocks Ctrl-C, SIGTERM and SIGHUP in the body, so that the workers that start there never receive them.

    Terminals and schedulers send these signals to workers too, but this process may need its workers for its last
    steps, and ends them itself. A new process inherits the blocked signals; this one receives them after the body.
    """
    resource_tracker.ensure_running()  # it lets signals through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
