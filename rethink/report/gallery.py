"""Owns which figures there are of a folder of runs, by name, and the table that each of them draws.

Refuses to run anything: it draws what the records of a folder say, again and again alike.

    python -m rethink.report.gallery label_corruption runs/figure1bc-HASH
"""

import argparse
import io
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rethink.figures import best_so_far, label_corruption, loss_curves, metric_vs_field
from rethink.report import comparison, figure_claims
from rethink.results import files, records, tables
from rethink.results import runs as results_runs
from rethink.results.runs import Runs
from rethink.schema.errors import UserError, pick


class FigureFiles(NamedTuple):
    """A figure that was drawn: its files, and its numbers as rows of `columns`."""

    paths: list[pathlib.Path]
    columns: Sequence[str]
    rows: list[dict[str, Any]]


def _best_so_far(runs: Runs, stem: pathlib.Path, title: str, field: str) -> FigureFiles:
    del field
    named = [(folder.name, records.read_rows(folder / "metrics.jsonl")) for found in runs.values() for folder in found]
    return FigureFiles(
        best_so_far.draw_best_so_far(named, stem, title=title), best_so_far.COLUMNS, best_so_far.best_so_far_rows(named)
    )


def _loss_curves(runs: Runs, stem: pathlib.Path, title: str, field: str) -> FigureFiles:
    del field
    found = loss_curves.read_losses(runs)
    return FigureFiles(
        loss_curves.draw_loss_curves(found, stem, title=title), loss_curves.COLUMNS, loss_curves.loss_rows(found)
    )


def _label_corruption(runs: Runs, stem: pathlib.Path, title: str, field: str) -> FigureFiles:
    del field
    points = label_corruption.read_points(runs)
    drawn = label_corruption.draw_label_corruption(points, stem, title=title)
    return FigureFiles(drawn, label_corruption.COLUMNS, label_corruption.label_corruption_rows(points))


def _against(runs: Runs, stem: pathlib.Path, title: str, field: str) -> FigureFiles:
    points = metric_vs_field.read_points(runs, field)
    return FigureFiles(
        metric_vs_field.draw_metric_vs_field(points, field, stem, title=title),
        metric_vs_field.metric_columns(field),
        metric_vs_field.metric_rows(points, field),
    )


FIGURES: Mapping[str, Callable[[Runs, pathlib.Path, str, str], FigureFiles]] = {
    "best_so_far": _best_so_far,  # figure 2: train and test against steps
    "loss_curves": _loss_curves,  # figure 1a
    "label_corruption": _label_corruption,  # figures 1b and 1c
    "metric_vs_field": _against,  # errors against the numbers of an axis
}
CHOICES = ("auto", "none", *FIGURES)


def draw_figure(name: str, folder: pathlib.Path, *, title: str, field: str = "") -> FigureFiles:
    """Draws a figure of the runs CELL-seedS in a folder, into its sub-folder `figures`, with its numbers as CSV.

    Args:
      name: one of `FIGURES`.
      field: of "metric_vs_field": a field of the config.

    Raises:
      UserError: no such figure, no such field, or a folder as results_runs.run_folders refuses it.
    """
    make = pick(FIGURES, name, "FIGURE")
    runs = results_runs.run_folders(folder)
    (folder / "figures").mkdir(exist_ok=True)
    picture = make(runs, folder / "figures" / name, title, field)
    text = io.StringIO()
    tables.write_csv(picture.rows, picture.columns, text)
    files.replace(folder / "figures" / f"{name}.csv", text.getvalue().encode())
    return picture


def claims(name: str, folder: pathlib.Path) -> str:
    """Returns what the paper says of a figure beside what the runs of a folder show, for the terminal; "" of others.

    Raises:
      UserError: as figure_claims.check and results_runs.run_folders.
    """
    rows = figure_claims.check(name, results_runs.run_folders(folder))
    return f"\n\nWhat the paper says of it\n\n{tables.to_text(rows, comparison.ORDERING_COLUMNS)}" if rows else ""


def main() -> None:
    """Draws the figure that the command line asks for, and prints its numbers."""
    parser = argparse.ArgumentParser(description="A figure of a folder of runs, drawn again from their records.")
    parser.add_argument("figure", metavar="FIGURE", help=", ".join(FIGURES))
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER", help="holds run directories CELL-seedS")
    parser.add_argument("--field", default="", help="of `against`: a field of the config, such as kernel.filters")
    parser.add_argument("--title", default="", help="default: the folder's name")
    arguments = parser.parse_args()
    title = arguments.title or arguments.folder.name
    try:
        picture = draw_figure(arguments.figure, arguments.folder, title=title, field=arguments.field)
        told = claims(results_runs.name_of(results_runs.run_folders(arguments.folder)), arguments.folder)
    except UserError as error:
        sys.exit(f"Error: {error}")
    print(tables.to_text(picture.rows, picture.columns))
    print(f"Figure: {picture.paths[0]}{told}")


if __name__ == "__main__":
    main()
