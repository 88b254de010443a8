"""Owns a reproduction: a config with parts, each a table, a figure or a study of its own, one after the other.

Refuses to know what a part computes: it is handed the functions that run one. Each part has a directory of its own,
FOLDER/PART, so that what has ended is skipped and what was interrupted goes on.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink.report import page
from rethink.schema import grid, validation
from rethink.schema.errors import EXIT_FAILED, UserError
from rethink.sweeps.executors.tasks import Task
from rethink.sweeps.run import Experiment, print_error, run_sweep, run_tasks

# Of the reproduction itself, or of each part.
_SUITE_FIELDS = ("name", "experiments", "filter", "cells", "axes", "figure", "seeds", "executor", "jobs")


class SuiteExperiment(NamedTuple):
    """A part of a reproduction: the name of its directory, and its config."""

    name: str
    config: ConfigDict


def expand_suite(config: ConfigDict, overridden: Collection[str]) -> list[SuiteExperiment]:
    """Returns the parts that `filter` asks for, with what the command line changes applied to all of them.

    Args:
      overridden: the fields that the command line sets, those of single parts as experiments.NAME.FIELD; these win over the
        same field set for all. A part whose cells set a field themselves keeps theirs there.

    Raises:
      UserError: no part is asked for, or one has not the fields of a config; a field is set that each part has of its
        own kind.
    """
    for field in ("axes", "figure"):
        if field in overridden:
            raise UserError(
                f"{field}={config[field]!r} would change nothing in {config.name}, whose parts have their own: set "
                f"config.experiments.NAME.{field} of one of {', '.join(config.experiments)}."
            )
    leaves = dict(validation.flatten(config))
    changes = {field: leaves[field] for field in overridden if field.partition(".")[0] not in _SUITE_FIELDS}
    found = []
    for name in grid.filter_names(config.experiments, config.filter):
        validation.check_name("experiments", name)
        part = config.experiments[name].copy_and_resolve_references()
        own = {field: value for field, value in changes.items() if f"experiments.{name}.{field}" not in overridden}
        part.update_from_flattened_dict(own)
        if "seeds" in overridden and f"experiments.{name}.seeds" not in overridden:
            if grid.is_sweep(part):
                part.seeds = config.seeds
            else:
                print(f"{name}: --config.seeds changes nothing, as it is one run")
        _set_executor(name, part, config, overridden)
        validation.validate(part, {})
        _warn_unchanged(name, part, own)
        found.append(SuiteExperiment(name, part))
    return found


def _set_executor(name: str, part: ConfigDict, config: ConfigDict, overridden: Collection[str]) -> None:
    """Runs the members of all parts in the way that the reproduction says, as they share the machine."""
    for field in ("executor", "jobs"):
        if f"experiments.{name}.{field}" in overridden:
            raise UserError(f"experiments.{name}.{field} can't differ between parts: set config.{field} for all.")
        if grid.is_sweep(part):
            part[field] = config[field]


def _warn_unchanged(name: str, part: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Says which cells and axes of a part set a field themselves that the command line sets for all."""
    axes = [axis.field for axis in grid.read_axes(part.axes, dict(validation.flatten(part)))]
    for field in changes:
        keeping = [cell for cell, fields in part.cells.items() if field in dict(fields)]
        if keeping:
            print(f"{name}: --config.{field} leaves the cells that set it themselves as they are: {', '.join(keeping)}")
        if field in axes:
            print(f"{name}: --config.{field} changes nothing, as it is an axis there")


def run_sweep_or_suite(config: ConfigDict, overridden: Collection[str], workdir: str, experiment: Experiment) -> int:
    """Runs a reproduction, or a table by itself, and writes the page of it; returns the exit code.

    Args:
      overridden: as `parts_of`.
    """
    if config.experiments:
        exit_code = _run_suite(config, expand_suite(config, overridden), workdir, experiment)
    else:
        exit_code = run_sweep(config, workdir, experiment)
    if experiment.writes:
        _show_page(workdir)
    return exit_code


def _run_suite(config: ConfigDict, asked: Collection[SuiteExperiment], workdir: str, experiment: Experiment) -> int:
    """Runs parts one after the other; returns the exit code: the highest of theirs where none fails.

    A part that fails is reported, and the others go on.
    """
    for part in asked:  # a mistake in the last one is known before the first one runs
        try:
            for member in grid.expand_grid(part.config) if grid.is_sweep(part.config) else ():
                experiment.check(member.config)
            experiment.check(part.config)
        except UserError as error:
            raise UserError(f"experiments.{part.name}: {error}") from error
    folder = validation.expand_path(workdir, "--workdir").absolute()
    print(f"{config.name}: {len(asked)} parts in {folder}: {', '.join(part.name for part in asked)}", flush=True)
    failed, highest = [], 0
    for number, part in enumerate(asked, start=1):
        print(f"\n=== [{number}/{len(asked)}] {part.name}", flush=True)
        directory = str(folder / part.name)
        try:
            if grid.is_sweep(part.config):
                exit_code = run_sweep(part.config, directory, experiment)
            elif config.executor == "sequential":
                exit_code = experiment.run(part.config, directory)
            else:
                failures, exit_code = run_tasks(
                    [Task(part.name, part.config, folder / part.name)], config.executor, config.jobs, experiment
                )
                exit_code = EXIT_FAILED if failures else exit_code
        except Exception as error:
            print_error(error)
            exit_code = EXIT_FAILED
        if exit_code == EXIT_FAILED:
            failed.append(part.name)
        highest = max(highest, exit_code)
    print()
    if failed:
        print(f"Failed, in whole or in part: {', '.join(failed)}. The same command tries them again.")
    return EXIT_FAILED if failed else highest


def _show_page(workdir: str) -> None:
    """Writes the page of all that lies in a directory, and says where it is, or in one line why there is none."""
    folder = validation.expand_path(workdir, "--workdir").absolute()
    try:
        print(f"\nPage: {page.write([folder], folder / 'index.html')}")
    except UserError as error:
        print(f"\nNo page: {error}")
    except Exception as error:  # what ran stays run, and its exit_code counts
        print_error(error)
