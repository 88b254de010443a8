"""Writes the HTML page of many runs: the paper's numbers, ours, and whether they agree.

python -m rethink.report runs/table1-HASH
python -m rethink.report runs --output=docs/index.html
"""

import argparse
import pathlib

from rethink.report import page
from rethink.schema.errors import exit_on_mistake


def main() -> None:
    """Writes the page of the folders that the command line names, and prints its path."""
    parser = argparse.ArgumentParser(
        prog="python -m rethink.report",
        description="A page: the paper's numbers, ours, whether they agree.",
    )
    parser.add_argument(
        "folders", nargs="+", type=pathlib.Path, metavar="WORKDIR", help="a run, a folder of runs, or a folder of these"
    )
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE", help="default: index.html in the first WORKDIR")
    with exit_on_mistake():
        arguments = parser.parse_args()
        print(page.write_page(arguments.folders, arguments.output or arguments.folders[0] / "index.html"))


if __name__ == "__main__":
    main()
