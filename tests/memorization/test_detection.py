"""How well a score finds wrong labels: by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from rethink.memorization.detection import measure_detection


def test_detection_by_hand():
    # Wrong: 3, 1; right: 2, 1, 0. Of the 6 pairs 3 beats three, 1 beats one and equals one: 4.5 / 6.
    found = measure_detection("last_loss", [3, 2, 1, 1, 0], [1, 0, 1, 0, 0])
    assert (found.auroc, found.wrong, found.right) == (0.75, 2, 3)
    # From above: 3 is wrong (1 of 1), 2 isn't, the two of 1 are one threshold, with 2 of 4 wrong.
    assert found.average_precision == pytest.approx((1 + 2 / 4) / 2)
    # DeLong: of wrong labels (1, 1/2), variance 1/8 over 2; of right ones (1/2, 3/4, 1), variance 1/16 over 3.
    assert found.standard_error == pytest.approx(np.sqrt(1 / 8 / 2 + 1 / 16 / 3))


@pytest.mark.parametrize("seed", range(4))
def test_detection_is_that_of_scikit_learn(seed):
    numbers = np.random.default_rng(seed)
    is_wrong = numbers.random(300) < 0.2
    values = np.round(numbers.normal(size=300) + is_wrong, seed)  # with many ties at seed 0
    found = measure_detection("last_loss", values, is_wrong)
    assert found.auroc == pytest.approx(roc_auc_score(is_wrong, values))
    assert found.average_precision == pytest.approx(average_precision_score(is_wrong, values))
    assert measure_detection("last_margin", -values, is_wrong) == found  # suspicious where it is low
    assert measure_detection("last_loss", np.exp(values), is_wrong) == found  # the order alone counts


def test_the_standard_error_is_the_spread_over_samples():
    numbers = np.random.default_rng(0)
    is_wrong = np.arange(200) < 50
    samples = [measure_detection("last_loss", numbers.normal(size=200) + is_wrong, is_wrong) for _ in range(400)]
    assert np.std([found.auroc for found in samples]) == pytest.approx(
        np.mean([found.standard_error for found in samples]), rel=0.1
    )


def test_infinities_and_what_is_not_known():
    values = [np.inf, np.inf, 2.0, np.nan]
    assert measure_detection("forgetting_events", values, [1, 1, 0, 0]).auroc == 1
    assert measure_detection("forgetting_events", values, [1, 0, 0, 1]).auroc == 0.5 * (0.75 + 0)
    assert measure_detection("forgetting_events", [np.nan] * 4, [1, 0, 0, 1]).auroc == 0.5


@pytest.mark.parametrize("is_wrong", [[0, 0], [1, 1], []])
def test_without_wrong_or_right_labels_there_is_nothing_to_measure(is_wrong):
    assert measure_detection("last_loss", np.arange(len(is_wrong)), is_wrong) is None


def test_one_wrong_label_has_no_standard_error():
    assert measure_detection("last_loss", [2, 1, 0], [1, 0, 0]).standard_error is None
