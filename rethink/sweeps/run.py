"""TODO."""

import pathlib
import sys
import traceback
from collections.abc import Sequence

from ml_collections import ConfigDict

from rethink.experiment.run import Launch, check_config
from rethink.paper.numbers import TABLES
from rethink.report import comparison, gallery
from rethink.results import records, tables
from rethink.results import runs as results_runs
from rethink.schema import grid, validation
from rethink.schema.errors import EXIT_FAILED, UserError
from rethink.sweeps import estimate, executors
from rethink.sweeps.executors import EXECUTORS
from rethink.sweeps.executors.tasks import Experiment, Task
from rethink.training import distributed


def init_distributed(config: ConfigDict, launch: Launch) -> bool:
    """Joins the other processes before the first run of a table, as all must go through the same runs.

    Returns:
      Whether this process is the one that writes.

    Raises:
      UserError: the config is off, the others are not there, or they were given another one; its runs are to have
        processes of their own, and what is asked for belongs to this one.
    """
    check_config(config)
    if config.executor not in executors.IN_THIS_PROCESS:
        if launch.processes or distributed.is_launched():
            raise UserError(
                f"executor='{config.executor}' starts a process for each run: launch it once, without --num_processes "
                "and by itself, or set config.executor='sequential', where all processes share each run."
            )
        if launch.profile_steps:
            raise UserError("--profile_steps is for runs in this process: set config.executor='sequential'.")
        return True  # and no device is touched here: the runs take them
    distributed.initialize(config.hardware, launch.processes)
    distributed.check_same_config(config)
    return distributed.is_first()


def run_sweep(config: ConfigDict, workdir: str, experiment: Experiment) -> int:
    """Runs the members of a table and shows it beside the paper's; returns the exit code.

    A member that fails is reported, and the others go on. Where none fails, the exit_code is the highest of theirs: that
    of a diverged run where there is one.

    Raises:
      UserError: the config of a member is off, or its figure can't be drawn: before any of them runs.
    """
    asked = grid.expand_grid(config)
    for member in asked:
        experiment.check(member.config)
    figure = grid.choose_figure(config)
    folder = validation.expand_path(workdir, "--workdir").absolute()
    print(f"{config.name} in {folder}: {', '.join(member.folder for member in asked)}")
    print(estimate.describe_plan(asked, folder), flush=True)
    tasks = [Task(member.folder, member.config, folder / member.folder) for member in asked]
    failed, highest = run_tasks(tasks, config.executor, config.jobs, experiment)
    for line in failed:
        print(f"Failed: {line}")
    if experiment.writes:
        try:
            _show_results(config, folder, figure)
        except Exception as error:  # what ran stays run, and its exit_code counts
            failed.append(f"the table: {error}")
            print_error(error)
    return EXIT_FAILED if failed else highest


def run_tasks(tasks: Sequence[Task], executor: str, jobs: int, experiment: Experiment) -> tuple[list[str], int]:
    """Runs tasks and says when each begins and ends; returns a line for each that failed, and the highest exit_code."""
    numbers = {task.name: f"[{number}/{len(tasks)}] {task.name}" for number, task in enumerate(tasks, start=1)}
    failed, highest = [], 0
    for news in EXECUTORS[executor](tasks, jobs, experiment):
        label = numbers[news.task.name]
        if news.note:
            print(f"{label}: {news.note}", flush=True)
        elif news.exit_code is None and not news.error:  # the run's own words follow
            print(f"\n{label}", flush=True)
        if news.error:
            failed.append(f"{news.task.name}: {news.error}")
            print_error(news.error)
        highest = max(highest, news.exit_code or 0)
    return failed, highest


def print_error(error: Exception) -> None:
    """Prints why a run failed, where others go on: a user's mistake in one line, a bug with its traceback."""
    if not isinstance(error, UserError):
        traceback.print_exception(error)
    print(f"Error: {error}", file=sys.stderr, flush=True)


def _show_results(config: ConfigDict, folder: pathlib.Path, figure: grid.FigureChoice) -> None:
    """Prints the table, beside the paper's where it has one of this name, and draws the figure of its runs, if any."""
    print()
    if config.name in TABLES:
        comparison.report(config.name, folder)
    else:
        found = [path for paths in results_runs.run_folders(folder).values() for path in paths]
        ended = [path for path in found if records.read_run(path).get("summary")]
        print(tables.to_text([tables.run_row(path) for path in ended], tables.BRIEF_COLUMNS))
    if figure.name == "none":
        return
    drawn = gallery.draw_figure(figure.name, folder, title=config.name, field=figure.field)
    if drawn.rows:
        print(f"\n{tables.to_text(drawn.rows, drawn.columns)}")
    print(f"Figure: {drawn.paths[0]}{gallery.claims(config.name, folder)}")
