"""Gradient descent and SGD on linear models: where they end, that they stay in the span, and how fast they go."""

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.linear import gradient_descent, least_norm


@pytest.fixture(scope="module")
def problem():
    random = np.random.default_rng(0)
    return least_norm.decompose_features(random.standard_normal((12, 40))), random.standard_normal((12, 3))


def run_sgd(problem, **changes):
    settings = dict(start=0.0, batch_size=1, momentum=0.0, steps=3000, order="shuffled", seed=0)
    settings.update(changes)
    basis, y = problem
    settings.setdefault("learning_rate", gradient_descent.tune_sgd_rate(basis, batch_size=settings["batch_size"]))
    return gradient_descent.run_descent(basis, y, **settings)


@pytest.mark.parametrize("order", gradient_descent.ORDERS)
@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_sgd_from_zero_goes_to_least_norm_within_the_span(problem, order, batch_size):
    found = run_sgd(problem, order=order, batch_size=batch_size)
    assert found.distances[0] == 1 and found.distances[-1] < 1e-10 and found.residuals[-1] < 1e-10
    assert np.allclose(found.weights, least_norm.solve_least_norm(*problem).weights)
    assert np.array_equal(found.distances, found.from_least_norm) and found.outside.max() < 1e-12


def test_sgd_from_elsewhere_goes_to_the_starts_projection(problem):
    basis, y = problem
    start = gradient_descent.draw_start((40, 3), scale=1.0, seed=3)
    found = run_sgd(problem, start=start)
    difference = found.weights - least_norm.solve_least_norm(basis, y).weights
    assert np.allclose(difference, least_norm.project_outside_span(basis, start)) and np.linalg.norm(difference) > 1
    assert found.distances[-1] < 1e-10 < 0.1 < found.from_least_norm[-1] and found.outside.max() < 1e-12


def test_a_start_in_the_span_leads_to_least_norm(problem):
    basis, y = problem
    found = run_sgd(problem, start=basis.features.T @ y)
    assert found.from_least_norm[0] > 1 and found.from_least_norm[-1] < 1e-10


def test_leaving_the_span_would_be_seen(problem):
    """Weights that moved by something else than gradients show in the measure that certifies the rest."""
    basis, y = problem
    moved = least_norm.project_outside_span(basis, gradient_descent.draw_start((40, 3), scale=1.0, seed=3))
    row = gradient_descent.measure_iterate(basis, y, moved, np.zeros((40, 3)), moved, moved)
    assert row[-1] == pytest.approx(1)


def test_steps_that_are_no_gradients_are_seen(problem, monkeypatch):
    step = gradient_descent.dgemm
    monkeypatch.setattr(gradient_descent, "dgemm", lambda *given, **options: step(*given, **options) + 1e-3)
    found = run_sgd(problem, batch_size=5)
    assert min(found.outside[-1], found.residuals[-1], found.distances[-1]) > 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_gradient_descent_shrinks_at_the_predicted_rate(problem, momentum):
    basis, y = problem
    found = gradient_descent.run_descent(basis, y, start=0.0, learning_rate=0.05, momentum=momentum, steps=2000)
    assert found.distances[-1] < 1e-3
    assert found.measured_rate == pytest.approx(found.predicted_rate, abs=1e-4) and found.predicted_rate < 1


def test_gradient_descent_is_the_closed_form_at_every_record(problem):
    basis, y = problem
    found = gradient_descent.run_descent(basis, y, start=0.0, learning_rate=0.1, momentum=0.0, steps=500)
    factors = least_norm.find_stopping_factors(basis, found.steps, learning_rate=0.1)
    path = least_norm.trace_path(basis, y, found.steps, factors)
    assert found.steps[0] == 0 and found.steps[-1] == 500 and (np.diff(found.steps) > 0).all()
    assert np.allclose(found.distances, path.distances, atol=1e-12)
    assert np.allclose(found.residuals, path.residuals, atol=1e-12)
    coefficients = (factors[-1] / basis.singular)[:, None] * (basis.left.T @ y)
    assert np.allclose(found.weights, basis.right.T @ coefficients)


def test_a_batch_of_everything_is_gradient_descent(problem):
    basis, y = problem
    one = run_sgd(problem, batch_size=12, steps=50, learning_rate=0.1, momentum=0.5)
    other = gradient_descent.run_descent(basis, y, start=0.0, learning_rate=0.1, momentum=0.5, steps=50)
    assert np.allclose(one.weights, other.weights) and np.isnan(one.predicted_rate)


def test_the_fastest_momentum_takes_in_proportion_to_the_condition(problem):
    basis, _ = problem
    rate, momentum = gradient_descent.tune_heavy_ball(basis)
    predicted = gradient_descent.predict_gradient_rate(basis, learning_rate=rate, momentum=momentum)
    assert predicted == pytest.approx((basis.condition - 1) / (basis.condition + 1), rel=1e-6)
    h = basis.curvatures
    plain = gradient_descent.predict_gradient_rate(basis, learning_rate=2 / (h[0] + h[-1]), momentum=0.0)
    assert plain == pytest.approx((basis.condition**2 - 1) / (basis.condition**2 + 1)) and plain > predicted
    assert gradient_descent.predict_gradient_rate(basis, learning_rate=2.01 / h[0], momentum=0.0) > 1


def test_the_bound_on_sgd_holds_and_is_kaczmarz_for_a_batch_of_one(problem):
    x = problem[0].features
    basis = least_norm.decompose_features(x / np.linalg.norm(x, axis=1, keepdims=True))
    bound = gradient_descent.bound_sgd_rate(basis, learning_rate=1.0, batch_size=1)
    assert bound == pytest.approx(np.sqrt(1 - basis.singular[-1] ** 2 / 12))
    assert gradient_descent.tune_sgd_rate(basis, batch_size=1) == pytest.approx(1)
    finals = [
        run_sgd((basis, problem[1]), learning_rate=1.0, order="with_replacement", steps=200, seed=seed).distances[-1]
        for seed in range(10)
    ]
    assert np.sqrt(np.mean(np.square(finals))) <= bound**200
    one = gradient_descent.run_descent(
        basis, problem[1], start=0.0, learning_rate=1.0, batch_size=1, momentum=0.0, steps=1, order="shuffled", seed=0
    )
    assert np.isclose(basis.features @ one.weights, problem[1]).all(axis=1).sum() == 1  # a projection onto one example


def test_a_rate_of_sgd_is_stated_for_the_order_that_it_holds_for(problem):
    replaced, shuffled = (run_sgd(problem, order=order, steps=20) for order in ("with_replacement", "shuffled"))
    bound = gradient_descent.bound_sgd_rate(
        problem[0], learning_rate=gradient_descent.tune_sgd_rate(problem[0], batch_size=1), batch_size=1
    )
    assert replaced.predicted_rate == bound and np.isnan(shuffled.predicted_rate)


def test_larger_batches_take_larger_rates(problem):
    basis, _ = problem
    rates = [gradient_descent.tune_sgd_rate(basis, batch_size=b) for b in (1, 2, 6, 12)]
    assert (np.diff(rates) > 0).all()
    for batch_size, rate in zip((1, 2, 6, 12), rates, strict=True):
        h = basis.curvatures[-1]
        assert (
            gradient_descent.bound_sgd_rate(basis, learning_rate=rate, batch_size=batch_size)
            <= np.sqrt(1 - rate * h) + 1e-12
        )


def test_the_order_is_named(problem):
    first, again, other = (run_sgd(problem, seed=seed, steps=20).weights for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.allclose(first, other)
    replaced = run_sgd(problem, order="with_replacement", steps=20).weights
    assert not np.allclose(first, replaced)


def test_an_epoch_shows_every_example_once(monkeypatch):
    epochs = iter(range(9))
    monkeypatch.setitem(gradient_descent.ORDERS, "cyclic", lambda key, count: (np.arange(count) + next(epochs)) % count)
    batches = gradient_descent.draw_batches("cyclic", 7, 3, seed=0)
    assert [next(batches).tolist() for _ in range(4)] == [[0, 1, 2], [3, 4, 5], [1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"learning_rate": 1e3}, "diverged"),
        ({"learning_rate": 0.0}, "positive rate"),
        ({"learning_rate": float("nan")}, "positive rate"),
        ({"momentum": 1.0, "learning_rate": 0.1}, r"\[0, 1\)"),
        ({"steps": 0}, "at least 1 step"),
        ({"batch_size": 13, "learning_rate": 0.1}, r"batch_size=13 is out of range: it must be in \[1, 12\]"),
        ({"batch_size": 0, "learning_rate": 0.1}, "batch_size=0"),
        ({"order": "sorted"}, "order='sorted'"),
        ({"start": np.ones(40)}, "start has shape"),
        ({"start": np.ones((2, 3))}, "start has shape"),
        ({"start": float("nan")}, "start has shape"),
    ],
)
def test_mistakes_end_in_one_line(problem, changes, message):
    with pytest.raises(UserError, match=message) as error:
        run_sgd(problem, **changes)
    assert "\n" not in str(error.value)
