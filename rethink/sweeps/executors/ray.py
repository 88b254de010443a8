"""Runs tasks on a cluster, by Ray: each task starts a process on some machine, as processes.py does on this one.

Ray is an extra, imported only when config.executor is 'ray'. The sweep's directory must lie on a file system that all
machines share, with this package and Python at the same place on each.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rethink.schema.errors import UserError
from rethink.sweeps.executors import pool, worker_process
from rethink.sweeps.executors.processes import CORES_PER_PROCESS
from rethink.sweeps.executors.tasks import RunFunctions, Task, TaskEvent

CLOSE_SECONDS = 30.0
_INHERITED = ("JAX_", "XLA_")  # beginnings of the environment variables that are set on all machines


def run_on_ray(tasks: Sequence[Task], jobs: int, functions: RunFunctions) -> Iterator[TaskEvent]:
    """Yields the events of tasks of which Ray is given `jobs` at a time (0: as many as it runs); see `run_in_pool`.

    The cluster is that of RAY_ADDRESS; without it, one of this machine's cores and GPUs is started.
    """
    return pool.run_in_pool(tasks, lambda count: RayPool(jobs))


class RayPool:
    """Submits tasks to Ray."""

    def __init__(self, jobs: int):
        """Connects to the cluster; `jobs` as in the config.

        Raises:
          UserError: Ray is not installed, or there is no cluster at RAY_ADDRESS.
        """
        self._ray = _connect()
        self._jobs = jobs
        self._tasks: dict[Any, Task] = {}  # Ray's reference to the result -> its task
        self._stopping = False
        make_remote = self._ray.remote(
            max_retries=worker_process.RETRIES, retry_exceptions=[ChildProcessError], **self._task_resources()
        )
        self._remote: Any = make_remote(_make_job(worker_process.make_spawn()))

    def has_capacity(self) -> bool:
        """Returns whether another task is to be submitted."""
        return len(self._tasks) < (self._jobs or self._count_slots())

    def is_busy(self) -> bool:
        """Returns whether a task has not ended."""
        return bool(self._tasks)

    def start(self, task: Task) -> str:
        """Submits a task."""
        inherited = {name: value for name, value in os.environ.items() if name.startswith(_INHERITED)}
        environment = {**inherited, **worker_process.python_environment()}
        reference = self._remote.remote(worker_process.prepare_worker(task), os.getcwd(), environment, str(task.log))
        self._tasks[reference] = task
        return "submitted to Ray"

    def poll_events(self) -> Iterator[TaskEvent]:
        """Yields an event for each task that ended."""
        if not self._tasks:
            return
        ended, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
        for reference in ended:
            task = self._tasks.pop(reference)
            try:
                exit_code = self._ray.get(reference)
            except ChildProcessError as error:  # killed once too often; Ray keeps the one that `_make_job` raised
                exit_code = error.cause.args[0]  # type: ignore[attr-defined]
            except self._ray.exceptions.TaskCancelledError:
                exit_code = -signal.SIGTERM
            except self._ray.exceptions.RayError as error:
                reason = str(getattr(error, "cause", error)).strip().partition("\n")[0] or type(error).__name__
                yield TaskEvent(task, "failed", error=UserError(f"Ray lost it: {reason}"))
                continue
            yield worker_process.make_end_event(task, exit_code, self._stopping)

    def stop(self, kill: bool) -> None:
        """Cancels all tasks: their processes are sent SIGTERM, or are killed."""
        self._stopping = True
        for reference in self._tasks:
            self._ray.cancel(reference, force=kill)

    def close(self) -> None:
        """Ends the tasks that are left, which are saved if that takes no longer than CLOSE_SECONDS, and disconnects."""
        if self._tasks:
            self.stop(kill=False)
            self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=CLOSE_SECONDS)
        self._ray.shutdown()

    def _task_resources(self) -> dict[str, float]:
        """Returns what a task takes of a machine: a GPU where there are some, else cores."""
        if self._has_gpus():
            return {"num_gpus": 1, "num_cpus": 1}
        most_cores = max((node["Resources"].get("CPU", 1) for node in self._nodes()), default=1)
        # With `jobs` set the user has chosen how many run at a time: each counts as one core.
        return {"num_cpus": 1 if self._jobs else min(CORES_PER_PROCESS, most_cores)}

    def _count_slots(self) -> int:
        """Returns how many tasks the cluster runs at a time."""
        name, each = ("GPU", 1.0) if self._has_gpus() else ("CPU", self._task_resources()["num_cpus"])
        return max(1, sum(int(node["Resources"].get(name, 0) // each) for node in self._nodes()))

    def _has_gpus(self) -> bool:
        return any(node["Resources"].get("GPU", 0) >= 1 for node in self._nodes())

    def _nodes(self) -> list[Mapping[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


def _connect() -> Any:
    """Returns the module of Ray, connected to a cluster."""
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"executor='ray' needs Ray ({error}): pip install -e '.[cluster]', or set config.executor='processes'."
        ) from error
    address = os.environ.get("RAY_ADDRESS", "local")
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        options["include_dashboard"] = False
    try:
        ray.init(address=address, **options)
    except Exception as error:  # Ray raises bare ones too
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        ray.shutdown()
        if address == "local":
            raise UserError(
                f"Ray does not start on this machine ({reason}): try again, or set config.executor='processes'."
            ) from error
        raise UserError(f"RAY_ADDRESS={address}: there is no cluster ({reason}): start one, or unset it.") from error
    return ray


def _make_job(spawn: worker_process.SpawnFunction) -> Callable[..., int]:
    """Returns what Ray runs: it starts a worker and returns its exit code. As `spawn`, it is sent whole."""

    def run_worker(arguments: Sequence[str], directory: str, environment: Mapping[str, str], log: str) -> int:
        if not os.path.isdir(directory):
            raise OSError(f"{directory} is not there on {os.uname().nodename}")
        os.chdir(directory)
        process = spawn(arguments, {**os.environ, **environment}, log)
        while process.poll() is None:
            try:
                time.sleep(0.1)
            except KeyboardInterrupt:  # how Ray cancels; a second one ends the run at once
                process.terminate()
        if process.returncode < 0:  # killed: Ray starts the task again
            raise ChildProcessError(process.returncode)
        return process.returncode

    return run_worker
