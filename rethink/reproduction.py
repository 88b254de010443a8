"""Owns a reproduction: a config with parts, each a table, a figure or a study of its own, one after the other.

Refuses to know what a part computes: it is handed the functions that run a part. Each part has a directory of its own,
FOLDER/PART, so that what has ended is skipped and what was interrupted goes on.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from ml_collections import ConfigDict

from rethink import members, settings
from rethink.sweeps import EXIT_FAILED, report

_OWN = ("name", "parts", "only", "cells", "axes", "figure", "seeds")  # of the reproduction itself, or of each part


class Part(NamedTuple):
    """A part of a reproduction: the name of its directory, and its config."""

    name: str
    config: ConfigDict


def parts_of(config: ConfigDict, overridden: Collection[str]) -> list[Part]:
    """Returns the parts that `only` asks for, with what the command line changes applied to all of them.

    Args:
      overridden: the fields that the command line sets; a part whose cells set one themselves keeps theirs there.

    Raises:
      UserError: no part is asked for, or one has not the fields of a config.
    """
    leaves = dict(settings.flatten(config))
    changes = {field: leaves[field] for field in overridden if field.partition(".")[0] not in _OWN}
    found = []
    for name in members.matching(config.parts, config.only):
        settings.check_name("parts", name)
        part = config.parts[name].copy_and_resolve_references()
        part.update_from_flattened_dict(changes)
        if members.is_table(part) and "seeds" in overridden:
            part.seeds = config.seeds
        settings.validate(part, {})
        found.append(Part(name, part))
    return found


def run(
    config: ConfigDict,
    overridden: Collection[str],
    workdir: str,
    run_table: Callable[[ConfigDict, str], int],
    run_alone: Callable[[ConfigDict, str], int],
) -> int:
    """Runs the parts of a reproduction; returns the exit status.

    A part that fails is reported, and the others go on. Where none fails, the status is the highest of theirs.

    Args:
      run_table, run_alone: (config, directory) -> exit status, of a part with members and of one that is one run.
    """
    asked = parts_of(config, overridden)
    folder = settings.expand(workdir, "--workdir").absolute()
    print(f"{config.name}: {len(asked)} parts in {folder}: {', '.join(part.name for part in asked)}", flush=True)
    failed, highest = [], 0
    for number, part in enumerate(asked, start=1):
        print(f"\n=== [{number}/{len(asked)}] {part.name}", flush=True)
        run_part = run_table if members.is_table(part.config) else run_alone
        try:
            status = run_part(part.config, str(folder / part.name))
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
