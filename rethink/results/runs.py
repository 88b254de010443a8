"""Finds the run directories of a sweep: FOLDER/CELL-seedS."""

import pathlib
import re
from collections.abc import Mapping, Sequence

from rethink.results import records
from rethink.schema.errors import UserError

RUN_FOLDER = re.compile(r"(?P<cell>.+)-seed\d+")

Runs = Mapping[str, Sequence[pathlib.Path]]


def run_folders(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Returns cell -> run directories, of a folder that holds directories CELL-seedS; those without a run are left out.

    Raises:
      UserError: there is no such folder, no run in it, or one by another name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds the directories CELL-seedS.")
    runs: dict[str, list[pathlib.Path]] = {}
    for path in sorted(path.parent for path in folder.glob("*/manifest.json")):
        name = RUN_FOLDER.fullmatch(path.name)
        if not name:
            raise UserError(f"{path} does not say which cell it is: name it CELL-seedS, or move it elsewhere.")
        runs.setdefault(name["cell"], []).append(path)
    if not runs:
        raise UserError(f"{folder} holds no run: name the folder that holds the directories CELL-seedS.")
    return runs


def name_of(runs: Runs) -> str:
    """Returns the name of the table or figure that runs belong to, as their configs have it; "" where they have none.

    Raises:
      UserError: a directory holds a damaged run.
    """
    for cell, folders in runs.items():
        name = str(records.read_run(folders[0])["config"].get("name", ""))
        if name.endswith(f"-{cell}"):
            return name.removesuffix(f"-{cell}")
    return ""
