"""Histories of several runs: scores over seeds, and folds joined into one history of held-out examples."""

from collections.abc import Sequence

import numpy as np

from rethink.memorization.dynamics import RUN_SCORES
from rethink.results.example_history import ExampleHistory
from rethink.schema.errors import UserError


def compute_run_scores(histories: Sequence[ExampleHistory]) -> dict[str, np.ndarray]:
    """Returns name -> float64 [examples]: the scores over runs that differ in their seed, each at its last evaluation.

    Raises:
      UserError: there are fewer than two, or they had other examples or labels.
    """
    if len(histories) < 2:
        raise UserError(f"Scores over runs want two runs or more, and {len(histories)} is given: train with seeds=2.")
    first = histories[0]
    for other in histories[1:]:
        if not np.array_equal(first.ids, other.ids) or not np.array_equal(first.given_labels, other.given_labels):
            raise UserError(
                "Scores over runs want the same examples and labels in each, and they differ: train with one "
                "corruption.seed for all seeds, and one data.split_seed."
            )
    return {name: score.compute(histories) for name, score in RUN_SCORES.items()}


def join_folds(histories: Sequence[ExampleHistory], ids: np.ndarray | None = None) -> ExampleHistory:
    """Returns the held-out examples of k runs, each of which held out another fold, as one history by ascending id.

    Evaluations are joined by their number. A run that stopped earlier than another keeps its last evaluation.

    Args:
      histories: of the split "validation" of each run.
      ids: of all examples that the folds are made of; None does not look for missing ones.

    Raises:
      UserError: an example is in two folds or in none, or there is no run.
    """
    if not histories:
        raise UserError("No fold has examples: train runs with data.folds, each with another data.fold.")
    joined = np.concatenate([history.ids for history in histories])
    found, counts = np.unique(joined, return_counts=True)
    if np.any(counts > 1):
        twice = int(found[counts > 1][0])
        raise UserError(f"Example {twice} is in two folds: give a run of each data.fold, once.")
    if ids is not None and not np.array_equal(found, np.sort(ids)):
        other = int(np.setxor1d(found, ids)[0])
        raise UserError(f"Example {other} is in no fold, or in one of other data: give a run of each data.fold.")
    order = np.argsort(joined)
    longest = max(histories, key=lambda history: len(history.steps))
    numbers = np.arange(len(longest.steps))

    def join(name: str) -> np.ndarray:
        values = [getattr(history, name) for history in histories]
        if values[0].ndim == 2:
            values = [matrix[np.minimum(numbers, len(matrix) - 1)] for matrix in values]
        return np.concatenate(values, axis=-1)[..., order]

    return ExampleHistory(longest.steps, *map(join, ExampleHistory._fields[1:]))
