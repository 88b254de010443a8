"""The process of one run: how it is started, what it inherits, its log, and what its exit code means.

When and where one starts is not decided here: processes.py and ray.py do. What runs in it is rethink/sweeps/worker.py.
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
from rethink.sweeps.executors.tasks import Task, TaskEvent
from rethink.training import preemption

RETRIES = 2  # of a run whose process was killed; it resumes from its last checkpoint
LAUNCH_MARK = "=== "  # begins the line of a log that separates launches
SHOWN_LINES = 8  # of the log of a run that failed
# Exit codes of a process that a signal asked to stop: its own (128 + number), and that of one killed by it.
_INTERRUPTED = [exit_code for number in preemption.SIGNALS for exit_code in (EXIT_SIGNAL + number, -number)]

SpawnFunction = Callable[[Sequence[str], Mapping[str, str], str], subprocess.Popen]  # (arguments, environment, log)


def prepare_worker(task: Task) -> list[str]:
    """Writes the config of a run beside its log; returns the arguments with which Python runs it.

    Raises:
      OSError: the folder can't be written.
    """
    task.log.parent.mkdir(parents=True, exist_ok=True)
    config = task.log.with_suffix(".json")
    files.replace(config, validation.to_json(task.config).encode())
    return ["-P", "-m", "rethink.sweeps.worker", str(config), str(task.directory)]


def python_environment() -> dict[str, str]:
    """Returns the environment variables with which another Python finds the modules that this one does."""
    return {"PYTHONPATH": os.pathsep.join(os.path.abspath(folder) for folder in sys.path), "PYTHONUNBUFFERED": "1"}


def make_spawn() -> SpawnFunction:
    """Returns the function that starts a worker: (arguments, environment, log) -> its process.

    It is nested and uses the standard library alone, so that Ray sends it whole to machines where nothing of this
    package is on Python's path.
    """

    def spawn(arguments: Sequence[str], environment: Mapping[str, str], log: str) -> subprocess.Popen:
        with open(log, "ab") as output:
            output.write(f"=== {' '.join(arguments)}\n".encode())  # LAUNCH_MARK, which Ray would not send along
            output.flush()
            return subprocess.Popen(
                [sys.executable, *arguments, f"--parent={os.getpid()}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C in a terminal reaches it once, from the pool
            )

    return spawn


def make_end_event(task: Task, exit_code: int, stopping: bool) -> TaskEvent:
    """Returns the event of a worker that ended; a negative exit code is that of a signal.

    Args:
      stopping: whether the pool asked it to stop.
    """
    if exit_code in (EXIT_DONE, EXIT_DIVERGED):
        return TaskEvent(task, "diverged" if exit_code == EXIT_DIVERGED else "done", exit_code)
    if stopping:
        return TaskEvent(task, "interrupted; the same command resumes it")
    if exit_code in _INTERRUPTED:  # by somebody else
        return _make_failure(task, "its process was interrupted: the same command resumes it")
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return _make_failure(task, f"its process was killed {1 + RETRIES} times (by {name}; is there enough memory?)")
    lines = _read_last_lines(task.log)
    if exit_code == EXIT_MISTAKE and lines and lines[-1].startswith("Error: "):
        return TaskEvent(task, "failed", error=UserError(lines[-1].removeprefix("Error: ")))
    if not task.log.exists():
        return TaskEvent(task, "failed", error=UserError(f"{task.log.parent} was removed or moved"))
    last = lines[-1] if lines else "it printed nothing"
    return _make_failure(task, f"{last} (exit code {exit_code}; see {task.log})")


def _make_failure(task: Task, reason: str) -> TaskEvent:
    shown = "".join(f"\n    {line}" for line in _read_last_lines(task.log))
    return TaskEvent(task, f"failed; the end of {task.log}:{shown}", error=UserError(reason))


def _read_last_lines(log: pathlib.Path) -> list[str]:
    """Returns the last lines that the last launch printed."""
    text = log.read_text(errors="replace") if log.exists() else ""
    last_launch = f"\n{text}".rpartition(f"\n{LAUNCH_MARK}")[2]
    lines = [line for line in last_launch.splitlines()[1:] if line.strip()]
    return lines[-SHOWN_LINES:]
