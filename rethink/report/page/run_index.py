"""Finds the runs that a page shows, each with its status or with what is wrong with it, grouped by table and folder.

An unreadable run ends no page: it is listed with what is wrong with it.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rethink.results import launches, records
from rethink.results.runs import BRIEF_COLUMNS, RUN_FOLDER, LoadedRun, cell_of, describe_run, find_runs
from rethink.schema.errors import UserError

SECTIONS = ("data", "fingerprints", "summary")  # of a manifest, where they are recorded
SINGLE = "runs"  # name of the group of runs that no table holds


class RunRecord(NamedTuple):
    """A run directory, readable or not.

    Attributes:
      anchor: its id on the page.
      run: with the manifest {"config": {}} where it is unreadable.
      problem: what is damaged or missing; "" for a run that can be read.
    """

    anchor: str
    run: LoadedRun
    problem: str

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.run.folder.name

    @property
    def status(self) -> str:
        """The run's status, or 'unreadable'."""
        return "unreadable" if self.problem else self.run.status


class RunGroup(NamedTuple):
    """The runs of a table or a figure in one folder, in the order of their names.

    Attributes:
      name: of the table; `SINGLE` for runs of none.
    """

    name: str
    folder: Path
    records: Sequence[RunRecord]

    @property
    def display_name(self) -> str:
        """The table or figure, with the folder where that has another name."""
        if self.name == SINGLE:
            return f"Runs in {self.folder.name}"
        return self.name if self.folder.name == self.name else f"{self.name} ({self.folder.name})"

    def readable(self) -> dict[str, list[LoadedRun]]:
        """Returns cell -> the runs that can be read."""
        runs: dict[str, list[LoadedRun]] = {}
        for record in self.records:
            if not record.problem:
                runs.setdefault(record.run.cell, []).append(record.run)
        return runs


def read_run_groups(folders: Iterable[Path]) -> list[RunGroup]:
    """Returns the groups of run directories, of folders of them, and of folders of those; each run stands there once.

    Raises:
      UserError: a folder is none, or there is no run in any of them.
    """
    paths: dict[Path, None] = {}
    for folder in folders:
        paths.update(dict.fromkeys(find_runs(folder.resolve())))
    if not paths:
        raise UserError("there is no run in these folders: name run directories, or folders that hold some.")
    groups: dict[tuple[str, Path], list[RunRecord]] = {}
    for number, path in enumerate(paths, start=1):
        manifest, problem = _read_manifest(path)
        run = LoadedRun(path, cell_of(path), manifest)
        groups.setdefault((_group_name(run), path.parent), []).append(RunRecord(f"run-{number}", run, problem))
    return [RunGroup(name, folder, own) for (name, folder), own in groups.items()]


def _group_name(run: LoadedRun) -> str:
    """Returns the table that a run belongs to: its name without that of its cell, else the folder's without a hash."""
    name, ending = str(run.config.get("name", "")), f"-{run.cell}"
    if not RUN_FOLDER.fullmatch(run.folder.name):
        return SINGLE
    if name.endswith(ending) and name != ending:
        return name.removesuffix(ending)
    return re.sub(r"-[0-9a-f]{6,}$", "", run.folder.parent.name)


def _read_manifest(folder: Path) -> tuple[Mapping[str, Any], str]:
    """Returns the manifest of a run and ""; of an unreadable one an empty config, and what is damaged or missing."""
    path = folder / "manifest.json"
    empty: dict[str, Any] = {"config": {}}
    if not path.is_file():
        return empty, "no manifest.json: nothing is recorded yet"
    try:
        manifest = records.read_manifest(path)
    except (UserError, UnicodeDecodeError, RecursionError):
        return empty, "manifest.json is damaged"
    if fault := _find_fault(manifest):
        return empty, f"manifest.json is damaged: {fault}"
    try:
        records.read_rows(folder / "metrics.jsonl")
    except UserError:
        return empty, "metrics.jsonl is damaged"
    return manifest, ""


def _find_fault(manifest: Mapping[str, Any]) -> str:
    """Returns what the page or a comparison would fail on, "" where there is nothing."""
    # Sections: all are optional, but what is there has to be a mapping.
    for section in SECTIONS:
        if not isinstance(manifest.get(section, {}), dict) and (section, manifest[section]) != ("summary", None):
            return f"{section} is no section"
    if not launches.are_launches(manifest.get("launches", [])):
        return "launches are none"
    summary = manifest.get("summary") or {}
    for section in ("evaluation", "steps_to_train_accuracy", "early_stopping"):
        if not isinstance(summary.get(section) or {}, dict):
            return f"summary.{section} is no section"
    # Numbers, where they are recorded; the seed always is.
    reached, data = summary.get("steps_to_train_accuracy") or {}, manifest.get("data") or {}
    numbers = {**(summary.get("evaluation") or {}), **reached, "seed": manifest["config"].get("seed")}
    numbers |= {f"summary.{name}": summary.get(name) for name in ("steps", "num_classes")}
    numbers |= {f"data.{name}": data.get(name) for name in ("train_examples", "test_examples")}
    numbers.pop("kind", None)
    wrong = [name for name, value in numbers.items() if not isinstance(value, int | float | None)]
    if wrong or numbers["seed"] is None:
        return f"{wrong[0] if wrong else 'seed'} is no number"
    shares = {name: value for name, value in (summary.get("evaluation") or {}).items() if "accuracy" in name}
    strange = [name for name, value in shares.items() if value is not None and not 0 <= value <= 1]
    sizes = {name: numbers[name] for name in ("summary.num_classes", "data.train_examples", "data.test_examples")}
    strange += [name for name, value in sizes.items() if value is not None and not (value >= 1 and value == int(value))]
    if strange:
        return f"{strange[0]} is out of range"
    # What a result has to have.
    if summary and "evaluation" not in summary:
        return "summary.evaluation is missing"
    if reached and summary.get("steps") is None:
        return "summary.steps is missing"
    return ""


def describe_group(group: RunGroup) -> list[dict[str, Any]]:
    """Returns a row of `BRIEF_COLUMNS` for each run, by its directory's name; what is not recorded is blank."""
    rows = []
    for record in group.records:
        row = {**dict.fromkeys(BRIEF_COLUMNS, ""), "seed": record.run.config.get("seed", "")}
        if not record.problem:
            with contextlib.suppress(UserError, LookupError, TypeError):  # it has not ended, or lacks a field
                described = describe_run(record.run)
                row |= {name: described[name] for name in row if name in described}
        rows.append({**row, "run": record.name, "status": record.status})
    return rows
