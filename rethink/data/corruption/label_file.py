"""Labels that a file gives to examples, by id or by path: those of human annotators, or of any other noise."""

import csv
import io
import pathlib
import posixpath
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink.data.class_labels import encode_labels
from rethink.data.corruption.noise import DataFacts, Example
from rethink.data.corruption.transitions import read_bytes
from rethink.schema.errors import UserError, unknown_name

IDS, PATHS = ("ids", "id"), ("paths", "path", "file_name")  # names of the columns by which rows are matched
CLEAN = ("clean_label", "clean_labels", "clean", "true_label", "true_labels")  # that repeat the true labels
NAMED = 5  # ids that an error names
# Of CIFAR-10N and CIFAR-100N, whose dicts have the keys of our columns.
CONVERSION = (
    "python -c \"import numpy, torch; numpy.savez('labels.npz', **torch.load('FILE.pt', weights_only=False))\", or of "
    "a FILE.npy \"import numpy; numpy.savez('labels.npz', **numpy.load('FILE.npy', allow_pickle=True).item())\""
)


class FileTable(NamedTuple):
    """Labels by id, each int32 [positions] with -1 where the file has none; `clean` is [0] without such a column."""

    given: np.ndarray
    clean: np.ndarray


def draw_from_file(example: Example, num_classes: int, table: FileTable) -> jax.Array:
    """Returns the label of the file, int32 scalar."""
    return jnp.asarray(table.given)[example.id]


def file_transition(classes: int, table: FileTable, ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns how often each label is the file's for each true one of these examples, float64 [classes, classes]."""
    counts = count_pairs(labels, table.given[ids], classes)
    sums = counts.sum(axis=1, keepdims=True)
    return np.where(sums > 0, counts / np.maximum(sums, 1), np.eye(classes))


def count_pairs(true: np.ndarray, given: np.ndarray, classes: int) -> np.ndarray:
    """Returns how often each label, a column, is given to each true one, a row: int64 [classes, classes]."""
    return np.bincount(true.astype(np.int64) * classes + given, minlength=classes**2).reshape(classes, classes)


def open_label_file(argument: str, config: ConfigDict, facts: DataFacts) -> FileTable:
    """Returns the labels of a CSV or npz file, the column `label_column`, by id.

    Rows are matched by a column of ids or of paths; without either, those of an npz file as long as the stored split by
    their position.

    Raises:
      UserError: the file can't be read, has no such column, rows that can't be matched or labels of no class, or no
        label for an example of the split; or it is for test labels, or for folded classes, which it can't be.
    """
    where = f"corruption.labels='{config.labels}'"
    if config.test_labels:
        raise UserError(
            f"corruption.test_labels=True has no meaning with {where}, whose labels are of training examples: leave it "
            "at False."
        )
    if facts.is_folded:
        raise UserError(f"data.classes={facts.num_classes} folds classes, and {where} has them as stored: set it to 0.")
    columns = _read_columns(argument, where)
    if config.label_column not in columns:
        raise UserError(
            f"{where}, columns of one value a row: "
            f"{unknown_name('corruption.label_column', config.label_column, columns)}"
        )
    positions = _match_rows(columns, facts, where, argument.lower().endswith(".csv"))
    size = max(facts.positions, int(positions.max(initial=-1)) + 1)
    given = _labels_by_position(columns[config.label_column], positions, size, facts, f"{where}, {config.label_column}")
    ids = np.arange(facts.positions) if facts.ids is None else facts.ids
    if (lost := ids[given[ids] < 0]).size:
        raise UserError(
            f"{where} has no label for {len(lost):,} of {len(ids):,} training examples ({name_ids(lost, facts)}): add "
            "them, with their true labels where these are meant."
        )
    clean = next((name for name in CLEAN if name in columns), "")
    if not clean:
        return FileTable(given, np.empty(0, np.int32))
    return FileTable(given, _labels_by_position(columns[clean], positions, size, facts, f"{where}, {clean}"))


def check_clean_labels(table: FileTable, ids: np.ndarray, true_labels: np.ndarray, where: str) -> None:
    """Checks that what the file says of true labels is true of these examples, ids uint32 [n], labels int32 [n].

    Raises:
      UserError: it is not, so that its rows are of other examples.
    """
    if not len(table.clean):
        return
    differing = ids[table.clean[ids] != true_labels]
    if len(differing):
        raise UserError(
            f"{where}: the clean labels in this file are not the true ones of {len(differing):,} of {len(ids):,} "
            f"examples (ids {', '.join(map(str, differing[:NAMED]))}{', ...' if len(differing) > NAMED else ''}), so "
            "it is of another data set or order: add a column 'ids' with the place of each row's example in this one."
        )


def name_ids(ids: np.ndarray, facts: DataFacts) -> str:
    """Returns the first few ids as text, with the paths of their examples."""
    paths = dict(zip(facts.ids.tolist(), facts.paths, strict=True)) if facts.paths and facts.ids is not None else {}
    named = (f"{number}: {paths[number]}" if number in paths else str(number) for number in ids[:NAMED].tolist())
    return f"ids {', '.join(named)}{', ...' if len(ids) > NAMED else ''}"


def _read_columns(path: str, where: str) -> dict[str, np.ndarray]:
    """Returns the columns of a file by name, each [rows].

    Raises:
      UserError: there is no such file, or it is no CSV or npz file of columns.
    """
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in (".csv", ".npz"):
        raise UserError(
            f"{where} is no .csv or .npz file; pickled ones, such as those of CIFAR-10N, are not read, as they may run "
            f"any code. Convert it once: {CONVERSION}."
        )
    content = read_bytes(path, where)
    try:
        if suffix == ".csv":
            columns = _parse_csv(content.decode("utf-8-sig"), where)
        else:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                columns = {name: arrays[name] for name in arrays.files if arrays[name].ndim}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, csv.Error) as error:
        raise UserError(f"{where} can't be read ({error}): save it as UTF-8 text, or by numpy.savez.") from error
    columns = {name: column.reshape(-1) for name, column in columns.items() if column.shape[1:] in ((), (1,))}
    if not any(column.size for column in columns.values()):
        raise UserError(f"{where} has no rows of labels: write a row for each example.")
    return columns


def _parse_csv(text: str, where: str) -> dict[str, np.ndarray]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [name.strip() for name in next(reader, [])]
    rows = []
    for row in filter(None, reader):
        if len(row) != len(header):
            raise UserError(
                f"{where}, line {reader.line_num} has {len(row)} values, and the header {len(header)} names."
            )
        rows.append([word.strip() for word in row])
    if len(set(header)) != len(header):
        raise UserError(f"{where} names a column twice: {', '.join(header)}.")
    return {name: np.array([row[place] for row in rows], str) for place, name in enumerate(header)}


def _match_rows(columns: Mapping[str, np.ndarray], facts: DataFacts, where: str, is_text: bool) -> np.ndarray:
    """Returns the id of the example of each row, int64 [rows]; -1 for a row of none.

    Raises:
      UserError: rows are named by nothing, or two have one name.
    """
    if name := next((name for name in IDS if name in columns), ""):
        try:
            numbers = columns[name].astype(np.float64)
        except ValueError as error:
            raise UserError(f"{where}: column '{name}' holds no whole numbers ({error}): give ids.") from error
        if (broken := ~np.isfinite(numbers) | (numbers != np.round(numbers))).any():
            raise UserError(f"{where}: {numbers[broken][0]} in '{name}' is no id: give whole numbers.")
        positions = numbers.astype(np.int64)
        if (positions < 0).any() or (facts.positions and (positions >= facts.positions).any()):
            wrong = positions[(positions < 0) | (positions >= (facts.positions or np.inf))][0]
            raise UserError(f"{where}: {wrong} in '{name}' is no id: these are 0 to {facts.positions - 1}.")
    elif name := next((name for name in PATHS if name in columns), ""):
        if not facts.paths or facts.ids is None:
            raise UserError(f"{where} names paths ('{name}'), and this data set has none: give a column 'ids' instead.")
        by_path = {
            posixpath.normpath(path): number for path, number in zip(facts.paths, facts.ids.tolist(), strict=True)
        }
        positions = np.array([by_path.get(posixpath.normpath(str(path)), -1) for path in columns[name]], np.int64)
    else:
        rows = len(next(iter(columns.values())))
        if is_text or rows != facts.positions:
            raise UserError(
                f"{where} has {rows:,} rows and no column 'ids' or 'path' (its columns: {', '.join(columns)}): "
                "add one. Only a .npz file may go by the order of the stored training split, with a row for each of "
                f"its {facts.positions:,} examples."
            )
        positions = np.arange(rows)
    named, counts = np.unique(positions[positions >= 0], return_counts=True)
    if (counts > 1).any():
        raise UserError(f"{where} has several rows for {name_ids(named[counts > 1], facts)}: keep one of each.")
    return positions


def _labels_by_position(values: Any, positions: np.ndarray, size: int, facts: DataFacts, where: str) -> np.ndarray:
    """Returns labels int32 [size] by id, -1 where there is none."""
    if len(values) != len(positions):
        raise UserError(f"{where} has {len(values):,} labels, and the file {len(positions):,} rows: give one to each.")
    names = tuple(facts.class_names) or tuple(map(str, range(facts.num_classes)))
    # Texts are names, or places where no name is a number; numbers are places, as in a data set.
    numerals = {int(name): number for number, name in enumerate(names) if name.isdecimal()}
    if values.dtype.kind == "U" and not numerals and np.char.isdecimal(values).all():
        values = values.astype(np.int64)
    elif values.dtype.kind in "iuf":
        given = np.unique(values).tolist()
        as_names = [numerals.get(value, -1) for value in given]
        if min(as_names, default=-1) >= 0 and max(given) < len(names) and as_names != given:
            raise UserError(
                f"{where} has numbers that are places of classes, from 0, as well as names of other classes: give the "
                "names, as strings."
            )
    labels = np.full(size, -1, np.int32)
    encoded, _ = encode_labels({"file": values}, where, names)
    labels[positions[positions >= 0]] = encoded["file"][positions >= 0]
    return labels
