"""Reads metadata.csv and metadata.jsonl of a folder of images: rows with a file's name, its label and its split.

Source: the layout "imagefolder" of Hugging Face's datasets.
"""

import csv
import functools
import io
import json
import pathlib
import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from rethink.data.class_labels import plain_name
from rethink.schema.errors import UserError, unreadable

NAMES = ("metadata.csv", "metadata.jsonl")
FILE_COLUMN, SPLIT_COLUMN = "file_name", "split"

_NO_LABEL = ("", "nan")  # as text, in small letters


class Row(NamedTuple):
    """A row: where it stands in the file, for errors; the name of a file as it is written; None for no split."""

    where: str
    file_name: str
    label: Any
    split: str | None


def find_metadata(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the metadata file of a folder, None where there is none.

    Raises:
      UserError: there are two.
    """
    there = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(there) > 1:
        raise UserError(f"{folder} has {NAMES[0]} and {NAMES[1]}, and only one can be meant: rename the other.")
    return there[0] if there else None


def read_metadata(file: pathlib.Path, label_column: str) -> list[Row]:
    """Returns the rows, in their order, blank lines left out.

    Args:
      label_column: the name of the column that holds the labels.

    Raises:
      UserError: the file can't be read, is damaged, lacks a column, or a row lacks its file's name or its label.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text in UTF-8 (byte {error.start}): save it as CSV in UTF-8.") from error
    except OSError as error:
        raise unreadable(str(file), error) from error
    read = _read_csv if file.suffix == ".csv" else _read_jsonl
    rows = [_make_row(f"{file}, line {line}", values, label_column) for line, values in read(file, text)]
    if not rows:
        raise UserError(f"{file} has no rows: give a line for each image.")
    return rows


def _read_csv(file: pathlib.Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line in the file, column -> text) of each row."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = [cell.strip() for cell in cells]
                if len(set(columns)) < len(columns):
                    raise UserError(f"{file} has two columns of one name ({', '.join(columns)}): rename one.")
                continue
            if len(cells) != len(columns):
                raise UserError(
                    f"{file}, line {reader.line_num} has {len(cells)} values for {len(columns)} columns "
                    f"({', '.join(columns)}): put a name with a comma in double quotes."
                )
            yield reader.line_num, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num} is no CSV ({error}): save it again as CSV.") from error


def _read_jsonl(file: pathlib.Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line in the file, column -> value) of each row."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, line {number} is no JSON ({error}): give one object a line.") from error
        if not isinstance(values, dict):
            raise UserError(f'{file}, line {number} is no JSON object: write it as {{"{FILE_COLUMN}": ...}}.')
        yield number, values


def _make_row(where: str, values: dict[str, Any], label_column: str) -> Row:
    """Returns the row of the values of a line.

    Raises:
      UserError: it has no file's name, no label or an empty split.
    """
    if FILE_COLUMN not in values:
        raise UserError(
            f"{where} has no {FILE_COLUMN} (its columns: {', '.join(values)}): name that column {FILE_COLUMN}, and put "
            "commas between the columns of a CSV."
        )
    if label_column not in values:
        others = ", ".join(name for name in values if name not in (FILE_COLUMN, SPLIT_COLUMN))
        raise UserError(
            f"data.label_column='{label_column}' is no column of {where} (its columns: {others}): set it to one of "
            "these."
        )
    name, label, split = values[FILE_COLUMN], values[label_column], values.get(SPLIT_COLUMN)
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{where} has {FILE_COLUMN} {name!r}: give it the path of its file.")
    label = plain_name(label) if isinstance(label, str) else label
    if label is None or str(label).lower() in _NO_LABEL:
        raise UserError(f"{where} has {label_column} {label!r}: give '{name}' its class, or leave the row out.")
    if SPLIT_COLUMN in values and (not isinstance(split, str) or not split.strip()):
        raise UserError(f"{where} has {SPLIT_COLUMN} {split!r}: give '{name}' its split, such as train or test.")
    return Row(where, name, label, split.strip() if isinstance(split, str) else None)


def compose(name: str) -> str:
    """Returns a name with accents as part of their letters (NFC), as some systems keep them apart."""
    return unicodedata.normalize("NFC", name)


class PathFinder:
    """Finds files by the names that metadata give them, with either form of accents and either slash."""

    def __init__(self, paths: Collection[str]):
        """Takes the paths that there are, relative to the data set."""
        self._paths = paths

    @functools.cached_property
    def _composed(self) -> dict[str, str]:
        """The path of each path whose accents are part of their letters."""
        return {compose(path): path for path in self._paths}

    def find(self, row: Row, base: str) -> str:
        """Returns the path of a row's file in the data set, which may be none of those that there are.

        Args:
          base: the folder in which the metadata are, which names are relative to.

        Raises:
          UserError: it is outside the folder.
        """
        name = row.file_name
        plain = f"{base}/{name}" if base else name
        if plain in self._paths:
            return plain
        path = plain
        for form in (name, name.replace("\\", "/"), name.strip(), name.strip().replace("\\", "/")):
            path = posixpath.normpath(posixpath.join(base, form))
            if form.startswith("/") or path.split("/")[0] == ".." or re.match(r"[A-Za-z]:[\\/]", form):
                raise UserError(
                    f"{row.where} has {FILE_COLUMN} '{name}', which is outside the data set: give a path that is "
                    "relative to the metadata and in the folder."
                )
            if path in self._paths:
                return path
            if found := self._composed.get(compose(path)):
                return found
        return path
