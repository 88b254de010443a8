"""Kernels: their formulas, whichever blocks they are evaluated in and whatever is subtracted first."""

import numpy as np
import pytest
from sklearn.metrics import pairwise

from rethink.schema.errors import UserError
from rethink.theory.kernels import cholesky, kernel_matrix
from rethink.theory.kernels.kernel_matrix import Kernel

THEIRS = {
    "gaussian": lambda a, b: pairwise.rbf_kernel(a, b, gamma=0.3),
    "laplacian": lambda a, b: pairwise.laplacian_kernel(a, b, gamma=0.3),
    "linear": lambda a, b: 0.3 * pairwise.linear_kernel(a, b),
    "polynomial": lambda a, b: pairwise.polynomial_kernel(a, b, degree=3, gamma=0.3, coef0=0.5),
}


def kernel_of(name):
    return Kernel(name, 0.3, degree=3, offset=0.5)


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((20, 5))


@pytest.fixture
def others():
    return np.random.default_rng(1).standard_normal((9, 5)) + 1


def assemble(matrix, dtype):
    parts = [cholesky.split_rows(count, matrix.tile) for count in (matrix.rows, matrix.columns)]
    return np.block([[matrix.block(a, b, dtype) for b in parts[1]] for a in parts[0]])


def test_the_table_is_tested():
    assert list(kernel_matrix.KERNELS) == ["gaussian", "linear", "polynomial", "laplacian"] and set(THEIRS) == set(
        kernel_matrix.KERNELS
    )


@pytest.mark.parametrize("name", THEIRS)
def test_a_kernel_is_scikit_learns(name, rows, others):
    matrix, whole = kernel_matrix.make_matrix(kernel_of(name), rows, others), (slice(None), slice(None))
    assert np.allclose(matrix.block(*whole, np.float64), THEIRS[name](rows, others), atol=1e-12)
    single = matrix.block(*whole, np.float32)
    assert single.dtype == np.float32 and np.allclose(single, THEIRS[name](rows, others), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", THEIRS)
def test_blocks_of_any_size_make_the_matrix(name, dtype, rows, others):
    for given, expected in (((rows,), THEIRS[name](rows, rows)), ((others, rows), THEIRS[name](others, rows))):
        for tile in (1, 7, 100):
            matrix = kernel_matrix.make_matrix(kernel_of(name), *given, tile=tile)
            found = assemble(matrix, dtype)
            assert found.dtype == dtype and found.shape == (matrix.rows, matrix.columns)
            assert np.allclose(found, expected, rtol=1e-12 if dtype == np.float64 else 1e-4, atol=1e-5)


def test_distances_survive_a_large_common_shift(rows):
    shifted = rows + 1000
    found = assemble(kernel_matrix.make_matrix(kernel_of("gaussian"), shifted, tile=7), np.float32)
    assert np.allclose(found, THEIRS["gaussian"](rows, rows), atol=1e-5)


@pytest.mark.parametrize("gamma", [0.3, 1e8, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["gaussian", "laplacian"])
def test_an_example_is_at_distance_zero_from_itself_and_its_equals(name, dtype, gamma, rows):
    rows = 1e3 * rows
    rows[17] = rows[4]
    for others in ((), (rows.copy(),)):  # train with itself, and a test set that equals it
        found = assemble(kernel_matrix.make_matrix(Kernel(name, gamma), rows, *others, tile=7), dtype)
        assert (found.diagonal() == 1).all() and found[4, 17] == found[17, 4] == 1
        assert np.isfinite(found).all() and found[0, 1] < 1


def test_pixels_as_stored_are_rows():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 5)).astype(np.uint8)
    kernel = Kernel("gaussian", 0.3 / 255**2)
    found = assemble(kernel_matrix.make_matrix(kernel, pixels, tile=7), np.float64)
    assert np.allclose(found, THEIRS["gaussian"](pixels / 255, pixels / 255), rtol=1e-12)


@pytest.mark.parametrize("name", THEIRS)
def test_products_with_vectors_are_those_of_the_whole_matrix(name, rows, others):
    vectors, shown = (
        np.random.default_rng(2).standard_normal((20, 3)),
        {"progress": cholesky.ignore_progress, "stage": ""},
    )
    square = kernel_matrix.make_matrix(kernel_of(name), rows, tile=7)
    cross = kernel_matrix.make_matrix(kernel_of(name), others, rows, tile=7)
    for matrix, expected in ((square, THEIRS[name](rows, rows)), (cross, THEIRS[name](others, rows))):
        found = kernel_matrix.multiply_matrix(matrix, vectors, **shown)
        assert np.allclose(found, expected @ vectors, rtol=1e-12, atol=1e-12)
    found = kernel_matrix.multiply_matrix(square, vectors, symmetric=True, **shown)
    assert np.allclose(found, THEIRS[name](rows, rows) @ vectors, rtol=1e-12, atol=1e-12)


def test_the_natural_gamma_makes_the_argument_one_on_average(rows):
    apart = pairwise.euclidean_distances(rows, squared=True)
    assert kernel_matrix.find_natural_gamma("gaussian", rows) == pytest.approx(1 / apart.mean())
    assert kernel_matrix.find_natural_gamma("gaussian", rows + 100) == pytest.approx(1 / apart.mean())
    for name in ("linear", "polynomial"):
        assert kernel_matrix.find_natural_gamma(name, rows) == pytest.approx(20 / np.sum(rows**2))
    near = pairwise.manhattan_distances(rows).mean()
    assert kernel_matrix.find_natural_gamma("laplacian", rows) == pytest.approx(1 / near, rel=0.3)


@pytest.mark.parametrize("name", THEIRS)
def test_equal_rows_have_no_natural_gamma(name):
    equal = np.full((4, 3), 0.1) if name in ("gaussian", "laplacian") else np.zeros((4, 3))
    with pytest.raises(UserError, match="all equal.*kernel.gamma"):
        kernel_matrix.find_natural_gamma(name, equal)


@pytest.mark.parametrize(
    "kernel, said",
    [
        (Kernel("gausian", 1.0), "did you mean 'gaussian'"),
        (Kernel("gaussian", 0.0), "kernel.gamma=0.0 is out of range"),
        (Kernel("gaussian", float("nan")), "kernel.gamma=nan is out of range"),
        (Kernel("polynomial", 1.0, degree=0), "kernel.degree=0 is out of range"),
        (Kernel("polynomial", 1.0, offset=float("inf")), "kernel.offset=inf is out of range"),
    ],
)
def test_a_kernel_that_is_none_is_refused(kernel, said, rows):
    with pytest.raises(UserError, match=said):
        kernel_matrix.make_matrix(kernel, rows)


def test_rows_that_are_none_are_refused(rows):
    kernel = kernel_of("gaussian")
    for empty in (rows[:0], rows[:, :0], rows[0]):
        with pytest.raises(UserError, match="rows are of shape .*at least one of each"):
            kernel_matrix.make_matrix(kernel, empty)
    with pytest.raises(UserError, match="5 and 4 dimensions"):
        kernel_matrix.make_matrix(kernel, rows, rows[:, :4])
    for bad in (np.nan, np.inf):
        rows[3, 2] = bad
        with pytest.raises(UserError, match=f"rows have the value {bad} in row 3"):
            kernel_matrix.make_matrix(kernel, rows)


def test_equal_rows_are_named(rows):
    ids, labels = 100 + np.arange(len(rows)), np.arange(len(rows)) % 10
    kernel_matrix.check_distinct(rows, ids, labels)
    rows[17] = rows[4]
    with pytest.raises(UserError, match=r"Examples 104 and 117 \(labels 4 and 7\) are equal.* set a ridge"):
        kernel_matrix.check_distinct(rows, ids, labels)


def test_a_kernel_says_what_it_is():
    assert str(Kernel("gaussian", 0.02)) == "gaussian kernel (gamma=0.02)"
    assert str(kernel_of("polynomial")) == "polynomial kernel (gamma=0.3, degree=3, offset=0.5)"
