"""Section 5: solves (K + ridge I) alpha = y, the kernel model that interpolates, and certifies the solution.

Nothing is chosen: kernel and ridge are given; model_selection.py finds them on a part of train.
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
from rethink.theory.inputs import check_array
from rethink.theory.kernels import cholesky, kernel_matrix
from rethink.theory.kernels.cholesky import Progress, ignore_progress
from rethink.theory.kernels.kernel_matrix import BlockMatrix

TOLERANCE = 1e-6  # of the residual, relative to the largest target
SOLVED = 1e-3  # of the same: what a solution must reach
MOST_REFINEMENTS = 20


class SingularMatrix(UserError):
    """A kernel matrix that is not positive definite, as far as float32 and refinement in float64 can tell."""


class Solution(NamedTuple):
    """Coefficients and their certificate.

    Attributes:
      alpha: float64 [n, k]. The model is f(x) = sum_i alpha_i K(x, x_i).
      fitted: K alpha, the model on the training examples, float64 [n, k]: K anew, as for a prediction.
      ridge: that was added to the diagonal.
      shift: that was added to it in the factor alone, cholesky.shift_diagonal; refinement takes it out again.
      residual: the largest |(K + ridge I) alpha - y|, by `fitted`.
      train_residual: the largest |K alpha - y|, the same without a ridge.
      residuals: `residual` of zero, then what the solver makes of it after each refinement, by its recurrence.
      norm: sqrt(trace(alpha^T K alpha)), by `fitted`, of the k functions in the kernel's space (the paper's 220, 390).
      factor_error: |L L^T v - A v| / |A v| of the factor in float32, A = K + (ridge + shift) I, v a random direction.
      condition: a lower bound of the condition of L L^T, cholesky.estimate_condition; NaN if left out.
      smallest_pivot: of the factor.
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
    factor_error: float
    condition: float
    smallest_pivot: float
    seconds: dict[str, float]
    peak_bytes: int


def fit_matrix(
    matrix: BlockMatrix,
    targets: np.ndarray,
    *,
    ridge: float,
    progress: Progress = ignore_progress,
    condition: bool = True,
) -> Solution:
    """Returns the model that interpolates the targets, or with a ridge comes near them.

    A Cholesky factor in float32 is the preconditioner of conjugate gradients in float64, in which K comes anew from the
    rows: two or three products with K leave a residual of 1e-6, and a factor that is too coarse for plain iterative
    refinement still serves. What is said of the fit, though, is of K alpha computed anew.

    Args:
      matrix: symmetric [n, n], of `kernel_matrix.make_matrix` or `gram_accumulation.make_matrices`.
      targets: one-hot or any other finite numbers [n, k].
      ridge: added to the diagonal of the kernel matrix, not multiplied by n; 0 interpolates.
      condition: whether to estimate the condition.

    Raises:
      UserError: targets or a ridge that do not fit, or too little memory.
      SingularMatrix: the matrix is not positive definite.

    Source: the paper, section 5 and table 3.
    """
    targets = check_array("targets", targets, "[n, k] (one-hot of labels)", rows=matrix.rows).astype(np.float64)
    if not 0 <= ridge < np.inf:
        raise UserError(f"kernel.ridges={ridge} is out of range: it must be a finite number of at least 0.")
    needed = cholesky.predict_fit_bytes(
        matrix.rows, tile=matrix.tile, dimensions=matrix.dimensions, targets=targets.shape[1]
    )
    memory.require_memory("A kernel model", needed, matrix.rows, power=2)
    seconds: dict[str, float] = {}
    with _timed(seconds, "gram"):
        lower = cholesky.fill_tiles(
            lambda a, b: matrix.block(a, b, np.float32), matrix.rows, tile=matrix.tile, ridge=ridge, progress=progress
        )
    with _timed(seconds, "factor"):
        shift = cholesky.shift_diagonal(lower)
        try:
            cholesky.factor_tiles(lower, progress=progress)
        except cholesky.NotPositive as error:
            detail = f" in float32, at the pivot of {_name_example(lower, error.row)}"
            raise _report_singular(matrix, ridge, detail) from error
    with _timed(seconds, "refinement"):
        alpha, residuals = _run_conjugate_gradients(matrix, lower, targets, ridge, progress)
    key = randomness.key_for(0, "condition")
    start = np.asarray(jax.random.normal(key, (matrix.rows, 1), np.float32), np.float64)  # always the same direction
    with _timed(seconds, "certificate"):
        # K anew, once, by the path that predicts: nothing is taken from the solver but alpha.
        images = kernel_matrix.multiply_matrix(
            matrix, np.hstack([alpha, start]), progress=progress, stage="certificate"
        )
        fitted, image = images[:, :-1], images[:, -1:] + (ridge + shift) * start
        residual = float(np.abs(fitted + ridge * alpha - targets).max())
        factor_error = float(np.linalg.norm(cholesky.multiply_by_factor(lower, start) - image) / np.linalg.norm(image))
    _require_solved(matrix, lower, ridge, residual, scale=residuals[0], refinements=len(residuals) - 1)
    with _timed(seconds, "condition"):
        estimate = cholesky.estimate_condition(lower, start[:, 0]) if condition else float("nan")
    return Solution(
        alpha=alpha,
        fitted=fitted,
        ridge=ridge,
        shift=shift,
        residual=residual,
        train_residual=float(np.abs(fitted - targets).max()),
        residuals=residuals,
        norm=float(np.sqrt(max(np.sum(alpha * fitted), 0.0))),
        factor_error=factor_error,
        condition=estimate,
        smallest_pivot=cholesky.find_smallest_pivot(lower)[0],
        seconds=seconds,
        peak_bytes=read_peak_bytes(),
    )


def predict_matrix(solution: Solution, cross: BlockMatrix, *, progress: Progress = ignore_progress) -> np.ndarray:
    """Returns the values of the model, float64 [m, k], for the matrix [m, n] between examples and those of train."""
    return kernel_matrix.multiply_matrix(cross, solution.alpha, progress=progress, stage="predictions")


def compute_error_rate(values: np.ndarray, labels: np.ndarray) -> float:
    """Returns the fraction of labels int [m] that are not where values [m, k] are largest."""
    return float((values.argmax(axis=1) != labels).mean())


def read_peak_bytes() -> int:
    """Returns the most memory that the process has held in its life."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _run_conjugate_gradients(
    matrix: BlockMatrix, lower: cholesky.Tiles, targets: np.ndarray, ridge: float, progress: Progress
) -> tuple[np.ndarray, list[float]]:
    """Returns (alpha, the largest |y - (K + ridge I) alpha| at the start and after each step); columns apart.

    The latter by the recurrence: no certificate.
    """
    scale = float(np.abs(targets).max())
    alpha, rest, residuals = np.zeros_like(targets), targets.copy(), [scale]
    direction, before = np.zeros_like(targets), np.ones(targets.shape[1])
    while residuals[-1] > TOLERANCE * scale and len(residuals) <= MOST_REFINEMENTS:
        # The next direction, conjugate to those before.
        solved = cholesky.solve_with_factor(lower, rest)
        size = np.sum(rest * solved, axis=0)
        direction = solved + direction * (size / before if len(residuals) > 1 else 0.0)
        image = kernel_matrix.multiply_matrix(
            matrix, direction, progress=progress, stage=f"refinement {len(residuals)}", symmetric=True
        )
        image += ridge * direction
        # The step along it that leaves least.
        curvature = np.sum(direction * image, axis=0)
        step = np.divide(size, curvature, out=np.zeros_like(size), where=curvature > 0)
        alpha += step * direction
        rest -= step * image
        before = np.where(size > 0, size, 1.0)  # a column that is solved stays as it is
        residuals.append(float(np.abs(rest).max()))
        if not np.isfinite(residuals[-1]) or (curvature < 0).any():
            break
    return alpha, residuals


def _require_solved(
    matrix: BlockMatrix, lower: cholesky.Tiles, ridge: float, residual: float, *, scale: float, refinements: int
) -> None:
    """Raises a SingularMatrix where the residual of the certificate is no solution's."""
    if not residual <= SOLVED * scale:
        pivot, row = cholesky.find_smallest_pivot(lower)
        raise _report_singular(
            matrix,
            ridge,
            f": {refinements} refinements leave {residual:.1e} of targets up to {scale:g}, and the smallest pivot of "
            f"its factor, {pivot:.1e}, is that of {_name_example(lower, row)}",
        )


def _name_example(tiles: cholesky.Tiles, row: int) -> str:
    return f"example {row} (tile {row // tiles.tile + 1} of {len(tiles.blocks)})"


def _report_singular(matrix: BlockMatrix, ridge: float, detail: str) -> SingularMatrix:
    """Returns the error: which matrix, by which sign, and what makes it positive definite."""
    remedy = (
        "set a larger ridge, such as kernel.ridges=(1e-3,), take more features than there are examples, or "
        "kernel.name='gaussian'."
    )
    if matrix.description.startswith(kernel_matrix.OF_DISTANCES):
        remedy = "set a larger kernel.gamma, or a larger ridge, such as kernel.ridges=(1e-3,)."
    return SingularMatrix(
        f"The matrix of the {matrix.description} with ridge {ridge:g} is singular or indefinite{detail}: {remedy}"
    )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Stores how long the `with` block takes, in seconds."""
    start = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - start
