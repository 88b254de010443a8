"""Scores of examples from the logits of any framework. Imports no JAX."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rethink.memorization.dynamics import compute_scores
from rethink.results.example_history import ExampleHistory, class_dtype
from rethink.schema.errors import UserError, say

if TYPE_CHECKING:
    import pandas


def score_history(logits: Any, labels: Any) -> "pandas.DataFrame":
    """Returns a table of the scores of examples at the last epoch: a row each, in order, with its id 0, 1, ...

    Args:
      logits: of the trained network on each example after each epoch, float [epochs, n, classes], or a list of arrays
        [n, classes], in evaluation mode; log probabilities do as well.
      labels: given ones, whole numbers 0..classes - 1, [n].

    Raises:
      UserError: they are something else.
    """
    import pandas

    history = make_history(logits, labels)
    names = {"id": history.ids, "given_label": history.given_labels}
    return pandas.DataFrame(names | compute_scores(history))


def make_history(logits: Any, labels: Any) -> ExampleHistory:
    """Returns the history of logits and labels, with the steps 1, 2, ...; arguments and errors: `score_history`."""
    given = _check_labels(labels)
    epochs = [_check_logits(epoch, number, given) for number, epoch in enumerate(_split_epochs(logits), start=1)]
    if len({epoch.shape for epoch in epochs}) > 1:
        raise UserError(f"logits= have {epochs[0].shape[1]} classes at first and others later: give all of them.")
    columns = [_see_epoch(epoch, given) for epoch in epochs]
    rows = (np.stack(matrix) for matrix in zip(*columns, strict=True))
    steps, ids = np.arange(1, len(epochs) + 1), np.arange(len(given), dtype=np.uint32)
    given = given.astype(np.int32)
    return ExampleHistory(steps, ids, given, given, *rows)


def _split_epochs(logits: Any) -> Sequence[Any]:
    if isinstance(logits, list | tuple) and len(logits):
        return logits
    array = to_array(logits, "logits=")
    if array.ndim != 3 or not len(array):
        raise UserError(
            f"logits= must be [epochs, n, classes], and are {list(array.shape)}: stack those of each epoch."
        )
    return list(array)


def _check_labels(labels: Any) -> np.ndarray:
    array = to_array(labels, "labels=")
    if array.ndim != 1 or not array.size or array.dtype.kind not in "biu":
        raise UserError(
            f"labels= must be whole numbers [n], and are {array.dtype} {list(array.shape)}: give the numbers of "
            "classes, 0, 1, ... (np.unique(names, return_inverse=True)[1] numbers names)."
        )
    return array.astype(np.int64)


def to_array(values: Any, name: str) -> np.ndarray:
    """Returns an array of lists, of an array, or of a tensor on the CPU; `name` is that of the argument in an error.

    Raises:
      UserError: it is none.
    """
    try:
        return np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"{name} must be one array, and rows have different lengths: give a rectangle.") from error
    except (RuntimeError, TypeError) as error:  # tensors with a gradient, or on a GPU
        raise UserError(
            f"{name} is no array ({say(error)}): of a tensor of PyTorch give .detach().cpu().numpy()."
        ) from error


def _check_logits(epoch: Any, number: int, labels: np.ndarray) -> np.ndarray:
    """Returns the logits of an epoch, float64 [n, classes]."""
    array = to_array(epoch, f"logits= of epoch {number}")
    if array.dtype.kind not in "fiu" or array.ndim != 2 or len(array) != len(labels) or array.shape[1] < 2:
        raise UserError(
            f"logits= of epoch {number} must be [{len(labels)}, classes], a row for each label, and are {array.dtype} "
            f"{list(array.shape)}."
        )
    array = array.astype(np.float64)
    if not np.all(np.isfinite(array)):
        example = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise UserError(f"logits= of epoch {number}, example {example}, are NaN or infinite: leave that epoch out.")
    if labels.min() < 0 or labels.max() >= array.shape[1]:
        raise UserError(
            f"labels= go from {labels.min()} to {labels.max()}, and logits= have {array.shape[1]} classes: number the "
            f"classes 0 to {array.shape[1] - 1}."
        )
    return array


def _see_epoch(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns loss, margin, error, predicted of each example, as an evaluation records them but in full precision."""
    rows = np.arange(len(labels))
    log_probabilities = logits - logits.max(axis=1, keepdims=True)
    log_probabilities -= np.log(np.exp(log_probabilities).sum(axis=1, keepdims=True))
    others = logits.copy()
    others[rows, labels] = -np.inf
    differences = np.exp(log_probabilities)
    differences[rows, labels] -= 1
    return (
        -log_probabilities[rows, labels],
        logits[rows, labels] - others.max(axis=1),
        np.linalg.norm(differences, axis=1),
        logits.argmax(axis=1).astype(class_dtype(logits.shape[1])),
    )
