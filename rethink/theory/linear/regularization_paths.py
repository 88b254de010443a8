"""Section 5: solves weight decay and early stopping of linear models in closed form, two paths to least norm.

Nothing is iterated. Both fit each singular direction in part, ridge by s^2 / (s^2 + penalty), gradient descent from 0
on |X w - y|^2 / 2n by 1 - (1 - rate s^2 / n)^steps, and so never leave the span of the data.
"""

from typing import NamedTuple

import numpy as np

from rethink.schema.errors import UserError
from rethink.theory.linear import least_norm


class SolutionPath(NamedTuple):
    """Solutions along a setting, float64 [m] each.

    Attributes:
      settings: penalty or step; norms: |w|; distances: |w - least norm| / |least norm|; residuals: |X w - y| / |y|.
    """

    settings: np.ndarray
    norms: np.ndarray
    distances: np.ndarray
    residuals: np.ndarray


def find_ridge_factors(basis: least_norm.Basis, penalties: np.ndarray) -> np.ndarray:
    """Returns s^2 / (s^2 + penalty), float64 [m, rank]: what part of its least-norm coefficient each direction keeps.

    Raises:
      UserError: a penalty below 0 or not finite; 0 gives the least-norm solution.
    """
    penalties = np.asarray(penalties)
    if not (np.isfinite(penalties).all() and (penalties >= 0).all()):
        raise UserError("A penalty is negative or not finite: give numbers of at least 0.")
    return basis.singular**2 / (basis.singular**2 + penalties[:, None])


def find_stopping_factors(basis: least_norm.Basis, steps: np.ndarray, *, learning_rate: float) -> np.ndarray:
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


def solve_with_factors(basis: least_norm.Basis, targets: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Returns the least-norm solution, [d] or [d, k] for targets [n] or [n, k], its directions times factors [rank].

    Of ridge it minimizes |X w - y|^2 + penalty |w|^2, of early stopping it is where gradient descent stops.
    """
    y = least_norm.as_targets(targets, len(basis.features))
    return least_norm.as_weights(basis.right.T @ ((factors / basis.singular)[:, None] * (basis.left.T @ y)), targets)


def trace_path(basis: least_norm.Basis, targets: np.ndarray, settings: np.ndarray, factors: np.ndarray) -> SolutionPath:
    """Returns norms, distances and residuals of the solutions that factors [m, rank] make, at settings [m]."""
    # In the singular directions norms need no weights: |w|^2 = sum (factor * fitted / s)^2.
    y = least_norm.as_targets(targets, len(basis.features))
    fitted = np.linalg.norm(basis.left.T @ y, axis=1)  # of the targets, by direction
    beyond = np.linalg.norm(y - basis.left @ (basis.left.T @ y))  # of the targets, out of reach of any w
    weights = fitted / basis.singular
    residuals = np.sqrt(np.sum(((1 - factors) * fitted) ** 2, axis=1) + beyond**2)
    return SolutionPath(
        np.asarray(settings, np.float64),
        np.linalg.norm(factors * weights, axis=1),
        np.linalg.norm((1 - factors) * weights, axis=1) / (np.linalg.norm(weights) or 1.0),
        residuals / (np.linalg.norm(y) or 1.0),
    )
