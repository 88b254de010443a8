"""Intervals by hand-computed cases and by simulation: they hold what is true as often as they say."""

import math

import numpy as np
import pytest
import scipy.stats

from rethink.report import inference
from rethink.report.inference import Interval


def drawn(rng, *, networks, examples, ease):
    """Returns which examples networks have right, bool [networks, examples]; alike where `ease` is large."""
    shared = ease * rng.standard_normal(examples)
    return shared + rng.standard_normal((networks, examples)) > 0


def test_the_margin_of_two_methods_is_welchs_interval_where_nothing_else_varies():
    first, second = (3.0, 5.0, 4.5), (1.0, 2.0, 1.8)
    found = inference.margin_interval({"a": 1, "b": -1}, {"a": inference.exact(first), "b": inference.exact(second)})
    welch = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert found == pytest.approx((welch.low, welch.high))


def test_a_single_run_that_counts_has_no_interval():
    one, two = inference.exact([1.0]), inference.exact([1.0, 2.0])
    assert inference.margin_interval({"a": 1, "b": -1}, {"a": one, "b": two}) is None
    assert inference.margin_interval({"a": 0, "b": 1}, {"a": one, "b": two}) is not None


def test_the_margin_of_gains_by_hand():
    """Two networks of each of three cells, on eight examples, of which a cell's err on much the same."""
    right = {
        "a": np.asarray([[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0, 0, 0]], bool),
        "b": np.asarray([[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1, 1, 1]], bool),
        "c": np.asarray([[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1]], bool),
    }
    cells = {name: inference.exact((100 * own.mean(axis=1)).tolist(), 8, own) for name, own in right.items()}
    weights = {"a": 2, "b": -1, "c": -1}
    seeds = {name: weights[name] ** 2 * np.var(cells[name].values, ddof=1) / 2 for name in right}
    examples = sum(weights[name] * own.mean(axis=0) for name, own in right.items())
    interaction = 0.0
    for name, own in right.items():
        rest = own - own.mean(axis=0) - own.mean(axis=1, keepdims=True) + own.mean()
        interaction += weights[name] ** 2 * np.sum(rest**2) / (1 * 7) / (2 * 8)
    test = 100**2 * (np.var(examples, ddof=1) / 8 - interaction)
    assert test > 0 and interaction > 0
    variance = sum(seeds.values()) + test
    freedom = variance**2 / sum(value**2 / 1 for value in seeds.values())
    half = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    found = inference.margin_interval(weights, cells)
    margin = 2 * 68.75 - 31.25 - 31.25
    assert found == pytest.approx((margin - half, margin + half), rel=1e-4)


def test_unlike_numbers_of_runs_have_the_freedom_of_the_fewest():
    first, second = inference.exact([1.0, 2.0]), inference.exact([5.0, 5.1, 5.2, 4.9, 4.8, 5.0, 5.0, 5.1, 4.9, 5.0])
    found = inference.margin_interval({"a": 1, "b": -1}, {"a": first, "b": second})
    half = scipy.stats.t.ppf(0.975, 1) * math.sqrt(first.seed_variance + second.seed_variance)
    assert found.high - found.low == pytest.approx(2 * half)


def test_what_is_seen_now_and_then_widens_by_the_steps_between():
    seen = {"a": inference.seen_between([(40.0, 50.0)] * 2), "b": inference.seen_between([(50.0, 60.0)] * 2)}
    assert inference.margin_interval({"b": 1, "a": -1}, seen) == Interval(0.0, 20.0)
    never = {**seen, "b": inference.seen_between([(90.0, math.inf)] * 2)}
    assert inference.margin_interval({"b": 1, "a": -1}, never) == Interval(40.0, math.inf)
    assert (seen["b"].text(".0f"), never["b"].text(".0f")) == ("60", "at least 90")


@pytest.mark.parametrize("ease", [0.0, 3.0])
def test_the_interval_of_a_margin_holds_no_difference_95_times_in_100(ease):
    """Both when networks err independently and when they err on the same examples."""
    rng, held, widths = np.random.default_rng(0), 0, []
    for _ in range(400):
        right = drawn(rng, networks=6, examples=500, ease=ease)
        cells = {}
        for number, cell in enumerate("ab"):
            own = right[3 * number : 3 * number + 3]
            cells[cell] = inference.exact((100 * own.mean(axis=1)).tolist(), 500, own)
        interval = inference.margin_interval({"a": 1, "b": -1}, cells)
        held += interval.low <= 0 <= interval.high
        unpaired = {cell: estimate._replace(correct=None) for cell, estimate in cells.items()}
        wide = inference.margin_interval({"a": 1, "b": -1}, unpaired)
        widths.append((wide.high - wide.low) / (interval.high - interval.low))
    assert 0.93 <= held / 400 <= 0.995
    assert np.median(widths) > 1  # what is not recorded costs width, never safety


def test_the_interval_of_a_network_is_that_of_its_test_set():
    one = inference.network_interval(inference.exact([10.0], 10_000))
    assert one == pytest.approx((10 - 0.588, 10 + 0.588), abs=0.01)
    rng = np.random.default_rng(1)
    alike = np.repeat(rng.random((1, 10_000)) < 0.1, 3, axis=0)
    apart = rng.random((3, 10_000)) < 0.1
    widths = []
    for right in (alike, apart):
        interval = inference.network_interval(inference.exact((100 * right.mean(axis=1)).tolist(), 10_000, right))
        widths.append(interval.high - interval.low)
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(3), rel=0.1)  # three networks alike are one
    assert inference.network_interval(inference.exact([99.0, 100.0])) == (99.0, 100.0)  # known whole
    far = inference.network_interval(inference.exact([8.0, 10.0, 12.0], 10_000))
    assert far == pytest.approx(
        (8 + 0.532, 12 - 0.637), abs=0.01
    )  # it meets the interval of each, not of the mean alone
    none = inference.network_interval(inference.exact([0.0], 360))
    assert none.low < 0 < none.high  # no example right is not a share of nothing


def test_odds_are_compared_on_the_scale_of_a_binomial():
    half = inference.odds_interval(inference.exact([50.0], 10_000), 50.0, 10_000, 0.0)
    assert half == pytest.approx((math.exp(-0.0554), math.exp(0.0554)), abs=1e-3)
    few = inference.odds_interval(inference.exact([1.0], 10_000), 1.0, 10_000, 0.0)
    assert few.high / few.low > 1.5  # 100 errors
    rounded = inference.odds_interval(inference.exact([17.0], 10_000), 17.0, 10_000, 0.5)
    assert rounded.high > inference.odds_interval(inference.exact([17.0], 10_000), 17.0, 10_000, 0.005).high * 1.03
    noisy = inference.odds_interval(inference.exact([49.0, 51.0], 10_000), 50.0, 10_000, 0.0)
    assert noisy.high > half.high


def test_mcnemar_counts_where_only_one_is_right():
    first, second = np.asarray([1, 1, 1, 0, 1, 0], bool), np.asarray([1, 0, 0, 1, 0, 0], bool)
    test = inference.test_networks(first, second)
    assert (test.first, test.second) == (3, 1)
    assert test.p == pytest.approx(scipy.stats.binomtest(3, 4).pvalue)
    assert inference.test_networks(first, first) == (0, 0, 1.0)


@pytest.mark.parametrize("evaluations", [2, 5, 20])
def test_the_best_of_a_flat_curve_is_above_its_last_by_chance(evaluations):
    rng = np.random.default_rng(0)
    curves = rng.standard_normal((40_000, evaluations))
    gains = curves.max(axis=1) - curves[:, -1]
    assert np.mean(gains > inference.flat_gain(evaluations)) == pytest.approx(0.025, abs=0.004)
    assert inference.flat_gain(1) == 0
