"""How many labels are wrong, and which: calibrated by labels that were flipped on purpose.

Of flipped labels it is known that they are wrong: how suspicious they look is how suspicious wrong labels look. The
other examples are a mixture of wrong labels, which look so as well, and of right ones, of which nothing is known but
that they get rarer, beside wrong ones, the more suspicious the label looks. That is enough to estimate how many of them
are wrong (Elkan & Noto 2008, Scott 2015), and for each the probability that it is. Imports no JAX, and draws nothing.
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

CONFIDENCE = 0.95
Z = float(scipy.stats.norm.ppf((1 + CONFIDENCE) / 2))
RECALL = 0.9  # at the threshold by which wrong labels are counted: there kinds of flips differ little
FIT_FROM = 0.1  # quantile of the flipped labels from which on the mixture is fitted
_SLOPES = (0.5, 2.0, 6.0)  # from which the fit is started, per standard deviation of the flipped labels
_LARGEST = 30.0  # logarithm of a ratio, beyond which nothing changes


class Scored(NamedTuple):
    """The suspicion of labels, larger is more suspicious, in one round of training or several.

    Attributes:
      flipped: of the labels flipped on purpose, float64 [m]; kinds: how each was flipped, str [m].
      own: of the labels of the user's own, float64 [n], each label once in a round.
      rounds: of training.
    """

    flipped: np.ndarray
    kinds: np.ndarray
    own: np.ndarray
    rounds: int = 1


class Mixture(NamedTuple):
    """How many own labels there are to a flipped one, of suspicion s: wrong + 1 / (exp(slope s - shift) + floor).

    Attributes:
      wrong: own labels that are wrong, to a flipped one.
      shift, slope: of the right ones, of which there are fewer the larger s is.
      floor: flipped labels that look like right ones, to one of these.
    """

    wrong: float
    shift: float
    slope: float
    floor: float

    def wrong_probability(self, suspicion: np.ndarray) -> np.ndarray:
        """Returns the probability that an own label with this suspicion is wrong, float64 in 0..1; it never falls."""
        exponent = np.clip(self.slope * suspicion - self.shift, -_LARGEST, _LARGEST)
        return self.wrong / (self.wrong + 1 / (np.exp(exponent) + self.floor))


class Interval(NamedTuple):
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float


class WrongLabels(NamedTuple):
    """How many own labels are wrong, with a 95% interval, and by which threshold of suspicion that was found.

    Attributes:
      recall: part of the flipped labels above the threshold.
      above: own labels above it in a round; right: how many of these are estimated to be right.
    """

    wrong: float
    low: float
    high: float
    threshold: float
    recall: float
    above: float
    right: float


def wilson(successes: float, trials: float) -> Interval:
    """Returns a proportion with Wilson's interval; (nan, 0, 1) of no trials."""
    if not trials:
        return Interval(float("nan"), 0.0, 1.0)
    share, spread = successes / trials, Z**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z * np.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


class Flags(NamedTuple):
    """Flipped labels: the part that is flagged, and of the flagged ones the part that was flipped, a lower bound."""

    recall: Interval
    precision: Interval


def measure_flags(scored: Scored, mixture: Mixture) -> Flags:
    """Returns recall and precision of the rule that flags what is wrong with a probability above one half."""
    flipped, own = ((mixture.wrong_probability(part) > 0.5).sum() for part in (scored.flipped, scored.own))
    return Flags(wilson(flipped, len(scored.flipped)), wilson(flipped, flipped + own))


def describe(interval: Interval) -> str:
    """Returns an estimate with its interval as text."""
    return f"{interval.value:.3f}, 95% interval {interval.low:.3f} to {interval.high:.3f}"


def fit_mixture(scored: Scored) -> Mixture:
    """Returns the mixture of greatest likelihood: of which labels are flipped, given how suspicious each looks.

    It is fitted from `FIT_FROM` on, where wrong labels lie, or where right ones begin to be as many as they.

    Source: Elkan & Noto (2008), "Learning classifiers from only positive and unlabeled data": the probability that a
    label is a flipped one rises with its suspicion, up to flipped / (flipped + wrong).
    """
    centre, scale = np.median(scored.flipped), np.std(scored.flipped) or 1.0
    least = _fit_from(scored)
    flipped, own = ((part[part >= least] - centre) / scale for part in (scored.flipped, scored.own))

    def log_ratio(parameters: np.ndarray, z: np.ndarray) -> np.ndarray:
        log_wrong, shift, log_slope, log_floor = parameters
        return np.logaddexp(log_wrong, -np.logaddexp(np.exp(log_slope) * z - shift, log_floor))

    def loss(parameters: np.ndarray) -> float:
        missed, raised = log_ratio(parameters, flipped), -log_ratio(parameters, own)
        return float(np.logaddexp(0, missed).sum() + np.logaddexp(0, raised).sum())

    few = np.log(0.5 / len(flipped))  # half a label: of one that stands alone, nothing says that it is right
    bounds = [(few, _LARGEST), (-_LARGEST, _LARGEST), (-3, 4), (-_LARGEST, 3)]
    starts = [(max(np.log(0.5), few), -slope, np.log(slope), -3.0) for slope in _SLOPES]
    fits = [scipy.optimize.minimize(loss, start, bounds=bounds, method="L-BFGS-B") for start in starts]
    log_wrong, shift, log_slope, log_floor = min(fits, key=lambda fit: fit.fun).x
    slope = float(np.exp(log_slope) / scale)
    return Mixture(float(np.exp(log_wrong)), float(shift + slope * centre), slope, float(np.exp(log_floor)))


def _fit_from(scored: Scored) -> float:
    place = max(len(scored.own) - 2 * len(scored.flipped), 0)
    return min(np.quantile(scored.flipped, FIT_FROM), np.partition(scored.own, place)[place])


def estimate_wrong(scored: Scored, mixture: Mixture, classes: int, total: int) -> WrongLabels:
    """Returns how many own labels are wrong: (those above a threshold - right ones among them) / recall.

    The interval holds the spread of the recall over examples and over kinds of flips, the chance of which wrong labels
    are above the threshold, and an error of the right ones above it as large as their number.

    Args:
      classes: how many there are; a wrong label that is flipped becomes the right one by a chance of 1 / (classes - 1).
      total: labels, those that were flipped included.
    """
    # Flips that undo an error are right labels: the recall is that of the others.
    undone = min(mixture.wrong * len(scored.flipped) / len(scored.own) / (classes - 1), 0.5)
    threshold = float(np.quantile(scored.flipped, 1 - RECALL * (1 - undone), method="lower"))
    right = 1 - mixture.wrong_probability(scored.own)
    found, scale = _estimate_above(scored, right, threshold, undone), total * scored.rounds / len(scored.own)
    return found._replace(wrong=found.wrong * scale, low=found.low * scale, high=min(found.high * scale, total))


def _estimate_above(scored: Scored, right: np.ndarray, threshold: float, undone: float) -> WrongLabels:
    is_above = scored.own >= threshold
    above, above_right = is_above.sum() / scored.rounds, right[is_above].sum() / scored.rounds
    total = len(scored.own) / scored.rounds
    hits = scored.flipped >= threshold
    recall = min(hits.mean() / (1 - undone), 1.0)
    variance = _recall_variance(hits, scored.kinds)
    found, chance = above - above_right, recall * (1 - recall)
    of_right = above_right + above_right**2
    # (found - count recall)^2 = Z^2 (count recall (1 - recall) + count^2 variance + of_right), for the count.
    squared = recall**2 - Z**2 * variance
    ends = []
    for found_by_half, side in ((max(found - 0.5, 0.0), -1), (found + 0.5, 1)):
        linear = 2 * found_by_half * recall + Z**2 * chance
        constant = found_by_half**2 - Z**2 * of_right
        root = np.sqrt(max(linear**2 - 4 * squared * constant, 0.0))
        ends.append((linear + side * root) / (2 * squared) if squared > 0 else side * np.inf)
    low, high = np.clip(ends, 0, total)
    return WrongLabels(
        float(found / recall),
        float(low),
        float(high),
        float(threshold),
        float(recall),
        float(above),
        float(above_right),
    )


def _recall_variance(hits: np.ndarray, kinds: np.ndarray) -> float:
    """Returns the variance of the recall of another kind of flips than these: over examples, and over kinds.

    That over kinds has the chance of few examples in it, so it is rather too large: of three kinds it is known badly.
    """
    smooth = (hits.sum() + 0.5) / (len(hits) + 1)
    rates = [hits[kinds == name].mean() for name in np.unique(kinds)]
    return float(smooth * (1 - smooth) / len(hits) + (np.var(rates, ddof=1) if len(rates) > 1 else 0.0))
