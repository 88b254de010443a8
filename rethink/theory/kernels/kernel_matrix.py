"""Kernels and their matrices, evaluated block by block from the rows or from their inner products.

Nothing is solved, and no matrix of n^2 entries is ever held: a solver takes the blocks that it needs.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial import distance

from rethink.schema.errors import UserError, pick
from rethink.theory.inputs import check_array
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
      tile: rows and columns of a block; the last ones may be smaller.
      block: (rows, columns, dtype) -> that part of it, freshly made, in float32 or float64.
      description: of the kernel, for errors.
      dimensions: of the rows that it is made of; 0 where it is made of inner products that are held.
    """

    rows: int
    columns: int
    tile: int
    block: Callable[[slice, slice, type], np.ndarray]
    description: str
    dimensions: int


def _apply_gaussian(kernel: Kernel, products: np.ndarray, row_squares: np.ndarray, column_squares: np.ndarray) -> None:
    _find_squared_distances(products, row_squares, column_squares)
    np.maximum(products, 0, out=products)  # rounding may leave less
    _exponentiate(kernel, products)


def _find_squared_distances(products: np.ndarray, row_squares: np.ndarray, column_squares: np.ndarray) -> None:
    """Turns inner products into |x - x'|^2 = |x|^2 + |x'|^2 - 2 <x, x'>, in place."""
    dtype = products.dtype.type
    products *= dtype(-2)
    products += row_squares.astype(dtype)[:, None]
    products += column_squares.astype(dtype)


def _exponentiate(kernel: Kernel, sizes: np.ndarray) -> None:
    """Turns sizes into exp(-gamma size), in place; a gamma beyond the dtype leaves nothing of any size but 0."""
    with np.errstate(over="ignore"):
        sizes *= sizes.dtype.type(-min(kernel.gamma, float(np.finfo(sizes.dtype).max)))
    np.exp(sizes, out=sizes)


def _apply_linear(kernel: Kernel, products: np.ndarray, row_squares: np.ndarray, column_squares: np.ndarray) -> None:
    products *= products.dtype.type(kernel.gamma)


def _apply_polynomial(
    kernel: Kernel, products: np.ndarray, row_squares: np.ndarray, column_squares: np.ndarray
) -> None:
    products *= products.dtype.type(kernel.gamma)
    products += products.dtype.type(kernel.offset)
    np.power(products, kernel.degree, out=products)


# name -> (kernel, inner products [m, n], float64 squared norms of the rows [m] and of the columns [n]): turns the
# products into values of the kernel, in place.
PRODUCT_KERNELS: dict[str, Callable[[Kernel, np.ndarray, np.ndarray, np.ndarray], None]] = {
    "gaussian": _apply_gaussian,
    "linear": _apply_linear,
    "polynomial": _apply_polynomial,
}


def _evaluate_by_product(kernel: Kernel, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One matrix product; the squares of the rows are summed in float64."""
    values = multiply_transposed(a, b)
    PRODUCT_KERNELS[kernel.name](kernel, values, _squared_norms(a), _squared_norms(b))
    return values


def _evaluate_gaussian(kernel: Kernel, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One matrix product, and differences of the rows that lie too close for it: of equal ones the value is 1."""
    values, squares = multiply_transposed(a, b), _squared_norms(a)
    _find_squared_distances(values, squares, _squared_norms(b))
    close = values < (CLOSE * squares).astype(values.dtype)[:, None]
    for row in np.flatnonzero(close.any(axis=1)):
        columns = np.flatnonzero(close[row])
        values[row, columns] = _squared_norms(b[columns] - a[row])
    _exponentiate(kernel, values)
    return values


def _evaluate_laplacian(kernel: Kernel, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """No matrix product: m n d absolute differences in float64, about 1 ns each on one core."""
    values = distance.cdist(a, b, "cityblock")
    _exponentiate(kernel, values)
    return values.astype(a.dtype, copy=False)


# name -> (kernel, rows [m, d], rows [n, d]) -> [m, n], in the dtype of the rows. For n examples in d dimensions a
# matrix costs n^2 d multiplications by BLAS, or on an accelerator; the Laplacian's as many differences, tens of times
# slower.
KERNELS: dict[str, Callable[[Kernel, np.ndarray, np.ndarray], np.ndarray]] = {
    **dict.fromkeys(PRODUCT_KERNELS, _evaluate_by_product),
    "gaussian": _evaluate_gaussian,
    "laplacian": _evaluate_laplacian,
}
OF_DISTANCES = ("gaussian", "laplacian")  # kernels that do not see a shift of all rows
CLOSE = 1e-4  # squared distances below this times |x|^2 keep too few of the digits of |x|^2 + |x'|^2 - 2 <x, x'>


def make_matrix(
    kernel: Kernel,
    rows: np.ndarray,
    others: np.ndarray | None = None,
    *,
    tile: int = cholesky.TILE,
) -> BlockMatrix:
    """Returns the matrix of a kernel between rows [m, d] and others [n, d]; without others, of rows with themselves.

    A block is computed in the dtype that its caller names, from rows centred at the mean of `others` where the kernel
    does not see a shift: less is cancelled in the distances.

    Args:
      rows, others: uint8 or float.
      tile: rows of a block. For n = 60,000 in 784 dimensions, tiles of 4,000 need 8.3 GB beside the rows.

    Raises:
      UserError: rows that are no finite matrices of the same dimension, at least one row each; a kernel of an unknown
        name or with parameters out of range; a tile below 1.
    """
    check_kernel(kernel)
    if tile < 1:
        raise UserError(f"kernel.tile={tile} is out of range: it must be at least 1, such as {cholesky.TILE}.")
    itself = others is None
    others = rows if others is None else others
    check_array("rows", rows, "[n, d]")
    check_array("others", others, "[n, d]")
    if rows.shape[1] != others.shape[1]:
        raise UserError(f"Rows of {rows.shape[1]} and {others.shape[1]} dimensions have no kernel: give the same map.")
    centre = np.zeros(rows.shape[1])
    if kernel.name in OF_DISTANCES:
        centre = others.mean(axis=0, dtype=np.float64)

    def block(part: slice, columns: slice, dtype: type) -> np.ndarray:
        a: np.ndarray = (rows[part] - centre).astype(dtype)
        b = a if itself and part == columns else (others[columns] - centre).astype(dtype)
        return KERNELS[kernel.name](kernel, a, b)

    return BlockMatrix(len(rows), len(others), tile, block, str(kernel), rows.shape[1])


def multiply_matrix(
    matrix: BlockMatrix, vectors: np.ndarray, *, progress: cholesky.Progress, stage: str, symmetric: bool = False
) -> np.ndarray:
    """Returns matrix @ vectors, float64 [rows, k] for vectors float64 [columns, k]; every block is made in float64.

    Args:
      symmetric: whether the matrix is: then each block below the diagonal is made once and serves twice.
    """
    product = np.zeros((matrix.rows, vectors.shape[1]))
    row_parts, column_parts = (cholesky.split_rows(count, matrix.tile) for count in (matrix.rows, matrix.columns))
    places = [(i, j) for i in range(len(row_parts)) for j in range(i + 1 if symmetric else len(column_parts))]
    for done, (i, j) in enumerate(places, start=1):
        rows, columns = row_parts[i], column_parts[j]
        block = matrix.block(rows, columns, np.float64)
        product[rows] += block @ vectors[columns]
        if symmetric and j < i:
            product[columns] += block.T @ vectors[rows]
        progress(stage, done, len(places))
    return product


def find_natural_gamma(name: str, rows: np.ndarray) -> float:
    """Returns the gamma that candidates are counted in: over rows [n, d] it makes the kernel's argument 1 on average.

    gaussian: 1 / mean |x - x'|^2 over all pairs, laplacian: 1 / mean |x - x'|_1 of neighbours in the given order,
    linear and polynomial: 1 / mean |x|^2, so that the mean diagonal of the linear kernel is 1, as of the first two, and
    a ridge is measured against that.

    Raises:
      UserError: an unknown kernel, or rows that are all equal.
    """
    measure = pick(ARGUMENT_SIZES, name, "kernel.name")
    check_array("rows", rows, "[n, d]")
    return invert_size(measure(rows))


def _mean_squared_norm(rows: np.ndarray) -> float:
    return float(_squared_norms(rows).mean())


def _mean_squared_distance(rows: np.ndarray) -> float:
    mean, square = rows.mean(axis=0, dtype=np.float64), _mean_squared_norm(rows)
    size = 2 * (square - float(mean @ mean))
    return size if size > 1e-12 * square else 0.0  # below that it is rounding


def _mean_neighbour_distance(rows: np.ndarray) -> float:
    return float(np.abs(np.subtract(rows, np.roll(rows, 1, axis=0), dtype=np.float64)).sum() / len(rows))


ARGUMENT_SIZES: dict[str, Callable[[np.ndarray], float]] = {
    "gaussian": _mean_squared_distance,
    "linear": _mean_squared_norm,
    "polynomial": _mean_squared_norm,
    "laplacian": _mean_neighbour_distance,
}


def invert_size(size: float) -> float:
    """Returns 1 / size.

    Raises:
      UserError: the size is 0, or NaN.
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


def check_distinct(rows: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> None:
    """Refuses rows [n, ...] of which two are equal: their kernel matrix is singular, and without a ridge has no factor.

    Args:
      ids, labels: of the rows, int [n], which name them.

    Raises:
      UserError: names the first pair.
    """
    firsts: dict[bytes, int] = {}
    for number, row in enumerate(rows):
        first = firsts.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), number)
        if first != number:
            raise UserError(
                f"Examples {ids[first]} and {ids[number]} (labels {labels[first]} and {labels[number]}) are equal, so "
                "that the kernel matrix is singular with any gamma: set a ridge, such as kernel.ridges=(1e-3,), or "
                "leave one out."
            )


def _squared_norms(rows: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
