"""Owns the kernel model of the paper's section 5: the coefficients alpha with (K + ridge I) alpha = y, and their worth.

Refuses to choose anything: kernel and ridge are given; choice.py finds them on a part of train.
"""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jax
import numpy as np

from rethink import randomness
from rethink.schema.errors import UserError
from rethink.theory import memory
from rethink.theory.kernels import cholesky, kernel_matrix
from rethink.theory.kernels.cholesky import TILE, Progress, ignore_progress
from rethink.theory.kernels.kernel_matrix import BlockMatrix, Kernel

TOLERANCE = 1e-6  # of the residual, relative to the largest target
SOLVED = 1e-3  # of the same: what a solution must reach
MOST_REFINEMENTS = 20


class SingularMatrix(UserError):
    """A kernel matrix that is not positive definite, as far as float32 and refinement in float64 can tell."""


class Solution(NamedTuple):
    """Coefficients and their certificate.

    Attributes:
      alpha: float64 [n, k]. The model is f(x) = sum_i alpha_i K(x, x_i).
      fitted: K alpha, the model on the training examples, float64 [n, k].
      ridge: that was added to the diagonal.
      shift: that was added to it in the factor alone, cholesky.shift_diagonal; refinement takes it out again.
      residual: the largest |(K + ridge I) alpha - y|, with K in float64.
      train_residual: the largest |K alpha - y|, the same without a ridge.
      residuals: `residual` of zero, then after each refinement.
      norm: sqrt(trace(alpha^T K alpha)), of the k functions together in the kernel's space (the paper's 220 and 390).
      condition: a lower bound of the condition of K + (ridge + shift) I, cholesky.estimate_condition; NaN if not asked.
      smallest_pivot: of the factor in float32.
      seconds: stage -> how long it took.
      peak_bytes: the most memory that the process has held in its life.
    """

    alpha: np.ndarray
    fitted: np.ndarray
    ridge: float
    shift: float
    residual: float
    train_residual: float
    residuals: list[float]
    norm: float
    condition: float
    smallest_pivot: float
    seconds: dict[str, float]
    peak_bytes: int


def fit_rows(
    rows: np.ndarray,
    targets: np.ndarray,
    kernel: Kernel,
    *,
    ridge: float,
    tile: int = TILE,
    progress: Progress = ignore_progress,
) -> Solution:
    """Returns the model that interpolates targets [n, k] at rows [n, d], or with a ridge comes near them.

    Args:
      rows: uint8 or float [n, d]; targets: one-hot or any other finite numbers [n, k].
      ridge: added to the diagonal of the kernel matrix, not multiplied by n; 0 interpolates.
      tile: rows of a tile. For n = 60,000 in 784 dimensions, tiles of 4,000 need 8.3 GB beside the rows.

    Raises:
      UserError: input that is empty, not finite or does not match, too little memory, equal rows without a ridge, or
        a matrix that is not positive definite (`SingularMatrix`).
    """
    kernel_matrix.check_rows("rows", rows)
    if not ridge:
        kernel_matrix.check_distinct(rows)
    return fit_matrix(kernel_matrix.make_matrix(kernel, rows), targets, ridge=ridge, tile=tile, progress=progress)


def fit_matrix(
    matrix: BlockMatrix,
    targets: np.ndarray,
    *,
    ridge: float,
    tile: int = TILE,
    progress: Progress = ignore_progress,
    condition: bool = True,
) -> Solution:
    """Returns as `fit_rows`, for a symmetric matrix that is evaluated by blocks, such as of accumulated features.

    A Cholesky factor in float32 is the preconditioner of conjugate gradients in float64, in which K comes anew from the
    rows: two or three products with K leave a residual of 1e-6, and a factor that is too coarse for plain iterative
    refinement still serves.

    Raises:
      UserError: as `fit_rows`.
    """
    targets = _check_targets(matrix, targets, ridge, tile)
    needed = cholesky.predict_fit_bytes(matrix.rows, tile=tile, dimensions=matrix.dimensions, targets=targets.shape[1])
    memory.require_memory("A kernel model", needed, matrix.rows, power=2)
    seconds: dict[str, float] = {}
    with _timed(seconds, "gram"):
        lower = cholesky.fill_tiles(
            lambda a, b: matrix.block(a, b, np.float32), matrix.rows, tile=tile, ridge=ridge, progress=progress
        )
    with _timed(seconds, "factor"):
        shift = cholesky.shift_diagonal(lower)
        _factor(lower, matrix, ridge, progress)
    with _timed(seconds, "refinement"):
        alpha, rest, residuals = _conjugate_gradients(matrix, lower, targets, ridge, progress)
    with _timed(seconds, "condition"):
        estimate = _estimate_condition(lower) if condition else float("nan")
    fitted = targets - rest - ridge * alpha
    return Solution(
        alpha=alpha,
        fitted=fitted,
        ridge=ridge,
        shift=shift,
        residual=residuals[-1],
        train_residual=float(np.abs(fitted - targets).max()),
        residuals=residuals,
        norm=float(np.sqrt(max(np.sum(alpha * fitted), 0.0))),
        condition=estimate,
        smallest_pivot=cholesky.find_smallest_pivot(lower)[0],
        seconds=seconds,
        peak_bytes=read_peak_bytes(),
    )


def predict_rows(
    solution: Solution,
    kernel: Kernel,
    train_rows: np.ndarray,
    rows: np.ndarray,
    *,
    tile: int = TILE,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Returns the values of the model at rows [m, d], float64 [m, k].

    Raises:
      UserError: rows that are empty, not finite or of another dimension than train's.
    """
    matrix = kernel_matrix.make_matrix(kernel, rows, train_rows)
    return predict_matrix(solution, matrix, tile=tile, progress=progress)


def predict_matrix(
    solution: Solution, cross: BlockMatrix, *, tile: int = TILE, progress: Progress = ignore_progress
) -> np.ndarray:
    """Returns as `predict_rows`, for the matrix [m, n] between the examples and those of train."""
    return kernel_matrix.multiply_matrix(cross, solution.alpha, tile=tile, progress=progress, stage="predictions")


def compute_error_rate(values: np.ndarray, labels: np.ndarray) -> float:
    """Returns the fraction of labels int [m] that are not where values [m, k] are largest."""
    return float((values.argmax(axis=1) != labels).mean())


def read_peak_bytes() -> int:
    """Returns the most memory that the process has held in its life."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _conjugate_gradients(
    matrix: BlockMatrix, lower: cholesky.Tiles, targets: np.ndarray, ridge: float, progress: Progress
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Returns (alpha, y - (K + ridge I) alpha, its largest entry at the start and after each step); columns apart."""
    scale = float(np.abs(targets).max())
    alpha, rest, residuals = np.zeros_like(targets), targets.copy(), [scale]
    direction, before = np.zeros_like(targets), np.ones(targets.shape[1])
    while residuals[-1] > TOLERANCE * scale and len(residuals) <= MOST_REFINEMENTS:
        solved = cholesky.solve_with_factor(lower, rest)
        now = np.sum(rest * solved, axis=0)
        direction = solved + direction * (now / before if len(residuals) > 1 else 0.0)
        stage = f"refinement {len(residuals)}"
        image = kernel_matrix.multiply_symmetric(matrix, direction, tile=lower.tile, progress=progress, stage=stage)
        image += ridge * direction
        curvature = np.sum(direction * image, axis=0)
        step = np.divide(now, curvature, out=np.zeros_like(now), where=curvature > 0)
        alpha += step * direction
        rest -= step * image
        before = np.where(now > 0, now, 1.0)  # a column that is solved stays as it is
        residuals.append(float(np.abs(rest).max()))
        if not np.isfinite(residuals[-1]) or (curvature < 0).any():
            break
    if not residuals[-1] <= SOLVED * scale:
        pivot, row = cholesky.find_smallest_pivot(lower)
        raise SingularMatrix(
            f"The matrix of the {matrix.description} with ridge {ridge:g} is singular or indefinite: "
            f"{len(residuals) - 1} refinements leave {residuals[-1]:.1e} of targets up to {scale:g}, and the smallest "
            f"pivot of its factor, {pivot:.1e}, is that of example {row} (tile {row // lower.tile + 1} of "
            f"{len(lower.blocks)}): {_remedy(matrix)}"
        )
    return alpha, rest, residuals


def _estimate_condition(lower: cholesky.Tiles) -> float:
    """Returns the condition of the factored matrix from a random direction, always the same."""
    key = randomness.key_for(0, "condition")
    return cholesky.estimate_condition(lower, np.asarray(jax.random.normal(key, (lower.rows,), np.float32), np.float64))


def _factor(lower: cholesky.Tiles, matrix: BlockMatrix, ridge: float, progress: Progress) -> None:
    """Factors in place.

    Raises:
      SingularMatrix: a pivot is not positive; the line says where, and what to change.
    """
    try:
        cholesky.factor_tiles(lower, progress=progress)
    except cholesky.NotPositive as error:
        raise SingularMatrix(
            f"The matrix of the {matrix.description} with ridge {ridge:g} is singular or indefinite in float32, at the "
            f"pivot of example {error.row} (tile {error.tile + 1} of {error.tiles}): {_remedy(matrix)}"
        ) from error


def _remedy(matrix: BlockMatrix) -> str:
    """Returns what makes a matrix positive definite."""
    if matrix.description.startswith(("gaussian", "laplacian")):
        return "set a larger kernel.gamma, or a larger ridge, such as kernel.ridges=(1e-3,)."
    return (
        "set a larger ridge, such as kernel.ridges=(1e-3,), take more features than there are examples, or "
        "kernel.name='gaussian'."
    )


def _check_targets(matrix: BlockMatrix, targets: np.ndarray, ridge: float, tile: int) -> np.ndarray:
    """Returns the targets as float64 [n, k]."""
    if targets.ndim != 2 or len(targets) != matrix.rows or not targets.size:
        raise UserError(
            f"Targets of shape {list(targets.shape)} are not those of {matrix.rows:,} examples: give [n, k], one-hot "
            "for labels."
        )
    if not np.isfinite(targets).all():
        raise UserError("The targets hold NaN or infinity: leave those examples out.")
    if not 0 <= ridge < np.inf:
        raise UserError(f"kernel.ridges={ridge} is out of range: it must be a finite number of at least 0.")
    if tile < 1:
        raise UserError(f"kernel.tile={tile} is out of range: it must be at least 1, such as {TILE}.")
    return targets.astype(np.float64)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Writes down how long the `with` block takes."""
    begun = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - begun
