"""Owns how a run gets a process of its own: the command, what it inherits, its log, and what its exit code says.

Refuses to decide when and where one starts: processes.py and cluster.py do.
"""

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from rethink.results import files
from rethink.schema import validation
from rethink.schema.errors import EXIT_DIVERGED, EXIT_DONE, EXIT_MISTAKE, EXIT_SIGNAL, UserError
from rethink.sweeps.executors.tasks import RETRIES, Task, TaskEvent
from rethink.training import preemption

LAUNCH = "=== "  # begins the line of a log that tells launches apart
SHOWN_LINES = 8  # of the log of a run that failed
_INTERRUPTED = [exit_code for number in preemption.SIGNALS for exit_code in (EXIT_SIGNAL + number, -number)]

Spawn = Callable[[Sequence[str], Mapping[str, str], str], subprocess.Popen]


def write_config(task: Task) -> list[str]:
    """Writes the config of a run beside its log; returns the arguments with which Python makes the run.

    Raises:
      OSError: the folder can't be written.
    """
    task.log.parent.mkdir(parents=True, exist_ok=True)
    config = task.log.with_suffix(".json")
    files.replace(config, validation.to_json(task.config).encode())
    return ["-P", "-m", "rethink.sweeps.worker", str(config), str(task.directory)]


def python_environment() -> dict[str, str]:
    """Returns the environment variables with which another Python finds the modules that this one does."""
    return {"PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path), "PYTHONUNBUFFERED": "1"}


def make_spawn() -> Spawn:
    """Returns the function that starts a worker: (arguments, environment, log) -> its process.

    It is made here, and uses the standard library alone, so that Ray sends it whole to machines where nothing of this
    project is on Python's path.
    """

    def spawn(arguments: Sequence[str], environment: Mapping[str, str], log: str) -> subprocess.Popen:
        with open(log, "ab") as output:
            output.write(f"=== {' '.join(arguments)}\n".encode())
            output.flush()
            return subprocess.Popen(
                [sys.executable, *arguments, f"--parent={os.getpid()}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal comes once, from the process that waits for it
            )

    return spawn


def end_event(task: Task, exit_code: int, stopping: bool) -> TaskEvent:
    """Returns what the exit code of a worker says; negative ones are of signals.

    Args:
      stopping: whether it was told to end.
    """
    if exit_code in (EXIT_DONE, EXIT_DIVERGED):
        return TaskEvent(task, "diverged" if exit_code == EXIT_DIVERGED else "done", exit_code)
    if stopping:
        return TaskEvent(task, "interrupted; the same command goes on with it")
    if exit_code in _INTERRUPTED:
        return _failure(task, "its process was told to end: the same command goes on with it")
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return _failure(task, f"its process was killed {1 + RETRIES} times (by {name}; is there enough memory?)")
    lines = _last_lines(task.log)
    if exit_code == EXIT_MISTAKE and lines and lines[-1].startswith("Error: "):
        return TaskEvent(task, "failed", error=UserError(lines[-1].removeprefix("Error: ")))
    return _failure(task, f"{lines[-1] if lines else 'it printed nothing'} (exit code {exit_code}; see {task.log})")


def _failure(task: Task, reason: str) -> TaskEvent:
    shown = "".join(f"\n    {line}" for line in _last_lines(task.log))
    return TaskEvent(task, f"failed; the end of {task.log}:{shown}", error=UserError(reason))


def _last_lines(log: pathlib.Path) -> list[str]:
    """Returns the last lines that the last launch printed."""
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line for line in f"\n{text}".rpartition(f"\n{LAUNCH}")[2].splitlines()[1:] if line.strip()]
    return lines[-SHOWN_LINES:]
