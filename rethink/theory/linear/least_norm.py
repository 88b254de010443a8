"""Section 5: solves linear models in closed form: the interpolant of least norm, and two paths that lead to it.

Both, weight decay and early stopping, fit each singular direction in part, and so never leave the span of the data.
Nothing is iterated; gradient_descent.py is, and is measured against the solutions here. Where a function takes
features, it takes their `Basis` too, so that one `decompose_features` serves many of them.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from rethink.schema.errors import UserError
from rethink.theory import blas_threads
from rethink.theory.inputs import check_array

INTERPOLATED = 1e-8  # relative residual up to which a solution counts as an interpolant
MOST_REFINEMENTS = 20


class Basis(NamedTuple):
    """Features X float64 [n, d] = left diag(singular) right, cut off at the rank as `numpy.linalg.lstsq` does.

    Attributes:
      left: float64 [n, rank], singular: float64 [rank], descending, right: float64 [rank, d]; the rows of `right` are
        an orthonormal basis of the span of the data.
    """

    features: np.ndarray
    left: np.ndarray
    singular: np.ndarray
    right: np.ndarray

    @property
    def rank(self) -> int:
        """The number of singular values above the cutoff."""
        return len(self.singular)

    @property
    def condition(self) -> float:
        """The largest over the smallest singular value that counts; of X X^T and of the Hessian it is the square."""
        return float(self.singular[0] / self.singular[-1])

    @property
    def curvatures(self) -> np.ndarray:
        """The positive eigenvalues float64 [rank], descending, of X^T X / n; the other d - rank are 0.

        That is the Hessian of the mean squared loss of one target. It does not depend on w, so that the curvature at a
        minimum cannot tell one interpolant from another (paper, section 5).
        """
        return self.singular**2 / len(self.features)


class LeastNorm(NamedTuple):
    """The interpolant of least l2 norm, or where there is none the least squares solution of least norm.

    Attributes:
      weights: float64 [d] or [d, k].
      norm: of the weights, Frobenius.
      residual: |X w - y| / |y|; condition, rank: of the features.
    """

    weights: np.ndarray
    norm: float
    residual: float
    condition: float
    rank: int

    @property
    def interpolates(self) -> bool:
        """Whether the targets are reproduced."""
        return self.residual <= INTERPOLATED


class KernelForm(NamedTuple):
    """The solution of X X^T alpha = y.

    Attributes:
      alpha: float64 [n] or [n, k]; weights: X^T alpha, [d] or [d, k].
      norm: of the weights, Frobenius: sqrt(trace(alpha^T K alpha)).
      residual: |X w - y| / |y|, by the weights.
      condition: of X X^T in the 1-norm, LAPACK's estimate.
      refinements: corrections from a residual in float64 that made the solution better.
    """

    alpha: np.ndarray
    weights: np.ndarray
    norm: float
    residual: float
    condition: float
    refinements: int


class SolutionPath(NamedTuple):
    """Solutions along a setting, float64 [m] each.

    Attributes:
      settings: penalty or step; norms: |w|; distances: |w - least norm| / |least norm|; residuals: |X w - y| / |y|.
    """

    settings: np.ndarray
    norms: np.ndarray
    distances: np.ndarray
    residuals: np.ndarray


def as_features(features: np.ndarray, name: str = "features") -> np.ndarray:
    """Returns features [n, d] of any real dtype as float64, n >= 1, d >= 1.

    Raises:
      UserError: they are no matrix, empty, or not finite.
    """
    return np.ascontiguousarray(check_array(name, features, "[n, d]"), np.float64)


def decompose_features(features: np.ndarray) -> Basis:
    """Returns the singular value decomposition of features [n, d].

    Raises:
      UserError: all are 0, and as `as_features`.
    """
    features = as_features(features)
    with blas_threads.for_product(features.size * min(features.shape)):
        left, singular, right = scipy.linalg.svd(features, full_matrices=False)
    rank = int((singular > np.finfo(np.float64).eps * max(features.shape) * singular[0]).sum())
    if not rank:
        raise UserError("All features are 0: there is nothing that a linear model could use.")
    return Basis(features, left[:, :rank], singular[:rank], right[:rank])


def predict_solve_bytes(examples: int, dimensions: int) -> int:
    """Returns the bytes at the peak of a decomposition and a solution: features, a copy, factors, workspace."""
    smaller = min(examples, dimensions)
    return 8 * (3 * examples * dimensions + 2 * smaller * (examples + dimensions) + 4 * smaller**2)


def as_basis(features: np.ndarray | Basis) -> Basis:
    """Returns the basis that was given, or that of the features that were given."""
    return features if isinstance(features, Basis) else decompose_features(features)


def as_targets(targets: np.ndarray, examples: int) -> np.ndarray:
    """Returns targets [n] or [n, k] of any real dtype as float64 [n, k].

    Raises:
      UserError: another number of them than of examples, or not finite.
    """
    targets = check_array("targets", targets, "[n]", "[n, k]", rows=examples)
    return targets.reshape(examples, -1).astype(np.float64)


def as_weights(columns: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns weights [d, k] as [d] where the targets have no columns."""
    return columns.reshape(len(columns), *np.shape(targets)[1:])


def measure_relative(difference: np.ndarray, to: np.ndarray) -> float:
    """Returns |difference| / |to|, or |difference| where `to` is 0; norms are Frobenius."""
    return float(np.linalg.norm(difference) / (np.linalg.norm(to) or 1.0))


def solve_least_norm(features: np.ndarray | Basis, targets: np.ndarray) -> LeastNorm:
    """Returns the w of least norm with X w = y, of features [n, d] or their basis and targets [n] or [n, k].

    By singular values, w = V diag(1 / s) U^T y, so that a condition of 1e7 still leaves the 8 digits that
    `numpy.linalg.lstsq` gives; `solve_kernel_form` squares the condition.

    Raises:
      UserError: as `decompose_features` and `as_targets`.

    Source: the paper, section 5: it is what SGD from zero converges to.
    """
    basis = as_basis(features)
    y = as_targets(targets, len(basis.features))
    weights = basis.right.T @ ((basis.left.T @ y) / basis.singular[:, None])
    residual = measure_relative(basis.features @ weights - y, y)
    return LeastNorm(
        as_weights(weights, targets), float(np.linalg.norm(weights)), residual, basis.condition, basis.rank
    )


def solve_kernel_form(features: np.ndarray, targets: np.ndarray) -> KernelForm:
    """Returns the least-norm interpolant as w = X^T alpha, where X X^T alpha = y.

    Cholesky, then corrections from the residual y - X (X^T alpha) for as long as they halve it.

    Args:
      features: [n, d] with linearly independent rows, so n <= d; targets: [n] or [n, k].

    Raises:
      UserError: X X^T is singular to working precision: duplicates, or more examples than dimensions; and as
        `as_features` and `as_targets`.

    Source: the paper, section 5, on the kernel trick.
    """
    features = as_features(features)
    y = as_targets(targets, len(features))
    # Factor, and stop where LAPACK's estimate of the reciprocal condition is rounding.
    kernel = features @ features.T
    factor, info = scipy.linalg.lapack.dpotrf(kernel, lower=True)
    reciprocal = 0.0 if info else scipy.linalg.lapack.dpocon(factor, np.linalg.norm(kernel, 1), uplo="L")[0]
    if reciprocal < len(kernel) * np.finfo(np.float64).eps:
        raise UserError(
            f"X X^T of {features.shape[0]} examples in {features.shape[1]} dimensions is singular: leave out "
            "duplicates, take more features than examples, or solve with least_norm."
        )

    # Solve, then refine from the residual in the features, whose rounding K does not share.
    alpha, remainder, solves = np.zeros_like(y), y, 0
    while solves <= MOST_REFINEMENTS:
        corrected = alpha + scipy.linalg.cho_solve((factor, True), remainder)
        next_remainder = y - features @ (features.T @ corrected)
        if solves and not np.linalg.norm(next_remainder) < np.linalg.norm(remainder) / 2:
            break
        alpha, remainder, solves = corrected, next_remainder, solves + 1
    # Certify by the weights, which predict.
    weights = features.T @ alpha
    return KernelForm(
        alpha.reshape(np.shape(targets)),
        as_weights(weights, targets),
        float(np.linalg.norm(weights)),
        measure_relative(features @ weights - y, y),
        float(1 / reciprocal),
        solves - 1,
    )


def project_outside_span(features: np.ndarray | Basis, weights: np.ndarray) -> np.ndarray:
    """Returns (I - P) w, the part of weights float64 [d] or [d, k] that is orthogonal to every example."""
    basis = as_basis(features)
    return weights - basis.right.T @ (basis.right @ weights)


def find_ridge_factors(basis: Basis, penalties: np.ndarray) -> np.ndarray:
    """Returns s^2 / (s^2 + penalty), float64 [m, rank]: what part of its least-norm coefficient each direction keeps.

    Raises:
      UserError: a penalty below 0 or not finite; 0 gives the least-norm solution.
    """
    penalties = np.asarray(penalties)
    if not (np.isfinite(penalties).all() and (penalties >= 0).all()):
        raise UserError("A penalty is negative or not finite: give numbers of at least 0.")
    return basis.singular**2 / (basis.singular**2 + penalties[:, None])


def find_stopping_factors(basis: Basis, steps: np.ndarray, *, learning_rate: float) -> np.ndarray:
    """Returns 1 - (1 - rate s^2 / n)^steps, float64 [m, rank], for gradient descent from 0 after steps int [m].

    Raises:
      UserError: a rate at which it does not converge, or steps below 0.
    """
    steps, largest = np.asarray(steps), 2 * len(basis.features) / basis.singular[0] ** 2
    if not 0 < learning_rate < largest:
        raise UserError(f"learning_rate={learning_rate} does not converge: give one between 0 and {largest:.6g}.")
    if (steps < 0).any():
        raise UserError("A number of steps is negative: give at least 0.")
    return 1 - (1 - learning_rate * basis.singular**2 / len(basis.features)) ** steps[:, None]


def trace_path(basis: Basis, targets: np.ndarray, settings: np.ndarray, factors: np.ndarray) -> SolutionPath:
    """Returns norms, distances and residuals of the solutions that factors [m, rank] make, at settings [m].

    Of ridge they minimize |X w - y|^2 + penalty |w|^2, of early stopping gradient descent stops there. Each is measured
    on its weights and the features.
    """
    y = as_targets(targets, len(basis.features))
    least = solve_least_norm(basis, y).weights
    measures = []
    for row in factors:
        weights = basis.right.T @ ((row / basis.singular)[:, None] * (basis.left.T @ y))
        measures.append(
            (
                np.linalg.norm(weights),
                measure_relative(weights - least, least),
                measure_relative(basis.features @ weights - y, y),
            )
        )
    return SolutionPath(np.asarray(settings, np.float64), *np.array(measures, np.float64).reshape(-1, 3).T)
