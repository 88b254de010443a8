"""Prints a table of runs that have ended, one row each, as CSV or Markdown.

python -m rethink.results runs/* > docs/runs.csv
python -m rethink.results --markdown runs/*
"""

import argparse
import pathlib

from rethink.results import runs, tables
from rethink.schema.errors import exit_on_mistake


def main() -> None:
    """Prints the runs named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m rethink.results", description="A table of runs that have ended, one row each, as CSV."
    )
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="RUN", help="a run's directory")
    parser.add_argument("--markdown", action="store_true", help="Markdown instead of CSV")
    with exit_on_mistake():
        arguments = parser.parse_args()
        rows = [runs.describe_run(runs.load_run(folder)) for folder in arguments.folders]
    write = tables.to_markdown if arguments.markdown else tables.to_csv
    print(write(rows, list(rows[0])).rstrip("\n"))


if __name__ == "__main__":
    main()
