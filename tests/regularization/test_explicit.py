"""Weight decay against its formulas, dropout against its rate: which parameters, which examples, which places."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rethink.configs import base
from rethink.regularization import explicit
from rethink.regularization.explicit import NO_DROPOUT, Dropout, WeightDecay
from rethink.schema.errors import UserError

PARAMS = {
    "Dense_0": {"kernel": jnp.array([[1.0, -2.0], [3.0, 0.5]]), "bias": jnp.array([4.0, 5.0])},
    "BatchNorm_0": {"scale": jnp.array([6.0])},
}
GRADIENT = jax.tree.map(lambda leaf: 0.1 * leaf + 1, PARAMS)


def test_all_is_off_by_default():
    config = base.get_config()
    decay = explicit.weight_decay_from_config(config.weight_decay)
    assert decay.penalty(PARAMS) == 0
    tx = decay.transformation(optax.constant_schedule(0.1))
    assert tx.update(GRADIENT, tx.init(PARAMS), PARAMS)[0] is GRADIENT
    assert explicit.dropout_from_config(config.dropout, "devices").rate == 0


@pytest.mark.parametrize("parameters", explicit.DECAYED)
def test_the_penalty_is_half_the_coefficient_times_the_square_and_its_gradient_the_weight(parameters):
    decay = WeightDecay("l2", 0.01, parameters)
    leaves = [PARAMS["Dense_0"]["kernel"]] if parameters == "kernels" else jax.tree.leaves(PARAMS)
    assert float(decay.penalty(PARAMS)) == pytest.approx(0.005 * sum(float(jnp.sum(leaf**2)) for leaf in leaves))
    gradient = jax.grad(decay.penalty)(PARAMS)
    np.testing.assert_allclose(gradient["Dense_0"]["kernel"], 0.01 * PARAMS["Dense_0"]["kernel"], rtol=1e-6)
    factor = 0.0 if parameters == "kernels" else 0.01
    np.testing.assert_allclose(gradient["Dense_0"]["bias"], factor * PARAMS["Dense_0"]["bias"], rtol=1e-6)
    np.testing.assert_allclose(gradient["BatchNorm_0"]["scale"], factor * PARAMS["BatchNorm_0"]["scale"], rtol=1e-6)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1, momentum=0.9), optax.adam(0.1)], ids=["sgd", "adam"])
def test_decoupled_decay_takes_the_rate_of_the_step_times_the_weight_whatever_the_optimizer_makes_of_gradients(
    optimizer,
):
    def rate(step):
        return 0.1 * 0.5**step

    tx = optax.chain(optimizer, WeightDecay("decoupled", 0.01, "kernels").transformation(rate))
    state, plain_state = tx.init(PARAMS), optimizer.init(PARAMS)
    for step in range(3):
        updates, state = tx.update(GRADIENT, state, PARAMS)
        plain, plain_state = optimizer.update(GRADIENT, plain_state, PARAMS)
        extra = jax.tree.map(lambda a, b: a - b, updates, plain)
        expected = -0.1 * 0.5**step * 0.01 * PARAMS["Dense_0"]["kernel"]
        np.testing.assert_allclose(extra["Dense_0"]["kernel"], expected, rtol=1e-3, atol=1e-7)
        assert not np.any(extra["Dense_0"]["bias"]) and not np.any(extra["BatchNorm_0"]["scale"])


def test_with_plain_sgd_both_kinds_of_decay_are_the_same():
    kernel = {"kernel": jnp.array([1.0, -2.0])}
    l2, decoupled = WeightDecay("l2", 0.01, "kernels"), WeightDecay("decoupled", 0.01, "kernels")
    sgd = optax.sgd(0.1)
    with_penalty, _ = sgd.update(jax.grad(l2.penalty)(kernel), sgd.init(kernel))
    tx = decoupled.transformation(optax.constant_schedule(0.1))
    shrunk, _ = tx.update(jax.tree.map(jnp.zeros_like, kernel), tx.init(kernel), kernel)
    np.testing.assert_allclose(with_penalty["kernel"], shrunk["kernel"], rtol=1e-6)


@pytest.mark.parametrize("kind", ["l2", "decoupled"])
def test_a_decay_that_touches_nothing_is_refused(kind):
    decay = WeightDecay(kind, 0.01, "kernels")
    params = {"weights": jnp.ones(3)}
    with pytest.raises(UserError, match="--config.weight_decay.parameters=all"):
        decay.penalty(params) if kind == "l2" else decay.transformation(lambda step: 0.1).init(params)


@pytest.mark.parametrize(
    "make, field",
    [
        (lambda: WeightDecay("l1", 0.01, "kernels"), "weight_decay.kind='l1'"),
        (lambda: WeightDecay("l2", 0.01, "weights"), "weight_decay.parameters='weights'"),
        (lambda: Dropout(0.5, "first", None), "dropout.place='first'"),
        (lambda: NO_DROPOUT(jnp.ones(3), "first", train=True), "dropout.place='first'"),
    ],
)
def test_an_unknown_kind_is_named(make, field):
    with pytest.raises(UserError, match=f"{field} is unknown.*Choices: "):
        make()


class Twice(nn.Module):
    """Ones, dropped at one place twice."""

    dropout: Dropout
    width: int = 1000

    @nn.compact
    def __call__(self, x, *, train):
        return self.dropout(x, "hidden", train=train), self.dropout(x, "hidden", train=train)


def drop(dropout, ones, *, seed=0, train=True):
    return Twice(dropout).apply({}, ones, train=train, rngs={explicit.DROPOUT_STREAM: jax.random.key(seed)})


HALF = Dropout(0.25, "hidden", None)
ONES = jnp.ones((64, 1000))


def test_a_share_of_the_rate_is_dropped_and_the_mean_is_kept():
    dropped, _ = drop(HALF, ONES)
    share = float(jnp.mean(dropped == 0))
    assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / ONES.size)
    np.testing.assert_allclose(jnp.unique(dropped), [0, 1 / 0.75], rtol=1e-6)


def test_layers_examples_and_streams_draw_apart():
    one, two = drop(HALF, ONES)
    assert np.mean(one == two) < 0.7
    assert np.mean(one[0] == one[1]) < 0.75
    assert np.mean(one == drop(HALF, ONES, seed=1)[0]) < 0.7
    np.testing.assert_array_equal(one, drop(HALF, ONES)[0])


@pytest.mark.parametrize("dropout", [NO_DROPOUT, Dropout(0.5, "last", None), Dropout(0.0, "hidden", None)])
def test_nothing_is_dropped_at_another_place_or_rate_zero(dropout):
    np.testing.assert_array_equal(drop(dropout, ONES)[0], ONES)


def test_nothing_is_dropped_in_evaluation():
    np.testing.assert_array_equal(drop(HALF, ONES, train=False)[0], ONES)


@pytest.mark.parametrize("devices", [2, 4])
def test_the_number_of_devices_changes_no_draw(devices):
    across = Dropout(0.25, "hidden", "devices")
    parts = ONES.reshape(devices, -1, 1000)
    dropped = jax.vmap(lambda part: drop(across, part)[0], axis_name="devices")(parts)
    np.testing.assert_array_equal(dropped.reshape(ONES.shape), drop(HALF, ONES)[0])
