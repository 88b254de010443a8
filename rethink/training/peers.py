"""Owns the watch over the other processes of a run: each says that it is alive, and a lost one ends the others.

Refuses to wait for what will never come: a process whose peer has died hangs in its next collective. It is ended from a
thread of its own, with a message and whatever is to be recorded. Where the first process dies, JAX ends the others.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from rethink.training import parallel

EXIT_LOST = 75  # EX_TEMPFAIL of sysexits.h: try again later
BEAT_SECONDS = 1.0
DONE = "done"


class Peers:
    """Watches the other processes while the `with` block lasts; does nothing where there are none."""

    def __init__(self, timeout_seconds: float, at_loss: Callable[[str], None]):
        """Sets what is watched for.

        Args:
          timeout_seconds: a process that has not been heard of for so long is lost.
          at_loss: called with the reason, from the watching thread, before this process is ended.
        """
        self._timeout, self._at_loss = timeout_seconds, at_loss
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peers":
        if parallel.several_processes():
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        if not self._thread.is_alive():
            return
        if kind is not None and issubclass(kind, RuntimeError):
            # A collective that broke off, most likely: the watch finds out whose fault it is, and ends this process.
            self._thread.join(self._timeout + 2 * BEAT_SECONDS)
        self._leaving.set()
        self._thread.join()

    def _watch(self) -> None:
        heard = {index: (time.monotonic(), "") for index in parallel.other_processes()}
        beat = 0
        while True:
            beat += 1
            try:
                parallel.tell_others(DONE if self._leaving.is_set() else str(beat))
                if self._leaving.is_set():
                    return
                for index, (since, before) in heard.items():
                    now = parallel.hear_from(index)
                    if now in (before, "") and now != DONE and time.monotonic() - since > self._timeout:
                        self._end(f"process {index} has not been heard of for {self._timeout:g} s")
                    elif now != before:
                        heard[index] = (time.monotonic(), now)
            except ConnectionError as error:
                if not self._leaving.is_set():
                    self._end(f"process 0 can't be reached ({error})")
                return
            self._leaving.wait(BEAT_SECONDS)

    def _end(self, reason: str) -> None:
        message = (
            f"A process of this run was lost: {reason}. Start all of them again: the run goes on where it was saved."
        )
        self._at_loss(message)
        print(f"Error: {message}", file=sys.stderr, flush=True)
        os._exit(EXIT_LOST)  # the main thread may wait in a collective for ever
