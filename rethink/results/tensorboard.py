"""Writes the rows of a run as TensorBoard event files: scalars, without TensorFlow.

The record is metrics.jsonl; these files are a view of it and can be written again from it.
"""

import contextlib
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

_NAME = re.compile(r"events\.out\.tfevents\.(\d+)\..*")  # of an event file; with the time it was begun, seconds
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
            from tensorboardX.proto.event_pb2 import Event, SessionLog
            from tensorboardX.record_writer import RecordWriter

        Path(folder).mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names, which has to be that of the attempts even where the
        # clock was set back, or another machine's differs.
        now = time.time()
        begins = max(now, _find_last_time(Path(folder)))
        self._ahead = begins - now  # seconds
        self._file = RecordWriter(str(Path(folder) / f"events.out.tfevents.{int(begins):010d}.{socket.gethostname()}"))
        self._closed = False
        self._write_event(Event(wall_time=begins, file_version="brain.Event:2"))
        # It takes the first start in a folder for no restart, so that each attempt has to write one.
        hidden_from = first_step + 1 if first_step else 0
        start = SessionLog(status=SessionLog.START)
        self._write_event(Event(wall_time=begins, step=hidden_from, session_log=start))

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
        time_now = time.time() + self._ahead
        self._write_event(Event(wall_time=time_now, step=int(row["step"]), summary=Summary(value=values)))

    def _write_event(self, event: Any) -> None:
        self._file.write(event.SerializeToString())
        self._file.flush()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._file.close()


def _find_last_time(folder: Path) -> float:
    """Returns a time after that of all event files in a folder, by their names and their last change; 0 for none."""
    stamps = [(path, int(match[1])) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return max((max(stamp + 1, path.stat().st_mtime) for path, stamp in stamps), default=0.0)
