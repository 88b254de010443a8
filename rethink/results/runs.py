"""Reads run directories once each: as loaded runs, and as pandas tables with a row for each run or metrics row.

Computes no metric: what a run has not recorded is blank.
"""

import re
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rethink.results import example_history, files, launches, records, tables
from rethink.results.presentations import Presentations, read_presentations
from rethink.schema.errors import UserError, exists
from rethink.schema.fields import FIELDS

if TYPE_CHECKING:
    import pandas

RUN_FOLDER = re.compile(r"(?P<cell>.+)-seed\d+")
BRIEF_COLUMNS = ("run", "seed", "status", "steps", "train accuracy %", "test accuracy %", "result of", "seconds")


class Predictions(NamedTuple):
    """What a run's result predicts on its test set, by ascending id, each example once.

    ids: uint32 [examples]; true_labels, given_labels (as the run was tested by), predicted: int32 [examples].
    """

    ids: np.ndarray
    true_labels: np.ndarray
    given_labels: np.ndarray
    predicted: np.ndarray


class LoadedRun(NamedTuple):
    """A run directory whose manifest has been read.

    Attributes:
      cell: CELL of a directory CELL-seedS, of another one its name.
    """

    folder: Path
    cell: str
    manifest: Mapping[str, Any]

    @property
    def config(self) -> Mapping[str, Any]:
        """The flat config."""
        return self.manifest["config"]

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.config["seed"]

    @property
    def kind(self) -> str:
        """What the experiment is: 'train', or the name of an analysis."""
        return str(self.config.get("kind", "train"))

    @property
    def status(self) -> str:
        """How the run stands."""
        return self.manifest["status"]

    @property
    def has_result(self) -> bool:
        """Whether the run came to a result; one that diverged did not."""
        return self.status in records.WITH_RESULT

    @property
    def data(self) -> Mapping[str, Any]:
        """What the manifest says of the data; {} where that is not recorded."""
        return self.manifest.get("data") or {}

    @property
    def summary(self) -> Mapping[str, Any]:
        """The summary of a run that ended or diverged, else {}."""
        return self.manifest.get("summary") or {}

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """The evaluation that is the run's result, else {}."""
        return self.summary.get("evaluation") or {}

    def rows(self, kind: str = "") -> list[dict[str, Any]]:
        """Returns the rows of the metrics, of one kind or of all; read anew by each call, as they may be many.

        Raises:
          UserError: the metrics are damaged.
        """
        rows = records.read_rows(self.folder / "metrics.jsonl")
        return [row for row in rows if kind in ("", row["kind"])]

    def predictions(self) -> Predictions | None:
        """Returns what the run's result predicts on its test set; None where that is not recorded.

        Raises:
          UserError: the file is damaged.
        """
        path = self.folder / records.PREDICTIONS
        if not path.exists():
            return None
        dtypes = {"ids": np.uint32, **dict.fromkeys(Predictions._fields[1:], np.int32)}
        return Predictions(*example_history.read_arrays(path, dtypes))

    def example_history(self, split: str = "train") -> example_history.ExampleHistory | None:
        """Returns what each evaluation saw of each example of "train" or "validation"; None where that is not recorded.

        Raises:
          UserError: its files are damaged.
        """
        return example_history.join_labels(split, example_history.read_split(self.folder, split), self.read_arrays)

    def read_arrays(self, name: str, dtypes: Mapping[str, type]) -> list[np.ndarray]:
        """Returns arrays of NAME.npz, as `example_history.read_arrays`."""
        return example_history.read_arrays(self.folder / f"{name}.npz", dtypes)

    def read_table(self, name: str) -> list[dict[str, str]]:
        """Returns the rows of a CSV file, [] where there is none."""
        return tables.read_csv(self.folder / name)

    def presentations(self) -> Presentations | None:
        """Returns what training saw of each training example; None where that is not recorded.

        Raises:
          UserError: the file is damaged.
        """
        return read_presentations(self.folder)


RunsByCell = Mapping[str, Sequence[LoadedRun]]


def load_run(folder: Path) -> LoadedRun:
    """Returns the run in a folder.

    Raises:
      UserError: there is none, or its manifest is damaged or has no seed.
    """
    manifest = records.read_run(folder)
    if "seed" not in manifest["config"]:
        raise UserError(f"{folder}/manifest.json has no seed: bring it back from a copy, or leave it out.")
    return LoadedRun(folder, cell_of(folder), manifest)


def find_runs(folder: Path, depth: int = 3) -> list[Path]:
    """Returns the run directories in a folder and below, a run before those inside it.

    Raises:
      UserError: it is no folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name a run directory, or a folder that holds some.")
    started = RUN_FOLDER.fullmatch(folder.name) and (folder / files.LOCK).is_file()  # it may have recorded nothing yet
    own = [folder] if started or (folder / "manifest.json").is_file() else []
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return own + [run for path in below if depth > 0 for run in find_runs(path, depth - 1)]


def cell_of(folder: Path) -> str:
    """Returns CELL of a directory CELL-seedS, of another one its name."""
    match = RUN_FOLDER.fullmatch(folder.name)
    return match["cell"] if match else folder.name


def load_runs(folder: Path) -> dict[str, list[LoadedRun]]:
    """Returns cell -> its runs, of a folder of directories CELL-seedS; those in which nothing is recorded are left out.

    Raises:
      UserError: there is no such folder, no run in it, one by another name, or a damaged one.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds the directories CELL-seedS.")
    runs: dict[str, list[LoadedRun]] = {}
    for path in sorted(path for path in folder.iterdir() if exists(path / "manifest.json")):
        if not RUN_FOLDER.fullmatch(path.name):
            raise UserError(f"{path} does not say which cell it is: name it CELL-seedS, or move it elsewhere.")
        runs.setdefault(cell_of(path), []).append(load_run(path))
    if not runs:
        raise UserError(f"{folder} holds no run: name the folder that holds the directories CELL-seedS.")
    return runs


def check_kind_of_folder(folder: Path, experiments: Collection[str] = ()) -> None:
    """Checks that a folder holds no run by itself, and of a sweep's and a suite's runs only those of one kind.

    Args:
      folder: of a sweep or suite; there may be none yet.
      experiments: of the suite, which are its folders; () of a sweep.

    Raises:
      UserError: it is a run's, or a sweep is about to run in a suite's or a suite in a sweep's.
    """
    held = "a single run (manifest.json)" if exists(folder / "manifest.json") else ""
    for path in sorted(folder.iterdir()) if folder.is_dir() and not held else ():
        is_run = exists(path / "manifest.json")
        if experiments:
            is_other = is_run and RUN_FOLDER.fullmatch(path.name) and path.name not in experiments
        elif is_run:
            is_other = not RUN_FOLDER.fullmatch(path.name)
        else:
            is_other = path.is_dir() and any(exists(run / "manifest.json") for run in path.glob("*-seed*"))
        if is_other:
            held = f"the runs of a {'sweep' if experiments else 'suite'} ({path.name})"
            break
    if held:
        kind = "suite" if experiments else "sweep"
        raise UserError(f"--workdir={folder} holds {held}, and this is a {kind}: choose another --workdir.")


def check_same_data(runs: Iterable[LoadedRun]) -> None:
    """Checks that runs whose data have the same fields had the same examples, as files may change between launches.

    Raises:
      UserError: two had not.
    """
    first: dict[tuple[Any, ...], tuple[LoadedRun, str]] = {}
    for run in runs:
        fields = [run.config.get(name) for name, row in FIELDS.items() if name[:5] == "data." and not row.resumable]
        for name, value in run.manifest.get("fingerprints", {}).items():
            is_stored = name.endswith("images") and run.config.get("corruption.pixels") == "none"
            if is_stored or name.endswith("true_labels"):
                other, same = first.setdefault((name, *map(str, fields)), (run, value))
                if same != value:
                    raise UserError(
                        f"{run.folder} and {other.folder} had other {name.replace('_', ' ')} under the same data.name: "
                        "the data have changed between them. Bring them back, or choose another --workdir."
                    )


def sweep_name(runs: RunsByCell) -> str:
    """Returns the name of the table or figure that runs belong to, by their configs; "" where they have none."""
    for cell, (run, *_) in runs.items():
        name = str(run.config.get("name", ""))
        if name.endswith(f"-{cell}"):
            return name.removesuffix(f"-{cell}")
    return ""


def run_table(
    runs: Iterable[LoadedRun], notes: Callable[[LoadedRun], Sequence[str]] = lambda run: ()
) -> "pandas.DataFrame":
    """Returns a table with a row for each run.

    Its columns: `cell`, `run` (the directory's name), `status`, `has_result`, `notes`, each field of the config,
    `train_examples`, `test_examples`, `steps`, `epochs`, `classes`, each field of the evaluation, and for each train
    accuracy A `steps to A`, with `reached A`: False where these are all the steps that the run made.

    Args:
      notes: what is to be said of a run, such as how it differs from the paper's.
    """
    import pandas

    rows = []
    for run in runs:
        summary = run.summary
        row = {
            **run.config,
            "cell": run.cell,
            "run": run.folder.name,
            "status": run.status,
            "has_result": run.has_result,
            "notes": list(notes(run)),
            "train_examples": run.data.get("train_examples"),
            "test_examples": run.data.get("test_examples"),
            "steps": summary.get("steps"),
            "epochs": summary.get("epochs"),
            "classes": summary.get("num_classes"),
            **{field: value for field, value in run.evaluation.items() if field not in ("kind", "step", "epoch")},
        }
        # Of a train accuracy that was not reached, the steps made are a lower bound.
        for accuracy, steps in (summary.get("steps_to_train_accuracy") or {}).items():
            row[f"steps to {accuracy}"] = summary.get("steps") if steps is None else steps
            row[f"reached {accuracy}"] = steps is not None
        rows.append(row)
    return pandas.DataFrame(rows, columns=None if rows else ["cell", "run", "seed", "status", "has_result", "notes"])


def read_numbers(table: "pandas.DataFrame", column: str) -> "pandas.Series":
    """Returns a column as float64; nan where a row has no number, and throughout where the table has no such column."""
    return table.reindex(columns=[column])[column].astype(float)


def row_table(runs: Iterable[LoadedRun], kind: str = "") -> "pandas.DataFrame":
    """Returns a table with a row for each metrics row, of one kind or of all: `cell`, `run`, and the row's fields.

    Raises:
      UserError: the metrics of a run are damaged.
    """
    import pandas

    rows = [{"cell": run.cell, "run": run.folder.name, **row} for run in runs for row in run.rows(kind)]
    return pandas.DataFrame(rows)


def describe_run(run: LoadedRun) -> dict[str, Any]:
    """Returns the printed row of a run that has ended: accuracies in percent, steps that were not reached as text.

    Raises:
      UserError: it has not ended.
    """
    config, summary, evaluation = run.config, run.summary, run.evaluation
    if not summary:
        raise UserError(f"{run.folder} has not ended (status: {run.status}): leave it out, or finish it.")
    reached = summary.get("steps_to_train_accuracy", {})
    labels, pixels = config["corruption.labels"], config["corruption.pixels"]
    # The permutation of shuffled_pixels is that of the test images anyhow.
    test_too = ", test too" if config.get("corruption.test_pixels") and pixels != "shuffled_pixels" else ""
    return {
        "run": config["name"],
        "model": config["model.name"] if run.kind == "train" else run.kind,
        "labels": "true" if labels == "none" else f"{labels} p={config['corruption.label_probability']:g}",
        "pixels": "true" if pixels == "none" else f"{pixels}{test_too}",
        "train examples": run.manifest["data"]["train_examples"],
        "test examples": run.data.get("test_examples", ""),
        "seed": run.seed,
        "status": run.status,
        "steps": summary.get("steps", ""),
        "train accuracy %": tables.percent(evaluation.get("train_accuracy")),
        "test accuracy %": tables.percent(evaluation.get("test_accuracy")),
        "result of": _describe_source(summary) if reached else "",
        "steps to 99%": _describe_steps(reached, "0.99"),
        "steps to 100%": _describe_steps(reached, "1.0"),
        "seconds": round(summary["seconds"]),
        "devices": launches.describe_hardware(run.manifest),
    }


def by_values(run: LoadedRun) -> tuple[list[str | float], int]:
    """Returns what sorts the runs of a sweep: by name, in which the values of axes count as numbers, then by seed."""
    parts: list[str | float] = [*re.split(r"=(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=-|$)", run.cell)]
    parts[1::2] = map(float, parts[1::2])
    return parts, run.seed


def describe_seeds(cell: str, runs: Sequence[LoadedRun]) -> str:
    """Returns the mean accuracies, percent, of a cell's runs with a result, and their sample standard deviations.

    "" where fewer than two runs have an evaluation.
    """
    found = [run.evaluation for run in runs if run.has_result and run.evaluation]
    parts = []
    for split in ("train", "test"):
        values = [100 * value for row in found if (value := row.get(f"{split}_accuracy")) is not None]
        if len(values) > 1:
            parts.append(f"{split} {statistics.mean(values):.2f} +- {statistics.stdev(values):.2f} (n={len(values)})")
    return f"{cell}: accuracy %: {', '.join(parts)}" if parts else ""


def _describe_source(summary: Mapping[str, Any]) -> str:
    """Returns which evaluation the accuracies are of; one that was chosen by the test set is named so."""
    watched = summary.get("early_stopping")
    if not watched or not watched["restored"]:
        return "last step"
    chosen_by = "the ORACLE (test set)" if watched["monitor"] == "oracle" else "validation"
    return f"step {watched['best_step']}, best by {chosen_by}"


def _describe_steps(reached: Mapping[str, int | None], accuracy: str) -> str:
    """Returns the steps to a train accuracy; blank for what takes no steps."""
    if accuracy not in reached:
        return ""
    return "not reached" if reached[accuracy] is None else str(reached[accuracy])
