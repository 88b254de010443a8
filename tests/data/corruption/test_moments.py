"""Moments of the training images: those of NumPy, and the same bits however the data are divided."""

from fractions import Fraction

import numpy as np
import pytest

from rethink.data.corruption.moments import NORMAL, make_moments, measure_moments, no_moments, tally_values

RNG = np.random.default_rng(0)
IMAGES = {
    "uint8": RNG.integers(0, 256, (50, 4, 5, 3)).astype(np.uint8),
    "uint16": RNG.integers(0, 2**16, (50, 4, 5, 2)).astype(np.uint16),
    # Values of all sizes, the smallest of float32 and zeros of both signs included.
    "float32": (RNG.normal(size=(50, 2, 5, 4)) * 10.0 ** RNG.integers(-44, 15, (50, 2, 5, 4))).astype(np.float32),
}
IMAGES["float32"][0, 0, :2] = [[0.0], [-0.0]]
DTYPES = pytest.mark.parametrize("dtype", IMAGES)


@DTYPES
def test_moments_are_those_of_exact_arithmetic(dtype):
    images = IMAGES[dtype]
    moments = measure_moments(tally_values(images), dtype)
    for channel, values in enumerate(images.reshape(-1, images.shape[-1]).T.tolist()):
        numbers = list(map(Fraction, values))
        mean = sum(numbers) / len(numbers)
        variance = sum(number**2 for number in numbers) / len(numbers) - mean**2
        near = np.finfo(np.float32).eps if dtype == "uint8" else 0
        np.testing.assert_allclose(moments.mean[channel], float(mean), rtol=near)
        np.testing.assert_allclose(moments.std[channel], float(variance) ** 0.5, rtol=near)
    assert moments.mean.dtype == moments.std.dtype == np.float64


@DTYPES
def test_moments_have_the_same_bits_however_the_images_are_divided(dtype):
    images = IMAGES[dtype]
    whole = tally_values(images)
    parts = np.split(images[RNG.permutation(len(images))], [0, 1, 30])
    divided = sum(tally_values(part) for part in parts)
    np.testing.assert_array_equal(divided, whole, strict=True)


def test_images_that_are_all_alike_have_no_spread():
    for images in (np.full((7, 5, 3, 2), 201, np.uint8), np.full((7, 5, 3, 2), 0.1, np.float32)):
        moments = measure_moments(tally_values(images), images.dtype)
        assert moments.mean.tolist() == [float(images.flat[0])] * 2
        assert moments.std.tolist() == [0, 0]


def test_clipped_draws_are_those_that_images_of_the_type_may_hold():
    mean, std = np.array([1000.0, 60000.0]), np.array([900.0, 20000.0])
    drawn = mean + std * NORMAL[:, None]
    integers = make_moments(mean, std, np.uint16, (0.0, 65535.0)).quantiles
    assert integers.dtype == np.uint16 and integers.min() == 0 and integers.max() == 65535
    np.testing.assert_array_equal(integers, np.clip(np.round(drawn), 0, 65535))
    floats = make_moments(mean, std, np.float32, (-5.5, 65000.0)).quantiles
    assert floats.min() == np.float32(-5.5) and floats.max() == 65000
    np.testing.assert_array_equal(floats, np.clip(drawn, -5.5, 65000).astype(np.float32), strict=True)


def test_what_reads_no_moments_costs_no_table_of_quantiles():
    assert no_moments(10**5).quantiles.shape == (0, 10**5)
