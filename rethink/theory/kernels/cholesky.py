"""Cholesky factors of symmetric matrices too large for one call of LAPACK: lower half in float32 tiles, in place.

Kernels play no part here: a matrix comes as a function that returns blocks. One call of `spotrf` at 60,000 rows
crashes in scipy's OpenBLAS; tiles of 4,000 do not, and each is an array of its own, so that no half is stored twice.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.linalg.lapack
from scipy.linalg.blas import strmm, strsm

from rethink.theory import blas_threads
from rethink.theory.kernels.matmul import add_product

Progress = Callable[[str, int, int], None]  # (stage, done, total)

TILE = 4000
LANCZOS_STEPS = 12
EPSILON = float(np.finfo(np.float32).eps)


class Tiles(NamedTuple):
    """The lower half of a symmetric matrix [rows, rows], or the factor L of L L^T that took its place.

    Attributes:
      blocks: blocks[i][j] for j <= i, float32 in Fortran order, the rows of tile i by those of tile j. Of blocks[i][i]
        only the lower half counts. The last tile may be smaller.
    """

    rows: int
    tile: int
    blocks: list[list[np.ndarray]]


class NotPositive(Exception):
    """The matrix has a pivot that is not positive in float32, in `row`, from 0."""

    def __init__(self, row: int):
        super().__init__(f"row {row}")
        self.row = row


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Shows no progress."""


def split_rows(count: int, tile: int) -> list[slice]:
    """Returns the rows of each tile; the last one may be smaller."""
    return [slice(start, min(start + tile, count)) for start in range(0, count, tile)]


def fill_tiles(
    block: Callable[[slice, slice], np.ndarray],
    count: int,
    *,
    tile: int,
    ridge: float,
    progress: Progress = ignore_progress,
) -> Tiles:
    """Returns the lower half of a matrix + ridge I.

    Args:
      block: (rows, columns) -> float32 [rows, columns] of the symmetric matrix, freshly made: a tile keeps it.
    """
    parts = split_rows(count, tile)
    total, blocks = len(parts) * (len(parts) + 1) // 2, []
    for i, rows in enumerate(parts):
        line = []
        for j, columns in enumerate(parts[: i + 1]):
            # A block in C order is its transpose in Fortran order, which by symmetry is the tile: no copy.
            line.append(np.asfortranarray(block(columns, rows).T, np.float32))
            progress("Gram matrix", i * (i + 1) // 2 + j + 1, total)
        line[i][np.diag_indices_from(line[i])] += np.float32(ridge)
        blocks.append(line)
    return Tiles(count, tile, blocks)


def shift_diagonal(matrix: Tiles) -> float:
    """Adds to the diagonal about what rounding may take from it, in place, and returns it.

    EPSILON * sqrt(rows) * the largest entry of the diagonal: twice what independent roundings of every entry make of a
    norm. So a matrix whose smallest eigenvalue is positive but below that keeps a factor, which preconditions it.
    Measured on MNIST, n = 4,000: half of it does not always save the factor, four times as much costs steps.
    """
    shift = EPSILON * matrix.rows**0.5 * float(read_diagonal(matrix).max())
    for line in matrix.blocks:
        line[-1][np.diag_indices_from(line[-1])] += np.float32(shift)
    return shift


def factor_tiles(matrix: Tiles, *, progress: Progress = ignore_progress) -> None:
    """Replaces the matrix by its Cholesky factor, in place.

    Cost: count^3 / 3 multiplications and additions in float32, almost all of them products of tiles.

    Raises:
      NotPositive: a pivot is not above float32's epsilon times the largest entry of the diagonal. The tiles are spoilt.
    """
    blocks, tiles = matrix.blocks, len(matrix.blocks)
    least = EPSILON * float(read_diagonal(matrix).max())
    total, done = tiles * (tiles + 1) * (tiles + 2) // 6, 0
    for j in range(tiles):
        # The tile on the diagonal, and its pivots.
        with blas_threads.for_product(len(blocks[j][j]) ** 3 / 6):
            blocks[j][j], fault = scipy.linalg.lapack.spotrf(blocks[j][j], lower=True, overwrite_a=True, clean=False)
        corner = blocks[j][j]
        pivots = corner.diagonal() ** 2
        low = np.flatnonzero(~(pivots[: fault - 1 if fault > 0 else None] > least))
        if fault or low.size:
            raise NotPositive(j * matrix.tile + (int(low[0]) if low.size else fault - 1))
        # The tiles below it: A_ij <- A_ij L_jj^-T.
        for i in range(j + 1, tiles):
            with blas_threads.for_product(blocks[i][j].size * len(corner) / 2):
                blocks[i][j] = strsm(1.0, corner, blocks[i][j], side=1, lower=True, trans_a=True, overwrite_b=True)
        # What is left of the matrix: A_ik <- A_ik - L_ij L_kj^T.
        for i in range(j + 1, tiles):
            for k in range(j + 1, i + 1):
                add_product(blocks[i][k], blocks[i][j], blocks[k][j], factor=-1.0)
                done += 1
            progress("Cholesky factor", done, total)
        done += tiles - j
        progress("Cholesky factor", done, total)


def read_diagonal(matrix: Tiles) -> np.ndarray:
    """Returns the diagonal, float64 [rows]."""
    return np.concatenate([line[-1].diagonal() for line in matrix.blocks]).astype(np.float64)


def find_smallest_pivot(lower: Tiles) -> tuple[float, int]:
    """Returns the least square on the factor's diagonal, and its row."""
    pivots = read_diagonal(lower) ** 2
    return float(pivots.min()), int(pivots.argmin())


def solve_with_factor(lower: Tiles, targets: np.ndarray) -> np.ndarray:
    """Returns (L L^T)^-1 targets in float32's accuracy, float64 [count, k] as the targets are."""
    x, parts, tiles = np.asfortranarray(targets, np.float32), split_rows(lower.rows, lower.tile), len(lower.blocks)
    # Forward, L z = y, then backward, L^T x = z.
    for i in range(tiles):
        right = x[parts[i]].copy("F")
        for j in range(i):
            right -= lower.blocks[i][j] @ x[parts[j]]
        x[parts[i]] = strsm(1.0, lower.blocks[i][i], right, lower=True)
    for i in reversed(range(tiles)):
        right = x[parts[i]].copy("F")
        for j in range(i + 1, tiles):
            right -= lower.blocks[j][i].T @ x[parts[j]]
        x[parts[i]] = strsm(1.0, lower.blocks[i][i], right, lower=True, trans_a=True)
    return x.astype(np.float64)


def multiply_by_factor(lower: Tiles, vectors: np.ndarray) -> np.ndarray:
    """Returns L L^T vectors in float32's accuracy, float64 [count, k] as the vectors are."""
    x, parts, tiles = np.asfortranarray(vectors, np.float32), split_rows(lower.rows, lower.tile), len(lower.blocks)
    # L^T x, then L of that.
    below = [strmm(1.0, lower.blocks[i][i], x[parts[i]], lower=True, trans_a=True) for i in range(tiles)]
    for i in range(tiles):
        for j in range(i):
            below[j] += lower.blocks[i][j].T @ x[parts[i]]
    result = [strmm(1.0, lower.blocks[i][i], below[i], lower=True) for i in range(tiles)]
    for i in range(tiles):
        for j in range(i):
            result[i] += lower.blocks[i][j] @ below[j]
    return np.concatenate(result).astype(np.float64)


def estimate_condition(lower: Tiles, start: np.ndarray) -> float:
    """Returns a lower bound of the 2-norm condition of L L^T, usually within a few percent of it.

    The largest eigenvalue of L L^T and of its inverse, each by `LANCZOS_STEPS` steps of Lanczos with the factor, so
    that the matrix is formed no second time.

    Args:
      start: float64 [count], a random direction.
    """
    largest = _largest_eigenvalue(lambda v: multiply_by_factor(lower, v), start)
    return largest * _largest_eigenvalue(lambda v: solve_with_factor(lower, v), start)


def _largest_eigenvalue(apply: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> float:
    """Returns the largest Ritz value of a symmetric operator on [count, 1]."""
    vector, before, beta = start[:, None] / np.linalg.norm(start), 0.0, 0.0
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(LANCZOS_STEPS, len(start))):
        image = apply(vector) - beta * before
        diagonal.append(float((vector * image).sum()))
        image -= diagonal[-1] * vector
        beta = float(np.linalg.norm(image))
        beside.append(beta)
        if beta <= EPSILON * abs(diagonal[0]):  # the start lies in an invariant subspace
            break
        before, vector = vector, image / beta
    return float(scipy.linalg.eigh_tridiagonal(diagonal, beside[: len(diagonal) - 1], eigvals_only=True)[-1])


def predict_fit_bytes(count: int, *, tile: int, dimensions: int, targets: int, halves: int = 1) -> int:
    """Returns the bytes at the peak of a fit, beside what is held before it: tiles, blocks in float64, vectors.

    Args:
      dimensions: of a row, 0 where the matrix is not made of rows.
      halves: how many halves are held at a time: 2 where the matrix is kept beside its factor.
    """
    tile = min(tile, count)
    lower = 4 * sum((span.stop - span.start) * span.stop for span in split_rows(count, tile))
    working = 3 * 8 * tile**2 + 2 * 8 * tile * dimensions
    return halves * lower + working + 4 * count * dimensions + 8 * 8 * count * targets
