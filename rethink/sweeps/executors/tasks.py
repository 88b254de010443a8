"""What a sweep and its executors hand to each other: tasks, the functions that run them, and events.

Nothing is run and nothing is printed here.
"""

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink.experiment.network import check_program
from rethink.results import records
from rethink.schema import validation
from rethink.schema.errors import UserError, exit_code_of_status


class Task(NamedTuple):
    """A run to be run: its name in the sweep, its config, its directory as an absolute path."""

    name: str
    config: ConfigDict
    directory: pathlib.Path

    @property
    def log(self) -> pathlib.Path:
        """The file that takes what the run prints, where it has a process of its own."""
        return self.directory.parent / "logs" / f"{self.directory.name}.log"


class TaskEvent(NamedTuple):
    """The start of a run, or its end.

    Attributes:
      note: a line to print; "" where the run prints its own.
      exit_code: None where the run has not ended, or failed.
      error: why it failed.
    """

    task: Task
    note: str = ""
    exit_code: int | None = None
    error: Exception | None = None


class RunFunctions(NamedTuple):
    """How to run a config; a sweep is handed these, as it does not know what a run computes.

    Attributes:
      run_one: (config, directory) -> exit code.
      writes: whether this process is the one that writes files.
    """

    run_one: Callable[[ConfigDict, str], int]
    writes: bool = True


Executor = Callable[[Sequence[Task], int, RunFunctions], Iterator[TaskEvent]]  # (tasks, jobs, functions) -> events


def split_finished(tasks: Sequence[Task]) -> tuple[list[TaskEvent], list[Task]]:
    """Returns (the events of tasks that were finished before, the other tasks), each in the order of `tasks`.

    A damaged run, or one of another config, counts as not finished: the run itself then names what is wrong.
    """
    events, waiting = [], []
    for task in tasks:
        path, exit_code = task.directory / "manifest.json", None
        with contextlib.suppress(UserError):
            exit_code = exit_code_if_finished(task, records.read_manifest(path)) if path.exists() else None
        if exit_code is None:
            waiting.append(task)
        else:
            events.append(TaskEvent(task, f"done before: {task.directory}", exit_code))
    return events, waiting


def exit_code_if_finished(task: Task, manifest: Mapping[str, Any]) -> int | None:
    """Returns the exit code of a run by its manifest, None where it has not reached the end that its config sets.

    One whose network is another one now has not: the run itself then names what has changed.
    """
    with contextlib.suppress(UserError):
        if is_finished(manifest, task.config):
            check_program(manifest, task.directory)
            return exit_code_of_status(manifest["status"])
    return None


def is_finished(manifest: Mapping[str, Any], config: ConfigDict) -> bool:
    """Returns whether a manifest is that of a run of this config that has reached the end which the config sets."""
    new_config = json.loads(validation.to_json(config))
    return records.is_finished(manifest, new_config) and not validation.changed_fields(config, manifest["config"])
