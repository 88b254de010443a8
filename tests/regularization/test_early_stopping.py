"""Early stopping on histories made by hand: which evaluation was best, and when patience runs out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rethink.configs import base
from rethink.regularization import early_stopping
from rethink.regularization.early_stopping import EarlyStopping
from rethink.schema.errors import UserError

ROW = {"test_accuracy": 0.1, "validation_accuracy": 0.2, "validation_accuracy_true": 0.3}


def stopping(monitor="validation", labels="given", patience=0, min_delta=0.0):
    return EarlyStopping(monitor, labels, patience, min_delta, restore_best=True)


def test_it_is_off_by_default():
    off = early_stopping.from_config(base.get_config().early_stopping)
    assert off.monitored_accuracy(ROW) is None and not off.patience_ran_out([0.5] * 100)


@pytest.mark.parametrize(
    "accuracies, min_delta, expected",
    [
        ([], 0.0, []),
        ([0.5], 0.0, [0]),
        ([0.1, 0.2, 0.3], 0.0, [0, 1, 2]),
        ([0.3, 0.2, 0.1], 0.0, [0, 0, 0]),
        ([0.2, 0.2, 0.2], 0.0, [0, 0, 0]),  # of equal ones the first
        ([0.1, 0.4, 0.3, 0.5, 0.2], 0.0, [0, 1, 1, 3, 3]),
        ([0.10, 0.14, 0.16, 0.20], 0.05, [0, 0, 2, 2]),  # slow progress adds up against the best, not the last
    ],
)
def test_the_best_so_far(accuracies, min_delta, expected):
    assert early_stopping.find_best_so_far(accuracies, min_delta) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_best_so_far_never_falls_and_is_the_largest(accuracies):
    best = [accuracies[index] for index in early_stopping.find_best_so_far(accuracies, 0.0)]
    assert best == [max(accuracies[: end + 1]) for end in range(len(accuracies))]


@pytest.mark.parametrize(
    "accuracies, patience, expected",
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.4], 1, True),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.5], 2, True),  # as good is no better
        ([0.5, 0.4, 0.6], 1, False),
        ([0.5, 0.4, 0.6, 0.6, 0.6], 2, True),
        ([0.5] * 50, 0, False),
    ],
)
def test_patience_counts_the_evaluations_since_the_best(accuracies, patience, expected):
    assert stopping(patience=patience).patience_ran_out(accuracies) == expected


def test_an_improvement_below_min_delta_does_not_wait_longer():
    assert stopping(patience=2, min_delta=0.1).patience_ran_out([0.5, 0.55, 0.59])
    assert not stopping(patience=2, min_delta=0.01).patience_ran_out([0.5, 0.55, 0.59])


@pytest.mark.parametrize(
    "monitor, labels, expected",
    [("validation", "given", 0.2), ("validation", "true", 0.3), ("oracle", "given", 0.1), ("none", "given", None)],
)
def test_what_is_monitored(monitor, labels, expected):
    assert stopping(monitor, labels).monitored_accuracy(ROW) == expected


@pytest.mark.parametrize("monitor, labels, field", [("test", "given", "monitor"), ("validation", "noisy", "labels")])
def test_an_unknown_setting_is_named(monitor, labels, field):
    with pytest.raises(UserError, match=f"early_stopping.{field}='.*' is unknown.*Choices: "):
        stopping(monitor, labels)


def test_the_gain_is_in_test_accuracy_whatever_was_monitored():
    best, last = {"test_accuracy": 0.6, "validation_accuracy": 0.1}, {"test_accuracy": 0.45, "validation_accuracy": 0.9}
    assert early_stopping.compute_gain(best, last) == pytest.approx(0.15)
