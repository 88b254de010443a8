"""Owns the orderings that the paper reports among its numbers, as claims that can be put to other numbers as well.

Refuses to type a number of the paper again: which side is the larger one is read off the paper's table.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rethink.paper.numbers import TABLES, values_of

FITTED = 99.0  # percent of train accuracy from which on a train set counts as fitted


class ChanceParams(NamedTuple):
    """What the spread of guessing depends on."""

    classes: int
    train_examples: int
    test_examples: int


CIFAR10 = ChanceParams(10, 50_000, 10_000)
IMAGENET = ChanceParams(1000, 1_281_167, 50_000)


class Difference(NamedTuple):
    """What a measure of `cell` has over that of the cell `over`, in points; without `over`, the measure itself."""

    cell: str
    over: str = ""

    def of(self, values: Mapping[str, float]) -> float:
        """Returns the gain from the values of the cells."""
        return values[self.cell] - (values[self.over] if self.over else 0.0)


class Ordering(NamedTuple):
    """The claim that `larger` exceeds `smaller`."""

    statement: str
    measure: str
    larger: Difference
    smaller: Difference

    def weights(self) -> dict[str, int]:
        """Returns cell -> its factor in the margin, the difference of both sides; 0 where it cancels."""
        weights: dict[str, int] = {}
        for sign, gain in ((1, self.larger), (-1, self.smaller)):
            for factor, cell in ((sign, gain.cell), (-sign, gain.over)):
                if cell:
                    weights[cell] = weights.get(cell, 0) + factor
        return weights

    def margin(self, values: Mapping[str, float]) -> float:
        """Returns by how many points the claim is true of the values of the cells, or misses."""
        return self.larger.of(values) - self.smaller.of(values)

    def holds(self, values: Mapping[str, float]) -> bool:
        """Returns whether the claim is true of the values of the cells."""
        return self.margin(values) > 0

    def figures(self, values: Mapping[str, float]) -> str:
        """Returns both sides as they are: '3.56 > 0.28'."""
        sign = ">" if self.holds(values) else "<="
        return f"{self.larger.of(values):.2f} {sign} {self.smaller.of(values):.2f}"


class RangeClaim(NamedTuple):
    """The claim that a measure of `cell` lies in `low`..`high`, percent, ends included.

    Attributes:
      or_diverged: whether the claim is also met by runs that all diverged, and so have no value.
      guesses: of a claim of chance (`at_chance`), whose ends depend on the numbers of examples.
    """

    statement: str
    measure: str
    cell: str
    low: float
    high: float
    or_diverged: bool = False
    guesses: ChanceParams | None = None

    def weights(self) -> dict[str, int]:
        """Returns the cell, once."""
        return {self.cell: 1}

    def margin(self, values: Mapping[str, float]) -> float:
        """Returns by how many points the value lies inside of the nearer end; negative outside."""
        return min(values[self.cell] - self.low, self.high - values[self.cell])

    def holds(self, values: Mapping[str, float]) -> bool:
        """Returns whether the claim is true of the value of the cell."""
        return self.margin(values) >= 0

    def figures(self, values: Mapping[str, float]) -> str:
        """Returns the value."""
        return f"{values[self.cell]:.2f}"


Claim = Ordering | RangeClaim


class Named(NamedTuple):
    """One side of an ordering and its name."""

    name: str
    side: Difference


def _compared(table: str, measure: str, prefix: str, first: Named, second: Named) -> Ordering:
    """Returns the claim '<prefix>: <larger> above <smaller>', whichever side the paper's numbers have larger."""
    values = values_of(table, measure)
    larger, smaller = sorted((first, second), key=lambda named: named.side.of(values), reverse=True)
    return Ordering(f"{prefix}: {larger.name} above {smaller.name}", measure, larger.side, smaller.side)


def _regularized(table: str, measure: str, prefix: str, plain: str, regularized: Mapping[str, str]) -> list[Ordering]:
    """Returns each regularizer (name -> cell) against the plain cell, and of two their gains against each other."""
    none = Named("no regularizer", Difference(plain))
    found = [
        _compared(table, measure, prefix, Named(name, Difference(cell)), none) for name, cell in regularized.items()
    ]
    if len(regularized) == 2:
        gains = [Named(f"gain of {name}", Difference(cell, plain)) for name, cell in regularized.items()]
        found.append(_compared(table, measure, prefix, *gains))
    return found


def at_chance(cell: str, prefix: str, guesses: ChanceParams) -> RangeClaim:
    """Returns the claim of a test accuracy within three standard errors of guessing.

    Guessing on a test set has a binomial standard error. A network that was trained on n random labels makes no more
    than n guesses for all of the test set, as a nearest-neighbour rule does: their binomial error is added.
    """
    chance = 1 / guesses.classes
    error = math.sqrt(chance * (1 - chance) * (1 / guesses.test_examples + 1 / guesses.train_examples))
    low, high = (100 * max(0.0, chance + sign * 3 * error) for sign in (-1, 1))
    statement = f"{prefix}: at chance (test accuracy in {low:.2f}..{high:.2f}%)"
    return RangeClaim(statement, "test_accuracy", cell, low, high, guesses=guesses)


def resized(
    claim: RangeClaim, classes: int | None, train_examples: int | None, test_examples: int | None
) -> RangeClaim:
    """Returns a claim of chance for other data, as far as their numbers are known; any other claim as it is."""
    if not claim.guesses:
        return claim
    given = zip((classes, train_examples, test_examples), claim.guesses, strict=True)
    sizes = ChanceParams(*(own or papers for own, papers in given))
    return at_chance(claim.cell, claim.statement.partition(": at chance")[0], sizes)


def _fitted(cell: str, prefix: str) -> RangeClaim:
    return RangeClaim(
        f"{prefix}: fitted (train accuracy of {FITTED:g}% or more)", "train_accuracy", cell, FITTED, math.inf
    )


def _table1() -> Iterator[Claim]:
    table, test, both = "table1", "test_accuracy", {"cropping": "crop", "weight decay": "wd"}
    regularizers = {"inception": both, "alexnet": both}
    for model in ("inception", "inception_no_bn", "alexnet", "mlp_3x512", "mlp_1x512"):
        tried = regularizers.get(model, {"weight decay": "wd"})
        cells = {name: f"{model}-{condition}" for name, condition in tried.items()}
        yield from _regularized(table, test, model, f"{model}-none", cells)
    with_norm, without = Difference("inception-none"), Difference("inception_no_bn-none")
    yield _compared(table, test, "inception", Named("batch norm", with_norm), Named("none", without))
    for model, other in (("inception", "alexnet"), ("alexnet", "mlp_3x512")):
        architecture = Named(f"gain from {other}", Difference(f"{model}-none", f"{other}-none"))
        for name, condition in both.items():
            regularizer = Named(f"gain of {name}", Difference(f"{model}-{condition}", f"{model}-none"))
            yield _compared(table, test, model, architecture, regularizer)
    for cell in TABLES[table].cells:
        model, condition = cell.split("-", 1)
        if condition == "random":
            yield _fitted(cell, f"{model}, random labels")
            yield at_chance(cell, f"{model}, random labels", CIFAR10)


def _table2() -> Iterator[Claim]:
    table, alone = "table2", {"augmentation": "true-aug", "weight decay": "true-wd"}
    for measure, prefix in (("test_accuracy", "top 1"), ("test_top5_accuracy", "top 5")):
        prefix = f"true labels, {prefix}"
        yield from _regularized(table, measure, prefix, "true-none", alone)
        every, one = (
            Named("all regularizers", Difference("true-aug-dropout-wd")),
            Named("augmentation", Difference("true-aug")),
        )
        yield _compared(table, measure, prefix, every, one)
    none = Named("no regularizer", Difference("random-none"))
    for cell, name in (("random-wd", "weight decay"), ("random-dropout-wd", "dropout and weight decay")):
        yield _compared(table, "train_accuracy", "random labels, train", none, Named(name, Difference(cell)))
    for cell in TABLES[table].cells:
        if cell.startswith("random-"):
            yield at_chance(cell, cell, IMAGENET)


def _table3() -> Iterator[Claim]:
    table, error = "table3", "test_error"
    for prefix, first, second in (
        ("MNIST", "mnist-pixels", "mnist-gabor"),
        ("CIFAR10", "cifar10-pixels", "cifar10-random_convolutions"),
        ("CIFAR10", "cifar10-random_convolutions", "cifar10-random_convolutions-l2"),
    ):
        yield _compared(
            table, error, f"{prefix}, test error", Named(first, Difference(first)), Named(second, Difference(second))
        )


def _table4() -> Iterator[Claim]:
    for cell, numbers in TABLES["table4"].cells.items():
        prefix = f"random labels, {cell}"
        if numbers["train_accuracy"].value is None:  # failed to converge
            statement = f"{prefix}: not fitted (train accuracy below {FITTED:g}%, or diverged)"
            yield RangeClaim(statement, "train_accuracy", cell, 0.0, math.nextafter(FITTED, 0.0), or_diverged=True)
        else:
            yield _fitted(cell, prefix)


ORDERINGS: dict[str, tuple[Claim, ...]] = {
    "table1": tuple(_table1()),
    "table2": tuple(_table2()),
    "table3": tuple(_table3()),
    "table4": tuple(_table4()),
}
