"""Early stopping, an implicit regularizer of the paper's section 3: which evaluation was best, and when to stop.

It does not train and does not save: it is given the accuracies measured so far.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ml_collections

from rethink.schema.errors import UserError, pick

LABELS = ("given", "true")
MONITORS: dict[str, dict[str, str | None]] = {  # monitor -> labels -> the field of an evaluation row that decides
    "none": {"given": None, "true": None},
    "validation": {"given": "validation_accuracy", "true": "validation_accuracy_true"},
    "oracle": {"given": "test_accuracy", "true": "test_accuracy"},
}


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """The settings of early stopping.

    Attributes:
      monitor: one of `MONITORS`. `validation` is a part held out of train; `oracle` is the test set, as in the paper's
        figure 2: a bound on what stopping could gain, as nobody has its labels before the end.
      labels: one of `LABELS`: whether a held-out example counts as right by its given label, corrupted as those of
        train are, or by its true one. The oracle goes by the test labels as they are.
      patience: evaluations without a better one after which the run ends; 0 waits for ever.
      min_delta: an accuracy is better when it exceeds the best so far by more than this, 0..1.
      restore_best: whether the run's result is that of the best evaluation instead of the last.

    Raises:
      UserError: unknown monitor or labels.
    """

    monitor: str
    labels: str
    patience: int
    min_delta: float
    restore_best: bool

    def __post_init__(self):
        pick(pick(MONITORS, self.monitor, "early_stopping.monitor"), self.labels, "early_stopping.labels")

    def check_plan(self, splits: Collection[str], evaluations: int) -> None:
        """Checks that the settings can act in a run.

        Args:
          splits: those that are evaluated.
          evaluations: how many there are, without that of the start.

        Raises:
          UserError: the validation part is to be monitored and is not held out, there is a single evaluation to choose
            from, or there is patience and nothing to monitor.
        """
        if self.monitor == "none" and self.patience:
            raise UserError(
                f"early_stopping.patience={self.patience} has no effect with early_stopping.monitor=none: "
                "set --config.early_stopping.monitor=validation, or --config.early_stopping.patience=0."
            )
        if self.monitor == "validation" and "validation" not in splits:
            raise UserError(
                "early_stopping.monitor=validation watches a part held out of train, and none is: "
                "set --config.data.validation_fraction=0.1."
            )
        if self.monitor != "none" and evaluations < 2:
            raise UserError(
                f"early_stopping.monitor={self.monitor} has a single evaluation to choose from: "
                "set --config.evaluate.every_epochs to at most half of train.total_epochs."
            )

    def monitored_accuracy(self, row: Mapping[str, Any]) -> float | None:
        """Returns the accuracy in an evaluation row that decides, None where nothing is monitored."""
        field = MONITORS[self.monitor][self.labels]
        return row[field] if field else None

    def patience_ran_out(self, accuracies: Sequence[float]) -> bool:
        """Returns whether patience has run out after these accuracies, oldest first."""
        if not self.patience or not accuracies:
            return False
        evaluations_since_best = len(accuracies) - 1 - find_best_so_far(accuracies, self.min_delta)[-1]
        return evaluations_since_best >= self.patience


def find_best_so_far(accuracies: Sequence[float], min_delta: float) -> list[int]:
    """Returns, for each evaluation, the index of the best one up to it; of equal ones the first."""
    best: list[int] = []
    for index, accuracy in enumerate(accuracies):
        better = not best or accuracy > accuracies[best[-1]] + min_delta
        best.append(index if better else best[-1])
    return best


def compute_gain(best: Mapping[str, Any], last: Mapping[str, Any]) -> float:
    """Returns what stopping at the evaluation row `best` would have brought in test accuracy, against `last`."""
    return best["test_accuracy"] - last["test_accuracy"]


def from_config(config: ml_collections.ConfigDict) -> EarlyStopping:
    """Returns the settings of the config section `early_stopping`, whose fields are those of `EarlyStopping`."""
    return EarlyStopping(**dict(config))
