"""Runs a suite: a config with `experiments`, each a sweep or a single run of its own, one after the other.

What a run computes is not known here. Each experiment has a directory of its own, FOLDER/EXPERIMENT, so that a second
launch skips what has ended and resumes what was interrupted.
"""

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink.experiment.reporter import show_end
from rethink.experiment.run import check_config
from rethink.report import page
from rethink.report.page import group_verdicts
from rethink.results import screen
from rethink.results.runs import check_kind_of_folder, load_run
from rethink.schema import grid, validation
from rethink.schema.errors import EXIT_FAILED, UserError, print_error
from rethink.sweeps.executors.tasks import RunFunctions, Task
from rethink.sweeps.run import check_networks, list_tasks, run_sweep, run_tasks
from rethink.training import distributed

# Set for the suite itself, or for single experiments: never copied from the suite to all experiments.
_SUITE_FIELDS = ("name", "experiments", "filter", "cells", "axes", "figure", "seeds", "executor", "jobs")


class SuiteExperiment(NamedTuple):
    """An experiment of a suite: the name of its directory, and its config."""

    name: str
    config: ConfigDict


def expand_suite(config: ConfigDict, overridden: Collection[str]) -> list[SuiteExperiment]:
    """Returns the experiments that match `filter`, each with the changes of the command line.

    Args:
      overridden: the fields that the command line sets, those of single experiments as experiments.NAME.FIELD, which
        win over the same field set for all. Cells that set a field themselves keep it.

    Raises:
      UserError: no experiment matches, or one lacks fields of a config; a field is set for all that each experiment
        has for itself.
    """
    # Fields that each experiment has for itself can't be set for all.
    for field in ("axes", "figure"):
        if field in overridden:
            raise UserError(
                f"{field}={config[field]!r} would change nothing in {config.name}, whose experiments have their own: "
                f"set config.experiments.NAME.{field} of one of {', '.join(config.experiments)}."
            )
    # Changes for all experiments; those for a single one are in its config already, and win.
    fields = dict(validation.flatten(config))
    changes = {field: fields[field] for field in overridden if field.partition(".")[0] not in _SUITE_FIELDS}
    experiments = []
    for name in grid.filter_names(config.experiments, config.filter):
        validation.check_name("experiments", name)
        if not isinstance(config.experiments[name], ConfigDict):
            raise UserError(f"experiments.{name}={config.experiments[name]!r} is no config: give a whole one.")
        experiment = config.experiments[name].copy_and_resolve_references()
        for_all = {field: value for field, value in changes.items() if f"experiments.{name}.{field}" not in overridden}
        validation.name_after_parts(experiment, for_all)
        with experiment.unlocked():  # fields of the model may be new
            experiment.update_from_flattened_dict(for_all)
        if "seeds" in overridden and f"experiments.{name}.seeds" not in overridden:
            if validation.is_sweep(experiment):
                experiment.seeds = config.seeds
            else:
                wanted = f"--config.experiments.{name}.seeds={config.seeds}"
                print(f"{name}: --config.seeds leaves it at one run: {wanted} repeats it")
        _set_executor(name, experiment, config, overridden)
        try:
            validation.validate(experiment)
        except UserError as error:
            raise UserError(f"experiments.{name}: {error}") from error
        _warn_unchanged(name, experiment, for_all)
        experiments.append(SuiteExperiment(name, experiment))
    return experiments


def _set_executor(name: str, experiment: ConfigDict, config: ConfigDict, overridden: Collection[str]) -> None:
    """Sets the suite's executor in an experiment, as all of them share the machine."""
    for field in ("executor", "jobs"):
        if f"experiments.{name}.{field}" in overridden:
            raise UserError(f"experiments.{name}.{field} can't differ between experiments: set config.{field} for all.")
        if validation.is_sweep(experiment):
            experiment[field] = config[field]


def _warn_unchanged(name: str, experiment: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Prints which cells and axes of an experiment set a field themselves that the command line sets for all."""
    axes = [axis.field for axis in grid.read_axes(experiment.axes, dict(validation.flatten(experiment)))]
    for field in changes:
        cells = [cell for cell, cell_fields in experiment.cells.items() if field in dict(cell_fields)]
        if cells:
            print(f"{name}: --config.{field} leaves the cells that set it themselves as they are: {', '.join(cells)}")
        if field in axes:
            print(f"{name}: --config.{field} changes nothing, as it is an axis there")


def run_sweep_or_suite(config: ConfigDict, overridden: Collection[str], workdir: str, functions: RunFunctions) -> int:
    """Runs a suite, or a sweep by itself, and writes its HTML page; returns the exit code.

    Args:
      overridden: as in `expand_suite`.
    """
    if config.experiments:
        experiments = expand_suite(config, overridden)
        grid.check_overrides_matter({experiment.name: experiment.config for experiment in experiments}, overridden)
        exit_code = _run_suite(config, experiments, workdir, functions)
    else:
        grid.check_overrides_matter({"": config}, overridden)
        exit_code = run_sweep(config, workdir, functions)
    if functions.writes:
        _write_page(workdir)
    return exit_code


def _check_suite(experiments: Sequence[SuiteExperiment], folder: pathlib.Path, functions: RunFunctions) -> None:
    """Checks all experiments, and the directory, before the first one runs."""
    for experiment in experiments:
        try:
            _check_experiment(experiment, folder / experiment.name)
        except UserError as error:
            raise UserError(f"experiments.{experiment.name}: {error}") from error
    with distributed.sync_errors():
        if functions.writes:
            check_kind_of_folder(folder, [experiment.name for experiment in experiments])


def _run_suite(
    config: ConfigDict, experiments: Sequence[SuiteExperiment], workdir: str, functions: RunFunctions
) -> int:
    """Runs experiments one after the other; returns the exit code: the highest of theirs where none failed.

    An experiment that fails is reported, and the others are still run.
    """
    folder = validation.expand_path(workdir, "--workdir").absolute()
    _check_suite(experiments, folder, functions)
    # Run.
    names = ", ".join(experiment.name for experiment in experiments)
    print(f"{config.name} in {folder}")
    print(screen.wrap(f"{len(experiments)} experiments: {names}"), flush=True)
    failures, highest = [], 0
    for number, experiment in enumerate(experiments, start=1):
        print(f"\n=== [{number}/{len(experiments)}] {experiment.name}", flush=True)
        try:
            exit_code = _run_suite_experiment(experiment, folder / experiment.name, config, functions)
        except Exception as error:
            print_error(error)
            exit_code = EXIT_FAILED
        if exit_code == EXIT_FAILED:
            failures.append(experiment.name)
        highest = max(highest, exit_code)
    if failures:
        print(f"\nFailed, in whole or in part: {', '.join(failures)}. The same command tries them again.", flush=True)
    is_shown = _show_findings(folder) if functions.writes else True
    return highest if is_shown and not failures else EXIT_FAILED


def _show_findings(folder: pathlib.Path) -> bool:
    """Prints how the paper's claims stand by the runs in a folder, or an error; returns whether it could be told."""
    try:
        print(f"\n{group_verdicts.describe_findings(folder)}".rstrip())
    except Exception as error:  # the runs are kept, but the exit code tells
        print_error(error)
        return False
    return True


def _check_experiment(experiment: SuiteExperiment, directory: pathlib.Path) -> None:
    single = Task(experiment.name, experiment.config, directory)
    is_sweep = validation.is_sweep(experiment.config)
    tasks = list_tasks(grid.expand_grid(experiment.config), directory) if is_sweep else [single]
    for task in (*tasks, single):
        check_config(task.config)
    check_networks(tasks)


def _run_suite_experiment(
    experiment: SuiteExperiment, directory: pathlib.Path, config: ConfigDict, functions: RunFunctions
) -> int:
    """Runs an experiment in the way that the suite's `config` sets; returns its exit code."""
    if validation.is_sweep(experiment.config):
        return run_sweep(experiment.config, str(directory), functions, in_suite=True)
    task = Task(experiment.name, experiment.config, directory)
    failures, exit_code = run_tasks([task], config.executor, config.jobs, functions)
    if functions.writes and not failures:
        show_end(load_run(directory))
    return EXIT_FAILED if failures else exit_code


def _write_page(workdir: str) -> None:
    """Writes the page of all that lies in a directory; prints where it is, or in one line why there is none."""
    folder = validation.expand_path(workdir, "--workdir").absolute()
    try:
        print(f"\nPage: {page.write_page([folder], folder / 'index.html')}")
    except UserError as error:
        print(f"\nNo page: {error}")
    except Exception as error:  # the runs are kept, and their exit code counts
        print_error(error)
