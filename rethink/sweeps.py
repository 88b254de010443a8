"""Owns a table of runs: the members that a config with cells stands for, one run after the other, and what they showed.

Refuses to run a member by itself: it is handed the function that does. Each member is an ordinary run in a directory of
its own, FOLDER/CELL-seedS, so that what has ended is skipped and what was interrupted is resumed.
"""

import fnmatch
import pathlib
import sys
import traceback
from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from rethink import settings
from rethink.results import best_so_far, comparison, outcomes, paper, records, tables

EXIT_FAILED = 1
_SHARED = ("name", "only", "seeds", "seed", "hardware.cpu_devices")  # what a table gives its members, and a process


class Member(NamedTuple):
    """A run of a table: its cell, its directory's name, and its config, which has no cells."""

    cell: str
    folder: str
    config: ConfigDict


def members(config: ConfigDict) -> list[Member]:
    """Returns the members of a config with cells, those that `only` asks for, seed after seed.

    Raises:
      UserError: no cell is asked for, or a cell sets a field that there is not, or to a value of another type; a
        field of the table itself is off.
    """
    settings.validate(config, {})
    patterns = config.only.split(",")
    cells = [cell for cell in config.cells if any(fnmatch.fnmatchcase(cell, pattern) for pattern in patterns)]
    if not cells:
        raise settings.UserError(
            f"{settings.unknown('only', config.only, list(config.cells))} Patterns such as '*-wd' do."
        )
    found = []
    for seed in range(config.seed, config.seed + config.seeds):
        for cell in cells:
            found.append(Member(cell, f"{cell}-seed{seed}", _member_config(config, cell, seed)))
    return found


def _member_config(config: ConfigDict, cell: str, seed: int) -> ConfigDict:
    settings.check_name("cells", cell)
    member = config.copy_and_resolve_references()
    member.cells = ConfigDict()
    member.only, member.seeds = "*", 1
    member.name, member.seed = f"{config.name}-{cell}", seed
    fields = dict(settings.flatten(member))
    for field, value in config.cells[cell]:
        if field not in fields:
            raise settings.UserError(settings.unknown(f"cells.{cell}", field, list(fields)))
        if field in _SHARED:
            raise settings.UserError(
                f"cells.{cell} sets {field}={value!r}, which all runs of a table share: set config.{field} instead."
            )
        section, _, name = field.rpartition(".")
        try:
            (member[section] if section else member)[name] = value
        except TypeError as error:
            raise settings.UserError(
                f"cells.{cell}: {field}={value!r} is no {type(fields[field]).__name__}: write a value such as "
                f"{fields[field]!r}."
            ) from error
    return member


def run(config: ConfigDict, workdir: str, run_member: Callable[[ConfigDict, str], tuple[int, bool]]) -> int:
    """Runs the members of a table and shows it beside the paper's; returns the exit status.

    A member that fails is reported, and the others go on. Where none fails, the status is the highest of theirs: that
    of a diverged run where there is one.

    Args:
      run_member: (config, directory) -> (exit status, whether this process writes); one run.
    """
    asked = members(config)
    folder = settings.expand(workdir, "--workdir").absolute()
    print(f"{config.name}: {len(asked)} runs in {folder}: {', '.join(member.folder for member in asked)}", flush=True)
    failed, highest, writes = [], 0, False
    for number, member in enumerate(asked, start=1):
        print(f"\n[{number}/{len(asked)}] {member.folder}", flush=True)
        try:
            status, writes = run_member(member.config, str(folder / member.folder))
            highest = max(highest, status)
        except Exception as error:
            failed.append(f"{member.folder}: {error}")
            if not isinstance(error, settings.UserError):
                traceback.print_exc()
            print(f"Error: {error}", file=sys.stderr, flush=True)
    for line in failed:
        print(f"Failed: {line}")
    if writes:
        _show(config, folder)
    return EXIT_FAILED if failed else highest


def _show(config: ConfigDict, folder: pathlib.Path) -> None:
    """Prints the table, beside the paper's where it has one of this name, and draws the test curves of its runs."""
    found = [path for paths in outcomes.run_folders(folder).values() for path in paths]
    print()
    if config.name in paper.TABLES:
        comparison.report(config.name, folder)
    else:
        ended = [path for path in found if records.read_manifest(path / "manifest.json").get("summary")]
        print(tables.to_text([tables.run_row(path) for path in ended], tables.BRIEF_COLUMNS))
    curves = [(path.name, records.read_rows(path / "metrics.jsonl")) for path in found]
    (folder / "figures").mkdir(exist_ok=True)
    drawn = best_so_far.best_so_far_curves(curves, folder / "figures" / "best_so_far", title=config.name)
    print(f"Figure: {drawn[0]}")
