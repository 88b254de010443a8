"""Theorem 1: exact values with exactly 2n + d weights, one threshold in each gap, and one clear line for bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rethink.schema.errors import UserError
from rethink.theory.theorem1 import expressivity
from rethink.theory.theorem1.expressivity import interpolate_points


@pytest.fixture
def sample():
    """sample(n, d, k) -> normal points [n, d] and targets [n], or [n, k] if k is given."""

    def sample(n, d=3, k=None, seed=0):
        rng = np.random.default_rng(seed)
        return rng.normal(size=(n, d)), rng.normal(size=n if k is None else (n, k))

    return sample


@given(
    n=st.integers(1, 60),
    d=st.integers(1, 6),
    k=st.sampled_from([None, 1, 3]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 2**32 - 1),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_targets_are_taken_with_exactly_the_weights_of_the_theorem(n, d, k, scale, seed):
    rng = np.random.default_rng(seed)
    points, targets = rng.normal(size=(n, d)), scale * rng.normal(size=n if k is None else (n, k))
    network = interpolate_points(points, targets, seed=seed)
    values = network(points)
    assert values.shape == targets.shape and values.dtype == np.float64
    assert np.abs(values - targets).max() <= 1e-14 * n * np.abs(network.weights).sum()
    outputs = k or 1
    assert (network.projection.size, network.thresholds.size, network.weights.size) == (d, n, n * outputs)
    assert network.weight_count == (2 * n + d if k is None else n * k + n + d)


def test_values_are_those_of_the_formula(sample):
    points, targets = sample(400, 4, 2)
    network = interpolate_points(points, targets, seed=1)
    others = np.random.default_rng(7).normal(size=(300, 4))
    positions = others @ network.projection
    by_hand = [
        sum(w * max(z - b, 0) for w, b in zip(network.weights, network.thresholds, strict=True)) for z in positions
    ]
    np.testing.assert_allclose(network(others), by_hand, atol=1e-14 * np.abs(network.weights).sum())


@pytest.mark.parametrize("position", [1e-30, 1 / 1024, expressivity.THRESHOLD_POSITION, 0.25, 0.45])
def test_one_threshold_lies_in_each_gap_where_asked(sample, position):
    points, targets = sample(50)
    network = interpolate_points(points, targets, seed=0, threshold_position=position)
    z = np.sort(expressivity.project_points(points, network.projection))
    assert (network.thresholds < z).all() and (network.thresholds[1:] > z[:-1]).all()
    np.testing.assert_allclose((network.thresholds[1:] - z[:-1]) / np.diff(z), position, atol=1e-12)


def test_at_midpoints_the_weights_grow_and_at_the_default_they_do_not():
    points, targets = np.arange(2000.0)[:, None], np.random.default_rng(0).integers(0, 10, 2000)
    largest = {
        position: np.abs(interpolate_points(points, targets, seed=0, threshold_position=position).weights).max()
        for position in (expressivity.THRESHOLD_POSITION, 0.25, 0.5)
    }
    default, quarter, middle = largest.values()
    assert default < quarter < 5 * default and middle > 10 * default


def test_pixels_project_without_rounding_in_any_order():
    images = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)
    projection = expressivity.draw_projection(3072, 0, 1)
    z = expressivity.project_points(images, projection)
    order = np.random.default_rng(1).permutation(3072)
    np.testing.assert_array_equal(z, expressivity.project_points(images[:, order], projection[order]))
    np.testing.assert_array_equal(z, images.astype(np.float64) @ projection)
    assert 0.5 < np.linalg.norm(projection) < 2


@pytest.mark.parametrize("d", [1, 3, 40, 3072])
def test_a_projection_does_not_depend_on_the_other_points(d):
    points = np.random.default_rng(0).normal(size=(700, d))
    projection = expressivity.draw_projection(d, 0, 1)
    together = expressivity.project_points(points, projection)
    alone = [expressivity.project_points(points[i : i + 1], projection)[0] for i in range(len(points))]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[::-1], expressivity.project_points(points[::-1], projection))


def test_the_seed_decides_the_projection(sample):
    points, targets = sample(30)
    first, again, other = (interpolate_points(points, targets, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert not np.allclose(first.projection, other.projection)


def test_a_projection_under_which_points_tie_is_drawn_again(sample, monkeypatch):
    points, targets = sample(4, 2)
    points[2] = points[0] + [0, 5]  # equal along the first axis
    drawn, draw = [], expressivity.draw_projection

    def draw_axis_first(dimensions, seed, attempt):
        drawn.append(attempt)
        return np.array([1.0, 0.0]) if attempt <= 2 else draw(dimensions, seed, attempt)

    monkeypatch.setattr(expressivity, "draw_projection", draw_axis_first)
    network = interpolate_points(points, targets, seed=0)
    assert drawn == [1, 2, 3] and network.attempts == 3 and network.collapsed == 0
    np.testing.assert_allclose(network(points), targets, atol=1e-12)


def test_attempts_draw_different_projections():
    drawn = {expressivity.draw_projection(4, 0, attempt).tobytes() for attempt in range(1, 6)}
    assert len(drawn) == 5


def test_points_too_close_for_any_projection_are_named():
    points = np.array([[1e6, 0], [5, 5], [1e6, 1e-12]])
    with pytest.raises(UserError, match=r"points 0 and 2 \(row numbers\) tie in float64 under all of 20"):
        interpolate_points(points, np.arange(3), seed=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_duplicates_with_one_target_count_once(dtype):
    rows = np.array([[0, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1]], dtype)
    targets = np.array([3.0, -2.0, 3.0, 7.5, 3.0])
    network = interpolate_points(rows, targets, seed=0)
    assert (network.collapsed, network.weight_count) == (2, 2 * 3 + 3)
    np.testing.assert_allclose(network(rows), targets, atol=1e-12)


def test_both_zeros_are_one_point():
    assert interpolate_points(np.array([[0.0, 1.0], [-0.0, 1.0]]), np.ones(2), seed=0).collapsed == 1


@pytest.mark.parametrize("targets", [np.array([0, 1, 2, 3]), np.eye(4)])
def test_duplicates_with_two_targets_are_named(targets):
    points = np.array([[1, 2], [3, 4], [5, 6], [3, 4]])
    with pytest.raises(UserError, match=r"points 1 and 3 \(row numbers\) are the same point with different targets"):
        interpolate_points(points, targets, seed=0)


def test_duplicates_among_points_that_tie_are_told_apart(monkeypatch):
    points = np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0], [1.0, 3.0], [0.0, 0.0]])
    draw = expressivity.draw_projection
    monkeypatch.setattr(
        expressivity,
        "draw_projection",
        lambda d, seed, attempt: np.eye(2)[0] if attempt == 1 else draw(d, seed, attempt),
    )
    network = interpolate_points(points, np.array([5.0, 6.0, 5.0, 6.0, 1.0]), seed=0)
    assert (network.collapsed, network.attempts, len(network.thresholds)) == (2, 2, 3)


def test_all_points_equal_make_one_unit():
    network = interpolate_points(np.ones((5, 2)), np.full(5, 4.0), seed=0)
    assert network.collapsed == 4 and network.weight_count == 2 + 2
    np.testing.assert_allclose(network(np.ones((2, 2))), 4.0)


@pytest.mark.parametrize("point", [0.0, -3.0, 1e200, 1e-200])
def test_one_point(point):
    network = interpolate_points(np.array([[point, point]]), np.array([-2.5]), seed=0)
    np.testing.assert_allclose(network(np.array([[point, point]])), [-2.5], rtol=1e-14)
    assert network.weight_count == 4


ONE = np.zeros((2, 2)) + [[0], [1]]


@pytest.mark.parametrize(
    "points, targets, message",
    [
        (np.empty((0, 2)), np.empty(0), r"points are of shape \[0, 2\]: give \[n, d\], at least one"),
        (np.empty((2, 0)), np.zeros(2), r"points are of shape \[2, 0\]"),
        (np.zeros((2, 2, 1)), np.zeros(2), r"points are of shape \[2, 2, 1\]: give \[n, d\]"),
        (np.zeros(2), np.zeros(2), r"points are of shape \[2\]"),
        (ONE, np.zeros((2, 1, 1)), r"targets are of shape \[2, 1, 1\]: give \[n\] or \[n, k\]"),
        (ONE, np.zeros((2, 0)), r"targets are of shape \[2, 0\]"),
        (ONE, np.zeros(3), "2 examples have 3 targets"),
        (ONE + [[0, 0], [0, np.nan]], np.zeros(2), "points have the value nan in row 1"),
        (np.vstack([np.zeros((300, 2)), [[np.inf, 0]]]), np.zeros(301), "points have the value inf in row 300"),
        (ONE, np.array([0, -np.inf]), "targets have the value -inf in row 1"),
        (ONE, np.array(["a", "b"]), "targets are of type <U1: give real numbers"),
        (ONE.astype(complex), np.zeros(2), "points are of type complex128"),
        (1e307 * (ONE + 1), np.zeros(2), "points project beyond 1e\\+300: scale them down"),
        (1e-150 * ONE, np.array([0, 1e300]), "threshold_position=0.0078125 makes weights beyond float64"),
    ],
)
def test_bad_input_is_one_clear_line(points, targets, message):
    with pytest.raises(UserError, match=message) as caught:
        interpolate_points(points, targets, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("position", [0, 1, -0.1, 2, np.nan])
def test_a_threshold_lies_inside_its_gap(position):
    with pytest.raises(UserError, match=f"threshold_position={position} is out of range"):
        interpolate_points(ONE, np.zeros(2), seed=0, threshold_position=position)


def test_a_seed_out_of_range_is_named():
    with pytest.raises(UserError, match="seed=-1 is out of range"):
        interpolate_points(ONE, np.zeros(2), seed=-1)


def test_weights_that_explode_say_what_to_type():
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="threshold_position=0.9 makes weights beyond float64: set it to 0.0078125"):
        interpolate_points(rng.normal(size=(2000, 2)), rng.normal(size=2000), seed=0, threshold_position=0.9)


def test_points_of_another_dimension_are_named(sample):
    points, targets = sample(5)
    with pytest.raises(UserError, match="points have 2 dimensions and the network takes 3"):
        interpolate_points(points, targets, seed=0)(points[:, :2])


def test_the_order_of_the_points_changes_nothing(sample):
    points, targets = sample(40)
    order = np.random.default_rng(3).permutation(40)
    first, other = (interpolate_points(points[rows], targets[rows], seed=0) for rows in (slice(None), order))
    np.testing.assert_array_equal(first.thresholds, other.thresholds)
    np.testing.assert_array_equal(first.weights, other.weights)


def test_one_hot_labels_at_a_size_of_many_blocks():
    rng = np.random.default_rng(0)
    points, labels = rng.integers(0, 256, (3000, 50), dtype=np.uint8), rng.integers(0, 10, 3000)
    network = interpolate_points(points, np.eye(10)[labels], seed=0)
    values = network(points)
    assert (values.argmax(axis=1) == labels).all() and np.abs(values - np.eye(10)[labels]).max() < 1e-6
    assert network.weight_count == 3000 * 10 + 3000 + 50
