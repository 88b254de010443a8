"""Learning-rate schedules at exact steps, and the first update of each optimizer by hand."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rethink.configs import base
from rethink.schema.errors import UserError
from rethink.training import optimizer

STEPS_PER_EPOCH, TOTAL_STEPS = 12, 120


def section(**changes):
    config = base.get_config().optimizer
    config.learning_rate = 0.1
    config.update(changes)
    return config


def schedule(**changes):
    return optimizer.make_schedule(section(**changes), steps_per_epoch=STEPS_PER_EPOCH, total_steps=TOTAL_STEPS)


@pytest.mark.parametrize(
    "changes, period",
    [
        ({}, 12),  # the paper's: x0.95 once in an epoch
        ({"decay_every": 2.0}, 24),
        ({"decay_every": 0.5}, 6),
        ({"decay_every": 5.0, "decay_unit": "steps"}, 5),
    ],
)
def test_the_exponential_staircase_falls_at_the_end_of_each_period_and_not_within_it(changes, period):
    rates = np.asarray(schedule(**changes)(np.arange(TOTAL_STEPS))).tolist()
    assert rates == pytest.approx([0.1 * 0.95 ** (step // period) for step in range(TOTAL_STEPS)], rel=1e-5)
    assert len(set(rates)) == -(-TOTAL_STEPS // period)


def test_the_rate_inside_a_program_falls_at_the_same_steps_for_every_length_of_an_epoch():
    for period in (7, 41, 61, 82, 83, 235, 391, 2503):
        rate = schedule(decay_every=float(period), decay_unit="steps")
        edges = np.arange(1, 100) * period
        steps = np.concatenate([edges - 1, edges])
        in_program = np.asarray(jax.jit(jax.vmap(rate))(jnp.asarray(steps, jnp.int32)))
        np.testing.assert_allclose(in_program, 0.1 * 0.95 ** (steps // period), rtol=1e-4)
        assert [float(rate(int(step))) for step in steps] == pytest.approx(in_program.tolist(), rel=1e-5)


@pytest.mark.parametrize(
    "decay_every, steps_per_epoch, period",
    [
        (0.3, 8, "12/5"),
        (0.3, 10, "3"),  # 3.0000000000000004 as a product of floats
        (1.1, 10, "11"),  # 11.000000000000002
        (0.29, 100, "29"),  # 28.999999999999996
        (1 / 3, 12, "4"),
        (5 / 3, 12, "20"),  # the float is above the quotient
        (2 / 3, 7, "14/3"),
        (0.000123, 391, "48093/1000000"),  # several periods in a step
        (2.718281, 391, "1062847871/1000000"),
        (1000.123457, 391, "391048271687/1000000"),  # more steps are a whole number of periods than int32 holds
    ],
)
def test_the_count_of_decays_is_that_of_exact_arithmetic_for_periods_that_are_not_whole(
    decay_every, steps_per_epoch, period
):
    config = section(learning_rate=1.0, decay_factor=0.999999, decay_every=decay_every)
    total_steps = 10**6
    rate = optimizer.make_schedule(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    # Around multiples of the period, where a rounded count goes wrong, near the start and near the end.
    numbers = [*range(1, 40), *range(int(total_steps / Fraction(period)) - 40, int(total_steps / Fraction(period)))]
    edges = {math.ceil(n * Fraction(period)) for n in numbers if n > 0}
    steps = np.array(sorted({step for edge in edges for step in (edge - 1, edge) if step < total_steps}), np.int32)
    counts = [math.floor(step / Fraction(period)) for step in steps.tolist()]
    expected = np.float32(config.decay_factor) ** jnp.float32(counts)
    np.testing.assert_array_equal(jax.jit(jax.vmap(rate))(steps), expected)
    np.testing.assert_array_equal(rate(steps), expected)


def test_a_rate_whose_period_is_nearly_a_step_is_found_without_looking_at_every_period():
    config = section(decay_every=0.999999, decay_unit="steps")
    rate = optimizer.make_schedule(config, steps_per_epoch=1, total_steps=2 * 10**6)
    assert jax.jit(rate).lower(jnp.int32(5)).compile().cost_analysis()["flops"] < 1000  # of 999,999 periods


def test_the_rate_after_a_hundred_epochs_is_the_one_that_the_fields_say():
    rate = optimizer.make_schedule(section(decay_every=0.3), steps_per_epoch=8, total_steps=800)
    assert float(rate(799)) == pytest.approx(0.1 * 0.95**332, rel=1e-4)  # 3.99e-9; every 2 steps: 1.3e-10


def test_the_decay_factor_is_the_one_of_the_config():
    assert float(schedule(decay_factor=0.5)(STEPS_PER_EPOCH * 2)) == pytest.approx(0.025)


def test_a_constant_rate_does_not_change():
    constant = schedule(schedule="constant")
    assert [float(constant(step)) for step in (0, 1, 1000, 100_000)] == pytest.approx([0.1] * 4)


def test_a_cosine_starts_at_the_rate_is_half_at_half_time_and_ends_at_zero():
    cosine = schedule(schedule="cosine")
    assert float(cosine(0)) == pytest.approx(0.1)
    assert float(cosine(TOTAL_STEPS // 2)) == pytest.approx(0.05)
    assert float(cosine(TOTAL_STEPS)) == pytest.approx(0.0, abs=1e-8)
    assert np.all(np.diff(cosine(np.arange(TOTAL_STEPS + 1))) < 0)


GRADIENT = np.array([0.5, -2.0, 0.01])


@pytest.mark.parametrize(
    "changes, update",
    [
        ({"name": "sgd"}, -0.1 * GRADIENT),
        ({"name": "sgd", "nesterov": True}, -0.1 * 1.9 * GRADIENT),
        ({"name": "adam"}, -0.1 * np.sign(GRADIENT)),
        ({"name": "rmsprop"}, -0.1 * np.sign(GRADIENT) / np.sqrt(0.1)),
    ],
)
def test_the_first_update_is_that_of_the_optimizer_that_is_named(changes, update):
    tx = optimizer.make_optimizer(section(schedule="constant", **changes), schedule(schedule="constant"))
    params = jnp.zeros(3)  # where a decay of the weights has nothing to do
    first, _ = tx.update(jnp.float32(GRADIENT), tx.init(params), params)
    np.testing.assert_allclose(first, update, rtol=1e-3)


@pytest.mark.parametrize("name", optimizer.OPTIMIZERS)
def test_every_optimizer_goes_down_a_slope(name):
    tx = optimizer.make_optimizer(section(name=name), optax.constant_schedule(0.01))
    params = jnp.array([1.0, -2.0])
    opt_state = tx.init(params)
    for _ in range(20):
        updates, opt_state = tx.update(2 * params, opt_state, params)
        params = optax.apply_updates(params, updates)
    assert float(jnp.sum(params**2)) < 4.9  # from 5


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_carries_the_last_update_on(name):
    tx = optimizer.make_optimizer(section(name=name), optax.constant_schedule(0.1))
    params = jnp.zeros(3)
    first, opt_state = tx.update(jnp.float32(GRADIENT), tx.init(params), params)
    second, _ = tx.update(jnp.zeros(3), opt_state, params)
    np.testing.assert_allclose(second, 0.9 * first, rtol=1e-5)


def test_updates_follow_the_schedule_from_the_first_step_on():
    tx = optimizer.make_optimizer(section(momentum=0.0), schedule())
    params, rates = jnp.zeros(()), []
    opt_state = tx.init(params)
    for _ in range(2 * STEPS_PER_EPOCH + 1):
        update, opt_state = tx.update(jnp.ones(()), opt_state, params)
        rates.append(-float(update))
    assert rates == pytest.approx([0.1] * 12 + [0.095] * 12 + [0.09025], rel=1e-5)


def test_an_unknown_optimizer_is_refused_with_the_choices():
    with pytest.raises(UserError, match=r"^optimizer.name='sdg' is unknown; did you mean 'sgd'\? Choices: .*adam"):
        optimizer.make_optimizer(section(name="sdg"), optax.constant_schedule(0.1))


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"schedule": "cosin"}, r"^optimizer.schedule='cosin' is unknown; did you mean 'cosine'\?"),
        ({"decay_unit": "epoch"}, r"^optimizer.decay_unit='epoch' is unknown; did you mean 'epochs'\?"),
    ],
)
def test_an_unknown_schedule_or_unit_is_refused_with_the_choices(changes, line):
    with pytest.raises(UserError, match=line):
        schedule(**changes)
