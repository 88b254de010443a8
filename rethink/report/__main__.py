"""Owns the command that writes the page of a reproduction.

Refuses to run anything: it shows what the records say.

    python -m rethink.report runs/table1-HASH
    python -m rethink.report runs --output=docs/index.html
"""

import argparse
import pathlib
import sys

from rethink.report import page
from rethink.schema.errors import UserError


def main() -> None:
    """Writes the page that the command line asks for, and prints its path."""
    parser = argparse.ArgumentParser(
        prog="python -m rethink.report",
        description="A page: the paper's numbers, ours, whether they agree.",
    )
    parser.add_argument(
        "folders", nargs="+", type=pathlib.Path, metavar="WORKDIR", help="a run, a folder of runs, or a folder of these"
    )
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE", help="default: index.html in the first WORKDIR")
    arguments = parser.parse_args()
    try:
        print(page.write(arguments.folders, arguments.output or arguments.folders[0] / "index.html"))
    except UserError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
