"""The bounds on a network beside what was measured, and which of them are vacuous."""

import math

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.capacity import bounds, rademacher, weight_matrices


def network(scale=1.0, bias=0.0, seed=0):
    random = np.random.default_rng(seed)
    weights = (random.standard_normal((4, 6)) * scale, random.standard_normal((6, 3)) * scale)
    return weight_matrices.make_weight_matrices(weights, (np.full(6, bias), np.full(3, bias)))


def sample(**changes):
    measures = dict(examples=1000, input_norm=2.0, input_entry=1.5, margin=0.5, margin_error=0.1)
    return bounds.Measures(**{**measures, "train_error": 0.0, "test_error": 0.4, "test_examples": 900, **changes})


def rows_of(*args, delta=0.05, **kwargs):
    return {row.name: row for row in bounds.evaluate_bounds(*args, delta=delta, **kwargs)}


def test_every_bound_is_a_row_beside_the_gap():
    rows = rows_of(network(), sample(train_error=0.05), initial=network(seed=1), rademacher=0.97)
    assert list(rows) == list(bounds.SOURCES) and all(row.source for row in rows.values())
    assert all(row.gap == pytest.approx(0.35) for row in rows.values())
    without = rows_of(network(), sample())
    assert set(rows) - set(without) == {bounds.MEASURED, bounds.DISTANCE}


def test_the_values_are_those_of_the_formulas():
    rows = rows_of(network(), sample(), rademacher=0.3)
    weights = network().weights
    golowich = bounds.golowich_complexity(weights, 2.0, 1000)
    expected = 0.1 + bounds.margin_bound(golowich, margin=0.5, outputs=3, examples=1000, delta=0.05)
    assert rows[bounds.GOLOWICH].value == pytest.approx(expected)
    path = bounds.path_complexity(weights, 1.5, 1000)
    expected = 0.1 + bounds.margin_bound(path, margin=0.5, outputs=3, examples=1000, delta=0.05)
    assert rows[bounds.PATH].value == pytest.approx(expected)
    assert rows[bounds.MEASURED].value == bounds.rademacher_bound(0.3, 1000, 0.05)
    dimension = bounds.vc_dimension((4, 6, 3), biases=False)
    assert rows[bounds.VC].value == bounds.vc_bound(dimension, 1000, 0.05)


def test_a_bound_is_vacuous_where_it_is_no_better_than_guessing():
    guessing, error = 2 / 3, math.sqrt(2 / 9 / 900)
    assert bounds.find_vacuous_from(3, 900) == pytest.approx(guessing - 3 * error)
    assert bounds.find_vacuous_from(10, 10**12) == pytest.approx(0.9)
    constant = 3 * math.sqrt(math.log(40) / 2000)  # of the bound by a measured complexity
    for complexity, vacuous in ((guessing - 2.9 * error, True), (guessing - 3.1 * error, False)):
        row = rows_of(network(), sample(), rademacher=complexity - constant)[bounds.MEASURED]
        assert row.value == pytest.approx(complexity) and row.vacuous == vacuous
        assert rademacher.bound_stability({"true": complexity}, classes=3, test_examples=900).vacuous == vacuous
    assert all(
        row.vacuous == (row.value >= bounds.find_vacuous_from(3, 900)) for row in rows_of(network(), sample()).values()
    )


def test_with_enough_examples_no_bound_is_vacuous():
    rows = rows_of(network(), sample(examples=10**18, margin_error=0.01), initial=network(seed=1), rademacher=0.0)
    assert not any(row.vacuous for row in rows.values())
    assert all(row.value < 0.02 for row in rows.values())


def test_with_a_margin_that_is_not_positive_the_margin_bounds_are_infinite():
    rows = rows_of(network(), sample(margin=-0.1))
    assert {name for name, row in rows.items() if row.value == math.inf} == set(rows) - {bounds.VC}
    assert rows[bounds.GOLOWICH].vacuous


def test_biases_are_part_of_what_is_bounded():
    without, with_biases = rows_of(network(), sample()), rows_of(network(bias=0.1), sample())
    assert all(with_biases[name].value > row.value for name, row in without.items() if name != bounds.VC)
    folded = weight_matrices.fold_biases(network(bias=0.1), always=True)
    complexity = bounds.golowich_complexity(folded, math.sqrt(5), 1000)
    expected = 0.1 + bounds.margin_bound(complexity, margin=0.5, outputs=3, examples=1000, delta=0.05)
    assert with_biases[bounds.GOLOWICH].value == pytest.approx(expected)


@pytest.mark.parametrize("bias, initial", [(0.1, 0.0), (0.0, 0.1)])
def test_an_initial_network_with_other_biases_can_be_compared(bias, initial):
    rows = rows_of(network(bias=bias), sample(), initial=network(bias=initial))
    confidence = 0.1 + 8 / 1000**1.5 + 3 * math.sqrt(math.log(40) / 2000)
    assert confidence < rows[bounds.DISTANCE].value < rows[bounds.SPECTRAL].value
    same = rows_of(network(bias=bias), sample(), initial=network(bias=bias))
    assert same[bounds.DISTANCE].value == pytest.approx(confidence)


def test_margins_and_how_many_are_below():
    logits = np.asarray([[3.0, 1.0, 0.0], [0.0, 5.0, 1.0], [1.0, 2.0, 2.5], [4.0, 4.0, 0.0]])
    labels = np.asarray([0, 1, 1, 0])  # margins 2, 4, -0.5, 0
    assert bounds.measure_margins(logits, labels, quantile=0.0) == (-0.5, 0.25)
    assert bounds.measure_margins(logits, labels, quantile=0.5) == (0, 0.5)
    assert bounds.measure_margins(logits, labels, quantile=0.75) == (2, 0.75)
    assert bounds.measure_margins(logits, labels, quantile=1.0) == (4, 1)


LOGITS = np.zeros((4, 3))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: bounds.evaluate_bounds(network(), sample(examples=0), delta=0.05), "examples=0"),
        (lambda: bounds.evaluate_bounds(network(), sample(examples=1), delta=0.05), "examples=1"),
        (lambda: bounds.evaluate_bounds(network(), sample(test_examples=0), delta=0.05), "test_examples=0"),
        (lambda: bounds.evaluate_bounds(network(), sample(), delta=1.0), "delta"),
        (lambda: bounds.evaluate_bounds(network(), sample(), delta=0.0), "delta=0.0"),
        (lambda: bounds.evaluate_bounds(network(), sample(), delta=math.nan), "delta"),
        (lambda: bounds.evaluate_bounds(network(), sample(test_error=math.nan), delta=0.05), "finite"),
        (lambda: bounds.evaluate_bounds(network(), sample(input_norm=-1.0), delta=0.05), "not negative"),
        (
            lambda: bounds.evaluate_bounds(
                network(),
                sample(),
                delta=0.05,
                initial=weight_matrices.make_weight_matrices((np.ones((4, 3)),), (np.zeros(3),)),
            ),
            "initial has sizes",
        ),
        (lambda: bounds.measure_margins(LOGITS[:, :1], np.zeros(4, int), quantile=0.1), "classes >= 2"),
        (lambda: bounds.measure_margins(LOGITS, np.zeros(3, int), quantile=0.1), r"\(3,\)"),
        (lambda: bounds.measure_margins(LOGITS[:0], np.zeros(0, int), quantile=0.1), "Logits"),
        (lambda: bounds.measure_margins(LOGITS, np.full(4, 3), quantile=0.1), "labels in 0..2"),
        (lambda: bounds.measure_margins(LOGITS, np.zeros(4, int), quantile=1.5), "quantile=1.5"),
        (lambda: bounds.measure_margins(LOGITS * np.nan, np.zeros(4, int), quantile=0.5), "finite"),
    ],
)
def test_mistakes_end_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
