"""Runs tasks in this process; those that can share one compiled function are trained together.

How they are trained is not known here: `RunFunctions.run_group` does that.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from rethink.schema import validation
from rethink.sweeps.executors.sequential import run_sequentially
from rethink.sweeps.executors.tasks import RunFunctions, Task, TaskEvent, split_finished

# What may differ between the runs of a group, beside all of `corruption`: these reach the compiled function as data.
_PER_RUN_FIELDS = ("name", "seed")


def run_vmapped(tasks: Sequence[Task], jobs: int, functions: RunFunctions) -> Iterator[TaskEvent]:
    """Yields the start and the end of tasks, trained here, up to `jobs` of them together (0: all that can be).

    An interruption (KeyboardInterrupt) ends all.
    """
    finished, waiting = split_finished(tasks)
    yield from finished
    for group in group_tasks(waiting, jobs):
        if len(group) == 1:
            yield from run_sequentially(group, jobs, functions)
            continue
        yield from map(TaskEvent, group)
        results: Sequence[int | Exception]
        try:
            results = functions.run_group([(task.config, str(task.directory)) for task in group])
        except Exception as error:  # of the group as a whole
            results = [error] * len(group)
        for task, result in zip(group, results, strict=True):
            if isinstance(result, Exception):
                yield TaskEvent(task, error=result)
            else:
                yield TaskEvent(task, exit_code=result)


def group_tasks(tasks: Iterable[Task], size: int) -> list[list[Task]]:
    """Returns tasks in groups that can share one compiled function, of up to `size` tasks each; 0 sets no limit.

    The runs of a group differ in the seed and in how their data are corrupted, in nothing else. A task that is not
    training is a group of its own.
    """
    groups: list[list[Task]] = []
    open_groups: dict[str, list[Task]] = {}  # what the runs of a group have in common -> the group that still grows
    for task in tasks:
        fields = json.loads(validation.to_json(task.config))
        shared = {
            field: value
            for field, value in fields.items()
            if field not in _PER_RUN_FIELDS and not field.startswith("corruption.")
        }
        key = json.dumps(shared)
        group = open_groups.get(key)
        if group is None or task.config.kind != "train" or len(group) == size:
            open_groups[key] = group = []
            groups.append(group)
        group.append(task)
    return groups
