"""Copies the small results of a sweep, figures and tables, out of its directory, such as into docs/.

Makes none of them: the sweep and the page have written them.

    python -m rethink.report.copy_figures runs/figure1bc-HASH docs/results/figure1bc --tables=orderings
    python -m rethink.report.copy_figures runs/table1-HASH docs/results/table1 --tables=table1,table1-orderings
"""

import argparse
import pathlib
import shutil
from collections.abc import Iterable

from rethink.report.page import exports
from rethink.schema.errors import UserError, exit_on_mistake

KEPT = (".png", ".csv")  # of figures; PDFs are for papers


def copy_figures(folder: pathlib.Path, prefix: pathlib.Path, tables: Iterable[str] = ()) -> list[pathlib.Path]:
    """Copies figures, the list of runs, and some tables of a directory to PREFIX.png, PREFIX_runs.csv, PREFIX_TABLE.md.

    Args:
      folder: of a table or a sweep that has ended; where it has several figures, their names follow the prefix.
      tables: tables of the paper, such as "table1", and "table1-orderings"; "orderings" of a figure; or names of files
        in the folder `tables`, without ending.

    Returns:
      The files that it wrote.

    Raises:
      UserError: there is nothing to copy, or nowhere to.
    """
    named = folder.resolve().name
    figures = sorted(path for path in (folder / "figures").glob("*") if path.suffix in KEPT)
    several = len({path.stem for path in figures}) > 1
    endings = {path: f"_{path.stem}" * several + path.suffix for path in figures}
    endings[folder / exports.FOLDER / f"{exports.file_stem(f'{named}-runs')}.csv"] = "_runs.csv"
    endings.update({_find_table(folder / exports.FOLDER, named, name): f"_{name}.md" for name in tables})
    missing = [path for path in endings if not path.is_file()]
    if missing:
        raise UserError(
            f"{missing[0]} is not there: give the directory of a table that has ended, with its page "
            f"(python -m rethink.report {folder})."
        )
    written = [prefix.with_name(prefix.name + ending) for ending in endings.values()]
    try:
        for source, target in zip(endings, written, strict=True):
            shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f"{prefix}: nothing can be written there ({error.strerror}).") from error
    return written


def _find_table(folder: pathlib.Path, named: str, name: str) -> pathlib.Path:
    """Returns the file of a table: the page put the directory's name before it, or behind a table of the paper's."""
    table, dash, rest = name.partition("-")
    stems = (f"{named}-{name}", f"{table}-{named}{dash}{rest}", name)
    paths = (folder / f"{exports.file_stem(stem)}.md" for stem in stems)
    return next(filter(pathlib.Path.is_file, paths), folder / f"{name}.md")


def main() -> None:
    """Copies what the command line names, and prints the names of the copies."""
    parser = argparse.ArgumentParser(
        prog="python -m rethink.report.copy_figures", description="Small results of a table, to stand beside a text."
    )
    parser.add_argument("folder", type=pathlib.Path, metavar="WORKDIR", help="of a table or a sweep")
    parser.add_argument("prefix", type=pathlib.Path, metavar="PREFIX", help="of the copies: docs/results/table1")
    parser.add_argument("--tables", default="", help="such as table1,table1-orderings, or orderings of a figure")
    with exit_on_mistake():
        arguments = parser.parse_args()
        for path in copy_figures(arguments.folder, arguments.prefix, filter(None, arguments.tables.split(","))):
            print(path)


if __name__ == "__main__":
    main()
