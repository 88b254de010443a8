"""Capacity: Rademacher complexity by training on random signs, and the least bound of uniform stability (section 2.2).

No network is trained here: the function that trains one is an argument. Bounds from weights are in bounds.py.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
import scipy.special

from rethink import randomness
from rethink.schema.errors import UserError
from rethink.theory.capacity.bounds import find_vacuous_from
from rethink.theory.linear import least_norm

# (signs int8 [n] of -1 and +1, draw) -> predictions [n] of -1 and +1 by the classifier that was trained on them.
FitSigns = Callable[[np.ndarray, int], np.ndarray]


class Rademacher(NamedTuple):
    """The empirical Rademacher complexity of a class of +-1 classifiers, bounded from below.

    Attributes:
      mean: of the correlations, the bound; deviation: their sample standard deviation, NaN for one draw.
      draws, examples: how many signs were drawn, over how many examples.
      fitted: in how many draws every sign was reproduced.
      correlations: float64 [draws], (1/n) sum_i sigma_i h(x_i) of the classifier that was trained.
    """

    mean: float
    deviation: float
    draws: int
    examples: int
    fitted: int
    correlations: np.ndarray


class Stability(NamedTuple):
    """The bound on the gap that an algorithm has by uniform stability, on a set of images.

    Attributes:
      beta: the least value that the algorithm's stability can have, in 0..1.
      set_by: the labels that show it.
      promised: labels -> beta, a bound on their gap, the same for all; slack: labels -> bound - measured gap.
      vacuous: as `bounds.find_vacuous_from` says.
    """

    beta: float
    set_by: str
    promised: dict[str, float]
    slack: dict[str, float]
    vacuous: bool


def draw_signs(ids: np.ndarray, draw: int, *, seed: int) -> np.ndarray:
    """Returns one fair sign for each example, int8 [n], a function of (seed, draw, example id) alone.

    Args:
      ids: uint32 [n], as in `data.dataset.Split`.
    """
    key = randomness.key_for(seed, "rademacher_signs", str(draw))
    keys = randomness.example_keys(key, jax.numpy.asarray(ids, np.uint32))
    return np.asarray(jax.vmap(lambda example: jax.random.bits(example, (), np.uint8))(keys) & 1, np.int8) * 2 - 1


def measure_rademacher(fit: FitSigns, ids: np.ndarray, *, draws: int, seed: int) -> Rademacher:
    """Returns E_sigma (1/n) sum_i sigma_i h(x_i), h being what `fit` finds for the signs sigma.

    The complexity is the expected *largest* such correlation over the class, so training bounds it from below, and a
    class that fits every draw has the value 1: the largest there is.

    Args:
      fit: trains on the images of `ids` with these signs as labels; another start for each draw, if it draws one.
      ids: uint32 [n], n >= 2, each once.
      draws: how many signs to train on, at least 1.

    Raises:
      UserError: too few examples or draws, an id twice, or predictions that are not -1 or +1, one an example.

    Source: the paper, section 2.2.
    """
    ids = np.asarray(ids)
    if len(ids) < 2 or draws < 1:
        raise UserError(f"{len(ids)} examples, {draws} draws: Rademacher complexity takes at least 2 and 1.")
    if len(np.unique(ids)) < len(ids):
        raise UserError("An example id occurs twice: its copies would be drawn the same sign. Give each once.")
    correlations = np.empty(draws)
    for draw in range(draws):
        signs = draw_signs(ids, draw, seed=seed)
        predictions = np.asarray(fit(signs, draw))
        if predictions.shape != signs.shape or not np.isin(predictions, (-1, 1)).all():
            raise UserError(
                f"The fit of draw {draw} predicts {predictions.shape} for {len(signs)} signs: it must return -1 or +1 "
                "for each of them."
            )
        correlations[draw] = np.mean(signs * predictions.astype(np.float64))
    return summarize_correlations(correlations, len(ids))


def summarize_correlations(correlations: np.ndarray, examples: int) -> Rademacher:
    """Returns the bound that correlations float64 [draws] make, of classifiers trained on signs of so many examples.

    Of a classifier that was trained elsewhere the correlation is 2 accuracy - 1.
    """
    draws = len(correlations)
    deviation = float(np.std(correlations, ddof=1)) if draws > 1 else math.nan
    fitted = int((correlations == 1).sum())
    return Rademacher(float(np.mean(correlations)), deviation, draws, examples, fitted, correlations)


def make_linear_fit(features: np.ndarray | least_norm.Basis) -> FitSigns:
    """Returns the fit of linear classifiers sign(<w, x>): the least squares solution on the signs, of least norm.

    A class to compare networks with. It fits everything where the examples are linearly independent, n <= rank; far
    beyond, its correlation falls as sqrt(rank / n). A constant feature makes for a bias.

    Args:
      features: float [n, d], or their basis.

    Raises:
      UserError: as `least_norm.decompose_features`.
    """
    basis = least_norm.as_basis(features)

    def fit(signs: np.ndarray, draw: int) -> np.ndarray:
        return np.where(basis.features @ least_norm.solve_least_norm(basis, signs).weights >= 0, 1, -1)

    return fit


def bound_linear_class(examples: int, dimensions: int) -> float:
    """Returns an upper bound on the Rademacher complexity of sign(<w, x>): `bound_finite_class` of its patterns.

    Of n points in d dimensions there are at most 2 sum_{k < d} C(n - 1, k).

    Args:
      examples: n >= 1; dimensions: d >= 1, the rank of the features.

    Raises:
      UserError: there are none.

    Source: Cover, "Geometrical and statistical properties of systems of linear inequalities" (1965).
    """
    if min(examples, dimensions) < 1:
        raise UserError(f"{examples} examples in {dimensions} dimensions: give at least 1 of each.")
    chosen = np.arange(min(dimensions, examples))
    gammaln = scipy.special.gammaln
    terms = gammaln(examples) - gammaln(chosen + 1) - gammaln(examples - chosen)
    return bound_finite_class(math.log(2) + float(scipy.special.logsumexp(terms)), examples)


def bound_finite_class(log_size: float, examples: int) -> float:
    """Returns sqrt(2 ln(size) / n), or 1: no class of so many +-1 patterns on n points is more complex.

    Source: Massart (2000); Mohri, Rostamizadeh & Talwalkar, "Foundations of machine learning" (2018), theorem 3.7.
    """
    if examples < 1 or not log_size >= 0:
        raise UserError(f"{examples} examples, ln(size)={log_size}: give at least 1 example and 1 pattern.")
    return min(1.0, math.sqrt(2 * log_size / examples))


def bound_stability(gaps: Mapping[str, float], *, classes: int, test_examples: int) -> Stability:
    """Returns the least uniform stability of an algorithm that shows these gaps, and the bound on each of them.

    Uniform stability is a supremum over data sets, true and random labels alike, and does not look at them. A
    beta-stable algorithm has an expected gap of at most beta under *every* distribution of the labels, so beta is at
    least the largest gap, and the run with the true labels has no smaller bound.

    Args:
      gaps: labels ("true", "random") -> error on test minus error on train, a fraction, of runs that differ in nothing
        but the labels. They stand for their expectations: a gap below 0 shows nothing.
      classes: how many there are; test_examples: on how many the errors on test were measured.

    Raises:
      UserError: no gap, one that is none, fewer than two classes, or no test example.

    Source: the paper, section 2.2; Bousquet & Elisseeff, "Stability and generalization" (2002); with one example
      replaced, as in Hardt, Recht & Singer, "Train faster, generalize better" (2016), theorem 2.2.
    """
    if not gaps or not all(-1 <= gap <= 1 for gap in gaps.values()) or classes < 2 or test_examples < 1:
        raise UserError(
            f"gaps={dict(gaps)}, classes={classes}, test_examples={test_examples}: give gaps within -1..1, at least 2 "
            "classes and 1 test example."
        )
    set_by = max(gaps, key=lambda labels: gaps[labels])
    beta = max(gaps[set_by], 0.0)
    return Stability(
        beta,
        set_by,
        {labels: beta for labels in gaps},
        {labels: beta - gap for labels, gap in gaps.items()},
        beta >= find_vacuous_from(classes, test_examples),
    )
