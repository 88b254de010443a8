"""The process of one run of a sweep: reads its config from a file, and ends together with the process that started it.

It has no flags of a config, as the sweep wrote a complete one. Exit codes are those of main.py.

    python -m rethink.sweeps.worker CONFIG.json DIRECTORY
"""

import argparse
import json
import os
import pathlib
import signal
import sys
import threading
import time

from rethink.schema.errors import EXIT_FAILED, UserError, exit_on_mistake, import_jax

LOCK_SECONDS = 100.0  # a shared file system takes so long to see that another machine, which had the lock, is gone
SAVE_SECONDS = 90.0  # for a run whose sweep is gone; less than another sweep waits for its lock
POLL_SECONDS = 0.25
LAUNCHER_VARIABLES = ("SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE")  # mean that a run has several processes; not here


def main() -> int:
    """Runs the config that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description="Runs one run of a sweep, in a process of its own.")
    parser.add_argument("config", type=pathlib.Path, help="JSON, flat, as in a manifest")
    parser.add_argument("directory", type=pathlib.Path, help="of the run")
    parser.add_argument("--parent", type=int, help="the process without which this one ends")
    arguments = parser.parse_args()
    if arguments.parent:
        threading.Thread(target=_end_with, args=(arguments.parent,), daemon=True).start()
    for name in LAUNCHER_VARIABLES:
        os.environ.pop(name, None)
    with exit_on_mistake():
        # Imported after the thread has started: they take seconds, in which the parent may end.
        import_jax()
        from rethink.experiment.run import Launch, run_experiment
        from rethink.schema import validation
        from rethink.schema.flags import configure_logging

        configure_logging()
        config = validation.from_flat(json.loads(arguments.config.read_text()))
        _wait_for_lock(arguments.directory)
        return run_experiment(config, str(arguments.directory), Launch())


def _end_with(parent: int) -> None:
    """Ends this process as SIGTERM does when its parent is gone: a run that nobody waits for would be in the way."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SAVE_SECONDS)
    os._exit(EXIT_FAILED)


def _wait_for_lock(folder: pathlib.Path) -> None:
    """Waits a while for a process that holds the run and may be about to end; the run itself reports one that stays."""
    from rethink.results import files

    ends = time.monotonic() + LOCK_SECONDS
    while (folder / files.LOCK).exists() and time.monotonic() < ends:
        try:
            with files.lock(folder):
                return
        except UserError:
            time.sleep(POLL_SECONDS)
        except OSError:  # the run itself reports why
            return


if __name__ == "__main__":
    sys.exit(main())
