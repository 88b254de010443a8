"""Corollary 1: at every depth the same function, narrow layers, and a number of weights that stays O(n + d)."""

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.theorem1.depth import certify_depth, deepen_network
from rethink.theory.theorem1.expressivity import interpolate_points

DEPTHS = (2, 3, 4, 5, 6)


@pytest.fixture
def made():
    """made(n, k) -> (network, points, targets), of k outputs if given."""

    def made(n, k=None, d=7):
        rng = np.random.default_rng(n)
        points, targets = rng.normal(size=(n, d)), rng.normal(size=n if k is None else (n, k)) - 3
        return interpolate_points(points, targets, seed=0), points, targets

    return made


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("k", [None, 1, 4])
def test_every_depth_takes_the_targets(made, depth, k):
    network, points, targets = made(60, k)
    deep = deepen_network(network, depth)
    values = deep(points)
    assert deep.depth == depth and values.shape == targets.shape
    np.testing.assert_allclose(values, targets, atol=1e-9)
    assert certify_depth(deep, points, targets).fit.residual == np.abs(values - targets).max()


@pytest.mark.parametrize("depth", DEPTHS)
def test_it_is_the_same_function_off_the_sample_too(made, depth):
    network, points, _ = made(60, 2)
    others = 3 * np.random.default_rng(1).normal(size=(700, 7))
    assert (others @ network.projection).min() < (points @ network.projection).min()
    np.testing.assert_allclose(deepen_network(network, depth)(others), network(others), atol=1e-8)


@pytest.mark.parametrize("depth", [2, 3, 4, 11, 41])
def test_width_and_weights_are_those_of_the_corollary(made, depth):
    n, d = 400, 7
    network, points, targets = made(n)
    found = certify_depth(deepen_network(network, depth), points, targets)
    assert n // (depth - 1) <= found.width <= -(-n // (depth - 1)) + 3
    assert found.weight_count <= 3 * n + d + 6 * depth
    assert found.fit.residual < 1e-6
    if depth == 2:
        assert (found.width, found.weight_count) == (n, 2 * n + d)


def test_weights_are_counted_in_the_layers(made):
    network, _, _ = made(20)
    deep = deepen_network(network, 4)
    dense = [(layer.matrix.toarray(), layer.bias) for layer in deep.layers]
    expected = 7 + len(deep.thresholds) + sum((m != 0).sum() + (b != 0).sum() for m, b in dense)
    assert deep.weight_count == expected
    sizes = [len(deep.thresholds), *(len(bias) for _, bias in dense[:-1])]
    assert deep.width == max(sizes)
    assert [matrix.shape[1] for matrix, _ in dense] == sizes


def test_dense_layers_by_hand_give_the_same(made):
    network, points, targets = made(20)
    deep = deepen_network(network, 5)
    values = np.outer(np.ones(len(deep.thresholds)), points @ deep.projection) - deep.thresholds[:, None]
    for layer in deep.layers:
        values = layer.matrix.toarray() @ np.maximum(values, 0) + layer.bias[:, None]
    np.testing.assert_allclose(values[0], targets, atol=1e-9)


def test_a_wrong_weight_is_seen(made):
    network, points, _ = made(60)
    labels = np.random.default_rng(0).integers(0, 10, 60)
    deep = deepen_network(interpolate_points(points, labels, seed=0), 4)
    assert certify_depth(deep, points, labels).fit.labels_right == 60
    deep.layers[1].matrix.data[:] *= 1.5
    found = certify_depth(deep, points, labels)
    assert found.fit.labels_right < 60 and found.fit.residual > 0.1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_unit_a_layer_is_the_deepest(made, n):
    network, points, targets = made(n)
    np.testing.assert_allclose(deepen_network(network, n + 1)(points), targets, atol=1e-12)
    for depth in (1, n + 2):
        with pytest.raises(UserError, match=rf"depth={depth} is out of range: it must be in \[2, {n + 1}\]"):
            deepen_network(network, depth)


def test_zero_targets_stay_zero():
    points = np.random.default_rng(0).normal(size=(9, 2))
    assert not deepen_network(interpolate_points(points, np.zeros(9), seed=0), 4)(points).any()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x, y: (x, y[:-1]), "10 examples have 9 targets"),
        (lambda x, y: (x, y[:, None]), r"targets are of shape \[10, 1\]: give \[n\]"),
        (lambda x, y: (x[:, :3], y), "points have 3 dimensions and the network takes 7"),
    ],
)
def test_what_does_not_fit_the_network_is_named(made, change, message):
    network, points, targets = made(10)
    with pytest.raises(UserError, match=message):
        certify_depth(deepen_network(network, 3), *change(points, targets))
