"""Gram accumulation: inner products of features too many to hold, added up block by block of features.

Those of train lie in tiles, those of test with train in one matrix. What the features are is the caller's matter: who
makes a block of them hands it over and may forget it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from rethink import randomness
from rethink.schema.errors import UserError, pick
from rethink.theory import memory
from rethink.theory.kernels import cholesky, kernel_matrix
from rethink.theory.kernels.cholesky import Tiles
from rethink.theory.kernels.kernel_matrix import BlockMatrix, Kernel
from rethink.theory.kernels.matmul import add_product

SUMMED = 1e-4  # error of the products up to which float32 explains it


class Accumulated(NamedTuple):
    """Inner products over all features so far, of n train and m test examples.

    Attributes:
      train: float32 tiles of [n, n], lower half; of a tile on the diagonal all counts.
      cross: float32 [m, n] in Fortran order, test with train.
      test_squares: float64 [m], test with itself.
      probe: float64 [n], a random direction.
      probed: float64 [n + m], what the products of train and of test make of it, summed from the features in float64.
    """

    train: Tiles
    cross: np.ndarray
    test_squares: np.ndarray
    probe: np.ndarray
    probed: np.ndarray


def start_products(train_examples: int, test_examples: int, *, tile: int = cholesky.TILE) -> Accumulated:
    """Returns the products over no feature.

    Raises:
      UserError: no example, or less memory than these products and their factor need together.
    """
    if train_examples < 1 or tile < 1:
        raise UserError(f"{train_examples} train examples in tiles of {tile}: give at least 1 of each.")
    needed = cholesky.predict_fit_bytes(train_examples, tile=tile, dimensions=0, targets=10, halves=2)
    memory.require_memory("A kernel model", needed + 4 * train_examples * test_examples, train_examples, power=2)

    def make_zeros(rows: slice, columns: slice) -> np.ndarray:
        return np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)

    train = cholesky.fill_tiles(make_zeros, train_examples, tile=tile, ridge=0.0)
    cross = np.zeros((test_examples, train_examples), np.float32, "F")
    probe = jax.random.normal(randomness.key_for(0, "gram_probe"), (train_examples,), np.float32)
    return Accumulated(
        train,
        cross,
        np.zeros(test_examples),
        np.asarray(probe, np.float64),
        np.zeros(train_examples + test_examples),
    )


def add_features(products: Accumulated, train: np.ndarray, test: np.ndarray) -> None:
    """Adds the products of a block of features, in place.

    Cost: (n^2 / 2 + m n) f multiplications and additions in float32, where f is the number of features of the block.

    Args:
      train: float32 [n, f]; test: float32 [m, f].

    Raises:
      UserError: features of other examples, or that are not finite.
    """
    for expected, features in ((products.train.rows, train), (len(products.cross), test)):
        if features.ndim != 2 or len(features) != expected or features.shape[1] != train.shape[1]:
            raise UserError(
                f"Features of shape {list(features.shape)} are not those of {expected:,} examples: give [n, f] of "
                "train and [m, f] of test."
            )
        if not np.isfinite(features.sum(axis=0, dtype=np.float64)).all():
            raise UserError("The features hold NaN or infinity: leave those out.")
    parts = cholesky.split_rows(products.train.rows, products.train.tile)
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts[: i + 1]):
            add_product(products.train.blocks[i][j], train[rows], train[columns], factor=1.0)
        if len(test):
            add_product(products.cross[:, rows], test, train[rows], factor=1.0)
    products.test_squares[:] += np.einsum("nd,nd->n", test, test, dtype=np.float64)
    direction = np.einsum("nd,n->d", train, products.probe, dtype=np.float64)
    for features, span in ((train, slice(len(train))), (test, slice(len(train), None))):
        products.probed[span] += np.einsum("nd,d->n", features, direction, dtype=np.float64)


def measure_products_error(products: Accumulated) -> float:
    """Returns |G v - F (F^T v)| / |F (F^T v)|, the certificate of the products G of features F, by the `probe` v.

    Raises:
      UserError: it is above `SUMMED`.

    Source: Freivalds, "Fast probabilistic algorithms" (1979).
    """
    found = [
        kernel_matrix.multiply_matrix(matrix, products.probe[:, None], progress=cholesky.ignore_progress, stage="")
        for matrix in make_matrices(Kernel("linear", 1.0), products)
    ]
    difference = np.concatenate(found)[:, 0] - products.probed
    error = float(np.linalg.norm(difference) / (np.linalg.norm(products.probed) or 1.0))
    if not error <= SUMMED:
        raise UserError(
            f"The inner products miss those of the features by {error:.1e}, more than float32 explains: run it again, "
            "on the CPU if this was an accelerator, such as JAX_PLATFORMS=cpu."
        )
    return error


def make_matrices(kernel: Kernel, products: Accumulated) -> tuple[BlockMatrix, BlockMatrix]:
    """Returns a kernel's matrices on train, to fit a model to, and between test and train, to predict from.

    Raises:
      UserError: a kernel that `kernel_matrix.check_kernel` refuses, or the Laplacian, which is no function of inner
        products.
    """
    kernel_matrix.check_kernel(kernel)
    check_product_kernel(kernel.name)
    tiles, train_squares = products.train, cholesky.read_diagonal(products.train)

    def select_train(rows: slice, columns: slice) -> np.ndarray:
        i, j = rows.start // tiles.tile, columns.start // tiles.tile
        return tiles.blocks[i][j] if j <= i else tiles.blocks[j][i].T

    def make_matrix(select: Callable[[slice, slice], np.ndarray], row_squares: np.ndarray) -> BlockMatrix:
        def block(rows: slice, columns: slice, dtype: type) -> np.ndarray:
            values: np.ndarray = select(rows, columns).astype(dtype)  # a copy, as more features may follow
            kernel_matrix.PRODUCT_KERNELS[kernel.name](kernel, values, row_squares[rows], train_squares[columns])
            return values

        description = f"{kernel} on accumulated features"
        return BlockMatrix(len(row_squares), len(train_squares), tiles.tile, block, description, 0)

    cross = make_matrix(lambda rows, columns: products.cross[rows, columns], products.test_squares)
    return make_matrix(select_train, train_squares), cross


def find_products_gamma(name: str, products: Accumulated) -> float:
    """Returns as `kernel_matrix.find_natural_gamma`, from the products of train.

    Raises:
      UserError: no product yet, or a kernel as `make_matrices`.
    """
    check_product_kernel(name)
    size = float(cholesky.read_diagonal(products.train).mean())
    if name == "gaussian":  # of distances: mean |x - x'|^2 = 2 (mean |x|^2 - mean <x, x'>)
        total = 0.0
        for line in products.train.blocks:
            *below, corner = (float(block.sum(dtype=np.float64)) for block in line)
            total += corner + 2 * sum(below)
        size = 2 * (size - total / products.train.rows**2)
    return kernel_matrix.invert_size(size)


def check_product_kernel(name: str) -> None:
    """Raises a UserError for kernels that are no function of inner products, which names those that are."""
    pick(kernel_matrix.KERNELS, name, "kernel.name")
    if name not in kernel_matrix.PRODUCT_KERNELS:
        choices = ", ".join(kernel_matrix.PRODUCT_KERNELS)
        raise UserError(f"kernel.name='{name}' is no function of inner products: choose {choices}.")
