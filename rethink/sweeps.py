"""Owns a table of runs: the members of a config with cells or axes, group after group, and what they showed.

Refuses to run a member by itself: it is handed the function that does. Each member is an ordinary run in a directory of
its own, FOLDER/NAME-seedS, so that what has ended is skipped and what was interrupted is resumed.
"""

import pathlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from rethink import members, plans, settings
from rethink.members import Member
from rethink.results import comparison, gallery, outcomes, paper, records, tables

EXIT_FAILED = 1


class Experiment(NamedTuple):
    """What a table is handed, as it knows no experiment.

    Attributes:
      run: (config, directory) -> exit status; one run.
      run_group: runs of one program, each (config, directory) -> exit status of each, or why it failed.
      check: raises UserError where a config can't be that of a run.
      writes: whether this process is the one that writes.
    """

    run: Callable[[ConfigDict, str], int]
    run_group: Callable[[Sequence[tuple[ConfigDict, str]]], list[int | Exception]]
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
    failed, highest, begun = [], 0, 0
    for group in members.groups_of(asked):
        numbers = f"{begun + 1}" if len(group) == 1 else f"{begun + 1}-{begun + len(group)}"
        begun += len(group)
        print(f"\n[{numbers}/{len(asked)}] {', '.join(member.folder for member in group)}", flush=True)
        for member, result in zip(group, _run_group(group, folder, experiment), strict=True):
            if isinstance(result, Exception):
                failed.append(f"{member.folder}: {result}")
                report(result)
            else:
                highest = max(highest, result)
    for line in failed:
        print(f"Failed: {line}")
    if experiment.writes:
        try:
            _show(config, folder, figure)
        except Exception as error:  # what ran stays run, and its status counts
            failed.append(f"the table: {error}")
            report(error)
    return EXIT_FAILED if failed else highest


def _run_group(group: Sequence[Member], folder: pathlib.Path, experiment: Experiment) -> Sequence[int | Exception]:
    """Returns the exit status of each member, or why it failed."""
    runs = [(member.config, str(folder / member.folder)) for member in group]
    try:
        return [experiment.run(*runs[0])] if len(runs) == 1 else experiment.run_group(runs)
    except Exception as error:
        return [error] * len(runs)


def report(error: Exception) -> None:
    """Prints why a run failed, where others go on: a user's mistake in one line, a bug with its traceback."""
    if not isinstance(error, settings.UserError):
        traceback.print_exception(error)
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
