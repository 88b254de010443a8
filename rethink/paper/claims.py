"""What the paper says beyond its numbers, as claims that other numbers can be held to: orderings, and ranges.

Judges nothing, and types no number of the paper again: which side is the larger one is read off the paper's table.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rethink.paper.numbers import (
    BATCH_NORM_GAIN,
    BEST,
    EARLY_STOPPING_GAIN,
    START_BEFORE_RANDOM,
    STEPS_TO_LOSS,
    STEPS_TO_OVERFIT,
    TABLES,
    TEST_ERROR,
    Number,
    values_of,
)

FITTED = 99.0  # percent of train accuracy from which on a train set counts as fitted
CONVERGED = 0.1  # training loss from which on down a run of figure 1a counts as fitted, as in its replication
LITTLE_GAIN = 1.0  # of early stopping, points: no more counts as nothing
FIT_FRACTION = 0.95  # train accuracy that counts as fitted in figure 1b: mlp_1x512 ends at 98 to 99% on random labels
PAPER, REPLICATION = "paper", "replication"  # who says it: replications are counted apart


class ChanceParams(NamedTuple):
    """What the spread of guessing depends on."""

    classes: int
    train_examples: int
    test_examples: int


CIFAR10 = ChanceParams(10, 50_000, 10_000)
IMAGENET = ChanceParams(1000, 1_281_167, 50_000)


class Difference(NamedTuple):
    """What a measure of `cell` has over that of the cell `over`, in points; without `over`, the measure itself.

    Attributes:
      name: in the statement of the claim.
    """

    cell: str
    over: str = ""
    name: str = ""

    def of(self, values: Mapping[str, float]) -> float:
        """Returns the difference of the values of the cells."""
        return values[self.cell] - (values[self.over] if self.over else 0.0)


class Ordering(NamedTuple):
    """The claim about methods that each side exceeds the next one, or with sign "<" is less than it.

    Attributes:
      paper: what the paper has; certainty: the letters of that; source: who says it, `PAPER` or `REPLICATION`.
      form: how a value is written.
      unresolved: why the paper's own numbers don't show it; "" where they do.
    """

    statement: str
    measure: str
    sides: Sequence[Difference]
    paper: str
    certainty: str
    sign: str = ">"
    form: str = ".2f"
    source: str = PAPER
    unresolved: str = ""

    @property
    def cells(self) -> list[str]:
        """The cells whose values the claim is about, each once."""
        return list(dict.fromkeys(cell for side in self.sides for cell in side[:2] if cell))


class RangeClaim(NamedTuple):
    """The claim about the networks that were trained that a measure of `cell` lies in `low`..`high`, ends included.

    Attributes:
      paper, certainty, source: as of an `Ordering`.
      or_diverged: whether the claim is also met by runs that all diverged, and so have no value.
      chance: of a claim of chance (`chance_claim`), whose ends depend on the numbers of examples.
    """

    statement: str
    measure: str
    cell: str
    low: float
    high: float
    paper: str
    certainty: str
    or_diverged: bool = False
    chance: ChanceParams | None = None
    source: str = PAPER

    @property
    def cells(self) -> list[str]:
        """The cell, in a list."""
        return [self.cell]


Claim = Ordering | RangeClaim


def _join_certainties(numbers: Sequence[Number]) -> str:
    return "".join(sorted({number.certainty for number in numbers}))


def margin_weights(larger: Difference, smaller: Difference) -> dict[str, int]:
    """Returns cell -> its factor in the difference of two sides; 0 where it cancels."""
    weights: dict[str, int] = {}
    for sign, side in ((1, larger), (-1, smaller)):
        for factor, cell in ((sign, side.cell), (-sign, side.over)):
            if cell:
                weights[cell] = weights.get(cell, 0) + factor
    return weights


def _compare(table: str, measure: str, prefix: str, first: Difference, second: Difference) -> Ordering:
    """Returns the claim '<prefix>: <larger> above <smaller>', whichever side the paper's numbers have larger."""
    values = values_of(table, measure)
    larger, smaller = sorted((first, second), key=lambda side: side.of(values), reverse=True)
    paper = f"{larger.of(values):.2f} > {smaller.of(values):.2f}"
    claim = Ordering(f"{prefix}: {larger.name} above {smaller.name}", measure, (larger, smaller), paper, "")
    certainty = _join_certainties([TABLES[table].cells[cell][measure] for cell in claim.cells])
    return claim._replace(certainty=certainty, unresolved=_find_unresolved(table, measure, larger, smaller))


def _find_unresolved(table: str, measure: str, larger: Difference, smaller: Difference) -> str:
    """Returns why the paper's numbers don't show a difference: its digits and, of its test set, two standard errors."""
    variance = rounding = 0.0
    for cell, weight in margin_weights(larger, smaller).items():
        number = TABLES[table].cells[cell][measure]
        rounding += abs(weight) * 10**-number.decimals / 2
        if number.value is not None and not measure.startswith("train"):
            variance += weight**2 * number.value * (100 - number.value) / TABLES[table].test_examples
    values = values_of(table, measure)
    margin, error = larger.of(values) - smaller.of(values), 2 * math.sqrt(variance) + rounding
    return "" if margin > error else f"the paper's own numbers don't resolve it ({margin:.2f} +- {error:.2f})"


def _compare_regularizers(
    table: str, measure: str, prefix: str, plain: str, regularized: Mapping[str, str]
) -> Iterator[Ordering]:
    """Yields each regularizer (name -> cell) against the plain cell, and of two their gains against each other."""
    none = Difference(plain, name="no regularizer")
    for name, cell in regularized.items():
        yield _compare(table, measure, prefix, Difference(cell, name=name), none)
    if len(regularized) == 2:
        gains = [Difference(cell, plain, name=f"gain of {name}") for name, cell in regularized.items()]
        yield _compare(table, measure, prefix, *gains)


def chance_claim(cell: str, prefix: str, chance: ChanceParams, number: Number) -> RangeClaim:
    """Returns the claim of a test accuracy within three standard errors of guessing.

    Guessing on a test set has a binomial standard error. A network that was trained on n random labels makes no more
    than n guesses for all of the test set, as a nearest-neighbour rule does: their binomial error is added.
    """
    mean = 1 / chance.classes
    error = math.sqrt(mean * (1 - mean) * (1 / chance.test_examples + 1 / chance.train_examples))
    low, high = (100 * max(0.0, mean + sign * 3 * error) for sign in (-1, 1))
    statement = f"{prefix}: at chance (test accuracy in {low:.2f}..{high:.2f}%)"
    return RangeClaim(statement, "test_accuracy", cell, low, high, number.text(), number.certainty, chance=chance)


def resize_chance(claim: Claim, sizes: Sequence[int | None]) -> Claim:
    """Returns a claim of chance for other data; any other claim as it is.

    Args:
      sizes: those of `ChanceParams`; None where one is not known, for which the paper's stands.
    """
    if not isinstance(claim, RangeClaim) or not claim.chance:
        return claim
    chance = ChanceParams(*(own or papers for own, papers in zip(sizes, claim.chance, strict=True)))
    paper = Number(None, claim.certainty, claim.paper)
    return chance_claim(claim.cell, claim.statement.partition(": at chance")[0], chance, paper)


def _fitted_claim(table: str, cell: str, prefix: str) -> RangeClaim:
    number = TABLES[table].cells[cell]["train_accuracy"]
    statement = f"{prefix}: fitted (train accuracy of {FITTED:g}% or more)"
    return RangeClaim(statement, "train_accuracy", cell, FITTED, math.inf, number.text(), number.certainty)


def _table1() -> Iterator[Claim]:
    table, test, both = "table1", "test_accuracy", {"cropping": "crop", "weight decay": "wd"}
    regularizers = {"inception": both, "alexnet": both}
    for model in ("inception", "inception_no_bn", "alexnet", "mlp_3x512", "mlp_1x512"):
        tried = regularizers.get(model, {"weight decay": "wd"})
        cells = {name: f"{model}-{condition}" for name, condition in tried.items()}
        yield from _compare_regularizers(table, test, model, f"{model}-none", cells)
    with_norm = Difference("inception-none", name="batch norm")
    yield _compare(table, test, "inception", with_norm, Difference("inception_no_bn-none", name="none"))
    # What a better architecture gains, against what a regularizer gains on it.
    for model, other in (("inception", "alexnet"), ("alexnet", "mlp_3x512")):
        architecture = Difference(f"{model}-none", f"{other}-none", name=f"gain from {other}")
        for name, condition in both.items():
            regularizer = Difference(f"{model}-{condition}", f"{model}-none", name=f"gain of {name}")
            yield _compare(table, test, model, architecture, regularizer)
    for cell, numbers in TABLES[table].cells.items():
        model, condition = cell.split("-", 1)
        if condition == "random":
            prefix = f"{model}, random labels"
            yield _fitted_claim(table, cell, prefix)
            yield chance_claim(cell, prefix, CIFAR10, numbers[test])


def _table2() -> Iterator[Claim]:
    table, alone = "table2", {"augmentation": "true-aug", "weight decay": "true-wd"}
    every = Difference("true-aug-dropout-wd", name="all regularizers")
    for measure, top in (("test_accuracy", "top 1"), ("test_top5_accuracy", "top 5")):
        prefix = f"true labels, {top}"
        yield from _compare_regularizers(table, measure, prefix, "true-none", alone)
        yield _compare(table, measure, prefix, every, Difference("true-aug", name="augmentation"))
    none = Difference("random-none", name="no regularizer")
    for cell, name in (("random-wd", "weight decay"), ("random-dropout-wd", "dropout and weight decay")):
        yield _compare(table, "train_accuracy", "random labels, train", none, Difference(cell, name=name))
    for cell, numbers in TABLES[table].cells.items():
        if cell.startswith("random-"):
            yield chance_claim(cell, cell, IMAGENET, numbers["test_accuracy"])


def _table3() -> Iterator[Claim]:
    for data, *names in (
        ("mnist", "pixels", "gabor"),
        ("cifar10", "pixels", "random_convolutions"),
        ("cifar10", "random_convolutions", "random_convolutions-l2"),
    ):
        first, second = (Difference(f"{data}-{name}", name=name) for name in names)
        yield _compare("table3", "test_error", f"{data}, test error", first, second)


def move_to_data(claim: Ordering, data: str) -> Ordering:
    """Returns a claim of table 3 about the same kernels on another data set, whose name its cells begin with."""
    papers = claim.cells[0].partition("-")[0]
    sides = [side._replace(cell=side.cell.replace(papers, data, 1)) for side in claim.sides]
    paper = f"{claim.paper} ({papers})"
    return claim._replace(statement=claim.statement.replace(papers, data, 1), sides=sides, paper=paper)


def _table4() -> Iterator[Claim]:
    for cell, numbers in TABLES["table4"].cells.items():
        prefix, number = f"random labels, {cell}", numbers["train_accuracy"]
        claim = _fitted_claim("table4", cell, prefix)
        if number.value is None:  # failed to converge
            statement = f"{prefix}: not fitted (train accuracy below {FITTED:g}%, or diverged)"
            below = math.nextafter(FITTED, 0.0)
            claim = claim._replace(statement=statement, low=0.0, high=below, or_diverged=True)
        yield claim


ORDERINGS: dict[str, tuple[Claim, ...]] = {
    "table1": tuple(_table1()),
    "table2": tuple(_table2()),
    "table3": tuple(_table3()),
    "table4": tuple(_table4()),
}


def rising_claim(
    statement: str,
    measure: str,
    cells: Sequence[str],
    paper: str,
    numbers: Sequence[Number],
    form: str = ".2f",
    source: str = PAPER,
) -> Ordering:
    """Returns the claim that a measure grows from each cell to the next; `numbers`: of the paper, for the certainty."""
    return Ordering(statement, measure, [*map(Difference, cells)], paper, _join_certainties(numbers), "<", form, source)


def _join_numbers(numbers: Mapping[str, Number], cells: Sequence[str], form: str = ".2f") -> str:
    """Returns the paper's numbers of cells as of a rising claim: '1 < about 4'."""
    return " < ".join(numbers[cell].note or f"{numbers[cell].value:{form}}" for cell in cells)


def figure1a_claims() -> Iterator[Claim]:
    """Yields the claims of figure 1a: what starts, and what fits, before random labels; the cells are conditions."""
    starts, fits, loss = "steps to start", f"steps to loss {CONVERGED}", "training loss"
    for name, number in START_BEFORE_RANDOM.items():
        statement = f"{name}: starts to converge before random labels"
        yield rising_claim(statement, starts, (name, "random"), number.note, [number], ".0f")
    for name, number in STEPS_TO_LOSS.items():
        statement = f"{name}: fitted (a training loss of {CONVERGED} or less)"
        paper = f"at step {number.value:.0f}"
        yield RangeClaim(statement, loss, name, 0.0, CONVERGED, paper, number.certainty, source=REPLICATION)
    order = sorted(STEPS_TO_LOSS, key=lambda name: STEPS_TO_LOSS[name].value or 0.0)
    sooner = {f"{name}: fitted before random labels": (name, "random") for name in order if name != "random"}
    for statement, cells in {**sooner, f"fitted in this order: {', '.join(order)}": tuple(order)}.items():
        paper = _join_numbers(STEPS_TO_LOSS, cells, ".0f")
        yield rising_claim(statement, fits, cells, paper, [STEPS_TO_LOSS[cell] for cell in cells], ".0f", REPLICATION)


def figure1bc_claims(prefix: str, levels: Sequence[str], sizes: Sequence[int | None]) -> Iterator[Claim]:
    """Yields the claims of figures 1b and 1c about one network; the cells are the probabilities p, as text.

    Args:
      prefix: of the statements: the network.
      levels: all p that there are runs of, ascending.
      sizes: of the data, as of `resize_chance`.
    """
    fits, ends, ninety = f"steps to {FIT_FRACTION:.0%}", ("0", "1"), TEST_ERROR["1"]
    paper = f"relative: {_join_numbers(STEPS_TO_OVERFIT, ends)}"
    statement = f"{prefix}more steps to fit at p = 1 than at p = 0"
    yield rising_claim(statement, fits, ends, paper, list(STEPS_TO_OVERFIT.values()), ".0f")
    statement = f"{prefix}test error rises from each p to the next ({', '.join(levels)})"
    yield rising_claim(statement, "test error", levels, ninety.note, [ninety])
    chance = resize_chance(chance_claim("1", prefix, CIFAR10, ninety), sizes)
    assert isinstance(chance, RangeClaim)
    low, high = 100 - chance.high, 100 - chance.low
    statement = f"{prefix}at chance at p = 1 (test error in {low:.2f}..{high:.2f}%)"
    yield chance._replace(statement=statement, measure="test error", low=low, high=high)


def figure2a_claims() -> Iterator[tuple[str, Claim]]:
    """Yields (cell of table 2, claim that early stopping would gain there); the claim's cell is the network."""
    for cell, numbers in TABLES["table2"].cells.items():
        if BEST + "test_accuracy" in numbers:
            pair = (numbers["test_accuracy"], numbers[BEST + "test_accuracy"])
            name, gain = cell.removeprefix("true-"), (pair[1].value or 0.0) - (pair[0].value or 0.0)
            statement = f"{name}: early stopping would gain (the oracle's gain is above {LITTLE_GAIN:g} point)"
            above = math.nextafter(LITTLE_GAIN, math.inf)
            yield cell, RangeClaim(statement, "gain", name, above, math.inf, f"{gain:.2f}", _join_certainties(pair))


def figure2b_claims() -> Iterator[Claim]:
    """Yields the claims of figure 2b: what batch norm gains, and that early stopping gains nothing; cells: networks."""
    names, number = ("inception_no_bn", "inception"), EARLY_STOPPING_GAIN
    statement = "inception: batch norm above none"
    yield rising_claim(statement, "test_accuracy", names, BATCH_NORM_GAIN.note, [BATCH_NORM_GAIN])
    for name in names:
        statement = f"{name}: early stopping gains nothing (the oracle's gain is {LITTLE_GAIN:g} point or less)"
        yield RangeClaim(statement, "gain", name, 0.0, LITTLE_GAIN, number.note, number.certainty)


def is_met_by_memorizing(table: str, cell: str, measure: str) -> bool:
    """Returns whether any network that memorizes its train set has the paper's number: fitted, or tested at chance."""
    number = TABLES[table].cells.get(cell, {}).get(measure)
    if number is None or number.value is None:
        return False
    is_random = table == "table4" or "random" in cell.split("-")
    return is_random if measure.startswith("test") else number.value >= FITTED
