"""Owns the running of tasks in this process, those that share a program together, as one program over all of them.

Refuses to know how they are trained: it is handed the function that does.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from rethink.schema import validation
from rethink.sweeps.executors.sequential import run_sequentially
from rethink.sweeps.executors.tasks import Experiment, Task, TaskEvent, finished_exit_code

# What may differ between the runs of a group, beside all of `corruption`: the program takes it with the data.
_PER_RUN_FIELDS = ("name", "seed")


def run_vmapped(tasks: Sequence[Task], jobs: int, experiment: Experiment) -> Iterator[TaskEvent]:
    """Yields the news of tasks that are trained here, up to `jobs` together; an interruption ends them all."""
    ended = {task.name: finished_exit_code(task) for task in tasks}
    for task in tasks:
        if ended[task.name] is not None:
            yield TaskEvent(task, f"done before: {task.directory}", ended[task.name])
    for group in group_tasks([task for task in tasks if ended[task.name] is None], jobs):
        if len(group) == 1:
            yield from run_sequentially(group, jobs, experiment)
            continue
        for task in group:
            yield TaskEvent(task)
        try:
            ends = experiment.run_group([(task.config, str(task.directory)) for task in group])
        except Exception as error:
            ends = [error] * len(group)
        for task, end in zip(group, ends, strict=True):
            yield TaskEvent(task, error=end) if isinstance(end, Exception) else TaskEvent(task, exit_code=end)


def group_tasks(tasks: Iterable[Task], size: int) -> list[list[Task]]:
    """Returns tasks that share a program together, up to `size` of them, all with 0; each other one by itself.

    They differ in the seed, and in how their data are corrupted.
    """
    groups: list[list[Task]] = []
    growing: dict[str, list[Task]] = {}
    for task in tasks:
        leaves = json.loads(validation.to_json(task.config))
        apart = [field for field in leaves if field in _PER_RUN_FIELDS or field.startswith("corruption.")]
        program = json.dumps({field: value for field, value in leaves.items() if field not in apart})
        group = growing.get(program)
        if group is None or task.config.kind != "train" or len(group) == size:
            growing[program] = group = []
            groups.append(group)
        group.append(task)
    return groups
