"""Runs several tasks at a time in a pool of worker processes, and on a signal lets all of them save before the end.

No process is started here: a pool does that, on this machine (processes.py) or on a cluster (ray.py).
"""

import collections
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol

from rethink.schema.errors import UserError
from rethink.sweeps.executors.tasks import Task, TaskEvent, split_finished
from rethink.training import preemption

POLL_SECONDS = 0.1
SIGNALS_PASSED_ON = 2  # the first lets a run save, the second ends it without; one more kills its process
_log = logging.getLogger(__name__)


class WorkerPool(Protocol):
    """Runs tasks, each in a process of its own."""

    def has_capacity(self) -> bool:
        """Returns whether another task can start."""

    def is_busy(self) -> bool:
        """Returns whether a task is under way."""

    def start(self, task: Task) -> str:
        """Starts a task; returns a note to print."""

    def poll_events(self) -> Iterable[TaskEvent]:
        """Returns what has happened since the last call."""

    def stop(self, kill: bool) -> None:
        """Passes a signal on to all tasks, or kills their processes."""

    def close(self) -> None:
        """Ends what is under way, and waits for it."""


class SignalRecorder:
    """Records SIGTERM, SIGINT and SIGHUP while the `with` block lasts.

    Outside of the main thread, where Python can't take signals, it does nothing.

    Attributes:
      signals: the numbers of those that came, oldest first.
    """

    def __init__(self):
        self.signals: list[int] = []
        self._handlers_before: dict[int, Any] = {}

    def __enter__(self) -> "SignalRecorder":
        if threading.current_thread() is threading.main_thread():
            self._handlers_before = {number: signal.getsignal(number) for number in preemption.handled_signals()}
        self.install_handlers()
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)

    def install_handlers(self) -> None:
        """Takes the signals; to be called again after code that may have taken them for itself."""
        for number in self._handlers_before:
            signal.signal(number, self._record)

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(number)


def run_in_pool(tasks: Sequence[Task], make_pool: Callable[[int], WorkerPool]) -> Iterator[TaskEvent]:
    """Yields the events of tasks that a pool runs; no pool is made where all tasks were finished before.

    Args:
      make_pool: number of tasks to run -> the pool.

    Raises:
      Interrupted: a signal came; what was under way is saved.
    """
    finished, unfinished = split_finished(tasks)
    yield from finished
    if not unfinished:
        return
    with SignalRecorder() as recorder:
        try:
            pool = make_pool(len(unfinished))
        except Exception as error:
            # A signal reaches the processes that start the pool too: it is then why they failed.
            if recorder.signals:
                raise preemption.Interrupted(recorder.signals[0]) from error
            raise
        recorder.install_handlers()
        try:
            yield from _run_tasks(collections.deque(unfinished), pool, recorder)
        finally:
            pool.close()
    if recorder.signals:
        raise preemption.Interrupted(recorder.signals[0])


def _run_tasks(waiting: collections.deque[Task], pool: WorkerPool, recorder: SignalRecorder) -> Iterator[TaskEvent]:
    """Yields the events of tasks until all have ended, or after a signal those under way."""
    handled = 0  # signals
    while waiting or pool.is_busy():
        # Start what there is room for.
        while waiting and pool.has_capacity() and not recorder.signals:
            task = waiting.popleft()
            try:
                yield TaskEvent(task, pool.start(task))
            except OSError as error:
                yield TaskEvent(task, error=UserError(f"it can't be started ({error})"))
        # Pass new signals on.
        if len(recorder.signals) > handled:
            if not handled:
                _log.warning("Interrupted: the runs under way are saved first. A second signal ends them at once.")
            handled = len(recorder.signals)
            waiting.clear()
            pool.stop(kill=handled > SIGNALS_PASSED_ON)
        yield from pool.poll_events()
        time.sleep(POLL_SECONDS)
