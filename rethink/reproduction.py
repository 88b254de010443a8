"""Owns a reproduction: a config with parts, each a table, a figure or a study of its own, one after the other.

Refuses to know what a part computes: it is handed the functions that run one. Each part has a directory of its own,
FOLDER/PART, so that what has ended is skipped and what was interrupted goes on.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink import members, settings
from rethink.executors.tasks import Task
from rethink.results import page
from rethink.statuses import EXIT_FAILED
from rethink.sweeps import Experiment, report, run_table, run_tasks

# Of the reproduction itself, or of each part.
_OWN = ("name", "parts", "only", "cells", "axes", "figure", "seeds", "executor", "jobs")


class Part(NamedTuple):
    """A part of a reproduction: the name of its directory, and its config."""

    name: str
    config: ConfigDict


def parts_of(config: ConfigDict, overridden: Collection[str]) -> list[Part]:
    """Returns the parts that `only` asks for, with what the command line changes applied to all of them.

    Args:
      overridden: the fields that the command line sets, those of single parts as parts.NAME.FIELD; these win over the
        same field set for all. A part whose cells set a field themselves keeps theirs there.

    Raises:
      UserError: no part is asked for, or one has not the fields of a config; a field is set that each part has of its
        own kind.
    """
    for field in ("axes", "figure"):
        if field in overridden:
            raise settings.UserError(
                f"{field}={config[field]!r} would change nothing in {config.name}, whose parts have their own: set "
                f"config.parts.NAME.{field} of one of {', '.join(config.parts)}."
            )
    leaves = dict(settings.flatten(config))
    changes = {field: leaves[field] for field in overridden if field.partition(".")[0] not in _OWN}
    found = []
    for name in members.matching(config.parts, config.only):
        settings.check_name("parts", name)
        part = config.parts[name].copy_and_resolve_references()
        own = {field: value for field, value in changes.items() if f"parts.{name}.{field}" not in overridden}
        part.update_from_flattened_dict(own)
        if "seeds" in overridden and f"parts.{name}.seeds" not in overridden:
            if members.is_table(part):
                part.seeds = config.seeds
            else:
                print(f"{name}: --config.seeds changes nothing, as it is one run")
        _set_executor(name, part, config, overridden)
        settings.validate(part, {})
        _say_what_stays(name, part, own)
        found.append(Part(name, part))
    return found


def _set_executor(name: str, part: ConfigDict, config: ConfigDict, overridden: Collection[str]) -> None:
    """Runs the members of all parts in the way that the reproduction says, as they share the machine."""
    for field in ("executor", "jobs"):
        if f"parts.{name}.{field}" in overridden:
            raise settings.UserError(f"parts.{name}.{field} can't differ between parts: set config.{field} for all.")
        if members.is_table(part):
            part[field] = config[field]


def _say_what_stays(name: str, part: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Says which cells and axes of a part set a field themselves that the command line sets for all."""
    axes = [axis.field for axis in members.read_axes(part.axes, dict(settings.flatten(part)))]
    for field in changes:
        keeping = [cell for cell, fields in part.cells.items() if field in dict(fields)]
        if keeping:
            print(f"{name}: --config.{field} leaves the cells that set it themselves as they are: {', '.join(keeping)}")
        if field in axes:
            print(f"{name}: --config.{field} changes nothing, as it is an axis there")


def run(config: ConfigDict, overridden: Collection[str], workdir: str, experiment: Experiment) -> int:
    """Runs a reproduction, or a table by itself, and writes the page of it; returns the exit status.

    Args:
      overridden: as `parts_of`.
    """
    if config.parts:
        status = _run_parts(config, parts_of(config, overridden), workdir, experiment)
    else:
        status = run_table(config, workdir, experiment)
    if experiment.writes:
        _show_page(workdir)
    return status


def _run_parts(config: ConfigDict, asked: Collection[Part], workdir: str, experiment: Experiment) -> int:
    """Runs parts one after the other; returns the exit status: the highest of theirs where none fails.

    A part that fails is reported, and the others go on.
    """
    for part in asked:  # a mistake in the last one is known before the first one runs
        try:
            for member in members.members_of(part.config) if members.is_table(part.config) else ():
                experiment.check(member.config)
            experiment.check(part.config)
        except settings.UserError as error:
            raise settings.UserError(f"parts.{part.name}: {error}") from error
    folder = settings.expand(workdir, "--workdir").absolute()
    print(f"{config.name}: {len(asked)} parts in {folder}: {', '.join(part.name for part in asked)}", flush=True)
    failed, highest = [], 0
    for number, part in enumerate(asked, start=1):
        print(f"\n=== [{number}/{len(asked)}] {part.name}", flush=True)
        directory = str(folder / part.name)
        try:
            if members.is_table(part.config):
                status = run_table(part.config, directory, experiment)
            elif config.executor == "in_turn":
                status = experiment.run(part.config, directory)
            else:
                failures, status = run_tasks(
                    [Task(part.name, part.config, folder / part.name)], config.executor, config.jobs, experiment
                )
                status = EXIT_FAILED if failures else status
        except Exception as error:
            report(error)
            status = EXIT_FAILED
        if status == EXIT_FAILED:
            failed.append(part.name)
        highest = max(highest, status)
    print()
    if failed:
        print(f"Failed, in whole or in part: {', '.join(failed)}. The same command tries them again.")
    return EXIT_FAILED if failed else highest


def _show_page(workdir: str) -> None:
    """Writes the page of all that lies in a directory, and says where it is, or in one line why there is none."""
    folder = settings.expand(workdir, "--workdir").absolute()
    try:
        print(f"\nPage: {page.write([folder], folder / 'index.html')}")
    except settings.UserError as error:
        print(f"\nNo page: {error}")
    except Exception as error:  # what ran stays run, and its status counts
        report(error)
