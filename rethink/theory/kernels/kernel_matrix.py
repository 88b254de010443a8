"""Owns the kernels and their matrices, evaluated block by block from the rows or their inner products.

Refuses to solve anything, and never holds a matrix of n^2 entries: interpolation.py asks for the blocks it needs.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial import distance

from rethink.schema.errors import UserError, pick
from rethink.theory.kernels import cholesky
from rethink.theory.kernels.matmul import multiply_transposed


class Kernel(NamedTuple):
    """A kernel by name, one of `KERNELS`, and its parameters.

    Attributes:
      gamma: positive. gaussian exp(-gamma |x - x'|^2), laplacian exp(-gamma |x - x'|_1), linear gamma <x, x'>,
        polynomial (gamma <x, x'> + offset)^degree.
      degree, offset: of the polynomial alone.
    """

    name: str
    gamma: float
    degree: int = 2
    offset: float = 1.0

    def __str__(self) -> str:
        more = f", degree={self.degree}, offset={self.offset:g}" if self.name == "polynomial" else ""
        return f"{self.name} kernel (gamma={self.gamma:.6g}{more})"


class BlockMatrix(NamedTuple):
    """A matrix [rows, columns] that is evaluated where it is needed.

    Attributes:
      block: (rows, columns, dtype) -> that part of it, freshly made, in float32 or float64.
      description: of the kernel, for errors.
      dimensions: of the rows that it is made of; 0 where it is made of inner products that are held.
    """

    rows: int
    columns: int
    block: Callable[[slice, slice, type], np.ndarray]
    description: str
    dimensions: int


def apply_to_products(
    kernel: Kernel, products: np.ndarray, row_squares: np.ndarray, column_squares: np.ndarray
) -> np.ndarray:
    """Turns inner products [m, n] into values of any kernel but the Laplacian, in place, and returns them.

    Args:
      row_squares, column_squares: float64 [m] and [n], the inner products of the examples with themselves.
    """
    dtype = products.dtype.type
    if kernel.name == "gaussian":
        products *= dtype(-2)
        products += row_squares.astype(dtype)[:, None]
        products += column_squares.astype(dtype)
        np.maximum(products, 0, out=products)
        products *= dtype(-kernel.gamma)
        return np.exp(products, out=products)
    products *= dtype(kernel.gamma)
    if kernel.name == "polynomial":
        products += dtype(kernel.offset)
        np.power(products, kernel.degree, out=products)
    return products


def _by_product(kernel: Kernel, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One matrix product; the squares of the rows are summed in float64."""
    return apply_to_products(kernel, multiply_transposed(a, b), _squares(a), _squares(b))


def _laplacian(kernel: Kernel, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """No matrix product: m n d absolute differences in float64, about 1 ns each on one core."""
    found = distance.cdist(a, b, "cityblock")
    found *= -kernel.gamma
    return np.exp(found, out=found).astype(a.dtype, copy=False)


# name -> (kernel, rows [m, d], rows [n, d]) -> [m, n], in the dtype of the rows. For n examples in d dimensions a
# matrix costs n^2 d multiplications by BLAS, or on an accelerator; the Laplacian's as many differences, tens of times
# slower.
KERNELS: dict[str, Callable[[Kernel, np.ndarray, np.ndarray], np.ndarray]] = {
    "gaussian": _by_product,
    "linear": _by_product,
    "polynomial": _by_product,
    "laplacian": _laplacian,
}


def evaluate_kernel(kernel: Kernel, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the kernel [m, n] between rows [m, d] and others [n, d], both float32 or both float64.

    Raises:
      UserError: a kernel of an unknown name or with parameters out of range.
    """
    check_kernel(kernel)
    return KERNELS[kernel.name](kernel, rows, others)


def make_matrix(kernel: Kernel, rows: np.ndarray, others: np.ndarray | None = None) -> BlockMatrix:
    """Returns the matrix of a kernel between rows [m, d] and others [n, d]; without others, of rows with themselves.

    The blocks are computed in the dtype that is asked for, from rows centred at the mean of `others` where the kernel
    does not see a shift: less is cancelled in the distances.

    Raises:
      UserError: rows that are no finite matrices of the same dimension, at least one row each; a kernel as `evaluate_kernel`
        refuses it.
    """
    check_kernel(kernel)
    itself = others is None
    others = rows if others is None else others
    for name, given in (("rows", rows), ("others", others)):
        check_rows(name, given)
    if rows.shape[1] != others.shape[1]:
        raise UserError(f"Rows of {rows.shape[1]} and {others.shape[1]} dimensions have no kernel: give the same map.")
    centre = np.zeros(rows.shape[1])
    if kernel.name in ("gaussian", "laplacian"):
        centre = others.mean(axis=0, dtype=np.float64)

    def block(wanted: slice, columns: slice, dtype: type) -> np.ndarray:
        a: np.ndarray = (rows[wanted] - centre).astype(dtype)
        b = a if itself and wanted == columns else (others[columns] - centre).astype(dtype)
        return KERNELS[kernel.name](kernel, a, b)

    return BlockMatrix(len(rows), len(others), block, str(kernel), rows.shape[1])


def multiply_matrix(
    matrix: BlockMatrix, vectors: np.ndarray, *, tile: int, progress: cholesky.Progress, stage: str
) -> np.ndarray:
    """Returns matrix @ vectors, float64 [rows, k] for vectors float64 [columns, k]; every block is made in float64."""
    found = np.zeros((matrix.rows, vectors.shape[1]))
    parts = cholesky.split_rows(matrix.rows, tile)
    for done, rows in enumerate(parts, start=1):
        for columns in cholesky.split_rows(matrix.columns, tile):
            found[rows] += matrix.block(rows, columns, np.float64) @ vectors[columns]
        progress(stage, done, len(parts))
    return found


def multiply_symmetric(
    matrix: BlockMatrix, vectors: np.ndarray, *, tile: int, progress: cholesky.Progress, stage: str
) -> np.ndarray:
    """Returns as `multiply_matrix`, of a symmetric matrix: each block below the diagonal is made once and serves twice."""
    found = np.zeros((matrix.rows, vectors.shape[1]))
    parts = cholesky.split_rows(matrix.rows, tile)
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts[: i + 1]):
            block = matrix.block(rows, columns, np.float64)
            found[rows] += block @ vectors[columns]
            if j < i:
                found[columns] += block.T @ vectors[rows]
            progress(stage, i * (i + 1) // 2 + j + 1, len(parts) * (len(parts) + 1) // 2)
    return found


def find_natural_gamma(name: str, rows: np.ndarray) -> float:
    """Returns the gamma that candidates are counted in: over rows [n, d] it makes the kernel's argument 1 on average.

    gaussian: 1 / mean |x - x'|^2 over all pairs, laplacian: 1 / mean |x - x'|_1 of neighbours in the given order,
    linear and polynomial: 1 / mean |x|^2, so that the mean diagonal of the linear kernel is 1, as of the first two, and
    a ridge is measured against that.

    Raises:
      UserError: an unknown kernel, or rows that are all equal.
    """
    pick(KERNELS, name, "kernel.name")
    check_rows("rows", rows)
    if name == "laplacian":
        rolled = np.roll(rows, 1, axis=0)
        return invert_size(float(np.abs(np.subtract(rows, rolled, dtype=np.float64)).sum() / len(rows)))
    square = float(_squares(rows).mean())
    if name != "gaussian":
        return invert_size(square)
    mean = rows.mean(axis=0, dtype=np.float64)
    apart = 2 * (square - float(mean @ mean))
    return invert_size(apart if apart > 1e-12 * square else 0.0)


def invert_size(size: float) -> float:
    """Returns 1 / size.

    Raises:
      UserError: the size is 0, or not even that.
    """
    if not size > 0:
        raise UserError("The examples are all equal, so that no bandwidth fits them: give kernel.gamma, such as 1.0.")
    return 1 / size


def check_kernel(kernel: Kernel) -> None:
    """Refuses a kernel of an unknown name or with parameters out of range.

    Raises:
      UserError: says which, and what is allowed.
    """
    pick(KERNELS, kernel.name, "kernel.name")
    if not 0 < kernel.gamma < np.inf:
        raise UserError(f"kernel.gamma={kernel.gamma} is out of range: it must be a finite number above 0.")
    if kernel.name == "polynomial" and not 1 <= kernel.degree <= 100:
        raise UserError(f"kernel.degree={kernel.degree} is out of range: it must be in [1, 100].")
    if not np.isfinite(kernel.offset):
        raise UserError(f"kernel.offset={kernel.offset} is out of range: it must be a finite number.")


def check_rows(name: str, rows: np.ndarray) -> None:
    """Refuses what is no finite matrix with at least one row and one column.

    Raises:
      UserError: names the first row that is not finite.
    """
    if rows.ndim != 2 or not rows.size:
        raise UserError(f"{name} of shape {list(rows.shape)} hold no example: give [n, d], at least one of each.")
    finite = np.isfinite(rows.sum(axis=1, dtype=np.float64))
    if not finite.all():
        raise UserError(f"{name}: row {int(np.argmin(finite))} holds NaN or infinity, leave it out.")


def check_distinct(rows: np.ndarray) -> None:
    """Refuses rows [n, d] of which two are equal: their kernel matrix is singular, and without a ridge has no factor.

    Raises:
      UserError: names the first pair.
    """
    seen: dict[bytes, int] = {}
    for number, row in enumerate(rows):
        first = seen.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), number)
        if first != number:
            raise UserError(
                f"Examples {first} and {number} are equal, so that the kernel matrix is singular: leave one out, or "
                "set a ridge, such as kernel.ridges=(1e-3,)."
            )


def _squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
