"""Owns the running of tasks in this process, one after the other.

Refuses to do anything at the same time: vmapped.py, processes.py and cluster.py do.
"""

from collections.abc import Iterator, Sequence

from rethink.executors.tasks import Experiment, News, Task


def run_in_turn(tasks: Sequence[Task], jobs: int, experiment: Experiment) -> Iterator[News]:
    """Yields the news of tasks that run here; an interruption ends them all."""
    for task in tasks:
        yield News(task)
        try:
            yield News(task, status=experiment.run(task.config, str(task.directory)))
        except Exception as error:
            yield News(task, error=error)
