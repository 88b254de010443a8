"""What each evaluation of a run saw of each example: a file for a split, which grows by one whole row an evaluation.

    16 bytes: examples, classes (int64); then rows: step int64, loss, margin and error float16 [examples], predicted
    uint8 [examples], or uint16 with more than 256 classes; all little-endian

That is 0.35 MB an evaluation for 50,000 examples. The loss is kept in place of the probability of the given label, as
float16 holds both its ends: a probability of 0.9999 would be 1. Imports no JAX.
"""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rethink.results import files
from rethink.schema.errors import UserError

_SIZES = np.dtype("<i8")  # of the two numbers at the start
FILE = "examples_{split}.bin"
LABEL_DTYPES = {"ids": np.uint32, "given_labels": np.int32, "true_labels": np.int32}  # of corruption.npz
_START = 2 * _SIZES.itemsize


class ExampleHistory(NamedTuple):
    """What the evaluations of a run saw of its examples; the rows of each matrix are evaluations, by ascending step.

    Attributes:
      steps: int64 [evaluations].
      ids: uint32 [examples], ascending; given_labels, true_labels: int32 [examples]; of labels whose truth is not known
        both are as given.
      loss: cross-entropy of the given label, float16 [evaluations, examples].
      margin: logit of the given label less the largest other one, float16 [evaluations, examples].
      error: Euclidean norm of the probabilities less the one-hot given label, float16 [evaluations, examples].
      predicted: the class, uint8 or uint16 [evaluations, examples].
    """

    steps: np.ndarray
    ids: np.ndarray
    given_labels: np.ndarray
    true_labels: np.ndarray
    loss: np.ndarray
    margin: np.ndarray
    error: np.ndarray
    predicted: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether the given label is predicted, bool [evaluations, examples]."""
        return self.predicted == self.given_labels

    @property
    def probability(self) -> np.ndarray:
        """The probability of the given label, float32 [evaluations, examples]."""
        return np.exp(-self.loss.astype(np.float32))


def class_dtype(num_classes: int) -> np.dtype:
    """Returns the dtype that classes are kept in."""
    return np.dtype("u1" if num_classes <= 256 else "<u2")


def make_row(step: int, num_classes: int, examples: Any) -> np.ndarray:
    """Returns one row of the file, a structured scalar.

    Args:
      examples: has `losses`, `margins`, `errors` and `predicted`, each [examples].
    """
    row = np.zeros((), _row_dtype(len(examples.predicted), num_classes))
    row["step"], row["predicted"] = step, examples.predicted
    row["loss"], row["margin"], row["error"] = examples.losses, examples.margins, examples.errors
    return row


def append_row(path: pathlib.Path, num_classes: int, row: np.ndarray) -> None:
    """Appends a row of `make_row` to a file, which is begun where there is none; whole or not at all."""
    sizes = np.array([row.dtype["loss"].shape[0], num_classes], _SIZES)
    is_new = not path.exists() or not path.stat().st_size
    files.append(path, (sizes.tobytes() if is_new else b"") + row.tobytes())


def read_table(path: pathlib.Path) -> np.ndarray:
    """Returns the whole rows of a file, structured [evaluations], as a map of the file; a last, cut one is left out.

    Raises:
      UserError: it is damaged.
    """
    with path.open("rb") as file:
        start = file.read(_START)
    sizes = np.frombuffer(start, _SIZES) if len(start) == _START else np.zeros(2, int)
    if not (0 < sizes[0] < 2**32 and 0 < sizes[1] < 2**16):
        raise UserError(f"{path} is damaged: bring it back from a copy, or leave {path.parent} out.")
    dtype = _row_dtype(int(sizes[0]), int(sizes[1]))
    rows = (path.stat().st_size - _START) // dtype.itemsize
    return np.memmap(path, dtype, "r", _START, (rows,)) if rows else np.zeros(0, dtype)


def read_split(folder: pathlib.Path, split: str) -> np.ndarray | None:
    """Returns the whole rows of a split of a run, structured [evaluations]; None where it has no such file."""
    path = folder / FILE.format(split=split)
    return read_table(path) if path.exists() else None


def join_labels(
    split: str, rows: np.ndarray | None, read: Callable[[str, Mapping[str, type]], list[np.ndarray]]
) -> ExampleHistory | None:
    """Returns the history of a split from its rows, None without, and its labels; `read` as `Run.read_arrays`."""
    if rows is None:
        return None
    labels = read("corruption" if split == "train" else f"corruption_{split}", LABEL_DTYPES)
    return ExampleHistory(np.asarray(rows["step"]), *labels, *(rows[field] for field in ExampleHistory._fields[4:]))


def read_arrays(path: pathlib.Path, dtypes: Mapping[str, type]) -> list[np.ndarray]:
    """Returns arrays of a .npz file that holds a number for each of some examples, by ascending id: each [examples].

    Args:
      dtypes: name -> dtype of each array to read, the first of which are the ids.

    Raises:
      UserError: the file is missing or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = [stored[name] for name in dtypes]
        ids = arrays[0]
        if (
            [array.dtype for array in arrays] == [np.dtype(dtype) for dtype in dtypes.values()]
            and {array.shape for array in arrays} == {(len(ids),)}
            and np.all(ids[1:] > ids[:-1])
        ):
            return arrays
    except MemoryError:
        raise
    except Exception:  # a damaged file may raise anything
        pass
    raise UserError(f"{path} is damaged: bring it back from a copy, or leave {path.parent} out.")


def drop_rows(path: pathlib.Path, last_step: int) -> None:
    """Drops the rows after a step, as an earlier launch wrote them and this one writes them again.

    Where the run begins anew it drops the file, whose beginning a kill may have cut.
    """
    if last_step < 0:
        path.unlink(missing_ok=True)
    elif path.exists():
        table = read_table(path)
        kept = int(np.searchsorted(table["step"], last_step, side="right"))
        os.truncate(path, _START + kept * table.dtype.itemsize)


def _row_dtype(examples: int, num_classes: int) -> np.dtype:
    values = ("<f2", (examples,))
    return np.dtype(
        [
            ("step", "<i8"),
            ("loss", *values),
            ("margin", *values),
            ("error", *values),
            ("predicted", class_dtype(num_classes), (examples,)),
        ]
    )
