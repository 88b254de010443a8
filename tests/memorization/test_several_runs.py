"""Scores over runs, and folds that are joined."""

import numpy as np
import pytest

from rethink.memorization.several_runs import compute_run_scores, join_folds
from rethink.results.example_history import ExampleHistory
from rethink.schema.errors import UserError


def make_history(ids, predicted, error=None):
    """Returns a history of two evaluations, the last of which is given; labels are 0."""
    ids, predicted = np.array(ids, np.uint32), np.array(predicted, np.uint8)
    last = np.array([9 * np.ones(len(ids)), np.zeros(len(ids)) if error is None else error])
    zeros = np.zeros(len(ids), np.int32)
    return ExampleHistory(
        np.array([0, 5]), ids, zeros, zeros, last, last, last, np.array([np.zeros_like(predicted), predicted])
    )


def test_scores_over_runs_by_hand():
    runs = [
        make_history([0, 1, 2], [0, 1, 2], [0.0, 0.3, 1.2]),
        make_history([0, 1, 2], [0, 1, 1], [0.3, 0.3, 0.6]),
        make_history([0, 1, 2], [0, 2, 0], [0.6, 0.9, 0.9]),
    ]
    scores = compute_run_scores(runs)
    np.testing.assert_allclose(scores["disagreement"], [0, 2 / 3, 1])  # of three pairs
    np.testing.assert_allclose(scores["mean_el2n"], [0.3, 0.5, 0.9])


def test_scores_over_runs_want_the_same_examples_and_labels():
    run = make_history([0, 1], [0, 1])
    with pytest.raises(UserError, match=r"two runs or more, and 1 is given"):
        compute_run_scores([run])
    for other in (make_history([0, 2], [0, 1]), run._replace(given_labels=np.array([0, 1]))):
        with pytest.raises(UserError, match=r"same examples and labels"):
            compute_run_scores([run, other])


def test_folds_are_joined_by_id_and_by_number_of_evaluation():
    first, second = make_history([1, 4], [1, 4], [0.1, 0.4]), make_history([0, 3], [0, 3], [0.0, 0.3])
    short = second._replace(
        steps=second.steps[1:], **{name: getattr(second, name)[1:] for name in ("loss", "margin", "error", "predicted")}
    )
    joined = join_folds([first, second], ids=np.array([0, 1, 3, 4]))
    assert joined.ids.tolist() == joined.predicted[-1].tolist() == [0, 1, 3, 4]
    assert joined.loss.tolist() == [[9, 9, 9, 9], [0.0, 0.1, 0.3, 0.4]]
    assert joined.ids.dtype == np.uint32 and joined.steps.tolist() == [0, 5]
    assert join_folds([first, short]).loss.tolist() == [[0.0, 9, 0.3, 9], [0.0, 0.1, 0.3, 0.4]]  # it had stopped


def test_folds_that_overlap_or_lack_an_example_are_refused():
    first, second = make_history([1, 4], [1, 4]), make_history([0, 4], [0, 3])
    with pytest.raises(UserError, match=r"Example 4 is in two folds"):
        join_folds([first, second])
    with pytest.raises(UserError, match=r"Example 7 is in no fold"):
        join_folds([first], ids=np.array([1, 4, 7]))
    with pytest.raises(UserError, match=r"No fold has examples"):
        join_folds([])
