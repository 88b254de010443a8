"""Rademacher complexity by fitting random signs, from a constant to a memorizer, and the bound of stability."""

import itertools
import math

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.capacity import rademacher
from rethink.theory.linear import least_norm

IDS = np.arange(100, 300, dtype=np.uint32)


def measure(fit, ids=IDS, draws=20, seed=0):
    return rademacher.measure_rademacher(fit, ids, draws=draws, seed=seed)


def test_a_memorizer_has_complexity_one():
    found = measure(lambda signs, draw: signs)
    assert (found.mean, found.deviation, found.fitted) == (1, 0, 20)
    assert (found.draws, found.examples, found.correlations.shape) == (20, 200, (20,))


def test_a_constant_classifier_has_none():
    found = measure(lambda signs, draw: np.ones(len(signs)), draws=50)
    assert abs(found.mean) < 3 / math.sqrt(200 * 50) and found.fitted == 0
    assert found.deviation == pytest.approx(1 / math.sqrt(200), rel=0.4)


def test_a_finite_class_is_below_massart_and_near_its_exact_value():
    functions = np.random.default_rng(0).choice([-1, 1], size=(16, 200))
    found = measure(lambda signs, draw: functions[np.argmax(functions @ signs)], draws=200)
    assert (
        0.5 * rademacher.bound_finite_class(math.log(16), 200)
        < found.mean
        < rademacher.bound_finite_class(math.log(16), 200)
    )


def test_massart_holds_with_all_signs_counted():
    """The class of all patterns on two points has complexity 1, the two constants on n points E|mean sign|."""
    both = np.mean([abs(sum(signs)) / 4 for signs in itertools.product((-1, 1), repeat=4)])
    assert both < rademacher.bound_finite_class(math.log(2), 4) and rademacher.bound_finite_class(math.log(4), 2) == 1
    assert rademacher.bound_finite_class(0.0, 5) == 0


def test_linear_classifiers_fit_few_examples_and_not_many():
    random = np.random.default_rng(0)
    few = measure(rademacher.make_linear_fit(random.standard_normal((50, 60))), IDS[:50], draws=5)
    assert few.mean == 1 and few.fitted == 5 and rademacher.bound_linear_class(50, 60) == 1
    ids = np.arange(2000, dtype=np.uint32)
    many = measure(rademacher.make_linear_fit(random.standard_normal((2000, 10))), ids, draws=10)
    expected = 2 / math.sqrt(2 * math.pi) * math.sqrt(10 / 2000)  # a projection of rank 10, seen by sign
    assert many.fitted == 0 and many.mean == pytest.approx(expected, rel=0.3)
    assert many.mean < rademacher.bound_linear_class(2000, 10) < 0.3


def test_linear_classifiers_are_judged_by_what_they_predict():
    random = np.random.default_rng(0)
    basis = least_norm.decompose_features(random.standard_normal((50, 60)))
    other = np.linalg.qr(random.standard_normal((60, 50)))[0].T
    found = measure(rademacher.make_linear_fit(basis._replace(right=other)), IDS[:50], draws=5)
    assert found.fitted == 0 and found.mean < 0.5  # a solution in wrong directions


def test_the_ceiling_counts_dichotomies():
    """Four points in the plane are cut by lines through 0 in 8 ways, 2 (C(3, 0) + C(3, 1))."""
    assert rademacher.bound_linear_class(4, 2) == rademacher.bound_finite_class(math.log(8), 4)
    assert rademacher.bound_linear_class(400, 2) == pytest.approx(math.sqrt(2 * math.log(800) / 400))
    ceilings = [rademacher.bound_linear_class(5000, d) for d in (1, 10, 100)]
    assert (np.diff(ceilings) > 0).all()
    assert rademacher.bound_linear_class(60_000, 3072) < 1


def test_signs_are_fair_and_a_function_of_draw_and_example():
    ids = np.arange(4000, dtype=np.uint32)
    signs = rademacher.draw_signs(ids, 0, seed=0)
    assert signs.dtype == np.int8 and set(signs.tolist()) == {-1, 1} and abs(signs.mean()) < 3 / math.sqrt(4000)
    assert np.array_equal(rademacher.draw_signs(ids[::-1][:10], 0, seed=0), signs[::-1][:10])
    for other in (rademacher.draw_signs(ids, 1, seed=0), rademacher.draw_signs(ids, 0, seed=1)):
        assert abs(np.mean(signs * other.astype(float))) < 4 / math.sqrt(4000)


def test_the_draw_reaches_the_fit_and_the_seed_decides():
    seen = []
    measure(lambda signs, draw: seen.append(draw) or signs, draws=3)
    assert seen == [0, 1, 2]
    one, again, other = (measure(lambda s, d: np.ones(len(s)), seed=seed).correlations for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_one_draw_has_no_deviation():
    found = measure(lambda signs, draw: signs, draws=1)
    assert math.isnan(found.deviation) and found.mean == 1


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: measure(lambda s, d: s, IDS[:0]), "0 examples"),
        (lambda: measure(lambda s, d: s, IDS[:1]), "1 examples"),
        (lambda: measure(lambda s, d: s, draws=0), "0 draws"),
        (lambda: measure(lambda s, d: s, np.asarray([3, 3, 4])), "twice"),
        (lambda: measure(lambda s, d: s[:-1]), r"\(199,\) for 200"),
        (lambda: measure(lambda s, d: s * 0.5), "-1 or \\+1"),
        (lambda: measure(lambda s, d: s * np.nan), "-1 or \\+1"),
        (lambda: rademacher.bound_linear_class(0, 3), "at least 1"),
        (lambda: rademacher.bound_finite_class(1.0, 0), "at least 1"),
        (lambda: rademacher.bound_stability({}, classes=10, test_examples=5), "gaps"),
        (lambda: rademacher.bound_stability({"true": float("nan")}, classes=10, test_examples=5), "gaps"),
        (lambda: rademacher.bound_stability({"true": 2.0}, classes=10, test_examples=5), "gaps"),
        (lambda: rademacher.bound_stability({"true": 0.1}, classes=1, test_examples=5), "classes"),
    ],
)
def test_mistakes_end_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# Stability.


def test_random_labels_set_the_bound_of_stability_for_true_ones():
    found = rademacher.bound_stability({"true": 0.25, "random": 0.899}, classes=10, test_examples=10_000)
    assert found.beta == 0.899 and found.set_by == "random" and found.vacuous
    assert found.promised == {"true": 0.899, "random": 0.899}
    assert found.slack["random"] == 0 and found.slack["true"] == pytest.approx(0.649)


def test_without_a_run_on_random_labels_the_bound_would_not_be_vacuous():
    assert not rademacher.bound_stability({"true": 0.25}, classes=10, test_examples=10_000).vacuous
    assert rademacher.bound_stability({"true": -0.01}, classes=10, test_examples=10_000).beta == 0
