"""How many labels are wrong, estimated on mixtures whose truth is known."""

import dataclasses

import numpy as np
import pytest

from rethink.memorization import label_issues
from rethink.memorization.label_issues import Scored


@dataclasses.dataclass
class Population:
    """Labels whose suspicion is normal: of right ones about 0, of wrong ones about a mean for each kind of error."""

    examples: int = 1500
    wrong: int = 45
    means: tuple[float, ...] = (5.0, 4.9, 4.8)
    kind: int = 0  # of the user's own wrong labels
    classes: int = 10

    def draw(self, rng, rounds=2):
        order, flipped = rng.permutation(self.examples), self.examples // 20
        is_wrong = np.zeros(self.examples, bool)
        is_wrong[rng.permutation(self.examples)[: self.wrong]] = True
        ease = rng.normal(size=self.examples)
        parts = []
        for number in range(rounds):
            is_flipped = np.zeros(self.examples, bool)
            is_flipped[order[number * flipped : (number + 1) * flipped]] = True
            kinds = rng.integers(0, len(self.means), self.examples)
            is_undone = is_wrong & (rng.random(self.examples) < 1 / (self.classes - 1))
            own = np.where(is_wrong, self.means[self.kind], 0)
            centre = np.where(is_flipped, np.where(is_undone, 0, np.array(self.means)[kinds]), own)
            suspicion = centre + 0.8 * ease + 0.6 * rng.normal(size=self.examples)
            parts.append((suspicion[is_flipped], kinds[is_flipped], suspicion[~is_flipped]))
        flipped_scores, kinds, own_scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Scored(flipped_scores, kinds.astype(str), own_scores, rounds)

    def estimate(self, seed):
        scored = self.draw(np.random.default_rng(seed))
        mixture = label_issues.fit_mixture(scored)
        return label_issues.estimate_wrong(scored, mixture, self.classes, self.examples)


@pytest.mark.slow
@pytest.mark.parametrize(
    "population",
    [Population(), Population(kind=2), Population(wrong=150, classes=2), Population(wrong=5)],
)
def test_the_interval_holds_the_number_of_wrong_labels(population):
    estimates = [population.estimate(seed) for seed in range(200)]
    inside = [one.low <= population.wrong <= one.high for one in estimates]
    assert np.mean(inside) >= 0.9
    if population == Population(kind=2):
        halves = [(one.wrong + one.low) / 2 <= population.wrong <= (one.wrong + one.high) / 2 for one in estimates]
        assert np.mean(halves) < 0.9  # it is no wider than it must be
    widest = 0.03 if population.wrong <= 0.03 * population.examples else 0.04
    assert np.mean([one.high - one.low for one in estimates]) <= widest * population.examples
    assert abs(np.mean([one.wrong for one in estimates]) - population.wrong) < 0.15 * population.wrong + 1


def test_an_estimate_is_near_the_truth_and_its_interval_no_wider_than_needed():
    truth = Population().wrong
    estimates = [Population().estimate(seed) for seed in range(20)]
    assert sum(one.low <= truth <= one.high for one in estimates) >= 18
    assert np.mean([one.wrong for one in estimates]) == pytest.approx(truth, rel=0.15)
    assert np.mean([one.high - one.low for one in estimates]) < 0.03 * Population().examples


def test_of_right_labels_alone_none_is_wrong():
    for seed in range(5):
        found = Population(wrong=0).estimate(seed)
        assert found.low == 0 and found.wrong < 5 and found.high < 15


def test_where_the_score_finds_nothing_the_interval_says_so():
    found = Population(means=(0.5, 0.3, 0.1)).estimate(0)
    assert found.high - found.low > 0.3 * Population().examples


def test_flips_that_undo_an_error_do_not_lower_the_recall():
    """Of two classes each wrong label that is flipped is right again."""
    found = [Population(wrong=150, classes=2).estimate(seed).wrong for seed in range(10)]
    assert np.mean(found) == pytest.approx(150, rel=0.1)


def test_the_probability_of_a_wrong_label_rises_with_its_suspicion_and_is_calibrated():
    population = Population(wrong=150)
    scored = population.draw(np.random.default_rng(0))
    mixture = label_issues.fit_mixture(scored)
    probabilities = mixture.wrong_probability(np.sort(scored.own))
    assert np.all(np.diff(probabilities) >= 0) and 0 <= probabilities[0] < 0.01 and 0.99 < probabilities[-1] <= 1
    assert probabilities.sum() / scored.rounds == pytest.approx(150, rel=0.2)


def test_the_scale_of_a_score_does_not_matter():
    scored = Population().draw(np.random.default_rng(3))
    moved = scored._replace(flipped=100 * scored.flipped - 7, own=100 * scored.own - 7)
    first, second = (
        label_issues.estimate_wrong(one, label_issues.fit_mixture(one), 10, 1500) for one in (scored, moved)
    )
    assert first.wrong == pytest.approx(second.wrong, rel=1e-3) and first.low == pytest.approx(second.low, rel=1e-3)


def test_intervals_of_proportions_are_wilsons():
    assert label_issues.wilson(8, 10) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert label_issues.wilson(0, 0)[1:] == (0, 1)
