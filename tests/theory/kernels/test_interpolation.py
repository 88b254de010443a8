"""The kernel model: the solution of the whole system whatever the tiles, its certificate, and what it refuses."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel

from rethink.schema.errors import UserError
from rethink.theory import memory
from rethink.theory.kernels import cholesky, interpolation, kernel_matrix
from rethink.theory.kernels.kernel_matrix import Kernel

GAUSSIAN = Kernel("gaussian", 0.3)


def fit(rows, targets, kernel, *, ridge, tile=cholesky.TILE, **options):
    matrix = kernel_matrix.make_matrix(kernel, rows, tile=tile)
    return interpolation.fit_matrix(matrix, targets, ridge=ridge, **options)


def predict(solution, kernel, train_rows, rows, tile=cholesky.TILE):
    return interpolation.predict_matrix(solution, kernel_matrix.make_matrix(kernel, rows, train_rows, tile=tile))


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((40, 5))


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(1).integers(0, 3, 40)


@pytest.fixture(scope="module")
def targets(labels):
    return np.eye(3)[labels]


@pytest.fixture(scope="module")
def others():
    return np.random.default_rng(2).standard_normal((9, 5))


@pytest.mark.parametrize("tile", [7, 40, 1000])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_the_solution_is_that_of_the_whole_system(rows, targets, tile, ridge):
    found = fit(rows, targets, GAUSSIAN, ridge=ridge, tile=tile)
    matrix = rbf_kernel(rows, gamma=0.3)
    expected = np.linalg.solve(matrix + ridge * np.eye(40), targets)
    assert np.allclose(found.alpha, expected, rtol=1e-4, atol=1e-4)
    assert np.allclose(found.fitted, matrix @ found.alpha, atol=1e-12)
    system = np.abs(matrix @ found.alpha + ridge * found.alpha - targets).max()
    assert found.residual == pytest.approx(system, abs=1e-12) and found.residual < 1e-6
    assert found.train_residual == pytest.approx(np.abs(matrix @ found.alpha - targets).max())
    assert found.norm == pytest.approx(np.sqrt(np.trace(found.alpha.T @ matrix @ found.alpha)))
    assert found.condition == pytest.approx(np.linalg.cond(matrix + ridge * np.eye(40)), rel=0.1)
    assert set(found.seconds) == {"gram", "factor", "refinement", "certificate", "condition"} and found.peak_bytes > 1e7


@pytest.mark.parametrize("ridge", [1e-6, 0.1])
@pytest.mark.parametrize("name", ["gaussian", "linear", "polynomial", "laplacian"])
def test_predictions_are_scikit_learns(rows, targets, others, name, ridge):
    kernel = Kernel(name, 0.3, degree=3, offset=1.0)
    if name == "linear" and ridge < 0.1:
        pytest.skip("five dimensions: singular")
    theirs = KernelRidge(alpha=ridge, kernel={"gaussian": "rbf"}.get(name, name), gamma=0.3, degree=3, coef0=1.0)
    scale = 1 / 0.3 if name == "linear" else 1.0  # theirs has no gamma
    if name == "linear":
        theirs.alpha = ridge * scale
    found = fit(rows, targets, kernel, ridge=ridge, tile=7)
    predicted = predict(found, kernel, rows, others, tile=7)
    assert np.allclose(predicted, theirs.fit(rows, targets).predict(others), atol=1e-4)


def test_an_interpolant_reproduces_random_labels_and_a_ridge_does_not(rows, targets, labels):
    exact = fit(rows, targets, GAUSSIAN, ridge=0.0, tile=7)
    assert exact.train_residual < 1e-6 and interpolation.compute_error_rate(exact.fitted, labels) == 0
    shrunk = fit(rows, targets, GAUSSIAN, ridge=10.0, tile=7)
    assert shrunk.train_residual > 0.1 and shrunk.norm < exact.norm and shrunk.residual < 1e-6


def test_many_targets_are_each_solved_as_alone(rows, targets):
    together = fit(rows, targets, GAUSSIAN, ridge=0.0, tile=7).alpha
    for column in range(3):
        alone = fit(rows, targets[:, [column]], GAUSSIAN, ridge=0.0, tile=7).alpha
        assert np.allclose(together[:, [column]], alone, rtol=1e-4, atol=1e-5)
    with_zeros = np.concatenate([targets, np.zeros((40, 1))], axis=1)
    assert not fit(rows, with_zeros, GAUSSIAN, ridge=0.0, tile=7).alpha[:, 3].any()


def test_refinement_takes_a_float32_factor_to_float64(rows, targets, monkeypatch):
    monkeypatch.setattr(interpolation, "TOLERANCE", 1e-13)
    kernel = Kernel("gaussian", 0.03)  # of condition 1e6
    found = fit(rows, targets, kernel, ridge=0.0, tile=7)
    assert found.condition > 1e5
    assert found.residuals[0] == 1 and found.residuals[1] > 1e-8 > 1e-10 > found.residual
    matrix = rbf_kernel(rows, gamma=0.03)
    tiles = cholesky.fill_tiles(lambda a, b: matrix[a, b].astype(np.float32), 40, tile=7, ridge=0.0)
    cholesky.factor_tiles(tiles)
    unrefined = np.abs(matrix @ cholesky.solve_with_factor(tiles, targets) - targets).max()
    assert unrefined > 1e5 * found.residual


def test_a_matrix_below_the_noise_of_float32_is_still_solved(targets):
    grid = np.linspace(0, 1, 12)[:, None]
    kernel, smooth = Kernel("gaussian", 5.0), np.sin(5 * grid)
    assert 0 < np.linalg.eigvalsh(rbf_kernel(grid, gamma=5.0))[0] < cholesky.EPSILON
    found = fit(grid, smooth, kernel, ridge=0.0, tile=5)
    assert found.residual < 1e-6
    assert np.allclose(predict(found, kernel, grid, grid, tile=5), smooth, atol=1e-6)


def scale_the_solvers_product(monkeypatch):
    """Makes every product with K wrong that is not one of the path that predicts."""
    product = kernel_matrix.multiply_matrix

    def scaled(matrix, vectors, *, symmetric=False, **shown):
        return (2.5 if symmetric else 1.0) * product(matrix, vectors, symmetric=symmetric, **shown)

    monkeypatch.setattr(kernel_matrix, "multiply_matrix", scaled)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_the_certificate_takes_nothing_from_the_solver(rows, targets, monkeypatch, ridge):
    scale_the_solvers_product(monkeypatch)
    with pytest.raises(interpolation.SingularMatrix, match="refinements leave [56].*e-01 of targets up to 1"):
        fit(rows, targets, GAUSSIAN, ridge=ridge, tile=7)
    monkeypatch.setattr(interpolation, "SOLVED", np.inf)
    found = fit(rows, targets, GAUSSIAN, ridge=ridge, tile=7)
    true = rbf_kernel(rows, gamma=0.3) @ found.alpha
    assert found.residuals[-1] < 1e-6 < 0.5 < found.residual  # the recurrence is content
    assert found.residual == pytest.approx(np.abs(true + ridge * found.alpha - targets).max())
    assert np.allclose(found.fitted, true) and found.norm == pytest.approx(np.sqrt(np.sum(found.alpha * true)))


def test_coefficients_that_are_wrong_are_seen(rows, targets, monkeypatch):
    solve = interpolation._run_conjugate_gradients
    monkeypatch.setattr(interpolation, "SOLVED", np.inf)
    right = fit(rows, targets, GAUSSIAN, ridge=0.0, tile=7)

    def spoil(*given):
        alpha, residuals = solve(*given)
        alpha[17, 1] += 0.25
        return alpha, residuals

    monkeypatch.setattr(interpolation, "_run_conjugate_gradients", spoil)
    assert fit(rows, targets, GAUSSIAN, ridge=0.0, tile=7).residual == pytest.approx(0.25, abs=1e-5)
    assert right.residual < 1e-6


def test_a_factor_of_another_matrix_is_seen(rows, targets, monkeypatch):
    assert fit(rows, targets, GAUSSIAN, ridge=0.0, tile=7).factor_error < 1e-6
    factor = cholesky.factor_tiles

    def spoil(lower, **shown):
        factor(lower, **shown)
        lower.blocks[3][1] *= np.float32(1.1)

    monkeypatch.setattr(cholesky, "factor_tiles", spoil)
    found = fit(rows, targets, GAUSSIAN, ridge=0.0, tile=7)
    assert found.factor_error > 1e-4 and found.residual < 1e-6  # it is but a preconditioner


def solve_by_differences(rows, targets, gamma, ridge):
    """Returns alpha and norm with a kernel of differences, whose diagonal is 1."""
    with np.errstate(over="ignore"):
        matrix = np.exp(-gamma * np.sum((rows[:, None] - rows) ** 2, axis=-1))
    alpha = np.linalg.solve(matrix + ridge * np.eye(len(rows)), targets)
    return alpha, np.sqrt(np.sum(alpha * (matrix @ alpha)))


@pytest.mark.parametrize("name", ["gaussian", "laplacian"])
@pytest.mark.parametrize("gamma", [1e3, 1e13, 1e15, 1e18, 1e300])
def test_at_an_extreme_gamma_every_example_is_its_own(rows, targets, name, gamma):
    found = fit(100 * rows, targets, Kernel(name, gamma), ridge=0.0, tile=7)
    assert np.allclose(found.alpha, targets, atol=1e-6) and found.norm == pytest.approx(np.sqrt(40), rel=1e-6)
    shrunk = fit(100 * rows, targets, Kernel(name, gamma), ridge=1.0, tile=7)
    assert np.allclose(shrunk.alpha, targets / 2, atol=1e-6) and shrunk.norm == pytest.approx(np.sqrt(10), rel=1e-6)


@pytest.mark.parametrize("apart", [0.0, 1e-6])
@pytest.mark.parametrize("gamma", [1e10, 1e11, 1e15])
def test_examples_that_nearly_coincide_have_the_norm_of_float64(rows, targets, gamma, apart):
    near = 100 * rows
    near[[9, 33]] = near[[2, 30]] + apart
    alpha, norm = solve_by_differences(near, targets, gamma, 0.5)
    found = fit(near, targets, Kernel("gaussian", gamma), ridge=0.5, tile=7)
    assert np.allclose(found.alpha, alpha, atol=1e-5) and found.norm == pytest.approx(norm, rel=1e-5)
    assert found.residual < 1e-6


def test_one_example_is_a_model():
    found = fit(np.ones((1, 3)), np.array([[0.0, 2.0]]), GAUSSIAN, ridge=1.0, tile=7)
    assert np.allclose(found.alpha, [[0.0, 1.0]]) and found.condition == pytest.approx(1)
    assert np.allclose(predict(found, GAUSSIAN, np.ones((1, 3)), np.ones((2, 3))), [[0, 1]] * 2)


def test_targets_of_zero_have_the_model_zero(rows):
    found = fit(rows, np.zeros((40, 2)), GAUSSIAN, ridge=0.0, tile=7)
    assert not found.alpha.any() and found.norm == 0 and found.residual == 0


def test_progress_names_the_stages(rows, targets):
    seen = []
    fit(
        rows,
        targets,
        GAUSSIAN,
        ridge=0.0,
        tile=7,
        progress=lambda stage, done, total: seen.append((stage, done == total)),
    )
    ended = [stage for stage, last in seen if last]
    assert ended[:3] == ["Gram matrix", "Cholesky factor", "refinement 1"] and len(seen) > len(ended)


def test_equal_examples_with_other_labels_are_an_error_without_a_ridge(rows, targets):
    twice = np.concatenate([rows[:39], rows[5:6]])
    targets = np.concatenate([targets[:39], np.roll(targets[5:6], 1)])
    with pytest.raises(interpolation.SingularMatrix, match="singular"):
        fit(twice, targets, GAUSSIAN, ridge=0.0, tile=7)
    assert fit(twice, targets, GAUSSIAN, ridge=0.1, tile=7).residual < 1e-6


def test_a_singular_kernel_is_an_error_that_names_kernel_pivot_and_remedy(rows, targets):
    with pytest.raises(interpolation.SingularMatrix) as error:
        fit(rows, targets, Kernel("linear", 0.3), ridge=0.0, tile=7)
    line = str(error.value)
    assert "\n" not in line and "linear kernel (gamma=0.3)" in line and "singular" in line
    assert "pivot" in line and "example" in line and "of 6" in line and "kernel.ridge" in line


def test_an_indefinite_kernel_is_an_error(rows, targets):
    with pytest.raises(
        interpolation.SingularMatrix, match="polynomial kernel.*indefinite.*pivot of example 0 .tile 1 of 6"
    ):
        fit(rows, targets, Kernel("polynomial", 0.3, degree=1, offset=-100.0), ridge=0.0, tile=7)


def test_a_bandwidth_too_wide_is_an_error_that_says_so(rows, targets):
    with pytest.raises(interpolation.SingularMatrix, match="larger kernel.gamma"):
        fit(rows, targets, Kernel("gaussian", 1e-9), ridge=0.0, tile=7)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"rows": np.zeros((0, 5)), "targets": np.zeros((0, 3))}, "rows are of shape"),
        ({"targets": np.zeros((39, 3))}, "40 examples have 39 targets"),
        ({"targets": np.zeros(40)}, "one-hot"),
        ({"targets": np.full((40, 3), np.nan)}, "targets have the value nan in row 0"),
        ({"rows": np.full((40, 5), np.nan)}, "rows have the value nan in row 0"),
        ({"ridge": -1.0}, "kernel.ridges=-1.0"),
        ({"ridge": np.nan}, "kernel.ridges=nan"),
        ({"tile": 0}, "kernel.tile=0"),
    ],
)
def test_bad_input_is_one_line(rows, targets, change, said):
    given = {"rows": rows, "targets": targets, "kernel": GAUSSIAN, "ridge": 0.0, "tile": 7, **change}
    with pytest.raises(UserError, match=said) as error:
        fit(given.pop("rows"), given.pop("targets"), given.pop("kernel"), **given)
    assert "\n" not in str(error.value)


def test_memory_is_predicted_before_anything_is_computed(rows, targets, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 10_000)
    monkeypatch.setattr(cholesky, "fill_tiles", None)
    with pytest.raises(UserError, match="data.train_examples to at most"):
        fit(rows, targets, GAUSSIAN, ridge=0.0, tile=7)


def test_a_matrix_by_blocks_gives_the_same_model(rows, targets):
    matrix = kernel_matrix.make_matrix(GAUSSIAN, rows, tile=7)
    by_blocks = interpolation.fit_matrix(matrix, targets, ridge=0.0, condition=False)
    assert np.array_equal(by_blocks.alpha, fit(rows, targets, GAUSSIAN, ridge=0.0, tile=7).alpha)
    assert np.isnan(by_blocks.condition)
