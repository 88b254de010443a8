"""Owns what passes between a table and that which runs it: tasks, the functions that make them, the news of them.

Refuses to run anything, and to print.
"""

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink.results import records
from rethink.schema import validation
from rethink.schema.errors import EXIT_DIVERGED, EXIT_DONE, UserError

SAVES = 2  # a signal or two are waited for by a run that ends; a third one is not
RETRIES = 2  # of a run whose process was killed; it goes on from its last checkpoint


class Task(NamedTuple):
    """A run to make: its name in the table, its config, its directory, absolute."""

    name: str
    config: ConfigDict
    directory: pathlib.Path

    @property
    def log(self) -> pathlib.Path:
        """The file that takes what the run prints, where it has a process of its own."""
        return self.directory.parent / "logs" / f"{self.directory.name}.log"


class TaskEvent(NamedTuple):
    """That a run began, or how it ended.

    Attributes:
      note: to be shown; "" where the run shows itself.
      exit_code: exit code; None where it has not ended, or failed.
      error: why it failed.
    """

    task: Task
    note: str = ""
    exit_code: int | None = None
    error: Exception | None = None


class Experiment(NamedTuple):
    """What a table is handed, as it knows no experiment.

    Attributes:
      run: (config, directory) -> exit code; one run.
      run_group: runs of one program, each (config, directory) -> exit code of each, or why it failed.
      check: raises UserError where a config can't be that of a run.
      writes: whether this process is the one that writes.
    """

    run: Callable[[ConfigDict, str], int]
    run_group: Callable[[Sequence[tuple[ConfigDict, str]]], list[int | Exception]]
    check: Callable[[ConfigDict], None]
    writes: bool = True


Executor = Callable[[Sequence[Task], int, Experiment], Iterator[TaskEvent]]


def finished_exit_code(task: Task) -> int | None:
    """Returns the exit code of a run that has come to the end that is asked for, None of one that is to be made.

    What is damaged or belongs to another config is to be made: the run itself says what is wrong.
    """
    path = task.directory / "manifest.json"
    with contextlib.suppress(UserError):
        return exit_code_if_finished(records.read_manifest(path), task.config) if path.exists() else None
    return None


def exit_code_if_finished(manifest: Mapping[str, Any], config: ConfigDict) -> int | None:
    """Returns the exit code of the run of a manifest, None where it is not at the end that `config` asks for."""
    now = json.loads(validation.to_json(config))
    if records.is_finished(manifest, now) and not validation.changed_fields(config, manifest["config"]):
        return EXIT_DIVERGED if manifest["status"] == "diverged" else EXIT_DONE
    return None
