"""How well a score finds the examples whose given label is not the true one. Imports neither JAX nor scikit-learn."""

from typing import NamedTuple

import numpy as np

from rethink.memorization.dynamics import suspicion


class Detection(NamedTuple):
    """How well a score finds wrong labels.

    Attributes:
      auroc: the chance that a wrong label is more suspicious than a right one; equal ones count half.
      standard_error: of the AUROC over examples, DeLong et al. 1988; None with fewer than two wrong or right labels.
      average_precision: sum over thresholds of the gain in recall times the precision, without interpolation.
      wrong, right: how many labels are.
    """

    auroc: float
    standard_error: float | None
    average_precision: float
    wrong: int
    right: int


def measure_detection(name: str, values: np.ndarray, is_wrong: np.ndarray) -> Detection | None:
    """Returns how well a score finds wrong labels; None where none is wrong, or all are.

    Args:
      name: of the score; values: [examples], infinities and NaN as of `suspicion`.
      is_wrong: whether the given label differs from the true one, bool [examples].
    """
    return measure_order(suspicion(name, values), np.asarray(is_wrong, bool))


def measure_order(places: np.ndarray, is_wrong: np.ndarray) -> Detection | None:
    """Returns how well an order finds wrong labels, as `measure_detection`.

    Args:
      places: [examples] from 0, the least suspicious; equal ones have one.
    """
    wrong, right = (np.bincount(places[mask], minlength=places.max(initial=0) + 1) for mask in (is_wrong, ~is_wrong))
    wrongs, rights = int(wrong.sum()), int(right.sum())
    if not wrongs or not rights:
        return None
    # At each place of the score: the share of the right labels that are less suspicious, and of the wrong ones more.
    right_below = (np.cumsum(right) - right / 2) / rights
    wrong_above = 1 - (np.cumsum(wrong) - wrong / 2) / wrongs
    auroc = float(np.sum(wrong * right_below) / wrongs)
    standard_error = None
    if min(wrongs, rights) > 1:
        variance = np.sum(wrong * (right_below - auroc) ** 2) / (wrongs - 1) / wrongs
        variance += np.sum(right * (wrong_above - auroc) ** 2) / (rights - 1) / rights
        standard_error = float(np.sqrt(variance))
    # From the most suspicious place down.
    found = np.cumsum(wrong[::-1])
    precision = found / np.cumsum((wrong + right)[::-1])
    return Detection(auroc, standard_error, float(np.sum(wrong[::-1] * precision) / wrongs), wrongs, rights)
