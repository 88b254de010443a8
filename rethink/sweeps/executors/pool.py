"""Owns the running of several tasks at a time: who is next, what is told of each, and an end in which all are saved.

Refuses to start a process: a crew does, of this machine or of a cluster.
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
from rethink.sweeps.executors.tasks import SAVES, Task, TaskEvent, finished_exit_code
from rethink.training import preemption

POLL_SECONDS = 0.1
_log = logging.getLogger(__name__)


class WorkerPool(Protocol):
    """Runs tasks, each in a process of its own."""

    def room(self) -> bool:
        """Returns whether another task can start."""

    def busy(self) -> bool:
        """Returns whether a task is under way."""

    def start(self, task: Task) -> str:
        """Starts a task; returns what to tell of it."""

    def news(self) -> Iterable[TaskEvent]:
        """Returns what has happened since the last time."""

    def stop(self, kill: bool) -> None:
        """Tells all tasks to end, at once or when they are saved."""

    def close(self) -> None:
        """Ends what is under way, and waits for it."""


class SignalRecorder:
    """Notes SIGTERM and SIGINT while the `with` block lasts; elsewhere than in the main thread they stay as they are.

    Attributes:
      numbers: the signals that came.
    """

    def __init__(self):
        self.numbers: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "SignalRecorder":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in preemption.SIGNALS}
        self.listen()
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Takes the signals, again where others have taken them since."""
        for number in self._before:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.numbers.append(number)


def run_in_pool(tasks: Sequence[Task], gather: Callable[[int], WorkerPool]) -> Iterator[TaskEvent]:
    """Yields the news of tasks that a crew runs; nobody is gathered where all have ended before.

    Args:
      gather: number of tasks to run -> the crew.

    Raises:
      Interrupted: a signal came; what was under way is saved.
    """
    waiting = collections.deque[Task]()
    for task in tasks:
        exit_code = finished_exit_code(task)
        if exit_code is None:
            waiting.append(task)
        else:
            yield TaskEvent(task, f"done before: {task.directory}", exit_code)
    if not waiting:
        return
    with SignalRecorder() as told:
        try:
            crew = gather(len(waiting))
        except Exception as error:
            if told.numbers:  # which what was started to gather it heard too
                raise preemption.Interrupted(told.numbers[0]) from error
            raise
        told.listen()
        try:
            yield from _run(waiting, crew, told)
        finally:
            crew.close()
    if told.numbers:
        raise preemption.Interrupted(told.numbers[0])


def _run(waiting: collections.deque[Task], crew: WorkerPool, told: SignalRecorder) -> Iterator[TaskEvent]:
    heard = 0
    while waiting or crew.busy():
        while waiting and crew.room() and not told.numbers:
            task = waiting.popleft()
            try:
                yield TaskEvent(task, crew.start(task))
            except OSError as error:
                yield TaskEvent(task, error=UserError(f"it can't be started ({error})"))
        if len(told.numbers) > heard:
            if not heard:
                _log.warning("Told to end: the runs under way are saved first. A second time ends them at once.")
            heard = len(told.numbers)
            waiting.clear()
            crew.stop(kill=heard > SAVES)
        yield from crew.news()
        time.sleep(POLL_SECONDS)
