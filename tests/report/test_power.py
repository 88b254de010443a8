"""Simulated sweeps: what is false is seldom called true, and what the paper has is seldom missed."""

import math
from collections import Counter

import numpy as np
import pytest

from rethink.paper.claims import CIFAR10, ORDERINGS, Difference, Ordering, RangeClaim, chance_claim, rising_claim
from rethink.paper.numbers import TABLES, Number, values_of
from rethink.report import figure_claims, power, verdicts
from rethink.report.inference import Estimate, seen_between
from rethink.report.power import Study
from rethink.report.verdicts import ClaimCheck

DRAWS = 2000
ABOVE = Ordering("a above b", "test_accuracy", (Difference("a"), Difference("b")), "", "")
GAINS = Ordering("gains", "test_accuracy", (Difference("a", "c"), Difference("c", "b")), "", "")
RISING = rising_claim("rising", "test_accuracy", ("a", "b", "c"), "", ())
CHANCE = chance_claim("a", "random labels", CIFAR10, Number(10.0, "A"))


def holds(claim, estimates):
    return verdicts.judge_claim(ClaimCheck(claim, estimates, started=estimates))["verdict"] == "holds"


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("claim", [ABOVE, GAINS, RISING], ids=lambda claim: claim.statement)
def test_where_there_is_no_difference_a_claim_about_methods_seldom_holds(claim, seeds):
    truths = dict.fromkeys(claim.cells, 80.0)
    counts = power.simulate_claim(claim, truths, 1000, Study(seeds, 0.5, DRAWS), np.random.default_rng(0))
    assert counts["holds"] <= 0.05 * DRAWS
    recorded = claim._replace(measure="test_top5_accuracy")  # nothing is known of single examples
    counts = power.simulate_claim(recorded, truths, 1000, Study(seeds, 0.5, DRAWS), np.random.default_rng(0))
    assert counts["holds"] <= 0.05 * DRAWS


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("end", [CHANCE.low, CHANCE.high])
def test_where_networks_are_at_the_end_of_a_range_they_are_seldom_within(seeds, end):
    counts = power.simulate_claim(CHANCE, {"a": end}, 10_000, Study(seeds, 0.0, DRAWS), np.random.default_rng(0))
    assert counts["holds"] <= 0.05 * DRAWS
    counts = power.simulate_claim(CHANCE, {"a": 10.0}, 10_000, Study(seeds, 0.0, DRAWS), np.random.default_rng(0))
    assert counts["holds"] >= 0.75 * DRAWS  # the range is three standard errors wide to either side


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 50])
def test_where_two_conditions_take_as_long_neither_is_seldom_called_sooner(every):
    """The steps of a run are seen on rows `every` steps apart."""
    rng, claim = np.random.default_rng(0), rising_claim("sooner", "steps", ("a", "b"), "", ())
    held = 0
    for _ in range(DRAWS):
        steps = np.exp(rng.normal(math.log(500), 0.1, (2, 3)))
        rows = np.ceil(steps / every) * every
        held += holds(
            claim, {c: seen_between([(row - every, row) for row in own]) for c, own in zip("ab", rows, strict=True)}
        )
    assert held <= 0.05 * DRAWS


def curve(accuracies):
    return [{"kind": "evaluation", "step": n, "test_accuracy": value} for n, value in enumerate(accuracies, start=1)]


@pytest.mark.slow
@pytest.mark.parametrize("evaluations", [6, 20, 100])
@pytest.mark.parametrize("noise", [0.001, 0.01])
def test_a_flat_noisy_curve_is_seldom_called_a_gain_and_a_gain_seldom_none(evaluations, noise):
    rng, held = np.random.default_rng(0), Counter()
    gains = RangeClaim("gains", "gain", "a", math.nextafter(1, 2), math.inf, "", "")
    gains_nothing = RangeClaim("gains nothing", "gain", "a", 0.0, 1.0, "", "")
    for _ in range(DRAWS):
        # The first half is one point better than the last.
        level = np.where(np.arange(evaluations) < evaluations // 2, 0.81, 0.80)
        found = figure_claims.measure_gain(curve(level + noise * rng.standard_normal(evaluations)))
        for claim in (gains, gains_nothing):
            held[claim.statement] += holds(claim, {"a": Estimate(*((value,) for value in found))})
    assert max(held.values(), default=0) <= 0.05 * DRAWS


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
            counts = power.simulate_claim(claim, values, examples, Study(3, 0.4, draws), np.random.default_rng(0))
            seen.append((claim.statement, counts["holds"] / draws))
    assert seen and all(share >= 0.8 for _, share in seen), seen


def test_the_power_of_each_claim_is_told():
    rows = power.power_rows("table3", Study(seeds=2, spread=0.4, draws=2))
    assert [list(row) for row in rows] == [list(power.COLUMNS)] * len(rows) and len(rows) == 3
    assert all(float(row["holds"]) + float(row["undecided"]) + float(row["doesn't hold"]) == 100 for row in rows)
    assert "don't resolve" in rows[-1]["notes"]
