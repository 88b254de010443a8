"""Sums of bfloat16 numbers: exact to one rounding wherever they stand in a computation and in its gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.training.sums import add_in_float32

ONES = jnp.ones((40, 5, 5, 2), jnp.bfloat16)  # in bfloat16 a sum of ones goes no further than 256


def add_bias(bias):
    return jnp.sum((ONES + bias).astype(jnp.float32))


def in_loop(bias):
    return jax.lax.scan(lambda total, _: (total + add_bias(bias), None), 0.0, None, length=1)[0]


def in_branch(bias):
    return jax.lax.cond(bias[0] < 1, add_bias, lambda bias: 0.0, bias)


@pytest.mark.parametrize("inside", [add_bias, jax.jit(add_bias), jax.checkpoint(add_bias), in_loop, in_branch])
def test_the_gradient_of_a_bias_is_the_sum_over_all_places(inside):
    bias = jnp.zeros(2, jnp.bfloat16)
    gradient = jax.jit(add_in_float32(jax.grad(inside)))(bias)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, jnp.bfloat16(1000))
    assert np.all(np.asarray(jax.grad(add_bias)(bias)) < 900)  # what it is without: if not, this module is not needed


def test_a_mean_pool_rounds_once():
    x = jax.random.uniform(jax.random.key(0), (4, 9, 9, 3)).astype(jnp.bfloat16)
    pool = add_in_float32(lambda x: nn.avg_pool(x, (5, 5), strides=(3, 3)))
    exact = nn.avg_pool(x.astype(jnp.float32), (5, 5), strides=(3, 3))
    np.testing.assert_allclose(np.float32(pool(x)), exact, rtol=2**-7)
    assert np.any(np.abs(np.float32(nn.avg_pool(x, (5, 5), strides=(3, 3))) - exact) > 2**-7 * exact)


@pytest.mark.parametrize(
    "function, x, largest",
    [
        (lambda table: table[jnp.zeros(5000, int)], jnp.zeros(3), 5000),  # one entry is looked up by all
        (lambda x: nn.max_pool(x, (20, 20)), jnp.zeros((1, 40, 40, 1)).at[0, 20, 20].set(1), 400),  # it wins in all
    ],
)
def test_the_gradient_of_what_is_used_often_is_the_sum_over_its_uses(function, x, largest):
    gradient = add_in_float32(jax.vmap(jax.grad(lambda x: jnp.sum(function(x).astype(jnp.float32)))))
    assert jnp.max(jax.jit(gradient)(x.astype(jnp.bfloat16)[None])) == jnp.bfloat16(largest)


def test_a_gradient_of_the_users_own_stays_as_it_is():
    @jax.custom_vjp
    def double(x):
        return 2 * x

    double.defvjp(lambda x: (2 * x, None), lambda _, gradient: (7 * gradient,))
    for function in (double, jax.grad(lambda x: jnp.sum(double(x)))):
        np.testing.assert_array_equal(add_in_float32(function)(ONES), function(ONES))


def test_everything_else_keeps_its_bits_and_its_structure():
    def compute(numbers, key):
        x = jax.nn.softmax(numbers["x"] @ numbers["x"].T)
        return {"drawn": jax.random.normal(key, (3,)), "rest": (jnp.argmax(x), {"sum": jnp.sum(x)}), "none": None}

    arguments = {"x": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)}, jax.random.key(0)
    jax.tree.map(np.testing.assert_array_equal, add_in_float32(compute)(*arguments), compute(*arguments))
