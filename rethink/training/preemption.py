"""Signals that end a run early: SIGTERM, as schedulers send it, SIGINT, of Ctrl-C, and SIGHUP, of a closed terminal.

Nothing is saved here: the training loop asks `stop_requested` at each step, and saves.
"""

import signal
import threading
from types import FrameType
from typing import Any

from rethink.training import distributed

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal ended a run; `exit_code` is what a shell reports of it, 128 + its number."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def handled_signals() -> list[signal.Signals]:
    """Returns the signals to handle here: not SIGHUP where `nohup` started this process, which is to outlive it."""
    has_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNALS if number != signal.SIGHUP or not has_nohup]


class Signals:
    """Handles the signals while the `with` block lasts, in the main thread; in any other they stay as they are.

    A signal raises `Interrupted` at once. After `wait_for_steps` the first one is only noted, for `stop_requested` to
    report; a second one raises.
    """

    def __init__(self):
        self._waits_for_steps = False
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in handled_signals()}
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        waits = self._waits_for_steps and self._number is None
        self._number = number  # in any case: what is raised in a destructor is lost
        if not waits:
            raise Interrupted(number)

    def wait_for_steps(self) -> None:
        """From here on, the first signal waits for the end of a step."""
        self._waits_for_steps = True

    def stop_requested(self, together: bool) -> bool:
        """Returns whether a signal asks the run to stop; of several processes, whether one of them has got a signal.

        Args:
          together: whether all processes call this at the same step: only there do several exchange it.
        """
        if distributed.several_processes():
            return together and distributed.any_process(self._number is not None)
        return self._number is not None

    def interruption(self) -> Interrupted:
        """Returns what to raise when all processes stop together; of SIGTERM where another process got the signal."""
        interruption = Interrupted(self._number or signal.SIGTERM)
        interruption.is_synchronized = True  # type: ignore[attr-defined]
        return interruption
