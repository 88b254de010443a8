"""Runs tasks in processes of this machine, several at a time, each with a device of its own.

No device is touched in this process: what it took would be missing to the others.
"""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rethink.data import parallel
from rethink.schema.errors import UserError
from rethink.sweeps.executors import pool, worker_process
from rethink.sweeps.executors.tasks import RunFunctions, Task, TaskEvent
from rethink.training import preemption

CORES_PER_PROCESS = 2  # how many processes a CPU gets; none is bound to its cores
MEMORY_FRACTION = 0.9  # of a GPU, where several processes share it
CLOSE_SECONDS = 30.0
_PROBE = "import jax; print(jax.default_backend(), jax.local_device_count())"

DeviceEnv = dict[str, str]  # the environment variables that give a process its device


class Worker(NamedTuple):
    """The process of a task.

    Attributes:
      attempt: 1 for the first process of the task, 2 for that which follows when it was killed, and so on.
      device_env: where it runs.
    """

    task: Task
    process: subprocess.Popen
    attempt: int
    device_env: DeviceEnv

    def may_retry(self, exit_code: int) -> bool:
        """Returns whether the task gets another process: this one was killed, not stopped, and not once too often."""
        killed = exit_code < 0 and -exit_code not in preemption.SIGNALS
        return killed and self.attempt <= worker_process.RETRIES


def run_in_processes(tasks: Sequence[Task], jobs: int, functions: RunFunctions) -> Iterator[TaskEvent]:
    """Yields the events of tasks of which `jobs` run at a time (0: as many as the devices take); see `run_in_pool`."""
    return pool.run_in_pool(tasks, lambda count: ProcessPool(find_device_envs(min(jobs, count))))


class ProcessPool:
    """Runs a task on each device; one whose process is killed is started again and resumes from its checkpoint."""

    def __init__(self, device_envs: Sequence[DeviceEnv]):
        self._free = list(device_envs)
        self._workers: list[Worker] = []
        self._stopping = False
        self._spawn = worker_process.make_spawn()

    def has_capacity(self) -> bool:
        """Returns whether a device is free."""
        return bool(self._free)

    def is_busy(self) -> bool:
        """Returns whether a process has not been seen to end."""
        return bool(self._workers)

    def start(self, task: Task) -> str:
        """Starts the process of a task on a free device."""
        self._start(task, 1, self._free[0])
        self._free.pop(0)  # after the start, which may fail
        return "started"

    def poll_events(self) -> Iterator[TaskEvent]:
        """Yields an event for each process that ended; a killed one is started again."""
        for worker in list(self._workers):
            exit_code = worker.process.poll()
            if exit_code is None:
                continue
            self._workers.remove(worker)
            if worker.may_retry(exit_code) and not self._stopping:
                try:
                    self._start(worker.task, worker.attempt + 1, worker.device_env)
                    name = signal.Signals(-exit_code).name
                    yield TaskEvent(worker.task, f"its process was killed ({name}), and is started again")
                    continue
                except OSError:  # no process, no memory: the kill is the cause to report
                    pass
            self._free.append(worker.device_env)
            yield worker_process.make_end_event(worker.task, exit_code, self._stopping)

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

    def _start(self, task: Task, attempt: int, device_env: DeviceEnv) -> None:
        environment = {**os.environ, **worker_process.python_environment(), **device_env}
        process = self._spawn(worker_process.prepare_worker(task), environment, str(task.log))
        self._workers.append(Worker(task, process, attempt, device_env))


def find_device_envs(jobs: int) -> list[DeviceEnv]:
    """Returns the device of each of `jobs` processes; 0: one for each GPU, or for every 2 cores.

    Raises:
      UserError: the devices can't be shared, or JAX finds none.
    """
    platform, devices = _probe_devices()
    if platform == "cpu":
        return [{} for _ in range(jobs or max(1, parallel.count_cores() // CORES_PER_PROCESS))]
    if platform == "gpu":
        return _make_gpu_envs(jobs or devices, devices)
    if jobs > 1:
        raise UserError(
            f"jobs={jobs}: the devices of platform {platform} belong to one process at a time: set config.jobs=1."
        )
    return [{}]


def _make_gpu_envs(jobs: int, devices: int) -> list[DeviceEnv]:
    """Returns for each process one GPU, and where several share one, their part of its memory."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",")[:devices] if visible else [str(number) for number in range(devices)]
    memory = {}
    if jobs > len(names):
        fraction = MEMORY_FRACTION / math.ceil(jobs / len(names))
        name = "XLA_PYTHON_CLIENT_MEM_FRACTION"
        memory = {name: os.environ.get(name, f"{fraction:.3f}")}  # the user's own wins
    return [{"CUDA_VISIBLE_DEVICES": names[number % len(names)], **memory} for number in range(jobs)]


def _probe_devices() -> tuple[str, int]:
    """Returns (platform, number of devices) of this machine, looked up in another process, which frees them again."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return "cpu", 1
    environment = {**os.environ, **worker_process.python_environment()}
    command = [sys.executable, "-P", "-c", _PROBE]
    # In a session of its own, as Ctrl-C is for this process.
    probe = subprocess.run(command, env=environment, capture_output=True, text=True, start_new_session=True)
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"JAX finds no device ({reason}): check JAX_PLATFORMS and the installation.")
    platform, devices = probe.stdout.split()[-2:]
    return platform, int(devices)
