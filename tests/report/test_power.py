"""Simulated sweeps: what is false is seldom called true, and what the paper has is seldom missed."""

import functools
import math

import numpy as np
import pytest

from rethink.paper.claims import CIFAR10, ORDERINGS, Difference, Ordering, RangeClaim, chance_claim, rising_claim
from rethink.paper.numbers import TABLES, Number, values_of
from rethink.report import figure_claims, power
from rethink.report.inference import exact
from rethink.report.power import Study

DRAWS = 2000
ABOVE = Ordering("a above b", "test_accuracy", (Difference("a"), Difference("b")), "", "")
GAINS = Ordering("gains", "test_accuracy", (Difference("a", "c"), Difference("c", "b")), "", "")
RISING = rising_claim("rising", "test_accuracy", ("a", "b", "c"), "", ())
CHANCE = chance_claim("a", "random labels", CIFAR10, Number(10.0, "A"))


def accuracies(claim, examples, seeds, spread):
    return functools.partial(power.draw_accuracies, claim.measure, examples, Study(seeds, spread, DRAWS))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("claim", [ABOVE, GAINS, RISING], ids=lambda claim: claim.statement)
def test_where_there_is_no_difference_a_claim_about_methods_seldom_holds(claim, seeds):
    # Also where nothing is known of single examples.
    for one in (claim, claim._replace(measure="test_top5_accuracy")):
        truths = dict.fromkeys(claim.cells, 80.0)
        assert power.simulate_claim(one, truths, accuracies(one, 1000, seeds, 0.5), DRAWS)["holds"] <= 0.05 * DRAWS


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("end", [CHANCE.low, CHANCE.high])
def test_where_networks_are_at_the_end_of_a_range_they_are_seldom_within(seeds, end):
    draw = accuracies(CHANCE, 10_000, seeds, 0.0)
    assert power.simulate_claim(CHANCE, {"a": end}, draw, DRAWS)["holds"] <= 0.05 * DRAWS
    # The range is three standard errors wide to either side.
    assert power.simulate_claim(CHANCE, {"a": 10.0}, draw, DRAWS)["holds"] >= 0.75 * DRAWS


@pytest.mark.slow
@pytest.mark.parametrize("between", [1, 50])
def test_where_two_conditions_take_as_long_neither_is_called_sooner(between):
    claim = rising_claim("sooner", "steps", ("a", "b"), "", ())
    draw = functools.partial(power.draw_steps, 3, between)
    assert power.simulate_claim(claim, {"a": 500.0, "b": 500.0}, draw, DRAWS)["holds"] <= 0.05 * DRAWS
    assert power.simulate_claim(claim, {"a": 500.0, "b": 1000.0}, draw, DRAWS)["holds"] >= 0.8 * DRAWS


@pytest.mark.slow
@pytest.mark.parametrize("evaluations", [6, 20, 100])
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_a_noisy_curve_is_seldom_called_a_gain_and_a_gain_seldom_none(evaluations, noise):
    draw = functools.partial(power.draw_gains, evaluations, noise)
    gains = RangeClaim("gains", "gain", "a", math.nextafter(1, 2), math.inf, "", "")
    gains_nothing = RangeClaim("gains nothing", "gain", "a", 0.0, 1.0, "", "")
    for claim in (gains, gains_nothing):
        assert power.simulate_claim(claim, {"a": 1.0}, draw, DRAWS)["holds"] <= 0.05 * DRAWS


@pytest.mark.slow
def test_noise_that_lasts_for_several_evaluations_is_seldom_called_a_gain():
    rng, held, lasting = np.random.default_rng(0), 0, 0.8
    for _ in range(DRAWS):
        curve, shocks = [rng.standard_normal()], np.sqrt(1 - lasting**2) * rng.standard_normal(50)
        for shock in shocks:
            curve.append(lasting * curve[-1] + shock)
        rows = [
            {"kind": "evaluation", "step": n, "test_accuracy": (80 + x) / 100} for n, x in enumerate(curve, start=1)
        ]
        held += figure_claims.measure_gain(rows)[1] > 1
    assert held <= 0.05 * DRAWS


@pytest.mark.slow
@pytest.mark.parametrize("others", [3, 4, 10, 30])
def test_unlike_numbers_of_runs_make_no_difference(others):
    def draw(truths, rng):
        return {cell: exact((truths[cell] + rng.standard_normal(n)).tolist()) for cell, n in (("a", 2), ("b", others))}

    assert power.simulate_claim(ABOVE, {"a": 80.0, "b": 80.0}, draw, DRAWS)["holds"] <= 0.05 * DRAWS


@pytest.mark.slow
@pytest.mark.parametrize("table", ["table1", "table2", "table3"])
def test_with_three_seeds_the_papers_differences_of_two_points_are_seen(table):
    draws, seen = 400, []
    for claim in ORDERINGS[table]:
        values = values_of(table, claim.measure)
        if not isinstance(claim, Ordering) or claim.unresolved:
            continue
        larger, smaller = (side.of(values) for side in claim.sides)
        if larger - smaller > 2:
            examples = 0 if claim.measure.startswith("train") else TABLES[table].test_examples
            counts = power.simulate_claim(claim, values, accuracies(claim, examples, 3, 0.4), draws)
            seen.append((claim.statement, counts["holds"] / draws))
    assert seen and all(share >= 0.8 for _, share in seen), seen


def test_the_power_of_each_claim_is_told():
    for name, count in (("table3", 3), ("figures", 10)):
        rows = power.power_rows(name, Study(seeds=2, spread=0.4, draws=2))
        assert [list(row) for row in rows] == [list(power.COLUMNS)] * count
        shares = [float(row["holds"]) + float(row["undecided"]) + float(row["doesn't hold"]) for row in rows]
        assert shares == [100] * count
    assert "don't resolve" in power.power_rows("table3", Study(2, 0.4, 1))[-1]["notes"]
