"""The Linen module of theorem 1: the same function, the same number of weights, never silently in float32."""

import jax
import numpy as np
import pytest

from rethink.models.user_module import count_parameters
from rethink.schema.errors import UserError
from rethink.theory.theorem1.expressivity import interpolate_points, to_linen


@pytest.fixture(params=[None, 3])
def made(request):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    targets = rng.normal(size=60 if request.param is None else (60, request.param))
    return interpolate_points(images.reshape(60, -1), targets, seed=0), images, targets


def test_the_module_is_the_network(made):
    network, images, targets = made
    module, params = to_linen(network, np.float64)
    with jax.enable_x64(True):
        values = np.asarray(module.apply({"params": params}, images, train=False))
    assert values.dtype == np.float64 and values.shape == targets.shape
    np.testing.assert_allclose(values, targets, atol=1e-9)
    np.testing.assert_allclose(values, network(images.reshape(60, -1)), atol=1e-9)


def test_the_parameters_are_those_that_the_module_initializes(made):
    network, images, _ = made
    module, params = to_linen(network, np.float64)
    assert count_parameters(params) == network.weight_count
    with jax.enable_x64(True):
        fresh = module.init(jax.random.wrap_key_data(np.zeros(2, np.uint32)), images, train=False)["params"]
    shapes = {name: (value.shape, value.dtype) for name, value in fresh.items()}
    assert shapes == {name: (value.shape, value.dtype) for name, value in params.items()}


def test_float64_without_x64_is_an_error(made):
    network, images, _ = made
    module, params = to_linen(network, np.float64)
    with pytest.raises(UserError, match="a network in float64 needs x64: call it within `jax.enable_x64"):
        module.apply({"params": params}, images, train=False)


def test_float32_computes_in_float32(made):
    network, images, targets = made
    module, params = to_linen(network, np.float32)
    values = np.asarray(module.apply({"params": params}, images, train=False))
    assert values.dtype == np.float32 and all(value.dtype == np.float32 for value in params.values())
    assert 1e-9 < np.abs(values - targets).max() < 0.5
