"""A run that is recorded in memory, with the parts of a run directory; it can be written as one."""

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.results import example_history, files, records
from rethink.results.presentations import Presentations
from rethink.schema import validation


class MemoryRun(records.Run):
    """A run that writes no file before `save`."""

    in_memory = True

    def __init__(self, name: str, config: ConfigDict):
        """Begins the record of a run of this name."""
        flat = json.loads(validation.to_json(config))
        super().__init__(pathlib.Path(name), {"config": {}, "status": "new"}, flat, lambda: True)
        self._lines: dict[str, list[dict[str, Any]]] = {"metrics": [], "timings": []}
        self._examples: dict[str, tuple[int, list[np.ndarray]]] = {}
        self._arrays: dict[str, dict[str, np.ndarray]] = {}
        self._tables: dict[str, tuple[Sequence[str], list[Sequence[Any]]]] = {}

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

    def append_examples(self, split: str, step: int, num_classes: int, examples: Any) -> None:
        """Keeps what an evaluation saw of each example of a split."""
        _, rows = self._examples.setdefault(split, (num_classes, []))
        rows.append(example_history.make_row(step, num_classes, examples))

    def example_rows(self, split: str) -> np.ndarray | None:
        """Returns what `append_examples` kept of a split, structured [evaluations]; None where nothing was."""
        return np.stack(self._examples[split][1]) if split in self._examples else None

    def presentations(self) -> Presentations | None:
        """Returns what training saw of each training example; None where that is not kept."""
        arrays = self._arrays.get("presentations")
        return Presentations(**arrays) if arrays else None

    def save_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Keeps what would be NAME.npz."""
        self._arrays[name] = arrays

    def save_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Keeps what would be a CSV file."""
        self._tables[name] = header, list(rows)

    def read_table(self, name: str) -> list[dict[str, str]]:
        """Returns the rows of what would be a CSV file."""
        header, rows = self._tables.get(name, ((), []))
        return [dict(zip(header, map(str, row), strict=True)) for row in rows]

    def read_arrays(self, name: str, dtypes: Mapping[str, type]) -> list[np.ndarray]:
        """Returns arrays of what would be NAME.npz."""
        return [self._arrays[name][array] for array in dtypes]

    def save(self, record: records.Run) -> None:
        """Writes all of it but the manifest into the directory of `record`, which is new."""
        record.started = True
        for name, rows in self._lines.items():
            content = "".join(json.dumps(row) + "\n" for row in rows)
            files.replace(record.path(f"{name}.jsonl"), content.encode())
        for split, (num_classes, examples) in self._examples.items():
            for row in examples:
                example_history.append_row(record.path(example_history.FILE.format(split=split)), num_classes, row)
        for name, arrays in self._arrays.items():
            record.save_arrays(name, **arrays)
        for name, table in self._tables.items():
            record.save_table(name, *table)

    def _drop_rows(self, step: int, evaluated: bool) -> None:
        """No earlier launch has written any."""
