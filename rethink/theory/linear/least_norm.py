"""Section 5: solves a linear model for its interpolant of least norm, by singular values and by the kernel matrix.

Nothing is iterated; gradient_descent.py is, and is measured against the solutions here. Where a function takes
features, it takes their `Basis` too, so that one `decompose_features` serves many of them.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from rethink.schema.errors import UserError
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
      norm: sqrt(trace(alpha^T K alpha)), the norm of the weights.
      residual: |X X^T alpha - y| / |y|.
      condition: of X X^T in the 1-norm, LAPACK's estimate.
      refinements: corrections from a residual in float64 that made the solution better.
    """

    alpha: np.ndarray
    weights: np.ndarray
    norm: float
    residual: float
    condition: float
    refinements: int


class Curvature(NamedTuple):
    """The Hessian of the mean squared loss: its positive eigenvalues float64 [rank], and how many others are 0."""

    eigenvalues: np.ndarray
    flat: int


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

    def find_remainder(alpha: np.ndarray) -> np.ndarray:
        return y - features @ (features.T @ alpha)

    # Solve, then refine from the residual in the features, whose rounding K does not share.
    alpha = scipy.linalg.cho_solve((factor, True), y)
    remainder, refinements = find_remainder(alpha), 0
    while refinements < MOST_REFINEMENTS:
        corrected = alpha + scipy.linalg.cho_solve((factor, True), remainder)
        next_remainder = find_remainder(corrected)
        if not np.linalg.norm(next_remainder) < np.linalg.norm(remainder) / 2:
            break
        alpha, remainder, refinements = corrected, next_remainder, refinements + 1
    return KernelForm(
        alpha.reshape(np.shape(targets)),
        as_weights(features.T @ alpha, targets),
        float(np.sqrt(max(np.sum(alpha * (kernel @ alpha)), 0.0))),
        measure_relative(remainder, y),
        float(1 / reciprocal),
        refinements,
    )


def project_outside_span(features: np.ndarray | Basis, weights: np.ndarray) -> np.ndarray:
    """Returns (I - P) w, the part of weights float64 [d] or [d, k] that is orthogonal to every example."""
    basis = as_basis(features)
    return weights - basis.right.T @ (basis.right @ weights)


def as_start(start: np.ndarray | float, weights: np.ndarray) -> np.ndarray:
    """Returns a start of the weights' shape, float64; a number stands for all of them.

    Raises:
      UserError: it has another shape, or is not finite.
    """
    start = np.asarray(start, np.float64)
    if start.shape not in ((), weights.shape) or not np.isfinite(start).all():
        raise UserError(f"The start has shape {start.shape}: give finite numbers {weights.shape}, as the weights.")
    return np.broadcast_to(start, weights.shape)


def find_limit(features: np.ndarray | Basis, targets: np.ndarray, start: np.ndarray | float) -> np.ndarray:
    """Returns where (stochastic) gradient descent from `start` ends: least norm + the start's part outside the span.

    A gradient is a combination of examples, so that no step changes what the start has outside their span.

    Args:
      start: float [d] or [d, k], as the weights; a number stands for all of them.

    Raises:
      UserError: as `as_start` and `solve_least_norm`.
    """
    basis = as_basis(features)
    weights = solve_least_norm(basis, targets).weights
    return weights + project_outside_span(basis, as_start(start, weights))


def compute_curvature(features: np.ndarray | Basis) -> Curvature:
    """Returns the spectrum of X^T X / n, the Hessian of the mean squared loss of one target at any w whatsoever.

    It does not depend on w, so that the curvature at a minimum cannot tell one interpolant from another.

    Source: the paper, section 5.
    """
    basis = as_basis(features)
    examples, dimensions = basis.features.shape
    return Curvature(basis.singular**2 / examples, dimensions - basis.rank)
