"""Owns the running of tasks on a cluster, by Ray: each starts a process on some machine, as processes.py does on this.

Refuses to be needed: Ray is an extra, and is imported when it is asked for. The table's directory must lie on a file
system that all machines share, with the project and Python at the same place on each.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rethink.schema.errors import UserError
from rethink.sweeps.executors import pool, subprocesses
from rethink.sweeps.executors.processes import CORES
from rethink.sweeps.executors.tasks import RETRIES, Experiment, Task, TaskEvent

CLOSE_SECONDS = 30.0
_PASSED_ON = ("JAX_", "XLA_")  # beginnings of the environment variables that hold on all machines


def run_on_ray(tasks: Sequence[Task], jobs: int, experiment: Experiment) -> Iterator[TaskEvent]:
    """Yields the news of tasks of which `jobs` are handed to Ray at a time; as `crews.run_several`.

    The cluster is that of RAY_ADDRESS; without it, one of this machine's cores and GPUs is started.
    """
    return pool.run_in_pool(tasks, lambda waiting: RayPool(jobs))


class RayPool:
    """Hands tasks to Ray."""

    def __init__(self, jobs: int):
        """Connects to the cluster; `jobs` as in the config.

        Raises:
          UserError: Ray is not installed, or there is no cluster at RAY_ADDRESS.
        """
        self._ray = _connect()
        self._jobs = jobs
        self._tasks: dict[Any, Task] = {}
        self._stopping = False
        self._remote: Any = self._ray.remote(
            max_retries=RETRIES, retry_exceptions=[ChildProcessError], **self._resources()
        )(_make_job(subprocesses.make_spawn()))

    def room(self) -> bool:
        """Returns whether another task is to be handed over."""
        return len(self._tasks) < (self._jobs or self._capacity())

    def busy(self) -> bool:
        """Returns whether a task has not ended."""
        return bool(self._tasks)

    def start(self, task: Task) -> str:
        """Hands a task over."""
        passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        environment = {**passed, **subprocesses.python_environment()}
        handed = self._remote.remote(subprocesses.write_config(task), os.getcwd(), environment, str(task.log))
        self._tasks[handed] = task
        return "handed to Ray"

    def news(self) -> Iterator[TaskEvent]:
        """Yields what became of tasks that ended."""
        ended, _ = (
            self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0) if self._tasks else ([], 0)
        )
        for handed in ended:
            task = self._tasks.pop(handed)
            try:
                exit_code = self._ray.get(handed)
            except ChildProcessError as error:  # killed once too often
                exit_code = error.cause.args[0]  # type: ignore[attr-defined]
            except self._ray.exceptions.TaskCancelledError:
                exit_code = -15
            except self._ray.exceptions.RayError as error:
                why = str(getattr(error, "cause", error)).strip().partition("\n")[0] or type(error).__name__
                yield TaskEvent(task, "failed", error=UserError(f"Ray lost it: {why}"))
                continue
            yield subprocesses.end_event(task, exit_code, self._stopping)

    def stop(self, kill: bool) -> None:
        """Cancels all tasks: their processes are told to end, or are killed."""
        self._stopping = True
        for handed in self._tasks:
            self._ray.cancel(handed, force=kill)

    def close(self) -> None:
        """Ends the tasks that are left, which are saved if that takes no longer than CLOSE_SECONDS, and disconnects."""
        if self._tasks:
            self.stop(kill=False)
            self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=CLOSE_SECONDS)
        self._ray.shutdown()

    def _resources(self) -> dict[str, float]:
        """Returns what a task takes: a GPU where there are some, else as many cores as each is to have."""
        if self._has_gpus():
            return {"num_gpus": 1, "num_cpus": 1}
        most = max((node["Resources"].get("CPU", 1) for node in self._nodes()), default=1)
        return {"num_cpus": 1 if self._jobs else min(CORES, most)}

    def _capacity(self) -> int:
        """Returns how many tasks the cluster runs at a time."""
        wanted = {"GPU": 1.0} if self._has_gpus() else {"CPU": self._resources()["num_cpus"]}
        ((name, each),) = wanted.items()
        return max(1, sum(int(node["Resources"].get(name, 0) // each) for node in self._nodes()))

    def _has_gpus(self) -> bool:
        return any(node["Resources"].get("GPU", 0) >= 1 for node in self._nodes())

    def _nodes(self) -> list[Mapping[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


def _connect() -> Any:
    """Returns the module of Ray, connected."""
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"executor='ray' needs Ray ({error}): pip install -e '.[cluster]', or set config.executor='processes'."
        ) from error
    address = os.environ.get("RAY_ADDRESS", "local")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        quiet["include_dashboard"] = False
    try:
        ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises bare ones too
        why = (str(error).splitlines() or [type(error).__name__])[0]
        ray.shutdown()
        if address == "local":
            raise UserError(
                f"Ray does not start on this machine ({why}): try again, or set config.executor='processes'."
            ) from error
        raise UserError(f"RAY_ADDRESS={address}: there is no cluster ({why}): start one, or unset it.") from error
    return ray


def _make_job(spawn: subprocesses.Spawn) -> Callable[..., int]:
    """Returns what Ray runs: it starts a worker and returns its exit code. As `make_spawn`, it is sent whole."""

    def run_worker(arguments: Sequence[str], directory: str, environment: Mapping[str, str], log: str) -> int:
        if not os.path.isdir(directory):
            raise OSError(f"{directory} is not there on {os.uname().nodename}")
        os.chdir(directory)
        process = spawn(arguments, {**os.environ, **environment}, log)
        while process.poll() is None:
            try:
                time.sleep(0.1)
            except KeyboardInterrupt:  # cancelled; a second time the run ends at once
                process.terminate()
        if process.returncode < 0:
            raise ChildProcessError(process.returncode)
        return process.returncode

    return run_worker
