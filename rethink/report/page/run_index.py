"""Owns what lies in the folders that a page is of: their runs, each with its status or its damage, by table and folder.

Refuses to stop at a damaged run: it becomes an entry that says what is wrong with it.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rethink.paper import protocol
from rethink.results import files, records, tables
from rethink.results import runs as results_runs
from rethink.schema.errors import UserError

SECTIONS = ("data", "hardware", "versions", "fingerprints", "summary")  # of a manifest, where they are recorded
SINGLE = "runs"  # name of the shelf of runs that no table holds


class RunRecord(NamedTuple):
    """A run directory.

    Attributes:
      anchor: its id on the page.
      cell: NAME of NAME-seedS, or the directory's name.
      manifest: {"config": {}} at least; empty config where it is damaged.
      problem: what is damaged or missing; "" for a run that can be read.
    """

    anchor: str
    folder: Path
    cell: str
    manifest: Mapping[str, Any]
    problem: str

    @property
    def status(self) -> str:
        """The run's status, or 'damaged'."""
        return "damaged" if self.problem else self.manifest["status"]

    @property
    def kind(self) -> str:
        """What the experiment is: 'train' or the name of a study."""
        return str(self.manifest["config"].get("kind", "train"))

    @property
    def summary(self) -> Mapping[str, Any]:
        """The summary of a run that came to its end, else {}."""
        return self.manifest.get("summary") or {}

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """The evaluation that is the run's result, else {}."""
        return self.summary.get("evaluation") or {}

    def rows(self) -> list[dict[str, Any]]:
        """Returns the rows of the metrics; none of a damaged run."""
        return [] if self.problem else records.read_rows(self.folder / "metrics.jsonl")


class RunGroup(NamedTuple):
    """The runs of a table or a figure in one folder, in the order of their names.

    Attributes:
      name: of the table; `SINGLE` for runs of none.
    """

    name: str
    folder: Path
    entries: Sequence[RunRecord]

    def sound(self) -> dict[str, list[Path]]:
        """Returns cell -> directories of the runs that can be read."""
        found: dict[str, list[Path]] = {}
        for entry in self.entries:
            if not entry.problem:
                found.setdefault(entry.cell, []).append(entry.folder)
        return found

    def damaged(self) -> list[RunRecord]:
        """Returns the runs that can't be read."""
        return [entry for entry in self.entries if entry.problem]


def read_run_groups(folders: Iterable[Path]) -> list[RunGroup]:
    """Returns the shelves of run directories, of folders of them, and of folders of those; each run stands there once.

    Raises:
      UserError: a folder is none, or there is no run in any of them.
    """
    paths: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: name a run directory, or a folder that holds some.")
        paths.update(dict.fromkeys(_runs_in(folder.resolve())))
    if not paths:
        raise UserError("there is no run in these folders: name run directories, or folders that hold some.")
    shelves: dict[tuple[str, Path], list[RunRecord]] = {}
    for number, path in enumerate(paths, start=1):
        entry = _entry(f"run-{number}", path)
        shelves.setdefault((_shelf_of(entry), path.parent), []).append(entry)
    return [RunGroup(name, folder, entries) for (name, folder), entries in shelves.items()]


def _runs_in(folder: Path, depth: int = 3) -> list[Path]:
    """Returns the run directories in a folder and below, a run before those inside it."""
    own = [folder] if _is_run(folder) else []
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return own + [found for path in below if depth > 0 for found in _runs_in(path, depth - 1)]


def _is_run(folder: Path) -> bool:
    """Returns whether a run lives there, or one was begun and has recorded nothing yet."""
    begun = results_runs.RUN_FOLDER.fullmatch(folder.name) and (folder / files.LOCK).is_file()
    return (folder / "manifest.json").is_file() or bool(begun)


def _shelf_of(entry: RunRecord) -> str:
    """Returns the table that a run belongs to: its name without that of its cell, else the folder's without a hash."""
    name, ending = str(entry.manifest["config"].get("name", "")), f"-{entry.cell}"
    if not results_runs.RUN_FOLDER.fullmatch(entry.folder.name):
        return SINGLE
    if name.endswith(ending) and name != ending:
        return name.removesuffix(ending)
    return re.sub(r"-[0-9a-f]{6,}$", "", entry.folder.parent.name)


def _entry(anchor: str, folder: Path) -> RunRecord:
    match = results_runs.RUN_FOLDER.fullmatch(folder.name)
    cell = match["cell"] if match else folder.name
    path = folder / "manifest.json"
    if not path.is_file():
        return RunRecord(anchor, folder, cell, {"config": {}}, "no manifest.json: nothing is recorded yet")
    try:
        manifest = records.read_manifest(path)
    except (UserError, UnicodeDecodeError, RecursionError):
        return RunRecord(anchor, folder, cell, {"config": {}}, "manifest.json is damaged")
    problem = _fault(manifest)
    problem = f"manifest.json is damaged: {problem}" if problem else _fault_of_metrics(folder / "metrics.jsonl")
    return RunRecord(anchor, folder, cell, {"config": {}} if problem else manifest, problem)


def _fault(manifest: Mapping[str, Any]) -> str:
    """Returns what the page or a comparison would stumble over, "" where there is nothing."""
    for section in SECTIONS:
        if not isinstance(manifest.get(section, {}), dict) and (section, manifest[section]) != ("summary", None):
            return f"{section} is no section"
    summary = manifest.get("summary") or {}
    for section in ("evaluation", "steps_to_train_accuracy", "early_stopping"):
        if not isinstance(summary.get(section) or {}, dict):
            return f"summary.{section} is no section"
    reached, data = summary.get("steps_to_train_accuracy") or {}, manifest.get("data") or {}
    numbers = {**(summary.get("evaluation") or {}), **reached, "seed": manifest["config"].get("seed")}
    numbers |= {f"summary.{name}": summary.get(name) for name in ("steps", "num_classes")}
    numbers |= {f"data.{name}": data.get(name) for name in ("train_examples", "test_examples")}
    numbers.pop("kind", None)
    wrong = [name for name, value in numbers.items() if not isinstance(value, int | float | None)]
    if wrong or numbers["seed"] is None:
        return f"{wrong[0] if wrong else 'seed'} is no number"
    if summary and "evaluation" not in summary:
        return "summary.evaluation is missing"
    if reached and summary.get("steps") is None:
        return "summary.steps is missing"
    return ""


def _fault_of_metrics(path: Path) -> str:
    try:
        records.read_rows(path)
    except UserError:
        return "metrics.jsonl is damaged"
    return ""


def display_name(shelf: RunGroup) -> str:
    """Returns how a page names a shelf: its table and its folder, where these differ."""
    if shelf.name == SINGLE:
        return f"Runs in {shelf.folder.name}"
    return shelf.name if shelf.folder.name == shelf.name else f"{shelf.name} ({shelf.folder.name})"


def run_rows(shelf: RunGroup) -> list[dict[str, Any]]:
    """Returns a row for each run, by its directory's name, of `tables.BRIEF_COLUMNS`; what is not recorded is blank."""
    found = []
    for entry in shelf.entries:
        row = {**dict.fromkeys(tables.BRIEF_COLUMNS, ""), "seed": entry.manifest["config"].get("seed", "")}
        if not entry.problem:
            with contextlib.suppress(UserError, LookupError, TypeError):
                known = tables.run_row(entry.folder)
                row |= {name: known[name] for name in row if name in known}
        found.append({**row, "run": entry.folder.name, "status": entry.status})
    return found


def caveats(entry: RunRecord) -> list[str]:
    """Returns what makes a run another experiment than the paper's, as far as its own config tells."""
    return protocol.caveats(entry.manifest["config"], entry.manifest.get("data") or {}) if not entry.problem else []
