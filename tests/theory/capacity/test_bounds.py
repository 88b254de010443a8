"""The bounds on tiny matrices by hand, what they bound, and the rescalings that must not change them."""

import itertools
import math

import numpy as np
import pytest

from rethink.theory.capacity import bounds

WEIGHTS = (np.asarray([[3.0, 0.0], [0.0, -4.0]]), np.asarray([[1.0], [2.0]]))
COMPLEXITIES = {
    "frobenius": bounds.frobenius_complexity,
    "path": bounds.path_complexity,
    "golowich": bounds.golowich_complexity,
    "spectral": lambda weights, norm, n: bounds.spectral_complexity(weights) * norm / math.sqrt(n),
}


def random_weights(*sizes, seed=0):
    random = np.random.default_rng(seed)
    return tuple(random.standard_normal(pair) for pair in itertools.pairwise(sizes))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("frobenius", 2 * 5 * math.sqrt(5) * 7 / 10),
        ("path", 2 * (3 * 1 + 4 * 2) * 7 * math.sqrt(2 * math.log(4) / 100)),
        ("golowich", 5 * math.sqrt(5) * (math.sqrt(2 * math.log(2) * 2) + 1) * 7 / 10),
        ("spectral", 4 * math.sqrt(5) * ((7 / 4) ** (2 / 3) + 1) ** 1.5 * 7 / 10),
    ],
)
def test_complexities_by_hand(name, expected):
    assert COMPLEXITIES[name](WEIGHTS, 7.0, 100) == pytest.approx(expected)


def test_the_spectral_complexity_is_of_the_change():
    references = (np.asarray([[3.0, 0.0], [0.0, -3.0]]), np.zeros((2, 1)))
    expected = 4 * math.sqrt(5) * ((1 / 4) ** (2 / 3) + 1) ** 1.5
    assert bounds.spectral_complexity(WEIGHTS, references) == pytest.approx(expected)
    assert bounds.spectral_complexity(WEIGHTS, WEIGHTS) == 0
    assert bounds.spectral_complexity((np.zeros((2, 2)), WEIGHTS[1])) == 0


@pytest.mark.parametrize("name", COMPLEXITIES)
def test_symmetries_of_the_network_are_those_of_its_complexity(name):
    """The same function in other weights: layers rescaled against each other, hidden units in another order."""
    weights = random_weights(5, 7, 6, 3)
    value = COMPLEXITIES[name](weights, 2.0, 50)
    first, second, third = weights
    order = np.random.default_rng(1).permutation(7)
    for same in ((first * 8, second / 4, third / 2), (first[:, order], second[order], third)):
        assert COMPLEXITIES[name](same, 2.0, 50) == pytest.approx(value)
    assert COMPLEXITIES[name]((first, second, third * 3), 2.0, 50) == pytest.approx(3 * value)
    assert COMPLEXITIES[name](weights, 6.0, 50) == pytest.approx(3 * value)
    assert COMPLEXITIES[name](weights, 2.0, 200) == pytest.approx(value / 2)


def test_rescaling_units_by_themselves_leaves_the_path_norm_only():
    first, second = random_weights(5, 7, 3)
    factors = np.geomspace(0.1, 10, 7)
    same = (first * factors, second / factors[:, None])
    for name, complexity in COMPLEXITIES.items():
        unchanged = math.isclose(complexity(same, 2.0, 50), complexity((first, second), 2.0, 50))
        assert unchanged == (name == "path")


def test_a_linear_class_is_below_its_complexity():
    """One layer has the exact complexity E |sum sigma x| / n: the l2 norm, or for the l1 ball the largest entry."""
    x = np.random.default_rng(0).uniform(-1, 1, (12, 4))
    signs = np.asarray(list(itertools.product((-1, 1), repeat=12)))
    sums = signs @ x / 12
    unit = (np.asarray([[1.0], [0], [0], [0]]),)
    norm, entry = np.linalg.norm(x, axis=1).max(), np.abs(x).max()
    euclidean = np.linalg.norm(sums, axis=1).mean()
    for name in ("frobenius", "golowich"):
        assert euclidean < COMPLEXITIES[name](unit, norm, 12) < 6 * euclidean
    absolute = np.abs(sums).max(axis=1).mean()
    assert absolute < bounds.path_complexity(unit, entry, 12) < 3 * absolute


def test_a_relu_network_is_below_its_complexity():
    """A lower bound of the class of WEIGHTS' norms: the best of many of its members for each of all signs."""
    x = np.random.default_rng(0).uniform(-1, 1, (6, 2))
    signs = np.asarray(list(itertools.product((-1, 1), repeat=6)))
    outputs = []
    for seed in range(300):
        first, second = random_weights(2, 2, 1, seed=seed)
        first, second = first * 5 / np.linalg.norm(first), second * math.sqrt(5) / np.linalg.norm(second)
        outputs.append((np.maximum(x @ first, 0) @ second)[:, 0])
    below = (signs @ np.asarray(outputs).T / 6).max(axis=1).mean()
    norm = np.linalg.norm(x, axis=1).max()
    assert 0 < below < bounds.golowich_complexity(WEIGHTS, norm, 6)
    assert below < bounds.frobenius_complexity(WEIGHTS, norm, 6)


def test_the_vc_dimension_by_hand():
    # Layers of 3 and 1 units; 9 parameters up to the first and 13 up to the second; reach 1 * 3 + 2 * 1.
    expected = 2 + 22 * math.log2(20 * math.e * math.log2(10 * math.e))
    assert bounds.vc_dimension((2, 3, 1), biases=True) == pytest.approx(expected)
    assert bounds.vc_dimension((2, 3, 2), biases=True) > bounds.vc_dimension((2, 3, 1), biases=True)
    assert bounds.vc_dimension((2, 3, 1), biases=False) < expected
    assert bounds.vc_dimension((5, 1), biases=True) > 6  # which a linear classifier's is


def test_the_papers_networks_have_far_more_dimensions_than_there_are_images():
    for sizes in ((2352, 512, 10), (2352, 512, 512, 512, 10)):
        dimension = bounds.vc_dimension(sizes, biases=True)
        assert dimension > 50_000 and bounds.vc_bound(dimension, 50_000, 0.05) > 1


def test_the_vc_bound_by_hand_and_in_n():
    expected = math.sqrt(2 * 10 * math.log(math.e * 1000 / 10) / 1000) + math.sqrt(math.log(20) / 2000)
    assert bounds.vc_bound(10, 1000, 0.05) == pytest.approx(expected)
    assert bounds.vc_bound(10, 5, 0.05) == pytest.approx(math.sqrt(2 * math.log(2)) + math.sqrt(math.log(20) / 10))
    values = [bounds.vc_bound(100, n, 0.05) for n in (10, 100, 101, 1000, 10**4, 10**8)]
    assert (np.diff(values) < 0).all() and values[-1] < 0.01


def test_the_margin_bound_by_hand():
    confidence = 3 * math.sqrt(math.log(40) / 200)
    assert bounds.margin_bound(0.1, margin=2.0, outputs=1, examples=100, delta=0.05) == pytest.approx(0.1 + confidence)
    assert bounds.margin_bound(0.1, margin=2.0, outputs=10, examples=100, delta=0.05) == pytest.approx(2 + confidence)
    assert bounds.rademacher_bound(0.3, 100, 0.05) == pytest.approx(0.3 + confidence)
    assert bounds.margin_bound(0.1, margin=0.0, outputs=1, examples=100, delta=0.05) == math.inf


def test_the_spectral_bound_by_hand_and_in_n():
    def bound(n, margin=2.0, complexity=1e-3):
        return bounds.spectral_bound(complexity, width=8, input_norm=3.0, margin=margin, examples=n, delta=0.05)

    covering = 72 * math.log(100) * math.sqrt(math.log(128)) * 3 * 1e-3 / (2 * 10)
    assert bound(100) == pytest.approx(8 / 1000 + covering + 3 * math.sqrt(math.log(40) / 200))
    assert (np.diff([bound(n) for n in (10, 100, 10**4, 10**8)]) < 0).all() and bound(10**10) < 0.01
    assert bound(100, margin=4.0, complexity=2e-3) == pytest.approx(bound(100))
    assert bound(100, margin=-1.0) == math.inf
