"""Class labels of any form -> numbers 0..K-1 and the names of the classes, the same for all splits of a data set."""

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from rethink.schema.errors import UserError

MANY = 1000  # classes, of which fewer than two examples each are no classes but targets or names of examples

EXACT = 2.0**53  # from which floats are no longer all whole numbers

_log = logging.getLogger(__name__)
_NUMBER = re.compile(r"[+-]?([0-9]{1,50}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


class _Column(NamedTuple):
    """The labels of one split: `values[places[i]]` is that of row i; `width` is K for one-hot rows, else 0."""

    values: list[Any]
    places: np.ndarray
    width: int
    where: str

    def error(self, place: int, problem: str) -> UserError:
        """Returns the error of the first row with the label at `place` of `values`."""
        return _row_error(self.where, self.places == place, f"has label {self.values[place]!r}, {problem}")


def encode_labels(
    raw: Mapping[str, Any], where: str, names: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns split -> labels int32 [n] in 0..K-1, and the K names of the classes.

    The classes are those of all splits together: whole numbers in ascending order, of any base, or strings by code
    point. Strings that are all whole numbers are ordered as numbers. One-hot rows have the classes "0" to "K-1".

    Args:
      raw: split -> labels [n] or [n, 1]: integers, floats that are whole, booleans, strings or bytes in UTF-8; or
        one-hot rows [n, K], K > 1, of zeros and exactly one 1. Lists are taken too, and object arrays of strings or
        numbers. Nothing is written into them.
      where: names the data set in an error, such as "data.name='npz:birds.npz'".
      names: of classes 0, 1, ..., where the source declares them: labels are then these numbers or these names, and
        classes without an example are kept.

    Raises:
      UserError: a label is missing, is no class (targets of a regression, several labels for one example), is none of
        `names`, or a split is empty.
    """
    columns = {split: _read_column(values, f"{where}, split '{split}'") for split, values in raw.items()}
    widths = {column.width for column in columns.values()}
    if len(widths) > 1:
        forms = ", ".join(
            f"'{split}' has {f'rows of {column.width}' if column.width else 'one label a row'}"
            for split, column in columns.items()
        )
        raise UserError(f"{where}: {forms}: give the labels of all splits in one form.")
    if names:
        keys, class_names = [_find_declared(column, names) for column in columns.values()], tuple(names)
    elif width := max(widths):
        keys, class_names = [column.values for column in columns.values()], tuple(map(str, range(width)))
    else:
        keys, class_names = _order_classes(list(columns.values()))
        examples = sum(len(column.places) for column in columns.values())
        if len(class_names) > max(MANY, examples / 2):
            raise UserError(
                f"{where} has {len(class_names):,} different labels for {examples:,} examples: these are targets of a "
                "regression or names of examples: give each example the label of its class."
            )
    labels = {
        split: np.array(key, np.int32)[column.places]
        for key, (split, column) in zip(keys, columns.items(), strict=True)
    }
    _warn_of_unseen(labels, class_names, where)
    return labels, class_names


def _read_column(values: Any, where: str) -> _Column:
    """Returns the labels of one split, each checked by itself."""
    labels = _to_array(values, where)
    if not labels.size:
        raise UserError(f"{where} has no labels: give one for each example.")
    if labels.ndim > 2:
        raise UserError(f"{where} has labels of shape {list(labels.shape)}: give one label for each example, [n].")
    width = labels.shape[1] if labels.ndim == 2 and labels.shape[1] > 1 else 0
    labels = _decode_one_hot(labels, where) if width else labels.reshape(-1)
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{where} has a label that is no UTF-8 ({error.object!r}): save it as UTF-8.") from error
    elif labels.dtype.kind == "f":
        _check_floats(labels, where)
    elif labels.dtype.kind not in "biuU":
        raise UserError(f"{where} has labels of dtype {labels.dtype}: give integers or strings.")
    if labels.dtype.kind == "U" and (blank := np.char.strip(labels) == "").any():
        raise _row_error(where, blank, "has no label: give it its class, or leave the example out")
    distinct, places = np.unique(labels, return_inverse=True)
    if labels.dtype.kind == "U":
        distinct, merged = np.unique([plain_name(label) for label in distinct.tolist()], return_inverse=True)
        places = merged[places]
    found = distinct.tolist()
    return _Column(list(map(int, found)) if labels.dtype.kind == "f" else found, places, width, where)


def _check_floats(labels: np.ndarray, where: str) -> None:
    """Checks that floats [n] are whole numbers that floats can tell apart."""
    if (lost := ~np.isfinite(labels)).any():
        raise _row_error(where, lost, f"has label {labels[lost][0]}: give it its class, or leave the example out")
    if (broken := labels != np.round(labels)).any():
        raise _row_error(where, broken, f"has label {labels[broken][0]}, which is no class but {_TARGET}")
    if (vast := np.abs(labels.astype(np.float64)) >= EXACT).any():  # integers of two signs may have become floats, too
        raise _row_error(where, vast, f"has label {labels[vast][0]}, which is not exact: give it as a string")


def plain_name(name: str) -> str:
    """Returns the name of a class without blanks around it, and with accents as part of their letters (NFC)."""
    return unicodedata.normalize("NFC", name.strip())


_TARGET = "a target of a regression: give classes, such as the numbers of intervals that you choose (numpy.digitize)"


def _to_array(values: Any, where: str) -> np.ndarray:
    """Returns the labels as an array that is of no objects."""
    try:
        labels = np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"{where} has rows of several labels: give one label for each example, [n].") from error
    if labels.dtype.kind == "T":
        labels = labels.astype(object)
    if labels.dtype != object:
        if labels.ndim == 0:
            raise UserError(f"{where} has the labels {str(labels)[:80]!r}: give one for each example, [n].")
        return labels
    flat = labels.reshape(-1)
    strings = isinstance(flat[0], str) if len(flat) else False
    wanted = str if strings else (bool, int, float, np.number, np.bool_)
    for row, label in enumerate(flat):
        if not isinstance(label, wanted):
            several = isinstance(label, list | tuple | set | dict | np.ndarray)
            problem = f"has {'several labels' if several else 'label'} {str(label)[:80]!r}"
            raise UserError(f"{where}, row {row} {problem}: give every example one integer or one string.")
    return labels.astype(str) if strings else np.array(labels.tolist())


def _decode_one_hot(labels: np.ndarray, where: str) -> np.ndarray:
    """Returns the place of the 1 in each row, int64 [n]."""
    if labels.dtype.kind not in "biuf":
        raise UserError(f"{where} has rows of {labels.shape[1]} labels: give one label for each example, [n].")
    ones = labels == 1
    if (other := (~ones & (labels != 0)).any(axis=1)).any():
        row = labels[np.argmax(other)].tolist()
        raise _row_error(where, other, f"has labels {str(row)[:80]}: give one class, [n], or one-hot rows of 0 and 1")
    count = ones.sum(axis=1)
    if (wrong := count != 1).any():
        problem = f"is of {count[wrong][0]} classes, where an example has exactly one: give each example one class"
        raise _row_error(where, wrong, problem)
    return ones.argmax(axis=1)


def _find_declared(column: _Column, names: Sequence[str]) -> list[int]:
    """Returns the class of each value: itself, or its place in `names`."""
    numbers = {plain_name(name): number for number, name in enumerate(names)}
    if len(numbers) < len(names):
        twice = next(name for number, name in enumerate(names) if numbers[plain_name(name)] != number)
        raise UserError(f"{column.where} declares the class '{twice}' twice: give each class a name of its own.")
    if column.width not in (0, len(names)):
        raise UserError(
            f"{column.where} has one-hot rows of {column.width} for {len(names)} declared classes: give one for each."
        )
    for place, value in enumerate(column.values):
        known = value in numbers if isinstance(value, str) else 0 <= value < len(names)
        if not known:
            raise column.error(place, f"which is none of the {len(names)} declared classes: correct it")
    return [numbers[value] if isinstance(value, str) else int(value) for value in column.values]


def _order_classes(columns: list[_Column]) -> tuple[list[list[int]], tuple[str, ...]]:
    """Returns the class of each value of each column, and the names of all classes."""
    kinds = {type(value) for column in columns for value in column.values}
    if str not in kinds:
        classes = sorted({value for column in columns for value in column.values})
        if kinds != {bool}:
            classes = list(map(int, classes))
        return _place(classes, [column.values for column in columns]), tuple(map(str, classes))
    # Strings, all of which may be numbers: these are ordered as such, and "1" and "01" are two classes all the same.
    texts = [[str(value) for value in column.values] for column in columns]
    distinct = sorted({text for column in texts for text in column})
    if all(map(_NUMBER.fullmatch, distinct)):
        for column, of_column in zip(columns, texts, strict=True):
            for place, text in enumerate(of_column):
                if Fraction(text).denominator > 1:
                    raise column.error(place, f"which is no class but {_TARGET}")
        distinct.sort(key=Fraction)
    return _place(distinct, texts), tuple(distinct)


def _place(classes: list[Any], columns: list[list[Any]]) -> list[list[int]]:
    """Returns the place of each value of each column among the classes."""
    places = {value: place for place, value in enumerate(classes)}
    return [[places[value] for value in column] for column in columns]


def _row_error(where: str, rows: np.ndarray, problem: str) -> UserError:
    """Returns the error of the first of the rows, bool [n], counted from 0."""
    return UserError(f"{where}, row {int(np.argmax(rows))} {problem}.")


def _warn_of_unseen(labels: Mapping[str, np.ndarray], class_names: Sequence[str], where: str) -> None:
    """Names the classes of other splits that no training example has: nothing can be learned of them."""
    if "train" not in labels:
        return
    for split, own in labels.items():
        unseen = np.setdiff1d(own, labels["train"])
        if len(unseen):
            named = ", ".join(class_names[label] for label in unseen[:5])
            named += f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
            _log.warning("%s, split '%s' has classes that no training example has: %s.", where, split, named)
