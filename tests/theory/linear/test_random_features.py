"""Random feature maps: the kernels that they estimate, what they are a function of, and that they condition better."""

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.linear import least_norm, random_features


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).standard_normal((30, 5))


def test_cosines_estimate_the_gaussian_kernel(inputs):
    found = random_features.draw_fourier_features(inputs, count=40_000, bandwidth=2.0, seed=0)
    squares = np.sum((inputs[:, None] - inputs) ** 2, axis=-1)
    assert np.allclose(found @ found.T, np.exp(-squares / (2 * 2.0**2)), atol=0.03)


def test_relus_estimate_the_arc_cosine_kernel(inputs):
    found = random_features.draw_relu_features(inputs, count=40_000, seed=0)
    norms = np.linalg.norm(inputs, axis=1)
    cosine = np.clip(inputs @ inputs.T / np.outer(norms, norms), -1, 1)
    angle = np.arccos(cosine)
    kernel = np.outer(norms, norms) * (np.sin(angle) + (np.pi - angle) * cosine) / (np.pi * 5)
    assert np.allclose(found @ found.T, kernel, atol=0.08)


@pytest.mark.parametrize("make", ["fourier", "relu"])
def test_the_map_depends_on_seed_and_not_on_the_other_examples(inputs, make):
    def features(x, seed):
        if make == "relu":
            return random_features.draw_relu_features(x, count=50, seed=seed)
        return random_features.draw_fourier_features(x, count=50, bandwidth=1.0, seed=seed)

    assert np.allclose(features(inputs, 0)[7], features(inputs[7:8], 0)[0])
    assert not np.allclose(features(inputs, 0), features(inputs, 1))


def test_features_make_an_interpolant_of_more_examples_than_dimensions(inputs):
    assert not least_norm.solve_least_norm(inputs, np.ones(30)).interpolates
    distance = random_features.measure_median_distance(inputs)
    found = random_features.draw_fourier_features(inputs, count=300, bandwidth=distance / 2, seed=0)
    assert (
        least_norm.solve_least_norm(found, np.ones(30)).interpolates
        and least_norm.decompose_features(found).condition < 100
    )


def test_the_median_distance(inputs):
    pairs = [np.linalg.norm(inputs[i] - inputs[j]) for i in range(30) for j in range(i)]
    assert random_features.measure_median_distance(inputs) == pytest.approx(np.median(pairs))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: random_features.measure_median_distance(x[:1]), "at least 2"),
        (lambda x: random_features.measure_median_distance(x[:0]), "shape"),
        (lambda x: random_features.draw_relu_features(x, count=0, seed=0), "count=0"),
        (lambda x: random_features.draw_relu_features(x[0], count=3, seed=0), "shape"),
        (lambda x: random_features.draw_relu_features(x * np.nan, count=3, seed=0), "finite"),
        (lambda x: random_features.draw_fourier_features(x, count=3, bandwidth=0.0, seed=0), "bandwidth=0.0"),
        (lambda x: random_features.draw_fourier_features(x, count=3, bandwidth=np.nan, seed=0), "bandwidth=nan"),
    ],
)
def test_mistakes_end_in_one_line(inputs, call, message):
    with pytest.raises(UserError, match=message):
        call(inputs)
