"""Owns the running of tasks in this process, one after the other.

Refuses to do anything at the same time: vmapped.py, processes.py and cluster.py do.
"""

from collections.abc import Iterator, Sequence

from rethink.sweeps.executors.tasks import Experiment, Task, TaskEvent


def run_sequentially(tasks: Sequence[Task], jobs: int, experiment: Experiment) -> Iterator[TaskEvent]:
    """Yields the news of tasks that run here; an interruption ends them all."""
    for task in tasks:
        yield TaskEvent(task)
        try:
            yield TaskEvent(task, exit_code=experiment.run(task.config, str(task.directory)))
        except Exception as error:
            yield TaskEvent(task, error=error)
