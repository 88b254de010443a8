"""Owns the live view of a computation in stages: a bar a stage on a terminal, plain lines elsewhere.

Refuses to know what is computed: it is told stage, done and total.
"""

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import TextIO

from rich import progress as bars
from rich.console import Console

from rethink.results import progress


class StageProgress:
    """Shows stages while the `with` block lasts, and leaves the terminal in order however the block ends."""

    def __init__(self, header: Mapping[str, str], stream: TextIO | None = None) -> None:
        """Takes the header, which says what is computed from what; `stream` None is `sys.stdout`."""
        stream = sys.stdout if stream is None else stream
        self._console = Console(file=stream, highlight=False)
        self._plain = None if progress.is_terminal(self._console, stream) else stream
        self._header = dict(header)
        self._tasks: dict[str, bars.TaskID] = {}
        self._started: dict[str, float] = {}
        self._last_line = -math.inf
        columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.TaskProgressColumn())
        self._bars = bars.Progress(*columns, bars.TimeElapsedColumn(), console=self._console)

    def __enter__(self) -> "StageProgress":
        if self._plain:
            self._write("\n".join(f"{key}: {value}" for key, value in self._header.items()))
        else:
            self._console.print(progress.panel(self._header.items()))
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._plain:
            self._bars.stop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the terminal to another view while the `with` block lasts."""
        if not self._plain:
            self._bars.stop()
        try:
            yield
        finally:
            if not self._plain:
                self._bars.start()

    def report(self, stage: str, done: int, total: int) -> None:
        """Shows that `done` parts of `total` of a stage are done; the first report of a stage begins it."""
        now = monotonic()
        begun = self._started.setdefault(stage, now)
        if not self._plain:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total)
            self._bars.update(self._tasks[stage], completed=done, total=total)
        elif done >= total or now - self._last_line >= progress.LINE_SECONDS:
            self._last_line = now
            left = f"  left {progress.duration((now - begun) / done * (total - done))}" if 0 < done < total else ""
            self._write(f"{stage}  {done:,}/{total:,}  {progress.duration(now - begun)}{left}")

    def note(self, text: str) -> None:
        """Prints a line above the bars, as it is."""
        if self._plain:
            self._write(text)
        else:
            self._console.print(text, markup=False)

    def _write(self, text: str) -> None:
        print(text, file=self._plain, flush=True)
