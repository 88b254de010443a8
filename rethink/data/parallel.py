"""Decodes on all cores, in order, and shows how far it is where that takes a while."""

import collections
import concurrent.futures
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

CHUNK = 64  # items that a thread takes at a time: small images are decoded faster than threads change
SECONDS_TO_SHOW = 1.0  # what ends before is not shown
LINE_SECONDS = 30.0  # without a terminal, a line this often

T = TypeVar("T")
Item = TypeVar("Item")

_log = logging.getLogger(__name__)


def count_cores() -> int:
    """Returns how many cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(function: Callable[[Item], T], items: Iterable[Item], *, total: int, label: str) -> Iterator[T]:
    """Yields `function` of each item, in their order, computed by as many threads as there are cores.

    Threads gain where the function leaves Python, as Pillow does while it decodes. The items are drawn in this thread.

    Args:
      total: how many items there are; label: what is done, for the screen.
    """
    items, cores, done = iter(items), count_cores(), 0
    chunks = iter(lambda: list(itertools.islice(items, CHUNK)), [])
    running: collections.deque[concurrent.futures.Future[list[T]]] = collections.deque()

    def map_chunk(chunk: list[Item]) -> list[T]:
        return [function(item) for item in chunk]

    pool = concurrent.futures.ThreadPoolExecutor(cores)
    with show_progress(label, total) as report:
        try:
            for chunk in itertools.chain(chunks, itertools.repeat(None)):
                if chunk is not None:
                    running.append(pool.submit(map_chunk, chunk))
                if not running:
                    break
                if chunk is None or len(running) > 2 * cores:
                    results = running.popleft().result()
                    done += len(results)
                    report(done)
                    yield from results
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def show_progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that shows how many items are done: as a bar on a terminal, else as a line now and then."""
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=total)
    start = last = time.monotonic()

    def report(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        bar.update(task, completed=done)
        if now - start < SECONDS_TO_SHOW:
            return
        if bar.console.is_terminal:
            bar.start()
        elif now - last >= LINE_SECONDS:
            last = now
            _log.info("%s  %s/%s", label, f"{done:,}", f"{total:,}")

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()
