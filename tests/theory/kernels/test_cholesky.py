"""Tiles: they hold what the whole matrix holds, factor and solve as LAPACK does, and say where a pivot is missing."""

import numpy as np
import pytest

from rethink.theory.kernels import cholesky, matmul

SIZES = [(1, 7), (7, 7), (20, 7), (21, 7), (20, 50)]  # one row, one tile, a ragged last tile, whole tiles, a large tile


def positive(count, seed=0, floor=0.1):
    a = np.random.default_rng(seed).standard_normal((count, count))
    return a @ a.T / count + floor * np.eye(count)


def tiles_of(matrix, tile, ridge=0.0):
    return cholesky.fill_tiles(lambda a, b: matrix[a, b].astype(np.float32), len(matrix), tile=tile, ridge=ridge)


def whole(tiles):
    return np.tril(
        np.block(
            [line + [np.zeros((len(line[0]), tiles.rows - sum(b.shape[1] for b in line)))] for line in tiles.blocks]
        )
    )


@pytest.mark.parametrize("count, tile", SIZES)
def test_tiles_hold_the_lower_half_and_the_ridge(count, tile):
    matrix = positive(count)
    tiles = tiles_of(matrix, tile, ridge=0.5)
    assert np.allclose(whole(tiles), np.tril(matrix + 0.5 * np.eye(count)), atol=1e-6)
    assert all(block.flags.f_contiguous and block.dtype == np.float32 for line in tiles.blocks for block in line)
    assert sum(len(line) for line in tiles.blocks) == len(tiles.blocks) * (len(tiles.blocks) + 1) // 2


@pytest.mark.parametrize("count, tile", SIZES)
def test_the_factor_is_that_of_the_whole_matrix(count, tile):
    matrix = positive(count)
    tiles = tiles_of(matrix, tile)
    held = [block for line in tiles.blocks for block in line]
    cholesky.factor_tiles(tiles)
    expected = np.linalg.cholesky(matrix)
    assert np.allclose(whole(tiles), expected, atol=1e-5)
    for before, after in zip(held, (block for line in tiles.blocks for block in line), strict=True):
        assert before is after or np.shares_memory(before, after)  # in place
    pivot, row = cholesky.find_smallest_pivot(tiles)
    assert (row, pivot) == (expected.diagonal().argmin(), pytest.approx(expected.diagonal().min() ** 2, rel=1e-4))


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("count, tile", SIZES)
def test_solve_and_multiply_invert_each_other(count, tile, targets):
    matrix, right = positive(count), np.random.default_rng(1).standard_normal((count, targets))
    tiles = tiles_of(matrix, tile)
    cholesky.factor_tiles(tiles)
    found = cholesky.solve_with_factor(tiles, right)
    assert np.allclose(found, np.linalg.solve(matrix, right), atol=1e-3)
    assert np.allclose(cholesky.multiply_by_factor(tiles, right), matrix @ right, atol=1e-5)
    assert np.allclose(cholesky.multiply_by_factor(tiles, found), right, atol=1e-4)


def test_the_accelerators_products_give_the_same_factor(monkeypatch):
    matrix = positive(20)
    ours, theirs = tiles_of(matrix, 7), tiles_of(matrix, 7)
    cholesky.factor_tiles(ours)
    monkeypatch.setattr(matmul, "_has_accelerator", lambda: True)
    cholesky.factor_tiles(theirs)
    assert np.allclose(whole(ours), whole(theirs), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_accelerators_product_keeps_its_dtype(dtype):
    a, b = (np.random.default_rng(seed).standard_normal((5, 300)).astype(dtype) for seed in (0, 1))
    found = matmul.multiply_on_accelerator(a, b)
    assert found.dtype == dtype and np.allclose(
        found, a @ b.T, rtol=100 * np.finfo(dtype).eps, atol=1e3 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("order_a", "CF")
@pytest.mark.parametrize("order_b", "CF")
def test_a_product_is_added_where_the_matrix_lies(order_a, order_b):
    rng = np.random.default_rng(0)
    a, b = (np.array(rng.standard_normal((n, 4)), np.float32, order=o) for n, o in ((5, order_a), (3, order_b)))
    c = np.ones((5, 3), np.float32, "F")
    matmul.add_product(c, a, b, factor=-2.0)
    assert np.allclose(c, 1 - 2 * a @ b.T, atol=1e-5)
    with pytest.raises(ValueError):
        matmul.add_product(np.ones((5, 3), np.float32), a, b, factor=1.0)


def test_the_shift_is_small_beside_the_largest_eigenvalue_and_saves_the_factor():
    points = np.linspace(0, 1, 40)[:, None]
    matrix = np.exp(-0.3 * (points - points.T) ** 2)  # eigenvalues down to 1e-17, far below float32's noise
    with pytest.raises(cholesky.NotPositive):
        cholesky.factor_tiles(tiles_of(matrix, 7))
    tiles = tiles_of(matrix, 7)
    shift = cholesky.shift_diagonal(tiles)
    assert 0 < shift < 1e-5
    assert np.allclose(whole(tiles), np.tril(matrix) + shift * np.eye(40), atol=1e-7)


@pytest.mark.parametrize("row", [0, 6, 7, 19])
def test_a_missing_pivot_is_named(row):
    matrix = positive(20)
    matrix[row, row] = -1.0
    with pytest.raises(cholesky.NotPositive) as error:
        cholesky.factor_tiles(tiles_of(matrix, 7))
    assert error.value.row == row


def test_the_condition_is_bounded_from_below_and_near():
    eigenvalues = np.geomspace(1e-3, 1, 40)
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 40)))[0]
    tiles = tiles_of(directions * eigenvalues @ directions.T, 7)
    cholesky.factor_tiles(tiles)
    found = cholesky.estimate_condition(tiles, np.random.default_rng(1).standard_normal(40))
    assert 0.8 * 1e3 < found < 1.01 * 1e3


@pytest.mark.parametrize("count, expected", [(1, 1.0), (20, 1.0)])
def test_the_condition_of_the_identity_is_one(count, expected):
    tiles = tiles_of(2 * np.eye(count), 7)
    cholesky.factor_tiles(tiles)
    assert cholesky.estimate_condition(tiles, np.ones(count)) == pytest.approx(expected, rel=1e-5)


def test_progress_goes_from_little_to_all():
    seen = {}
    tiles = cholesky.fill_tiles(
        lambda a, b: positive(20)[a, b].astype(np.float32),
        20,
        tile=7,
        ridge=0.0,
        progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)),
    )
    cholesky.factor_tiles(tiles, progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)))
    for reports in seen.values():
        done = [report[0] for report in reports]
        assert done == sorted(done) and reports[-1] == (reports[-1][1],) * 2
    assert list(seen) == ["Gram matrix", "Cholesky factor"]


def test_sixty_thousand_examples_need_less_than_ten_gigabytes():
    needed = cholesky.predict_fit_bytes(60_000, tile=4000, dimensions=784, targets=10)
    assert 60_000**2 / 2 * 4 < needed < 10e9
    twice = cholesky.predict_fit_bytes(60_000, tile=4000, dimensions=784, targets=10, halves=2)
    assert twice - needed == pytest.approx(60_000 * 64_000 / 2 * 4)
