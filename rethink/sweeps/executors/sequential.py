"""Runs tasks in this process, one after the other."""

from collections.abc import Iterator, Sequence

from rethink.sweeps.executors.tasks import RunFunctions, Task, TaskEvent


def run_sequentially(tasks: Sequence[Task], jobs: int, functions: RunFunctions) -> Iterator[TaskEvent]:
    """Yields the start and the end of each task, which is run here; an interruption (KeyboardInterrupt) ends all."""
    for task in tasks:
        yield TaskEvent(task)
        try:
            yield TaskEvent(task, exit_code=functions.run_one(task.config, str(task.directory)))
        except Exception as error:  # the other tasks are still run
            yield TaskEvent(task, error=error)
