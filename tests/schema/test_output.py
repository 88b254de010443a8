"""Where nobody reads what a command prints, it goes on, silently, and ends with its own exit code."""

import os
import pathlib
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from rethink.schema.errors import UserError, exit_on_mistake

with exit_on_mistake():
    for number in range(2000):
        print("a line of output", number, "\\u00fc\\u2588\\udcff", flush=number % 2 == 0)
    print("a line of errors \\udcff", file=sys.stderr)
    record = open(sys.argv[1], "w")  # must not take the place of a closed descriptor
    record.write(f"{record.fileno() > 2}")
    record.close()
    if sys.argv[2] == "mistake":
        raise UserError("no such thing")
print("the end")
"""
ROOT = pathlib.Path(__file__).parents[2]


def run(tmp_path, redirections, end="well", encoding=""):
    """Returns what a shell gives of a program that prints 2,000 lines: (exit code, what is left to be seen)."""
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "record"), end]
    shell = ["bash", "-c", f'set -o pipefail; "$@" {redirections}', "bash", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    ended = subprocess.run(shell, capture_output=True, env=environment)
    assert (tmp_path / "record").read_text() == "True"
    return ended.returncode, ended.stdout.decode() + ended.stderr.decode()


@pytest.mark.parametrize("redirections", [">&- 2>&-", "> /dev/full 2>&1", "2>&1 | head -0", "<&- >&- 2>&-"])
def test_output_that_goes_away_changes_nothing_else(tmp_path, redirections):
    assert run(tmp_path, redirections) == (0, "")
    assert run(tmp_path, redirections, end="mistake") == (2, "")


def test_what_one_stream_loses_the_other_keeps(tmp_path):
    assert run(tmp_path, ">&-", end="mistake") == (2, "a line of errors \\udcff\nError: no such thing\n")
    exit_code, shown = run(tmp_path, "2>&-")
    assert exit_code == 0 and shown.count("\n") == 2001 and shown.endswith("the end\n")


def test_a_reader_that_leaves_has_read_whole_lines(tmp_path):
    assert run(tmp_path, "| head -1", encoding="ascii") == (
        0,
        "a line of output 0 \\xfc\\u2588\\udcff\na line of errors \\udcff\n",
    )


def test_a_terminal_that_is_closed_changes_nothing(tmp_path):
    leader, follower = os.openpty()
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "record"), "well"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    os.read(leader, 10)
    os.close(leader)
    assert process.wait() == 0 and (tmp_path / "record").exists()
