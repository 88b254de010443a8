"""Runs a sweep: several runs of one config, and shows them beside the paper's numbers and as a figure.

What a run computes is not known here, nor how several run at a time: executors/ does that.
"""

import contextlib
import pathlib
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from rethink import jax_options
from rethink.experiment.network import check_program
from rethink.experiment.run import Launch, check_config
from rethink.figures import registry
from rethink.paper.numbers import TABLES
from rethink.report import comparison, figure_claims
from rethink.results import progress, records, screen, tables
from rethink.results import runs as results_runs
from rethink.schema import grid, validation
from rethink.schema.errors import EXIT_FAILED, UserError, pick, print_error
from rethink.sweeps import estimate
from rethink.sweeps.executors import EXECUTORS
from rethink.sweeps.executors.tasks import RunFunctions, Task, TaskEvent, is_finished
from rethink.training import distributed


def init_distributed(config: ConfigDict, launch: Launch) -> bool:
    """Joins the other processes before the first run of a sweep or suite, as all go through the same runs.

    Returns:
      Whether this process is the one that writes files.

    Raises:
      UserError: the config is wrong; the other processes are missing, or have another config; `launch` sets what only
        runs in this process can do, and the executor gives each run a process of its own.
    """
    if config.executor != "sequential":
        jax_options.fix()
        jax.config.update("jax_platforms", "cpu")  # the runs need the other devices, whatever a user's module touches
    check_config(config)
    if config.executor != "sequential":
        if launch.processes or distributed.find_launcher():
            raise UserError(
                f"executor='{config.executor}' starts a process for each run: launch it once, without --num_processes "
                "and by itself, or set config.executor='sequential', where all processes share each run."
            )
        if launch.profile_steps:
            raise UserError("--profile_steps is for runs in this process: set config.executor='sequential'.")
        return True
    distributed.initialize(config.hardware, launch.processes)
    distributed.check_same_config(config)
    return distributed.is_first()


def run_sweep(config: ConfigDict, workdir: str, functions: RunFunctions, *, in_suite: bool = False) -> int:
    """Runs the runs of a sweep and shows them; returns the exit code: the highest of theirs where none failed.

    A run that fails is reported, and the others are still run. A sweep with a diverged run and no failed one has the
    exit code of the diverged run.

    Args:
      in_suite: whether only the figure is drawn, as the suite shows what it finds.

    Raises:
      UserError: the config of a run is wrong, the figure can't be drawn, the directory is a single run's or a suite's,
        or a run that has ended was of another network, which new runs must not stand beside; before any of them runs.
    """
    # Check all before the first one runs.
    runs = grid.expand_grid(config)
    for run in runs:
        check_config(run.config)
    figure = grid.choose_figure(config)
    folder = validation.expand_path(workdir, "--workdir").absolute()
    with distributed.sync_errors():
        if functions.writes:
            results_runs.check_kind_of_folder(folder)
    tasks = list_tasks(runs, folder)
    check_networks(tasks)
    # Run.
    print(f"{config.name} in {folder}")
    print(screen.wrap(estimate.describe_plan(runs, folder)), flush=True)
    failures, highest = run_tasks(tasks, config.executor, config.jobs, functions)
    for line in failures:
        print(f"Failed: {line}")
    # Show.
    if functions.writes:
        try:
            _show_results(config, folder, figure, in_suite)
        except Exception as error:  # the runs are kept, but the exit code tells
            failures.append(f"the table: {error}")
            print_error(error)
    return EXIT_FAILED if failures else highest


def list_tasks(runs: Sequence[grid.SweepRun], folder: pathlib.Path) -> list[Task]:
    """Returns the runs of a sweep in its folder, an absolute path."""
    return [Task(run.folder, run.config, folder / run.folder) for run in runs]


def check_networks(tasks: Sequence[Task]) -> None:
    """Checks that the runs that have ended, and those beside them, were of the networks of now.

    Table and figure show what stands in the folder, also of other axes. Damaged runs are left to the run itself.

    Raises:
      UserError: one was of another.
    """
    names = {task.config.model.name for task in tasks}
    folders = sorted({path.parent for task in tasks for path in task.directory.parent.glob("*/manifest.json")})
    with distributed.sync_errors():
        for folder in folders if distributed.is_first() else ():
            manifest = None
            with contextlib.suppress(UserError, OSError):
                manifest = records.read_run(folder)
            if manifest and manifest["status"] in records.FINISHED and manifest["config"].get("model.name") in names:
                check_program(manifest, folder)


def run_tasks(tasks: Sequence[Task], executor: str, jobs: int, functions: RunFunctions) -> tuple[list[str], int]:
    """Runs tasks and prints the end of each in a line; returns (a line for each that failed, highest exit code).

    Raises:
      UserError: there is no such executor.
    """
    labels = {task.name: f"[{number}/{len(tasks)}] {task.name}" for number, task in enumerate(tasks, start=1)}
    before = {task.name for task in tasks if _has_ended(task)}
    failures, highest = [], 0
    for event in pick(EXECUTORS, executor, "executor")(tasks, jobs, functions):
        name = event.task.name
        if event.exit_code is not None and functions.writes:
            ended = f"{_describe_end(event)}{'  (earlier)' if name in before else ''}"
            print(screen.wrap(f"{labels[name]}  {ended}", 4), flush=True)
        elif event.note:
            print(f"{labels[name]}: {event.note}", flush=True)
        if event.error:
            failures.append(f"{name}: {event.error}")
            print_error(event.error)
        highest = max(highest, event.exit_code or 0)
    return failures, highest


def _has_ended(task: Task) -> bool:
    """Returns whether an earlier launch has ended a run; a damaged one is left to the run itself."""
    with contextlib.suppress(UserError, OSError):
        return is_finished(records.read_run(task.directory), task.config)
    return False


def _describe_end(event: TaskEvent) -> str:
    """Returns how a run ended, by its manifest, or by its exit code where that can't be read."""
    try:
        return progress.describe_end(records.read_run(event.task.directory))
    except (UserError, OSError):
        return f"exit code {event.exit_code}"


def _show_results(config: ConfigDict, folder: pathlib.Path, figure: grid.FigureChoice, in_suite: bool) -> None:
    """Prints a table of the runs, beside the paper's where it has one of this name, draws their figure, if any.

    What the paper says of them and the finding come last.
    """
    loaded = results_runs.load_runs(folder)
    results_runs.check_same_data(run for runs in loaded.values() for run in runs)
    parts, compared, finding = [], "", ""
    if in_suite:
        pass
    elif config.name in TABLES:
        compared, finding = comparison.describe_comparison(config.name, loaded)
    else:
        every = sorted((run for runs in loaded.values() for run in runs), key=results_runs.by_values)
        rows = [results_runs.describe_run(run) for run in every if run.summary]
        for row in rows:  # the sweep's name stands above; that of seeds alone is the sweep's
            row["run"] = row["run"].removeprefix(config.name).removeprefix("-")
        parts.append(tables.to_text(rows, results_runs.BRIEF_COLUMNS, dispensable=["seconds"]))
        means = [results_runs.describe_seeds(cell, runs) for cell, runs in loaded.items()]
        parts.append("\n".join(map(screen.wrap, filter(None, means))))
        compared, finding = figure_claims.describe_claims(config.name, loaded)
    if figure.name != "none":
        drawn = registry.draw_figure(figure.name, loaded, folder, title=config.name, field=figure.field)
        parts += ["" if in_suite else drawn.to_text(), f"Figure: {drawn.paths[0]}"]
    parts += [compared, finding]
    print("", *filter(None, parts), sep="\n" if in_suite else "\n\n")
