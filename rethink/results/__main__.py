"""Prints a table of runs that have ended, one row each, as CSV or Markdown.

python -m rethink.results runs/* > docs/runs.csv
python -m rethink.results --markdown runs/*

A folder of runs, such as that of a sweep or a suite, stands for all runs in it.
"""

import argparse
import pathlib
import sys

from rethink.results import runs, tables
from rethink.schema.errors import UserError, exists, exit_on_mistake


def main() -> None:
    """Prints the runs named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m rethink.results", description="A table of runs that have ended, one row each, as CSV."
    )
    parser.add_argument(
        "folders", nargs="+", type=pathlib.Path, metavar="RUN", help="a run's directory, or a folder of them"
    )
    parser.add_argument("--markdown", action="store_true", help="Markdown instead of CSV")
    with exit_on_mistake():
        arguments = parser.parse_args()
        paths = dict.fromkeys(path for folder in arguments.folders for path in runs.find_runs(folder))
        started = [path for path in paths if exists(path / "manifest.json")]
        loaded = [runs.load_run(path) for path in started]
        rows = [runs.describe_run(run) for run in loaded if run.summary]
        if not rows:
            raise UserError(f"No run has ended in {', '.join(map(str, arguments.folders))}: name runs that have.")
    if left_out := len(paths) - len(rows):
        print(f"Left out: {left_out} that have not ended.", file=sys.stderr)
    write = tables.to_markdown if arguments.markdown else tables.to_csv
    print(write(rows, list(rows[0])).rstrip("\n"))


if __name__ == "__main__":
    main()
