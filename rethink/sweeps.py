"""Owns a table of runs: the members of a config with cells or axes, how each of them ends, and what they showed.

Refuses to run a member by itself: an executor does, with the function that it is handed. Each member is an ordinary run
in a directory of its own, FOLDER/NAME-seedS, so that what has ended is skipped and what was interrupted is resumed.
"""

import pathlib
import sys
import traceback
from collections.abc import Sequence

from ml_collections import ConfigDict

from rethink import members, plans, settings
from rethink.executors import EXECUTORS
from rethink.executors.tasks import Experiment, Task
from rethink.results import comparison, gallery, outcomes, paper, records, tables
from rethink.statuses import EXIT_FAILED


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
    tasks = [Task(member.folder, member.config, folder / member.folder) for member in asked]
    failed, highest = run_tasks(tasks, config.executor, config.jobs, experiment)
    for line in failed:
        print(f"Failed: {line}")
    if experiment.writes:
        try:
            _show(config, folder, figure)
        except Exception as error:  # what ran stays run, and its status counts
            failed.append(f"the table: {error}")
            report(error)
    return EXIT_FAILED if failed else highest


def run_tasks(tasks: Sequence[Task], executor: str, jobs: int, experiment: Experiment) -> tuple[list[str], int]:
    """Runs tasks and says when each begins and ends; returns a line for each that failed, and the highest status."""
    numbers = {task.name: f"[{number}/{len(tasks)}] {task.name}" for number, task in enumerate(tasks, start=1)}
    failed, highest = [], 0
    for news in EXECUTORS[executor](tasks, jobs, experiment):
        label = numbers[news.task.name]
        if news.note:
            print(f"{label}: {news.note}", flush=True)
        elif news.status is None and not news.error:  # the run's own words follow
            print(f"\n{label}", flush=True)
        if news.error:
            failed.append(f"{news.task.name}: {news.error}")
            report(news.error)
        highest = max(highest, news.status or 0)
    return failed, highest


def report(error: Exception) -> None:
    """Prints why a run failed, where others go on: a user's mistake in one line, a bug with its traceback."""
    if not isinstance(error, settings.UserError):
        traceback.print_exception(error)
    print(f"Error: {error}", file=sys.stderr, flush=True)


def _show(config: ConfigDict, folder: pathlib.Path, figure: members.Figure) -> None:
    """Prints the table, beside the paper's where it has one of this name, and draws the figure of its runs, if any."""
    print()
    if config.name in paper.TABLES:
        comparison.report(config.name, folder)
    else:
        found = [path for paths in outcomes.run_folders(folder).values() for path in paths]
        ended = [path for path in found if records.read_run(path).get("summary")]
        print(tables.to_text([tables.run_row(path) for path in ended], tables.BRIEF_COLUMNS))
    if figure.name == "none":
        return
    drawn = gallery.draw(figure.name, folder, title=config.name, field=figure.field)
    if drawn.rows:
        print(f"\n{tables.to_text(drawn.rows, drawn.columns)}")
    print(f"Figure: {drawn.paths[0]}{gallery.claims(config.name, folder)}")
