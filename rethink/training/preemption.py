"""Owns the ways a run is told to end before its end: SIGTERM, as schedulers send it, and SIGINT, Ctrl-C.

Refuses to save and to decide what an interrupted run leaves: it says that one was asked for, and how it ended.
"""

import signal
import threading
from types import FrameType
from typing import Any

from rethink.training import distributed

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """A run was told to end; `exit_code` is what a shell reports of the signal: 143 for SIGTERM, 130 for SIGINT."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Signals:
    """Takes the signals while the `with` block lasts; elsewhere than in the main thread they stay as they are.

    A signal raises `Interrupted` at once, but where the block is `patient`: there the first one is only noted, and
    raises when it is asked for. A second one never waits.
    """

    def __init__(self):
        self._patient = False
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._patient or self._number is not None:
            raise Interrupted(number)
        self._number = number

    def wait_for_steps(self) -> None:
        """From here on, the first signal waits until it is asked for."""
        self._patient = True

    def stop_requested(self, together: bool) -> bool:
        """Returns whether any process was told to end.

        Args:
          together: whether all processes ask at this point; only there do several ones tell each other.
        """
        if distributed.several_processes():
            return together and distributed.any_process(self._number is not None)
        return self._number is not None

    def interruption(self) -> Interrupted:
        """Returns what to raise when all processes have agreed to end; of SIGTERM where another one was told."""
        agreed = Interrupted(self._number or signal.SIGTERM)
        agreed.is_synchronized = True  # type: ignore[attr-defined]
        return agreed
