"""Owns inner products of features too many to hold: added up block by block, of train in tiles and of test with train.

Refuses to know what the features are: whoever makes a block hands it over and may forget it.
"""

from typing import NamedTuple

import numpy as np

from rethink.schema.errors import UserError
from rethink.theory import memory
from rethink.theory.kernels import cholesky, kernel_matrix
from rethink.theory.kernels.cholesky import Tiles
from rethink.theory.kernels.kernel_matrix import BlockMatrix, Kernel
from rethink.theory.kernels.matmul import add_product


class Accumulated(NamedTuple):
    """Inner products over all features so far, of n train and m test examples.

    Attributes:
      train: float32 tiles of [n, n], lower half; of a tile on the diagonal all counts.
      cross: float32 [m, n] in Fortran order, test with train.
      test_squares: float64 [m], test with itself.
    """

    train: Tiles
    cross: np.ndarray
    test_squares: np.ndarray


def start_products(train_examples: int, test_examples: int, *, tile: int = cholesky.TILE) -> Accumulated:
    """Returns the products over no feature.

    Raises:
      UserError: no example, or less memory than these products and their factor need together.
    """
    if train_examples < 1 or tile < 1:
        raise UserError(f"{train_examples} train examples in tiles of {tile}: give at least 1 of each.")
    needed = cholesky.predict_fit_bytes(train_examples, tile=tile, dimensions=0, targets=10, halves=2)
    memory.require_memory("A kernel model", needed + 4 * train_examples * test_examples, train_examples, power=2)
    cross = np.zeros((test_examples, train_examples), np.float32, "F")
    return Accumulated(cholesky.make_zero_tiles(train_examples, tile), cross, np.zeros(test_examples))


def add_features(products: Accumulated, train: np.ndarray, test: np.ndarray) -> None:
    """Adds the products of a block of features, in place.

    Cost: (n^2 / 2 + m n) f multiplications and additions in float32, where f is the number of features of the block.

    Args:
      train: float32 [n, f]; test: float32 [m, f].

    Raises:
      UserError: features of other examples, or that are not finite.
    """
    shapes = [(products.train.rows, train), (len(products.cross), test)]
    for expected, features in shapes:
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


def make_train_matrix(kernel: Kernel, products: Accumulated) -> BlockMatrix:
    """Returns the matrix of a kernel on train, of which interpolation.fit_matrix makes a model.

    Its blocks are the tiles: fit with the same `tile`.

    Raises:
      UserError: a kernel that kernels.evaluate refuses, or the Laplacian, which is no function of inner products.
    """
    check_function_of_products(kernel)
    tiles, squares = products.train, _train_squares(products)

    def block(rows: slice, columns: slice, dtype: type) -> np.ndarray:
        i, j = (part.start // tiles.tile for part in (rows, columns))
        found = (tiles.blocks[i][j] if j <= i else tiles.blocks[j][i].T).astype(dtype)
        if (rows.stop - rows.start, columns.stop - columns.start) != found.shape:
            raise UserError(f"kernel.tile={rows.stop - rows.start} is not that of the products: give {tiles.tile}.")
        return kernel_matrix.apply_to_products(kernel, found, squares[rows], squares[columns])

    return BlockMatrix(tiles.rows, tiles.rows, block, f"{kernel} on accumulated features", 0)


def make_cross_matrix(kernel: Kernel, products: Accumulated) -> BlockMatrix:
    """Returns the matrix of a kernel between test and train, for interpolation.predict_matrix.

    Raises:
      UserError: as `make_train_matrix`.
    """
    check_function_of_products(kernel)
    squares = _train_squares(products)

    def block(rows: slice, columns: slice, dtype: type) -> np.ndarray:
        found: np.ndarray = products.cross[rows, columns].astype(dtype)
        return kernel_matrix.apply_to_products(kernel, found, products.test_squares[rows], squares[columns])

    return BlockMatrix(len(products.cross), products.train.rows, block, f"{kernel} on accumulated features", 0)


def find_products_gamma(name: str, products: Accumulated) -> float:
    """Returns as kernels.natural_gamma, from the products of train."""
    squares, tiles = _train_squares(products), products.train
    mean_square = float(squares.mean())
    if name != "gaussian":
        return kernel_matrix.invert_size(mean_square)
    total = 0.0
    for i, line in enumerate(tiles.blocks):
        total += float(line[i].sum(dtype=np.float64)) + 2 * sum(
            float(block.sum(dtype=np.float64)) for block in line[:i]
        )
    return kernel_matrix.invert_size(2 * (mean_square - total / tiles.rows**2))


def check_function_of_products(kernel: Kernel) -> None:
    """Refuses kernels that inner products do not tell."""
    kernel_matrix.check_kernel(kernel)
    if kernel.name == "laplacian":
        raise UserError(
            "kernel.name='laplacian' is no function of inner products: choose gaussian, linear, polynomial."
        )


def _train_squares(products: Accumulated) -> np.ndarray:
    """Returns the inner products of train's examples with themselves, float64 [n]."""
    lines = products.train.blocks
    return np.concatenate([line[i].diagonal() for i, line in enumerate(lines)]).astype(np.float64)
