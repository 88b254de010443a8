"""Owns a table of runs: the members of a config with cells or axes, one run after the other, and what they showed.

Refuses to run a member by itself: it is handed the function that does. Each member is an ordinary run in a directory of
its own, FOLDER/NAME-seedS, so that what has ended is skipped and what was interrupted is resumed.
"""

import pathlib
import sys
import traceback
from collections.abc import Callable

from ml_collections import ConfigDict

from rethink import members, plans, settings
from rethink.results import comparison, gallery, outcomes, paper, records, tables

EXIT_FAILED = 1


def run(config: ConfigDict, workdir: str, run_member: Callable[[ConfigDict, str], tuple[int, bool]]) -> int:
    """Runs the members of a table and shows it beside the paper's; returns the exit status.

    A member that fails is reported, and the others go on. Where none fails, the status is the highest of theirs: that
    of a diverged run where there is one.

    Args:
      run_member: (config, directory) -> (exit status, whether this process writes); one run.
    """
    asked = members.members_of(config)
    folder = settings.expand(workdir, "--workdir").absolute()
    print(f"{config.name} in {folder}: {', '.join(member.folder for member in asked)}")
    print(plans.describe(asked, folder), flush=True)
    failed, highest, writes = [], 0, False
    for number, member in enumerate(asked, start=1):
        print(f"\n[{number}/{len(asked)}] {member.folder}", flush=True)
        try:
            status, writes = run_member(member.config, str(folder / member.folder))
            highest = max(highest, status)
        except Exception as error:
            failed.append(f"{member.folder}: {error}")
            report(error)
    for line in failed:
        print(f"Failed: {line}")
    if writes:
        _show(config, folder)
    return EXIT_FAILED if failed else highest


def report(error: Exception) -> None:
    """Prints why a run failed, where others go on: a user's mistake in one line, a bug with its traceback."""
    if not isinstance(error, settings.UserError):
        traceback.print_exc()
    print(f"Error: {error}", file=sys.stderr, flush=True)


def _show(config: ConfigDict, folder: pathlib.Path) -> None:
    """Prints the table, beside the paper's where it has one of this name, and draws the figure of its runs."""
    print()
    if config.name in paper.TABLES:
        comparison.report(config.name, folder)
    else:
        found = [path for paths in outcomes.run_folders(folder).values() for path in paths]
        ended = [path for path in found if records.read_run(path).get("summary")]
        print(tables.to_text([tables.run_row(path) for path in ended], tables.BRIEF_COLUMNS))
    axis = members.numeric_axis(config)
    name = config.figure if config.figure != "auto" else "against" if axis else "best_so_far"
    drawn = gallery.draw(name, folder, title=config.name, field=axis.field if axis else "")
    if drawn.rows:
        print(f"\n{tables.to_text(drawn.rows, drawn.columns)}")
    print(f"Figure: {drawn.paths[0]}")
