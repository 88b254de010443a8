"""Weight decay and early stopping: against solving and stepping, their limits and their monotone norms."""

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.linear import least_norm


@pytest.fixture(params=[(12, 30), (30, 12)], ids=["wide", "tall"])
def problem(request):
    random = np.random.default_rng(0)
    return random.standard_normal(request.param), random.standard_normal((request.param[0], 2))


def solve_with_factors(basis, y, factors):
    """Returns the weights: the least-norm solution with each singular direction times its factor."""
    fitted = (basis.left.T @ y).reshape(basis.rank, -1)
    return (basis.right.T @ ((factors / basis.singular)[:, None] * fitted)).reshape(-1, *y.shape[1:])


def solve_ridge(x, y, penalty):
    basis = least_norm.decompose_features(x)
    (factors,) = least_norm.find_ridge_factors(basis, [penalty])
    return solve_with_factors(basis, y, factors)


def stop_early(x, y, *, learning_rate, steps):
    basis = least_norm.decompose_features(x)
    (factors,) = least_norm.find_stopping_factors(basis, [steps], learning_rate=learning_rate)
    return solve_with_factors(basis, y, factors)


def trace_ridge(x, y, penalties):
    basis = least_norm.decompose_features(x)
    factors = least_norm.find_ridge_factors(basis, penalties)
    return least_norm.trace_path(basis, y, penalties, factors)


def trace_stopping(x, y, *, learning_rate, steps):
    basis = least_norm.decompose_features(x)
    factors = least_norm.find_stopping_factors(basis, steps, learning_rate=learning_rate)
    return least_norm.trace_path(basis, y, steps, factors)


def test_ridge_solves_the_normal_equations(problem):
    x, y = problem
    expected = np.linalg.solve(x.T @ x + 0.3 * np.eye(x.shape[1]), x.T @ y)
    assert np.allclose(solve_ridge(x, y, 0.3), expected)
    assert np.allclose(solve_ridge(x, y[:, 0], 0.3), expected[:, 0])


def test_ridge_tends_to_least_norm(problem):
    x, y = problem
    penalties = np.asarray([1e3, 1.0, 1e-3, 1e-8, 0.0])
    path = trace_ridge(x, y, penalties)
    assert (np.diff(path.norms) > 0).all() and (np.diff(path.distances) < 0).all()
    assert (np.diff(path.residuals) < 1e-12).all() and path.residuals[0] > path.residuals[-1]
    least = least_norm.solve_least_norm(x, y)
    assert path.distances[-1] < 1e-14 and path.norms[-1] == pytest.approx(least.norm) and 0 < path.distances[-2] < 1e-6
    assert path.residuals[-1] == pytest.approx(least.residual, abs=1e-12)


def steps_of_gradient_descent(x, y, rate, steps):
    w = np.zeros((x.shape[1], y.shape[1]))
    for _ in range(steps):
        w = w - rate * x.T @ (x @ w - y) / len(x)
    return w


@pytest.mark.parametrize("steps", [0, 1, 2, 57])
def test_gradient_descent_is_its_filter(problem, steps):
    x, y = problem
    rate = 1.9 * len(x) / np.linalg.norm(x, 2) ** 2  # beyond 1 / h: the factors alternate in sign
    stepped = steps_of_gradient_descent(x, y, rate, steps)
    assert np.allclose(stop_early(x, y, learning_rate=rate, steps=steps), stepped, rtol=1e-10, atol=1e-12)


def test_the_paths_are_those_of_the_weights(problem):
    x, y = problem
    rate, steps = 0.05, np.asarray([0, 1, 10, 1000])
    path = trace_stopping(x, y, learning_rate=rate, steps=steps)
    least = least_norm.solve_least_norm(x, y)
    for i, step in enumerate(steps):
        w = stop_early(x, y, learning_rate=rate, steps=int(step))
        assert path.norms[i] == pytest.approx(np.linalg.norm(w), abs=1e-12)
        assert path.distances[i] == pytest.approx(np.linalg.norm(w - least.weights) / least.norm, abs=1e-12)
        assert path.residuals[i] == pytest.approx(np.linalg.norm(x @ w - y) / np.linalg.norm(y), abs=1e-12)
    assert path.distances[0] == pytest.approx(1) and path.residuals[0] == pytest.approx(1)
    assert (np.diff(path.norms) > 0).all()


def test_a_path_is_measured_on_its_weights(problem):
    x, y = problem
    basis = least_norm.decompose_features(x)
    wrong = basis._replace(singular=2.5 * basis.singular)  # whose solutions are 0.4 times the right ones
    path = least_norm.trace_path(wrong, y, np.zeros(1), np.ones((1, basis.rank)))
    weights = 0.4 * least_norm.solve_least_norm(x, y).weights
    assert path.residuals[0] == pytest.approx(np.linalg.norm(x @ weights - y) / np.linalg.norm(y))
    assert path.residuals[0] > least_norm.solve_least_norm(x, y).residual + 0.05


def test_neither_leaves_the_span(problem):
    x, y = problem
    for w in (
        solve_ridge(x, y, 0.1),
        stop_early(x, y, learning_rate=0.01, steps=7),
    ):
        assert np.allclose(least_norm.project_outside_span(x, w), 0, atol=1e-12)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x, y: solve_ridge(x, y, -1.0), "penalty"),
        (lambda x, y: trace_ridge(x, y, np.asarray([1.0, np.nan])), "penalty"),
        (lambda x, y: stop_early(x, y, learning_rate=1e6, steps=3), "does not converge"),
        (lambda x, y: stop_early(x, y, learning_rate=0.0, steps=3), "does not converge"),
        (lambda x, y: stop_early(x, y, learning_rate=0.01, steps=-1), "negative"),
    ],
)
def test_mistakes_end_in_one_line(problem, call, message):
    with pytest.raises(UserError, match=message):
        call(*problem)
