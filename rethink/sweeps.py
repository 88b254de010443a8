"""Owns a table of runs: the members of a config with cells or axes, one run after the other, and what they showed.

Refuses to run a member by itself: it is handed the function that does. Each member is an ordinary run in a directory of
its own, FOLDER/NAME-seedS, so that what has ended is skipped and what was interrupted is resumed.
"""

import pathlib
import sys
import traceback
from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from rethink import members, plans, settings
from rethink.results import comparison, gallery, outcomes, paper, records, tables

EXIT_FAILED = 1


class Experiment(NamedTuple):
    """What a table is handed, as it knows no experiment.

    Attributes:
      run: (config, directory) -> exit status; one run.
      check: raises UserError where a config can't be that of a run.
      writes: whether this process is the one that writes.
    """

    run: Callable[[ConfigDict, str], int]
    check: Callable[[ConfigDict], None]
    writes: bool = True


def run_table(config: ConfigDict, workdir: str, experiment: Experiment) -> int:
    """Runs the members of a table and shows it beside the paper's; returns the exit status.

    A member that fails is reported, and the others go on. Where none fails, the status is the highest of theirs: that
    of a diverged run where there is one.

    Raises:
      UserError: the config of a member is off, or its figure can't be drawn: before any of them runs.
    """
    asked = members.members_of(config)
    for member in asked:
        experiment.check(member.config)
    figure = members.figure_of(config)
    folder = settings.expand(workdir, "--workdir").absolute()
    print(f"{config.name} in {folder}: {', '.join(member.folder for member in asked)}")
    print(plans.describe(asked, folder), flush=True)
    failed, highest = [], 0
    for number, member in enumerate(asked, start=1):
        print(f"\n[{number}/{len(asked)}] {member.folder}", flush=True)
        try:
            highest = max(highest, experiment.run(member.config, str(folder / member.folder)))
        except Exception as error:
            failed.append(f"{member.folder}: {error}")
            report(error)
    for line in failed:
        print(f"Failed: {line}")
    if experiment.writes:
        try:
            _show(config, folder, figure)
        except Exception as error:  # what ran stays run, and its status counts
            failed.append(f"the table: {error}")
            report(error)
    return EXIT_FAILED if failed else highest


def report(error: Exception) -> None:
    """Prints why a run failed, where others go on: a user's mistake in one line, a bug with its traceback."""
    if not isinstance(error, settings.UserError):
        traceback.print_exc()
    print(f"Error: {error}", file=sys.stderr, flush=True)


def _show(config: ConfigDict, folder: pathlib.Path, figure: members.Figure) -> None:
    """Prints the table, beside the paper's where it has one of this name, and draws the figure of its runs."""
    print()
    if config.name in paper.TABLES:
        comparison.report(config.name, folder)
    else:
        found = [path for paths in outcomes.run_folders(folder).values() for path in paths]
        ended = [path for path in found if records.read_run(path).get("summary")]
        print(tables.to_text([tables.run_row(path) for path in ended], tables.BRIEF_COLUMNS))
    drawn = gallery.draw(figure.name, folder, title=config.name, field=figure.field)
    if drawn.rows:
        print(f"\n{tables.to_text(drawn.rows, drawn.columns)}")
    print(f"Figure: {drawn.paths[0]}")
