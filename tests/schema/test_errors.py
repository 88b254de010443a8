"""Exit codes: what ends a command line, and that all command lines end alike."""

import signal

import pytest

from rethink.schema import errors
from rethink.training import preemption


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


@pytest.mark.parametrize("status, exit_code", [("done", 0), ("fitted", 0), ("stopped early", 0), ("diverged", 3)])
def test_the_exit_code_of_a_run_is_that_of_its_status(status, exit_code):
    assert errors.exit_code_of_status(status) == exit_code
