"""Exit codes: what ends a command line, and that all command lines end alike."""

import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from rethink.schema import errors
from rethink.training import preemption

ROOT = pathlib.Path(__file__).parents[2]
WORKER = ["-m", "rethink.sweeps.worker", "CONFIG", "DIRECTORY"]


@pytest.mark.parametrize(
    "raised, exit_code, line",
    [
        (errors.UserError("seed=x is no number:\ntype one."), 2, "Error: seed=x is no number:\\ntype one.\n"),
        (KeyboardInterrupt(), 130, ""),
        (preemption.Interrupted(signal.SIGINT), 130, ""),
        (preemption.Interrupted(signal.SIGTERM), 143, ""),
        (SystemExit(errors.EXIT_DIVERGED), 3, ""),  # of the block itself
    ],
)
def test_what_ends_a_command_line_decides_its_exit_code(capsys, raised, exit_code, line):
    with pytest.raises(SystemExit) as ended, errors.exit_on_mistake():
        raise raised
    assert ended.value.code == exit_code and capsys.readouterr() == ("", line)


def test_a_failure_keeps_its_traceback_and_a_success_goes_on():
    with pytest.raises(ZeroDivisionError), errors.exit_on_mistake():
        raise ZeroDivisionError  # Python ends with exit code 1
    assert errors.EXIT_FAILED == 1
    with errors.exit_on_mistake():
        pass


@pytest.mark.parametrize(
    "error, line",
    [
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied: allow it, or name another"),
        (PermissionError(errno.EPERM, "Not permitted", "a"), "a: Not permitted: allow it, or name another place."),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files: raise the limit (ulimit -n; above"),
        (PermissionError(errno.EACCES, "Permission denied"), None),
        (PermissionError(errno.EPERM, "Not permitted"), None),
        (OSError(errno.EIO, "Input/output error", "a"), None),
    ],
)
def test_what_is_not_permitted_is_one_line_where_it_is_named(capsys, error, line):
    with pytest.raises(SystemExit if line else OSError), errors.exit_on_mistake():
        raise error
    assert capsys.readouterr().err.startswith(f"Error: {line}" if line else "")


@pytest.mark.parametrize("words", [["main.py"], ["-m", "rethink.experiment.rerun", "RUN"], WORKER])
def test_a_variable_that_jax_refuses_is_one_line_of_every_command_that_imports_it(words):
    command = [sys.executable, *words]
    surroundings = {**os.environ, "JAX_ENABLE_X64": "maybe"}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=surroundings)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr == (
        "Error: invalid truth value 'maybe' for environment 'JAX_ENABLE_X64': correct that variable of the "
        "environment, or unset it.\n"
    )


def test_an_import_of_main_changes_nothing_and_is_light():
    code = "import sys; streams = sys.stdout, sys.stderr; import main; "
    code += "assert 'jax' not in sys.modules and streams == (sys.stdout, sys.stderr)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("status, exit_code", [("done", 0), ("fitted", 0), ("stopped early", 0), ("diverged", 3)])
def test_the_exit_code_of_a_run_is_that_of_its_status(status, exit_code):
    assert errors.exit_code_of_status(status) == exit_code
