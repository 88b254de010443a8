"""The paper's numbers: all there, each with its certainty, and the orderings read off them."""

import re

import pytest

from rethink.paper.claims import ORDERINGS, Difference, Ordering, RangeClaim, margin_weights
from rethink.paper.numbers import (
    BATCH_NORM_GAIN,
    CERTAINTIES,
    EARLY_STOPPING_GAIN,
    NORMS,
    REPLICATED_TEST_ACCURACY,
    START_BEFORE_RANDOM,
    STEPS_TO_LOSS,
    STEPS_TO_OVERFIT,
    TABLES,
    TEST_ERROR,
    Number,
    values_of,
)
from rethink.report import verdicts
from rethink.report.inference import exact
from rethink.report.verdicts import ClaimCheck

# How many cells and numbers the paper's tables hold, and how many numbers carry which letter.
COUNTS = {
    "table1": (19, 38, {"B": 38}),
    "table2": (7, 32, {"A": 4, "C": 14, "M": 14}),
    "table3": (5, 5, {"A": 5}),
    "table4": (6, 6, {"A": 1, "C": 5}),
}
CLAIMS = [(table, claim) for table, claims in ORDERINGS.items() for claim in claims]


def estimates(values, examples=0):
    """Returns the values, as of two runs that agree to the last digit."""
    return {cell: exact([value, value], examples) for cell, value in values.items()}


def row(claim, values, examples=0):
    if isinstance(claim, Ordering):
        claim = claim._replace(unresolved="")
    return verdicts.judge_claim(ClaimCheck(claim, estimates(values, examples), started=claim.cells))


def judge(claim, values, examples=0):
    return row(claim, values, examples)["verdict"]


def describe(claim, values):
    return row(claim, values)["ours"]


def holds(claim, values):
    return judge(claim, values) == "holds"


def letters(table):
    found = [number.certainty for cell in TABLES[table].cells.values() for number in cell.values()]
    return {letter: found.count(letter) for letter in sorted(set(found))}


@pytest.mark.parametrize("table", TABLES)
def test_every_number_is_there_with_its_certainty(table):
    cells, numbers, certainties = COUNTS[table]
    known = TABLES[table]
    assert len(known.cells) == cells and sum(map(len, known.cells.values())) == numbers
    assert letters(table) == certainties and set(certainties) <= set(CERTAINTIES)
    for found in known.cells.values():
        assert list(found) == [measure for measure in known.measures if measure in found]
        for number in found.values():
            assert number.note if number.value is None else 0 <= number.value <= 100


@pytest.mark.parametrize(
    "table, cell, measure, number",
    [
        ("table1", "inception-crop", "test_accuracy", Number(89.31, "B")),
        ("table1", "mlp_1x512-random", "train_accuracy", Number(99.34, "B")),
        ("table2", "true-aug-dropout-wd", "train_top5_accuracy", Number(99.21, "M")),
        ("table2", "true-aug", "test_accuracy", Number(72.95, "A")),
        ("table2", "true-wd", "best_test_accuracy", Number(72.57, "C")),
        ("table2", "true-none", "best_test_top5_accuracy", Number(84.49, "M")),
        ("table2", "random-none", "train_accuracy", Number(95.20, "A")),
        ("table4", "alexnet-wd", "train_accuracy", Number(None, "A", "failed to converge")),
        ("table4", "inception-augmentation", "train_accuracy", Number(99.28, "C")),
    ],
)
def test_numbers_stand_in_their_cells(table, cell, measure, number):
    assert TABLES[table].cells[cell][measure] == number


def test_what_is_said_of_figures_has_its_certainty():
    steps = STEPS_TO_LOSS
    assert {name: number.value for name, number in steps.items()} == {
        "true": 4000,
        "shuffled_pixels": 5600,
        "gaussian": 8800,
        "random_pixels": 11900,
        "random": 16600,
    }
    assert {number.certainty for number in [*steps.values(), *REPLICATED_TEST_ACCURACY.values()]} == {"C"}
    assert (STEPS_TO_OVERFIT["1"].value, STEPS_TO_OVERFIT["1"].certainty) == (4, "C")
    assert (TEST_ERROR["1"].value, TEST_ERROR["1"].certainty) == (90, "A")
    assert {name: number[:2] for name, number in NORMS.items()} == {
        "mnist-pixels": (220, "A"),
        "mnist-gabor": (390, "A"),
    }
    said = [BATCH_NORM_GAIN, EARLY_STOPPING_GAIN, *START_BEFORE_RANDOM.values()]
    assert all(number.value is None and number.note and number.certainty == "A" for number in said)


def test_only_the_runs_that_overfit_have_a_best_so_far():
    cells = TABLES["table2"].cells
    assert {cell for cell, found in cells.items() if "best_test_accuracy" in found} == {"true-wd", "true-none"}


@pytest.mark.parametrize("table, claim", CLAIMS, ids=[f"{table} {claim.statement}" for table, claim in CLAIMS])
def test_the_papers_own_numbers_hold_its_claims(table, claim):
    values = values_of(table, claim.measure)
    assert set(claim.cells) <= set(TABLES[table].cells)
    if set(claim.cells) <= set(values):
        assert holds(claim, values)
        if isinstance(claim, RangeClaim) and claim.measure == "test_accuracy":
            unresolved = claim.cell in ("mlp_3x512-random", "mlp_1x512-random", "random-wd")
            verdict = judge(claim, values, TABLES[table].test_examples)
            assert verdict == ("undecided" if unresolved else "holds")
        assert claim.paper == describe(claim, values)
    else:
        assert claim.cell == "alexnet-wd" and claim.or_diverged


def test_the_claims_are_those_of_the_paper():
    """Written out, so that a misprint in a number that turns a claim around is seen."""
    statements = {table: [claim.statement for claim in claims] for table, claims in ORDERINGS.items()}
    for statement in (
        "inception: cropping above no regularizer",
        "inception: weight decay above no regularizer",
        "inception: gain of cropping above gain of weight decay",
        "alexnet: cropping above no regularizer",
        "alexnet: gain of cropping above gain of weight decay",
        "mlp_3x512: weight decay above no regularizer",
        "mlp_1x512: no regularizer above weight decay",
        "inception: batch norm above none",
        "inception: gain from alexnet above gain of cropping",
        "alexnet: gain from mlp_3x512 above gain of weight decay",
    ):
        assert statement in statements["table1"]
    assert "true labels, top 1: gain of augmentation above gain of weight decay" in statements["table2"]
    assert "random labels, train: no regularizer above dropout and weight decay" in statements["table2"]
    assert len(set(statements["table4"])) == 6
    for claims in statements.values():
        assert len(set(claims)) == len(claims)


def test_sides_are_the_larger_first_and_their_gains():
    claims = {claim.statement: claim for claim in ORDERINGS["table1"]}
    values = values_of("table1", "test_accuracy")
    claim = claims["inception: gain from alexnet above gain of cropping"]
    assert describe(claim, values) == "9.68 > 3.56" == claim.paper
    assert margin_weights(*claim.sides) == {"inception-none": 2, "alexnet-none": -1, "inception-crop": -1}
    claim = claims["inception: gain of cropping above gain of weight decay"]
    assert margin_weights(*claim.sides) == {"inception-crop": 1, "inception-none": 0, "inception-wd": -1}
    assert claims["mlp_1x512: no regularizer above weight decay"].paper == "50.51 > 50.39"


def test_an_ordering_is_strict_and_turns_with_its_numbers():
    claim = Ordering("a above b", "test_accuracy", (Difference("a"), Difference("b")), "", "")
    assert holds(claim, {"a": 2.0, "b": 1.0}) and judge(claim, {"a": 1.0, "b": 2.0}) == "doesn't hold"
    assert judge(claim, {"a": 1.0, "b": 1.0}) == "undecided"
    assert describe(claim, {"a": 1.0, "b": 1.0}) == "1.00 ? 1.00"


def test_chance_is_three_standard_errors_wide():
    chance = [claim for table, claim in CLAIMS if "at chance" in claim.statement]
    assert {(round(c.low, 2), round(c.high, 2)) for c in chance} == {(9.01, 10.99), (0.06, 0.14)}
    first = chance[0]
    assert (
        holds(first, {first.cell: 10.8})
        and not holds(first, {first.cell: 11.0})
        and not holds(first, {first.cell: 9.0})
    )
    assert all(re.search(rf"{c.low:.2f}\.\.{c.high:.2f}%", c.statement) for c in chance)


def test_fitted_starts_at_99():
    fitted = next(claim for _, claim in CLAIMS if "fitted (train accuracy of" in claim.statement)
    missed = next(claim for _, claim in CLAIMS if "not fitted" in claim.statement)
    for value, verdict in ((98.999, False), (99.0, True), (100.0, True)):
        assert holds(fitted, {fitted.cell: value}) is verdict
        assert holds(missed, {missed.cell: value}) is not verdict


def test_a_claim_that_the_papers_test_set_does_not_resolve_says_so():
    unresolved = {claim.statement for claim in ORDERINGS["table1"] if isinstance(claim, Ordering) and claim.unresolved}
    assert unresolved == {
        "inception: weight decay above no regularizer",  # 0.28 points
        "inception_no_bn: weight decay above no regularizer",  # 1.00
        "mlp_3x512: weight decay above no regularizer",  # 0.96
        "mlp_1x512: no regularizer above weight decay",  # 0.12
    }
    last = "cifar10, test error: random_convolutions above random_convolutions-l2"  # 17% and 15%, rounded to a point
    assert [claim.statement for claim in ORDERINGS["table3"] if claim.unresolved] == [last]
