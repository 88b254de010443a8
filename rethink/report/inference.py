"""What can be inferred from a few runs and one test set: intervals, at 95%, for claims about methods and networks.

A claim about methods is of the mean over seeds, on all images that the test set is a sample of: both are random. A
claim about networks is of those that were trained: only the test set is. Nothing is judged here.
"""

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

LEVEL = 0.95  # of every interval
_TAIL = (1 + LEVEL) / 2  # quantile of its upper end
NORMAL = float(scipy.stats.norm.ppf(_TAIL))  # standard deviations, of a normal number


class Interval(NamedTuple):
    """An interval, ends included; `high` is inf where nothing bounds it."""

    low: float
    high: float

    def text(self, form: str = ".2f") -> str:
        """Returns '-0.30 to 0.92'."""
        return f"{self.low:{form}} to {self.high:{form}}"


class Estimate(NamedTuple):
    """What the runs of a cell show of a measure.

    Attributes:
      values: of each run; lows, highs: the ends between which each lies: all equal, but for what is seen only now and
        then, such as the steps to a loss. `highs` is inf where a run has not come there.
      test_examples: of the test set that the measure is a percentage of; 0 where the measure has no sampling error.
      correct: bool [runs, test_examples], whether each run has each test example right, by ascending id; None where
        that is not recorded, or where the measure is not the top-1 accuracy or error.
    """

    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    test_examples: int = 0
    correct: np.ndarray | None = None

    @property
    def n(self) -> int:
        """The number of runs."""
        return len(self.values)

    @property
    def is_bound(self) -> bool:
        """Whether a run has only a lower bound."""
        return math.inf in self.highs

    @property
    def mean(self) -> float:
        """The mean over runs."""
        return statistics.fmean(self.values)

    @property
    def seed_variance(self) -> float:
        """The variance of the mean, from the spread over runs, of which there must be two."""
        return statistics.variance(self.values) / self.n

    def text(self, form: str) -> str:
        """Returns '3140', or 'at least 3140'."""
        return f"{'at least ' if self.is_bound else ''}{self.mean:{form}}"


Estimates = Mapping[str, Estimate]


def exact(values: Sequence[float], test_examples: int = 0, correct: np.ndarray | None = None) -> Estimate:
    """Returns the estimate of values that are known to the last digit, one a run."""
    return Estimate(*(tuple(values),) * 3, test_examples, correct)


def seen_between(intervals: Sequence[tuple[float, float]]) -> Estimate:
    """Returns the estimate of what each run shows at the end of an interval, or has not shown by its start."""
    lows, highs = zip(*intervals, strict=True)
    return Estimate(tuple(low if high == math.inf else high for low, high in intervals), lows, highs)


def margin_interval(weights: Mapping[str, int], estimates: Estimates) -> Interval | None:
    """Returns the interval of a weighted sum of the means of methods; None where a cell that counts has a single run.

    Seeds and test examples are crossed random effects: the variance of the mean is the seeds', plus the examples',
    minus what both contain of their interaction (as in generalizability theory: Brennan, 2001, chapter 2). Cells on one
    test set are paired by its examples. Where it is not recorded which a run has right, the test set's part is at most
    the binomial one, as if nothing was paired. The quantile is Student's, by Satterthwaite's degrees of freedom.

    Args:
      weights: cell -> its factor; one of 0 does not count.
    """
    parts = [(weight, estimates[cell]) for cell, weight in weights.items() if weight]
    if any(estimate.n < 2 for _, estimate in parts):
        return None
    seeds = [weight**2 * estimate.seed_variance for weight, estimate in parts]
    variance = sum(seeds) + max(_test_variance(parts), 0.0)
    half = float(scipy.stats.t.ppf(_TAIL, _count_freedom(variance, seeds, parts)) * math.sqrt(variance))
    lower, upper = bounds(weights, estimates)
    return Interval(lower - half, upper + half)


def _count_freedom(variance: float, seeds: Sequence[float], parts: Sequence[tuple[int, Estimate]]) -> float:
    """Returns Satterthwaite's degrees of freedom of a sum of variances, of which `seeds` are estimates.

    They are too many where a cell has more than twice as many runs as another: then those of the fewest count.
    """
    known = sum(part**2 / (estimate.n - 1) for part, (_, estimate) in zip(seeds, parts, strict=True))
    freedom = variance**2 / known if known else math.inf
    sizes = [estimate.n for _, estimate in parts]
    return freedom if max(sizes) <= 2 * min(sizes) else min(freedom, min(sizes) - 1)


def bounds(weights: Mapping[str, int], estimates: Estimates) -> Interval:
    """Returns between what a weighted sum of the runs' own means lies, as their values are only seen now and then."""
    ends = [0.0, 0.0]
    for cell, weight in weights.items():
        means = [statistics.fmean(values) for values in (estimates[cell].lows, estimates[cell].highs)]
        for place, mean in enumerate(means if weight > 0 else means[::-1]):
            ends[place] += weight * mean if weight else 0.0
    return Interval(*ends)


def _test_variance(parts: Sequence[tuple[int, Estimate]]) -> float:
    """Returns what the test set adds to the variance of a weighted sum of percentages, and not the seeds already."""
    if not parts[0][1].test_examples:
        return 0.0
    if any(estimate.correct is None for _, estimate in parts):
        return sum(weight**2 * _binomial_variance(estimate) for weight, estimate in parts)
    correct = [(weight, np.asarray(estimate.correct, np.float32)) for weight, estimate in parts]
    examples = sum(weight * right.mean(axis=0, dtype=np.float64) for weight, right in correct)
    interaction = sum(weight**2 * _interaction_variance(right) for weight, right in correct)
    return 100**2 * float(np.var(examples, ddof=1) / np.size(examples) - interaction)


def _interaction_variance(right: np.ndarray) -> float:
    """Returns the part of the variance of a mean that is of runs and examples together: of float32 [runs, examples]."""
    runs, examples = right.shape
    rest = right - right.mean(axis=0) - right.mean(axis=1, keepdims=True) + right.mean()
    return float(np.sum(np.square(rest), dtype=np.float64)) / ((runs - 1) * (examples - 1) * runs * examples)


def _binomial_variance(estimate: Estimate) -> float:
    """Returns the variance of a percentage from its test set alone; two right and two wrong are added, for none."""
    share = (estimate.mean / 100 * estimate.test_examples + 2) / (estimate.test_examples + 4)
    return 100**2 * share * (1 - share) / estimate.test_examples


def network_interval(estimate: Estimate) -> Interval:
    """Returns where the value of the networks that were trained lies.

    Of what is known whole that is from the least to the largest of the runs. Of a percentage of a test set it is the
    interval of their mean, by the binomial error or by what each has right, widened until it meets that of each run.
    """
    if not estimate.test_examples:
        return Interval(min(estimate.lows), max(estimate.highs))
    variance = _binomial_variance(estimate)
    if estimate.n > 1 and estimate.correct is not None:
        examples = np.mean(estimate.correct, axis=0, dtype=np.float64)
        variance = 100**2 * float(np.var(examples, ddof=1)) / estimate.test_examples or variance
    half = NORMAL * math.sqrt(variance)
    own = [NORMAL * math.sqrt(_binomial_variance(exact([value], estimate.test_examples))) for value in estimate.values]
    ends = list(zip(estimate.values, own, strict=True))
    low = min(estimate.mean - half, *(value + error for value, error in ends))
    return Interval(low, max(estimate.mean + half, *(value - error for value, error in ends)))


def odds_interval(estimate: Estimate, percent: float, test_examples: int, rounding: float) -> Interval:
    """Returns the interval of the ratio of the odds of ours to those of a number, on the scale of a binomial.

    The number is of one network on a test set of the same kind. Half an example is added to right and wrong (Haldane,
    Anscombe). A single run of ours is taken for what it is; with several, their spread counts.

    Args:
      percent: the number; test_examples: of its test set; rounding: half a unit of its last decimal, percent.
    """
    size = estimate.test_examples
    ours, theirs = _share(estimate.mean, size), _share(percent, test_examples)
    slope, their_slope = ours * (1 - ours), theirs * (1 - theirs)
    variance = 1 / (size * slope) + 1 / (test_examples * their_slope) if size else 0.0
    freedom = math.inf
    if estimate.n > 1:
        seeds = estimate.seed_variance / 100**2 / slope**2
        variance += seeds
        freedom = variance**2 / seeds**2 * (estimate.n - 1) if seeds else math.inf
    half = float(scipy.stats.t.ppf(_TAIL, freedom)) * math.sqrt(variance) + rounding / 100 / their_slope
    ratio = math.log(ours / (1 - ours)) - math.log(theirs / (1 - theirs))
    return Interval(math.exp(ratio - half), math.exp(ratio + half))


def _share(percent: float, examples: int) -> float:
    """Returns a percentage as a share that is neither 0 nor 1; of a set that is known whole, of a million."""
    size = examples or 10**6
    return (percent / 100 * size + 0.5) / (size + 1)


class McNemar(NamedTuple):
    """How many test examples only the first and only the second of two networks has right.

    Attributes:
      p: of an exact, two-sided test that both err equally often (McNemar, 1947).
    """

    first: int
    second: int
    p: float


def test_networks(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Returns McNemar's test of two networks: bool [test_examples], which examples each has right."""
    only = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    p = scipy.stats.binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0
    return McNemar(*only, float(p))


def widen_normal(freedom: float) -> float:
    """Returns by how much Student's interval is wider than a normal one, where a deviation has `freedom` degrees."""
    return float(scipy.stats.t.ppf(_TAIL, freedom)) / NORMAL


@functools.cache
def flat_gain(evaluations: int) -> float:
    """Returns what the best of so many evaluations has over the last, in standard deviations, where nothing changes.

    That is the upper quantile of the largest of independent normal numbers minus the last of them.
    """
    nodes, widths = np.polynomial.hermite_e.hermegauss(64)
    last = widths / math.sqrt(2 * math.pi)

    def below(gain: float) -> float:
        return float(np.sum(last * scipy.stats.norm.cdf(nodes + gain) ** (evaluations - 1))) - _TAIL

    return float(scipy.optimize.brentq(below, 0.0, 20.0)) if evaluations > 1 else 0.0
