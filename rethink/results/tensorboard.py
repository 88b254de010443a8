"""Writes the rows of a run as TensorBoard event files: scalars, without TensorFlow.

The record is metrics.jsonl; these files are a view of it and can be written again from it.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

AXES = ("step", "epoch")  # where a point lies, not what was measured there


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Hides PyTorch from the imports of the block: tensorboardX imports it where it is installed, for nothing here."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # to Python this is a module that is not there
    try:
        yield
    finally:
        del sys.modules["torch"]


class EventWriter:
    """Writes rows to a new event file in `folder`; on disk when `write` returns, with no thread behind it."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        """
        Args:
          folder: made where it is missing; event files of earlier attempts stay.
          first_step: the step the run starts from. The points that earlier attempts wrote after it are hidden; a run
            that starts from 0 hides them all.
        """
        # The record writer itself: `SummaryWriter` puts a thread and a process queue before it, and names its files by
        # the second, so that a run resumed within one overwrites the file of the attempt before.
        with _without_torch():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

        Path(folder).mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names, so the suffix has to grow with time.
        self._file = EventsWriter(str(Path(folder) / "events"), filename_suffix=f".{time.time_ns():020d}")
        self._closed = False
        # It takes the first start in a folder for no restart, so that each attempt has to write one.
        hidden_from = first_step + 1 if first_step else 0
        start = SessionLog(status=SessionLog.START)
        self._file.write_event(Event(wall_time=time.time(), step=hidden_from, session_log=start))
        self._file.flush()

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes every number of `row` as the scalar `<kind>/<field>` at the row's step; null and text have none."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=f"{row['kind']}/{field}", simple_value=float(value))
            for field, value in row.items()
            if field not in AXES and isinstance(value, Real)
        ]
        self._file.write_event(Event(wall_time=time.time(), step=int(row["step"]), summary=Summary(value=values)))
        self._file.flush()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._file.close()
