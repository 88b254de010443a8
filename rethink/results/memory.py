"""A run that is recorded in memory, with the parts of a run directory; it can be written as one."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.results import files, records
from rethink.schema import validation


class MemoryRun(records.Run):
    """A run that writes no file before `save`."""

    in_memory = True

    def __init__(self, name: str, config: ConfigDict):
        """Begins the record of a run of this name."""
        flat = json.loads(validation.to_json(config))
        super().__init__(pathlib.Path(name), {"config": {}, "status": "new"}, flat, lambda: True)
        self._lines: dict[str, list[dict[str, Any]]] = {"metrics": [], "timings": []}
        self._arrays: dict[str, dict[str, np.ndarray]] = {}

    def update(self, **values: Any) -> None:
        """Sets fields of the manifest."""
        self.manifest.update(values)

    def append(self, row: Mapping[str, Any]) -> None:
        """Appends a row to the metrics, and its time to the timings."""
        self._lines["metrics"].append(dict(row))
        self._lines["timings"].append({"kind": row["kind"], "step": row["step"], "seconds": self.seconds()})

    def rows(self) -> list[dict[str, Any]]:
        """Returns the rows of the metrics."""
        return [dict(row) for row in self._lines["metrics"]]

    def save_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Keeps what would be NAME.npz."""
        self._arrays[name] = arrays

    def read_arrays(self, name: str, dtypes: Mapping[str, type]) -> list[np.ndarray]:
        """Returns arrays of what would be NAME.npz."""
        return [self._arrays[name][array] for array in dtypes]

    def save(self, record: records.Run) -> None:
        """Writes all of it into the directory of `record`, which is new, but for its end; see `finish`."""
        record.started = True
        for name, rows in self._lines.items():
            content = "".join(json.dumps(row) + "\n" for row in rows)
            files.replace(record.path(f"{name}.jsonl"), content.encode())
        for name, arrays in self._arrays.items():
            record.save_arrays(name, **arrays)

    def _drop_rows(self, step: int, evaluated: bool) -> None:
        """No earlier launch has written any."""
