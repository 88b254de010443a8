"""Owns the running of tasks in processes of this machine, several at a time, each with a device of its own.

Refuses to touch a device: what this process took would be missing to the others. A process that is killed is started
again, and goes on from the run's last checkpoint.
"""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rethink.schema.errors import UserError
from rethink.sweeps.executors import pool, subprocesses
from rethink.sweeps.executors.tasks import RETRIES, Experiment, Task, TaskEvent
from rethink.training import preemption

CORES = 2  # for which there is one process on a CPU; none is kept to them
MEMORY_FRACTION = 0.9  # of a GPU, where several processes share it
CLOSE_SECONDS = 30.0
_PROBE = "import jax; print(jax.default_backend(), jax.local_device_count())"

DeviceEnv = dict[str, str]  # the environment variables that make one


class Worker(NamedTuple):
    """A process that makes a run: which one it is of those that were started for it, from 1, and where it runs."""

    task: Task
    process: subprocess.Popen
    number: int
    place: DeviceEnv


def run_in_processes(tasks: Sequence[Task], jobs: int, experiment: Experiment) -> Iterator[TaskEvent]:
    """Yields the news of tasks of which `jobs` run at a time; as `crews.run_several`."""
    return pool.run_in_pool(tasks, lambda waiting: ProcessPool(find_device_envs(min(jobs, waiting))))


class ProcessPool:
    """Runs a task at each place."""

    def __init__(self, places: Sequence[DeviceEnv]):
        self._free = list(places)
        self._workers: list[Worker] = []
        self._stopping = False
        self._spawn = subprocesses.make_spawn()

    def room(self) -> bool:
        """Returns whether a place is free."""
        return bool(self._free)

    def busy(self) -> bool:
        """Returns whether a process is there."""
        return bool(self._workers)

    def start(self, task: Task) -> str:
        """Starts the process of a task at a free place."""
        self._start(task, 1, self._free[0])
        self._free.pop(0)
        return "started"

    def news(self) -> Iterator[TaskEvent]:
        """Yields what became of processes that ended; a killed one is started again."""
        for worker in list(self._workers):
            exit_code = worker.process.poll()
            if exit_code is None:
                continue
            self._workers.remove(worker)
            if (
                exit_code < 0
                and -exit_code not in preemption.SIGNALS
                and worker.number <= RETRIES
                and not self._stopping
            ):
                try:
                    self._start(worker.task, worker.number + 1, worker.place)
                    name = signal.Signals(-exit_code).name
                    yield TaskEvent(worker.task, f"its process was killed ({name}), and is started again")
                    continue
                except OSError:  # no process, no memory: what the kill says is the cause
                    pass
            self._free.append(worker.place)
            yield subprocesses.end_event(worker.task, exit_code, self._stopping)

    def stop(self, kill: bool) -> None:
        """Sends all processes SIGTERM, or SIGKILL."""
        self._stopping = True
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)

    def close(self) -> None:
        """Ends the processes that are left, which are saved if that takes no longer than CLOSE_SECONDS."""
        self.stop(kill=False)
        for worker in self._workers:
            try:
                worker.process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _start(self, task: Task, number: int, place: DeviceEnv) -> None:
        environment = {**os.environ, **subprocesses.python_environment(), **place}
        process = self._spawn(subprocesses.write_config(task), environment, str(task.log))
        self._workers.append(Worker(task, process, number, place))


def find_device_envs(jobs: int) -> list[DeviceEnv]:
    """Returns the places for `jobs` processes; 0: one for each GPU, or for every 2 cores.

    Raises:
      UserError: the devices can't be shared, or JAX finds none.
    """
    platform, devices = _probe_devices()
    if platform == "cpu":
        return [{} for _ in range(jobs or max(1, cores() // CORES))]
    if platform != "gpu":
        if jobs > 1:
            raise UserError(
                f"jobs={jobs}: the devices of platform {platform} belong to one process at a time: set config.jobs=1."
            )
        return [{}]
    return _gpu_envs(jobs or devices, devices)


def _gpu_envs(jobs: int, devices: int) -> list[DeviceEnv]:
    """Returns places with one GPU each, and where several share one, with their part of its memory."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",")[:devices] if visible else [str(number) for number in range(devices)]
    memory = {}
    if jobs > len(names):
        part = MEMORY_FRACTION / math.ceil(jobs / len(names))
        memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{part:.3f}"}
        memory = {name: os.environ.get(name, value) for name, value in memory.items()}
    return [{"CUDA_VISIBLE_DEVICES": names[number % len(names)], **memory} for number in range(jobs)]


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _probe_devices() -> tuple[str, int]:
    """Returns (platform, devices) of this machine as another process finds them, which gives them back."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return "cpu", 1
    environment = {**os.environ, **subprocesses.python_environment()}
    command = [sys.executable, "-P", "-c", _PROBE]  # Ctrl-C is heard here, not there
    asked = subprocess.run(command, env=environment, capture_output=True, text=True, start_new_session=True)
    if asked.returncode:
        why = (asked.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"JAX finds no device ({why}): check JAX_PLATFORMS and the installation.")
    platform, devices = asked.stdout.split()[-2:]
    return platform, int(devices)
