"""Certificates: the fit is measured at the points, whatever the solver did; Lemma 1 beside the singular value."""

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.theorem1 import certificates, expressivity
from rethink.theory.theorem1.certificates import certify_network, measure_precision, trace_curve
from rethink.theory.theorem1.depth import certify_depth, deepen_network
from rethink.theory.theorem1.expressivity import TwoLayerNetwork, interpolate_points


@pytest.fixture
def made():
    """made(n, d, labels) -> (network, points, targets): normal points with labels 0..9, or with these targets."""

    def made(n, d=3, targets=None):
        rng = np.random.default_rng(n)
        points, labels = rng.normal(size=(n, d)), rng.integers(0, 10, n)
        targets = labels if targets is None else targets
        return interpolate_points(points, targets, seed=0), points, targets

    return made


def test_a_network_by_hand():
    """c(x) = 2 max(x, 0) - 3 max(x - 1, 0) on x = 0.5, 2: values 1 and 1."""
    network = TwoLayerNetwork(np.ones(1), np.array([0.0, 1.0]), np.array([2.0, -3.0]), attempts=4, collapsed=0)
    found = certify_network(network, np.array([[2.0], [0.5]]), np.array([3, 1]))
    assert (found.fit.points, found.fit.residual, found.fit.labels_right) == (2, 2.0, 1)
    assert (found.weight_sum, found.largest_weight, found.relative_residual) == (5.0, 3.0, 0.4)
    assert (found.weight_count, found.smallest_eigenvalue, found.attempts) == (5, 0.5, 4)
    matrix = np.array([[0.5, 0.0], [2.0, 1.0]])
    assert found.smallest_singular_value == pytest.approx(np.sqrt(np.linalg.eigvalsh(matrix.T @ matrix)[0]))


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_the_smallest_eigenvalue_is_that_of_the_matrix(made, n):
    network, points, targets = made(n)
    z = np.sort(points @ network.projection)
    matrix = np.maximum(z[:, None] - network.thresholds, 0)
    found = certify_network(network, points, targets)
    assert found.smallest_eigenvalue == pytest.approx(np.linalg.eigvals(matrix).real.min(), rel=1e-9)
    assert found.smallest_singular_value == pytest.approx(1 / np.linalg.norm(np.linalg.inv(matrix), 2), rel=1e-6)
    assert found.smallest_singular_value <= found.smallest_eigenvalue * (1 + 1e-12)


def test_above_its_limit_the_singular_value_is_left_out(made, monkeypatch):
    monkeypatch.setattr(certificates, "MOST_SINGULAR", 6)
    assert certify_network(*made(6)).smallest_singular_value is not None
    assert certify_network(*made(7)).smallest_singular_value is None


@pytest.mark.parametrize("unit", [0, 17, 39])
def test_a_wrong_weight_is_seen(made, unit):
    network, points, labels = made(40)
    good = certify_network(network, points, labels)
    assert good.fit.residual < 1e-9 and good.fit.labels_right == 40
    network.weights[unit] += 1000 / good.smallest_eigenvalue
    bad = certify_network(network, points, labels)
    assert bad.fit.residual >= 1000 * (1 - 1e-6) and bad.fit.labels_right <= unit


def test_a_wrong_solution_is_seen(made, monkeypatch):
    solve = expressivity.lapack.dtbtrs
    monkeypatch.setattr(expressivity.lapack, "dtbtrs", lambda *a, **b: (2.5 * solve(*a, **b)[0], 0))
    network, points, labels = made(40)
    for fit in (
        certify_network(network, points, labels).fit,
        certify_depth(deepen_network(network, 4), points, labels).fit,
        measure_precision(points, labels, 40, seed=0).float64,
    ):
        assert fit.residual == pytest.approx(1.5 * labels.max()) and fit.labels_right == (labels == 0).sum()


def test_labels_are_counted_where_targets_are_labels(made):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20)
    assert certify_network(*made(20, targets=labels)).fit.labels_right == 20
    assert certify_network(*made(20, targets=np.eye(3)[labels])).fit.labels_right == 20
    assert certify_network(*made(20, targets=labels + 0.5)).fit.labels_right is None
    assert certify_network(*made(20, targets=rng.normal(size=(20, 3)))).fit.labels_right is None
    assert certify_network(*made(20, targets=np.zeros((20, 3)))).fit.labels_right is None
    network, points, _ = made(20, targets=np.eye(3)[labels])
    shifted = np.eye(3)[np.where(np.arange(20) < 5, (labels + 1) % 3, labels)]
    assert certify_network(network, points, shifted).fit.labels_right == 15


def test_a_sample_evaluates_some_points_only(made):
    network, points, labels = made(40)
    assert certify_network(network, points, labels, sample=7).fit == (7, pytest.approx(0, abs=1e-9), 7)
    wrong = labels.copy()
    wrong[3] += 100
    seen = [certify_network(network, points, wrong, sample=10, seed=seed).fit.labels_right == 9 for seed in range(40)]
    assert 0 < sum(seen) < 25
    assert certify_network(network, points, wrong, sample=40).fit.labels_right == 39


def test_collapsed_duplicates_are_counted(made):
    points = np.array([[1.0, 2], [3, 4], [1, 2]])
    found = certify_network(interpolate_points(points, np.array([1, 2, 1]), seed=0), points, np.array([1, 2, 1]))
    assert (found.collapsed, found.weight_count, found.fit.points, found.fit.labels_right) == (1, 6, 3, 3)


def test_zero_targets_have_no_weight(made):
    found = certify_network(*made(5, targets=np.zeros(5)))
    assert (found.weight_sum, found.relative_residual, found.fit.residual) == (0, 0, 0)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x, y: (x[:-1], y[:-1]), "points with 9 distinct projections are not those of a network of 10 units"),
        (lambda x, y: (x, y[:-1]), "10 examples have 9 targets"),
        (lambda x, y: (x[:, :2], y), r"points of shape \[10, 2\] and targets of shape \[10\] are not those"),
        (lambda x, y: (x, np.eye(10)), r"targets are of shape \[10, 10\]: give \[n\]"),
    ],
)
def test_points_of_another_network_are_named(made, change, message):
    network, points, labels = made(10)
    with pytest.raises(UserError, match=message):
        certify_network(network, *change(points, labels))


def test_a_sample_out_of_range_is_named(made):
    with pytest.raises(UserError, match=r"sample=11 is out of range: it must be in \[0, 10\]"):
        certify_network(*made(10), sample=11)


def test_a_curve_passes_through_its_points_and_goes_on_beside_them(made):
    network, points, labels = made(30)
    curve = trace_curve(network, points, labels, first=4, count=6, per_gap=8)
    z = points @ network.projection
    order = np.argsort(z)[4:10]
    np.testing.assert_allclose(curve.positions, z[order])
    np.testing.assert_array_equal(curve.targets, labels[order])
    assert len(curve.grid) == len(curve.values) == 7 * 8 + 1 and (np.diff(curve.grid) > 0).all()
    np.testing.assert_array_equal(curve.grid[8:-1:8], curve.positions)
    np.testing.assert_allclose(curve.values[8:-1:8], curve.targets, atol=1e-9)
    margin = (curve.positions[-1] - curve.positions[0]) / 5
    assert curve.grid[0] == pytest.approx(curve.positions[0] - margin)
    assert curve.grid[-1] == pytest.approx(curve.positions[-1] + margin)
    off = network.projection[None] * (curve.grid / (network.projection @ network.projection))[:, None]
    np.testing.assert_allclose(curve.values, network(off), atol=1e-9)


def test_a_curve_of_one_point_and_of_outputs(made):
    network, points, targets = made(5, targets=np.eye(5))
    curve = trace_curve(network, points, targets, first=0, count=1, per_gap=3)
    assert curve.values.shape == (7, 5) and curve.targets.shape == (1, 5) and (np.diff(curve.grid) > 0).all()


@pytest.mark.parametrize(
    "window, message",
    [
        ({"first": 0, "count": 11, "per_gap": 1}, r"count=11 is out of range: it must be in \[1, 10\]"),
        ({"first": 6, "count": 5, "per_gap": 1}, r"first=6 is out of range: it must be in \[0, 5\]"),
        ({"first": 0, "count": 5, "per_gap": 0}, "per_gap=0 is out of range"),
    ],
)
def test_a_window_outside_the_points_is_named(made, window, message):
    with pytest.raises(UserError, match=message):
        trace_curve(*made(10), **window)


def test_between_samples_of_a_smooth_function_the_error_vanishes():
    errors = []
    for n in (25, 50, 100, 200):
        points = np.linspace(-1, 1, n)[:, None]
        network = interpolate_points(points, np.sin(5 * points[:, 0]), seed=0)
        grid = np.linspace(-1, 1, 5003)[:, None]
        errors.append(np.abs(network(grid) - np.sin(5 * grid[:, 0])).max())
    assert errors[0] < 0.05
    assert all(later < 0.6 * before for before, later in zip(errors[:-1], errors[1:], strict=True))


def test_float32_serves_few_points_and_fails_many():
    rng = np.random.default_rng(0)
    points, labels = rng.integers(0, 256, (3000, 30), dtype=np.uint8), rng.integers(0, 10, 3000)
    few, many = (measure_precision(points, labels, size, seed=0) for size in (10, 3000))
    assert (few.points, few.float64.labels_right, few.float32.labels_right) == (10, 10, 10)
    assert many.float64.labels_right == 3000 and many.float32.labels_right < 3000
    assert many.float64.residual < 1e-6 < few.float32.residual < many.float32.residual


@pytest.mark.parametrize("size", [0, 6])
def test_a_size_beyond_the_points_is_named(size):
    with pytest.raises(UserError, match=rf"size={size} is out of range: it must be in \[1, 5\]"):
        measure_precision(np.eye(5), np.arange(5), size, seed=0)
