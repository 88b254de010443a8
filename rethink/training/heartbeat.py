"""The heartbeat of a run's processes: where one is lost or fails, the others end too, instead of waiting for ever.

A process whose peer is gone hangs in its next collective, so a thread ends it, with a message and its record written.
The first process watches all others, and they watch it; where it dies without a message, JAX ends them.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from rethink.training import distributed

EXIT_LOST = 75  # EX_TEMPFAIL of sysexits.h: try again later
BEAT_SECONDS = 1.0
DONE, FAILED = "done", "failed: "


class Heartbeat:
    """Watches the other processes while the `with` block lasts; does nothing where there are none."""

    def __init__(self, timeout_seconds: float, on_lost: Callable[[str], None]):
        """Sets what is watched for.

        Args:
          timeout_seconds: a process without a sign of life for so long is lost; time in which this one was itself
            suspended does not count.
          on_lost: called with the reason, from the watching thread, before this process is ended.
        """
        self._timeout, self._on_lost = timeout_seconds, on_lost
        self._leaving = threading.Event()
        self._last_text = DONE
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Heartbeat":
        if distributed.several_processes():
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: Any) -> None:
        if not self._thread.is_alive():
            return
        if isinstance(error, RuntimeError):
            # Most likely a collective that broke off: the thread finds out whose fault it is, and ends this process.
            self._thread.join(self._timeout + 2 * BEAT_SECONDS)
        if error is not None and not is_synchronized(error):
            self._last_text = f"{FAILED}{type(error).__name__}: {error}"
        self._leaving.set()
        self._thread.join()

    def _watch(self) -> None:
        reason = "its watch broke off"
        try:
            reason = self._watch_until_lost()
        except ConnectionError as error:
            reason = "" if self._leaving.is_set() else f"process 0 can't be reached ({error})"
        finally:
            if reason:
                self._end_process(
                    f"A process of this run was lost: {reason}. Start all again: the run resumes where it was saved."
                )

    def _watch_until_lost(self) -> str:
        """Returns which process is lost and why, "" when the block was left."""
        others = distributed.other_processes() if distributed.is_first() else [0]
        last_texts = {index: (0.0, "") for index in others}  # and for how many seconds each has not changed
        beat, now = 0, time.monotonic()
        while not self._leaving.is_set():
            beat += 1
            passed, now = min(time.monotonic() - now, 2 * BEAT_SECONDS), time.monotonic()  # more: it was suspended
            distributed.kv_set(str(beat))
            for index, (silence, last_text) in last_texts.items():
                text = distributed.kv_get(index)
                if text.startswith(FAILED):
                    return f"process {index} {text}"
                if text != last_text:
                    last_texts[index] = (0.0, text)
                    continue
                last_texts[index] = (silence + passed, text)
                if text != DONE and silence + passed > self._timeout:
                    return f"process {index} has not been heard of for {self._timeout:g} s"
            self._leaving.wait(BEAT_SECONDS)
        distributed.kv_set(self._last_text)
        return ""

    def _end_process(self, message: str) -> None:
        try:
            if distributed.is_first():
                distributed.kv_set(FAILED + message)
            self._on_lost(message)
            print(f"Error: {message}", file=sys.stderr, flush=True)
        finally:
            hard_exit(EXIT_LOST)  # the main thread may wait in a collective for ever


def is_synchronized(error: BaseException) -> bool:
    """Returns whether all processes of the run end with this error, or a counterpart of it."""
    return hasattr(error, "is_synchronized")


def hard_exit(exit_code: int) -> None:
    """Ends this process at once: JAX would wait for the others, which wait for this one in a collective."""
    if distributed.is_first():
        # The others read the reason through this process, and JAX kills them when it is gone.
        time.sleep(3 * BEAT_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
