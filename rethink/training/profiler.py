"""Writes a profiler's trace of a few steps, for TensorBoard or Perfetto."""

import pathlib
from typing import Any

import jax


class Profiler:
    """Writes a trace of the steps from `first` to `last`; a context manager.

    A trace holds whole dispatches: the one that makes step `first`, or the second of the launch, and on to `last`.
    """

    def __init__(self, folder: pathlib.Path, first: int, last: int, launched_at: int):
        """Takes the steps to trace, and the step at which the launch begins."""
        self._folder, self._first, self._last = folder, first, last
        self._running = self._done = False
        self._step = launched_at

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._running:
            jax.profiler.stop_trace()

    def advance(self, step: int) -> None:
        """Starts or stops the trace; to be called after each dispatch, with the step that it ends at."""
        length, self._step = step - self._step, step
        if self._running and step >= self._last:
            jax.profiler.stop_trace()
            self._running, self._done = False, True
        elif not self._running and not self._done and step + length > self._first:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
