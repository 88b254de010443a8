"""Accumulated features: the products of all features at once, whatever the blocks, and a kernel model made of them."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

from rethink.schema.errors import UserError
from rethink.theory import memory
from rethink.theory.kernels import cholesky, gram_accumulation, interpolation, kernel_matrix
from rethink.theory.kernels.kernel_matrix import Kernel

TRAIN, TEST, COUNT = 20, 9, 31


@pytest.fixture(scope="module")
def train():
    return np.random.default_rng(0).standard_normal((TRAIN, COUNT)).astype(np.float32)


@pytest.fixture(scope="module")
def test():
    return np.random.default_rng(1).standard_normal((TEST, COUNT)).astype(np.float32)


def accumulate(train, test, block, tile=7, order="C"):
    products = gram_accumulation.start_products(len(train), len(test), tile=tile)
    for start in range(0, train.shape[1], block):
        part = slice(start, start + block)
        gram_accumulation.add_features(
            products, np.array(train[:, part], order=order), np.array(test[:, part], order=order)
        )
    return products


def assemble(matrix, tile):
    return np.block(
        [
            [matrix.block(a, b, np.float64) for b in cholesky.split_rows(matrix.columns, tile)]
            for a in cholesky.split_rows(matrix.rows, tile)
        ]
    )


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("tile", [7, 10, 50])
@pytest.mark.parametrize("block", [1, 4, 31, 100])
def test_products_are_those_of_all_features_at_once(train, test, block, tile, order):
    products, linear = accumulate(train, test, block, tile, order), Kernel("linear", 1.0)
    assert np.allclose(assemble(gram_accumulation.make_matrices(linear, products)[0], tile), train @ train.T, atol=1e-4)
    assert np.allclose(assemble(gram_accumulation.make_matrices(linear, products)[1], tile), test @ train.T, atol=1e-4)
    assert np.allclose(products.test_squares, np.sum(test**2, axis=1), atol=1e-4)


@pytest.mark.parametrize(
    "kernel, theirs",
    [
        (Kernel("gaussian", 0.01), lambda a, b: rbf_kernel(a, b, gamma=0.01)),
        (
            Kernel("polynomial", 0.05, degree=2, offset=0.5),
            lambda a, b: polynomial_kernel(a, b, gamma=0.05, degree=2, coef0=0.5),
        ),
    ],
)
def test_kernels_of_products_are_those_of_the_features(train, test, kernel, theirs):
    products = accumulate(train, test, 4)
    assert np.allclose(
        assemble(gram_accumulation.make_matrices(kernel, products)[0], 7), theirs(train, train), atol=1e-5
    )
    assert np.allclose(
        assemble(gram_accumulation.make_matrices(kernel, products)[1], 7), theirs(test, train), atol=1e-5
    )


@pytest.mark.parametrize("gamma", [0.01, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_example_is_at_distance_zero_from_itself(train, test, gamma, dtype):
    gram = gram_accumulation.make_matrices(Kernel("gaussian", gamma), accumulate(train, test, 4))[0]
    for rows in cholesky.split_rows(TRAIN, 7):
        assert (gram.block(rows, rows, dtype).diagonal() == 1).all()


@pytest.mark.parametrize("kernel, ridge", [(Kernel("gaussian", 0.01), 0.0), (Kernel("linear", 0.1), 0.5)])
def test_a_model_of_products_is_that_of_the_features(train, test, kernel, ridge):
    products, targets = accumulate(train, test, 4), np.eye(2)[np.arange(TRAIN) % 2]
    held = [block.copy() for line in products.train.blocks for block in line]
    found = interpolation.fit_matrix(gram_accumulation.make_matrices(kernel, products)[0], targets, ridge=ridge)
    direct = interpolation.fit_matrix(kernel_matrix.make_matrix(kernel, train, tile=7), targets, ridge=ridge)
    assert np.allclose(found.alpha, direct.alpha, atol=1e-4) and found.norm == pytest.approx(direct.norm, rel=1e-4)
    assert found.residual < 1e-6
    predicted = interpolation.predict_matrix(found, gram_accumulation.make_matrices(kernel, products)[1])
    assert np.allclose(
        predicted,
        interpolation.predict_matrix(direct, kernel_matrix.make_matrix(kernel, test, train, tile=7)),
        atol=1e-4,
    )
    kept = [block for line in products.train.blocks for block in line]
    assert all(np.array_equal(a, b) for a, b in zip(held, kept, strict=True))  # and more features may follow


def test_fewer_features_than_examples_have_no_interpolant(train, test):
    products = accumulate(train[:, :8], test[:, :8], 4)
    matrix = gram_accumulation.make_matrices(Kernel("linear", 1.0), products)[0]
    targets = np.eye(2)[np.arange(TRAIN) % 2]
    with pytest.raises(interpolation.SingularMatrix, match="linear kernel.*accumulated features.*more features than"):
        interpolation.fit_matrix(matrix, targets, ridge=0.0)
    assert interpolation.fit_matrix(matrix, targets, ridge=1.0).residual < 1e-6


def test_the_natural_gamma_is_that_of_the_features(train, test):
    products = accumulate(train, test, 4)
    for name in ("gaussian", "linear", "polynomial"):
        assert gram_accumulation.find_products_gamma(name, products) == pytest.approx(
            kernel_matrix.find_natural_gamma(name, train), rel=1e-5
        )


def test_products_that_are_wrong_are_seen(train, test):
    assert gram_accumulation.measure_products_error(accumulate(train, test, 4)) < 1e-6
    for spoil in (
        lambda products: products.train.blocks[2][1].__imul__(np.float32(1.1)),
        lambda products: products.cross.__imul__(np.float32(1.1)),
    ):
        products = accumulate(train, test, 4)
        spoil(products)
        with pytest.raises(UserError, match="inner products miss those of the features by"):
            gram_accumulation.measure_products_error(products)


def test_a_matrix_has_the_tile_of_its_products(train, test):
    products = accumulate(train, test, 4)
    for matrix in gram_accumulation.make_matrices(Kernel("gaussian", 0.01), products):
        assert matrix.tile == products.train.tile == 7


def test_no_test_examples_are_needed(train):
    products = accumulate(train, train[:0], 4)
    assert products.cross.shape == (0, TRAIN)


def test_bad_input_is_one_line(train, test, monkeypatch):
    products = gram_accumulation.start_products(TRAIN, TEST, tile=7)
    for given in ((train[:-1], test), (train, test[:-1]), (train, test[:, :-1]), (train[0], test)):
        with pytest.raises(UserError, match="are not those of"):
            gram_accumulation.add_features(products, *given)
    bad = train.copy()
    bad[3, 4] = np.nan
    with pytest.raises(UserError, match="NaN"):
        gram_accumulation.add_features(products, bad, test)
    with pytest.raises(UserError, match="laplacian"):
        gram_accumulation.make_matrices(Kernel("laplacian", 1.0), products)[0]
    with pytest.raises(UserError, match="laplacian"):
        gram_accumulation.find_products_gamma("laplacian", products)
    with pytest.raises(UserError, match="kernel.name='gausian' is unknown"):
        gram_accumulation.find_products_gamma("gausian", products)
    with pytest.raises(UserError, match="at least 1"):
        gram_accumulation.start_products(0, 3, tile=7)
    with pytest.raises(UserError, match="all equal"):
        gram_accumulation.find_products_gamma("gaussian", products)  # no feature yet
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(UserError, match="data.train_examples to at most"):
        gram_accumulation.start_products(TRAIN, TEST, tile=7)
