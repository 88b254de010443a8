"""Draws a figure of a folder of runs anew from their records, and prints its numbers beside what the paper says of it.

python -m rethink.figures label_corruption runs/figure1bc-HASH
"""

import argparse
import pathlib

from rethink.figures import registry
from rethink.report import figure_claims
from rethink.results import runs, tables
from rethink.schema.errors import exit_on_mistake, pick


def main() -> None:
    """Draws the figure that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m rethink.figures", description="A figure of a folder of runs, drawn again from their records."
    )
    parser.add_argument("figure", metavar="FIGURE", help=", ".join(registry.FIGURES))
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER", help="holds run directories CELL-seedS")
    parser.add_argument("--field", default="", help="of metric_vs_field: a field of the config, as kernel.filters")
    parser.add_argument("--title", default="", help="default: the folder's name")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    with exit_on_mistake():
        arguments = parser.parse_args()
        title = arguments.title or arguments.folder.name
        pick(registry.FIGURES, arguments.figure, "FIGURE")  # a wrong name is reported before the folder is read
        loaded = runs.load_runs(arguments.folder)
        figure = registry.draw_figure(arguments.figure, loaded, arguments.folder, title=title, field=arguments.field)
        claims = figure_claims.describe_claims(runs.sweep_name(loaded), loaded)
    write = tables.to_markdown if arguments.markdown else tables.to_text
    print("\n\n".join(filter(None, [figure.to_text(write), f"Figure: {figure.paths[0]}", *claims])))


if __name__ == "__main__":
    main()
