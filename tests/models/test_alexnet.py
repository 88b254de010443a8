"""Local response normalization against its definition, one channel at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.models.alexnet import normalize_locally


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("depth_radius", [0, 1, 4])
def test_local_response_normalization_is_the_loop_of_its_definition(channels, depth_radius):
    x = 3.0 * jax.random.normal(jax.random.key(0), (2, 3, 2, channels))
    bias, alpha, beta = 1.5, 0.2, 0.75
    values = np.asarray(x, np.float64)
    expected = np.empty_like(values)
    for place in np.ndindex(values.shape[:-1]):
        for c in range(channels):
            total = 0.0
            for k in range(max(0, c - depth_radius), min(channels, c + depth_radius + 1)):
                total += values[place][k] ** 2
            expected[place][c] = values[place][c] / (bias + alpha * total) ** beta
    result = normalize_locally(x, depth_radius=depth_radius, bias=bias, alpha=alpha, beta=beta)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_in_bfloat16_it_is_the_float32_result_rounded_once_and_not_the_identity():
    settings = {"depth_radius": 4, "bias": 1.0, "alpha": 0.001 / 9, "beta": 0.75}
    x = (5 * jax.random.normal(jax.random.key(0), (8, 7, 7, 64))).astype(jnp.bfloat16)
    rounded = normalize_locally(x, **settings)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rounded, normalize_locally(x.astype(jnp.float32), **settings).astype(jnp.bfloat16))
    assert np.mean(rounded != x) > 0.9
