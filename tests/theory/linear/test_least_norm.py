"""The least-norm interpolant: against LAPACK, its minimality, the kernel form, the span, the curvature."""

import numpy as np
import pytest
import scipy.linalg

from rethink.schema.errors import UserError
from rethink.theory.linear import gradient_descent, least_norm


def features_of(examples, dimensions, condition, seed=0):
    """Returns features with log-spaced singular values from 1 down to 1 / condition."""
    random = np.random.default_rng(seed)
    rank = min(examples, dimensions)
    left = np.linalg.qr(random.standard_normal((examples, rank)))[0]
    right = np.linalg.qr(random.standard_normal((dimensions, rank)))[0]
    return left * np.geomspace(1, 1 / condition, rank) @ right.T


def targets_of(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def gap(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (30, 30), (1, 5), (5, 1)])
@pytest.mark.parametrize("condition", [1e1, 1e6])
@pytest.mark.parametrize("columns", [(), (3,)])
def test_least_norm_is_that_of_lapack(shape, condition, columns):
    x, y = features_of(*shape, condition), targets_of(shape[0], *columns)
    found = least_norm.solve_least_norm(x, y)
    expected = np.linalg.lstsq(x, y, rcond=None)[0]
    assert found.weights.shape == expected.shape and gap(found.weights, expected) < 1e-8
    assert found.interpolates == (shape[0] <= shape[1]) and found.rank == min(shape)
    if min(shape) > 1:
        assert found.condition == pytest.approx(condition, rel=1e-6)
    assert found.norm == pytest.approx(np.linalg.norm(expected))


def test_a_rank_deficient_system_is_cut_off_where_lapack_does():
    x = features_of(20, 60, 10)
    x = np.vstack([x, x[:5]])
    y = targets_of(25)
    found = least_norm.solve_least_norm(x, y)
    assert found.rank == 20 and not found.interpolates
    assert gap(found.weights, np.linalg.lstsq(x, y, rcond=None)[0]) < 1e-8
    consistent = least_norm.solve_least_norm(x, np.concatenate([y[:20], y[:5]]))
    assert consistent.interpolates


def test_a_wrong_decomposition_is_seen():
    x, y = features_of(20, 60, 100), targets_of(20, 2)
    basis = least_norm.decompose_features(x)
    scaled = least_norm.solve_least_norm(basis._replace(singular=2.5 * basis.singular), y)
    assert scaled.residual == pytest.approx(0.6) and not scaled.interpolates
    others = np.linalg.qr(targets_of(60, 20))[0].T
    assert least_norm.solve_least_norm(basis._replace(right=others), y).residual > 0.1


def test_a_wrong_kernel_form_is_seen(monkeypatch):
    x, y = features_of(20, 60, 10), targets_of(20, 2)
    solve = scipy.linalg.cho_solve
    monkeypatch.setattr(scipy.linalg, "cho_solve", lambda *given: 3 * solve(*given))
    found = least_norm.solve_kernel_form(x, y)
    assert found.residual == pytest.approx(gap(x @ found.weights, y)) and found.residual > 1
    assert found.norm == pytest.approx(np.linalg.norm(found.weights))


def test_every_other_interpolant_is_longer():
    x, y = features_of(10, 30, 100), targets_of(10)
    least = least_norm.solve_least_norm(x, y)
    for seed in range(5):
        away = least_norm.project_outside_span(x, targets_of(30, seed=seed))
        other = least.weights + away
        assert np.allclose(x @ other, y) and np.linalg.norm(other) > least.norm
        assert np.linalg.norm(other) ** 2 == pytest.approx(least.norm**2 + np.linalg.norm(away) ** 2)


@pytest.mark.parametrize("condition", [10, 1e4])
@pytest.mark.parametrize("columns", [(), (4,)])
def test_the_kernel_form_is_the_same_solution(condition, columns):
    x, y = features_of(25, 80, condition), targets_of(25, *columns)
    kernel, least = least_norm.solve_kernel_form(x, y), least_norm.solve_least_norm(x, y)
    assert gap(kernel.weights, least.weights) < 1e-8 and kernel.residual < 1e-8
    assert kernel.alpha.shape == y.shape and np.allclose(x.T @ kernel.alpha, kernel.weights)
    assert kernel.norm == pytest.approx(least.norm, rel=1e-6)
    assert condition**2 / 100 < kernel.condition < condition**2 * 100


def test_refinement_is_what_makes_the_kernel_form_exact():
    x, y = features_of(40, 80, 1e6), targets_of(40)
    kernel, least = least_norm.solve_kernel_form(x, y), least_norm.solve_least_norm(x, y).weights
    naive = x.T @ scipy.linalg.cho_solve(scipy.linalg.cho_factor(x @ x.T), y)
    assert kernel.refinements and gap(kernel.weights, least) < 1e-8 < 1e-7 < gap(naive, least)


def test_outside_the_span_is_orthogonal_to_every_example():
    x, w = features_of(10, 30, 100), targets_of(30, 2)
    outside = least_norm.project_outside_span(x, w)
    assert np.allclose(x @ outside, 0, atol=1e-12) and np.allclose(least_norm.project_outside_span(x, outside), outside)
    assert np.allclose(least_norm.project_outside_span(x, x.T @ targets_of(10)), 0, atol=1e-12)


def test_the_limit_is_the_interpolant_nearest_to_the_start():
    x, y, start = features_of(10, 30, 100), targets_of(10), targets_of(30, seed=2)
    least = least_norm.solve_least_norm(x, y).weights
    limit = least + least_norm.project_outside_span(x, start)
    assert np.allclose(x @ limit, y)
    expected = start + np.linalg.lstsq(x, y - x @ start, rcond=None)[0]
    assert np.allclose(limit, expected)
    run = gradient_descent.run_descent(x, y, start=start, learning_rate=10.0, momentum=0.999, steps=1)
    assert run.distances[0] == pytest.approx(gap(start, expected))


def test_the_curvature_is_the_same_at_every_interpolant():
    x, y = features_of(4, 7, 10), targets_of(4)
    least = least_norm.solve_least_norm(x, y).weights
    curvatures = least_norm.decompose_features(x).curvatures
    assert len(curvatures) == 4 and (curvatures > 0).all()

    def loss(w):
        return np.sum((x @ w - y) ** 2) / (2 * len(y))

    unit = np.eye(7)
    for w in (least, least + 5 * least_norm.project_outside_span(x, targets_of(7))):
        hessian = [[loss(w + a + b) - loss(w + a) - loss(w + b) + loss(w) for a in unit] for b in unit]
        assert np.allclose(np.linalg.eigvalsh(hessian)[::-1], [*curvatures, 0, 0, 0], atol=1e-8)


def test_a_basis_stands_for_its_features():
    x, y = features_of(10, 30, 100), targets_of(10)
    basis = least_norm.decompose_features(x)
    assert least_norm.as_basis(basis) is basis
    assert np.array_equal(least_norm.solve_least_norm(basis, y).weights, least_norm.solve_least_norm(x, y).weights)


def test_integers_and_zero_targets_are_fine():
    x = np.arange(6).reshape(2, 3)
    assert least_norm.solve_least_norm(x, np.asarray([1, 2])).residual < 1e-12
    nothing = least_norm.solve_least_norm(x, np.zeros(2))
    assert nothing.norm == nothing.residual == 0 and nothing.interpolates


@pytest.mark.parametrize(
    "solve, x, y, message",
    [
        (least_norm.solve_least_norm, np.ones((0, 3)), np.ones(0), "at least one of each"),
        (least_norm.solve_least_norm, np.ones((3, 0)), np.ones(3), "at least one of each"),
        (least_norm.solve_least_norm, np.ones(3), np.ones(3), "shape"),
        (
            least_norm.solve_least_norm,
            np.asarray([[1.0, 2.0], [np.nan, 1.0]]),
            np.ones(2),
            "features have the value nan in row 1",
        ),
        (
            least_norm.solve_least_norm,
            np.ones((2, 3)),
            np.asarray([1.0, np.inf]),
            "targets have the value inf in row 1",
        ),
        (least_norm.solve_least_norm, np.ones((2, 3)), np.ones(3), "2 examples have 3 targets"),
        (least_norm.solve_least_norm, np.zeros((2, 3)), np.ones(2), "All features are 0"),
        (least_norm.solve_kernel_form, np.ones((2, 3)), np.ones(2), "singular"),
        (least_norm.solve_kernel_form, np.eye(4)[:, :3], np.ones(4), "singular"),
        (least_norm.solve_kernel_form, np.zeros((2, 3)), np.ones(2), "singular"),
        (least_norm.solve_kernel_form, np.full((2, 3), np.nan), np.ones(2), "features have the value nan in row 0"),
    ],
)
def test_mistakes_end_in_one_line(solve, x, y, message):
    with pytest.raises(UserError, match=message) as error:
        solve(x, y)
    assert "\n" not in str(error.value)
