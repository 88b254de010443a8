"""The max pool and its gradient are XLA's, ties and edges included."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.models import pooling

SIZES = [(3, 3), (4, 7), (5, 5), (7, 6), (28, 27)]
CASES = [("SAME", size) for size in [(1, 1), (2, 3), *SIZES]] + [("VALID", size) for size in SIZES]


def both(x, padding, seed):
    """Returns (pool, gradient) of ours and of XLA's, for the same cotangent."""
    results = []
    for pool in (pooling.max_pool, lambda x, padding: nn.max_pool(x, (3, 3), strides=(2, 2), padding=padding)):
        y, pull_back = jax.vjp(lambda x, pool=pool: pool(x, padding), x)
        cotangent = np.random.default_rng(seed).integers(-9, 10, y.shape)  # adds up without rounding, in any order
        results.append((y, jax.jit(pull_back)(jnp.asarray(cotangent, y.dtype))[0]))
    return results


@pytest.mark.parametrize("kind", ["ties", "distinct"])
@pytest.mark.parametrize("padding, size", CASES)
def test_it_is_the_pool_of_xla_with_its_gradient(padding, size, kind):
    draw = np.random.default_rng(0)
    shape = (2, *size, 3)
    values = draw.integers(-1, 2, shape) if kind == "ties" else draw.permutation(np.prod(shape)).reshape(shape)
    (y, ours), (wanted_y, wanted) = both(jnp.asarray(values, jnp.float32), padding, seed=1)
    np.testing.assert_array_equal(y, wanted_y, strict=True)
    np.testing.assert_array_equal(ours, wanted, strict=True)
    assert np.any(wanted)


def test_the_gradient_keeps_half_precision():
    x = jnp.arange(2 * 5 * 5, dtype=jnp.bfloat16).reshape(2, 5, 5, 1)
    gradient = jax.grad(lambda x: pooling.max_pool(x).astype(jnp.float32).sum())(x)
    assert gradient.dtype == jnp.bfloat16 and float(gradient.astype(jnp.float32).sum()) == 2 * 9
