"""Losses: against numbers computed by hand, each other at the ends of their parameters, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.configs import base
from rethink.schema.errors import UserError
from rethink.training import losses

RNG = np.random.default_rng(0)
LOGITS, LABELS = np.log(np.float32([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]])), np.int32([0, 0])  # softmax: these numbers
Q = 0.7


def config_of(loss, **fields):
    config = base.get_config().train
    config.loss = loss
    config.update(fields)
    return config


def compute(loss, logits=LOGITS, labels=LABELS, **fields):
    return np.asarray(losses.loss_from_config(config_of(loss, **fields))(jnp.asarray(logits), jnp.asarray(labels)))


def by_hand(loss, logits=LOGITS, labels=LABELS):
    """Returns the formula in float64, [batch]."""
    z = np.float64(logits)
    one_hot, log_p = np.eye(z.shape[1])[labels], z - np.log(np.exp(z).sum(1, keepdims=True))
    of_label = (one_hot * log_p).sum(1)
    return {
        "cross_entropy": -of_label,
        "squared": ((z - one_hot) ** 2).sum(1) / 2,
        "label_smoothing": -(0.9 * of_label + 0.1 * log_p.mean(1)),
        "generalized_cross_entropy": (1 - np.exp(of_label) ** Q) / Q,
    }[loss]


@pytest.mark.parametrize("name", losses.LOSSES)
def test_each_loss_and_its_gradient_are_those_of_its_formula(name):
    logits, labels = RNG.normal(0, 2, (4, 5)).astype(np.float32), RNG.integers(0, 5, 4).astype(np.int32)
    loss = losses.loss_from_config(config_of(name))
    values, pull_back = jax.vjp(jax.jit(lambda logits: loss(logits, labels)), logits)
    (gradient,) = pull_back(np.ones(4, np.float32))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, by_hand(name, logits, labels), rtol=1e-5)
    for place in range(5):
        step = 1e-5 * np.eye(5)[place]
        differences = by_hand(name, logits + step, labels) - by_hand(name, logits - step, labels)
        np.testing.assert_allclose(gradient[:, place], differences / 2e-5, rtol=1e-4, atol=1e-6)


def test_each_loss_is_the_number_of_its_formula():
    assert by_hand("cross_entropy")[0] == pytest.approx(-np.log(0.2))
    assert by_hand("generalized_cross_entropy")[1] == pytest.approx((1 - 0.7**Q) / Q)
    for name in losses.LOSSES:
        np.testing.assert_allclose(compute(name), by_hand(name), rtol=1e-6)


def test_the_ends_of_the_parameters_are_the_losses_that_they_should_be():
    cross_entropy, p = compute("cross_entropy"), np.float32([0.2, 0.7])
    logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    np.testing.assert_allclose(losses.label_smoothing(logits, labels, smoothing=0.0), cross_entropy, rtol=1e-6)
    np.testing.assert_allclose(compute("generalized_cross_entropy", gce_q=1.0), 1 - p, rtol=1e-6)
    np.testing.assert_allclose(compute("generalized_cross_entropy", gce_q=1e-6), cross_entropy, rtol=1e-5)
    # At 1e-6 the term is below float32's resolution of 1: only an expm1 sees it.
    assert compute("squared", np.eye(3, dtype=np.float32)[[0, 2]], np.int32([0, 2])).tolist() == [0, 0]
    assert compute("squared", np.zeros((1, 10), np.float32), np.int32([3])).tolist() == [0.5]


def test_smoothed_labels_are_least_at_their_own_logits_and_that_is_their_entropy():
    targets = 0.9 * np.eye(3)[[0]] + 0.1 / 3
    at_targets = np.log(targets).astype(np.float32)
    entropy = -(targets * np.log(targets)).sum()
    np.testing.assert_allclose(compute("label_smoothing", at_targets, np.int32([0])), entropy, rtol=1e-6)
    loss = losses.loss_from_config(config_of("label_smoothing"))
    gradient = jax.grad(lambda logits: loss(logits, np.int32([0])).sum())(jnp.asarray(at_targets))
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_a_label_of_no_probability_leaves_generalized_cross_entropy_and_its_gradient_finite():
    """The gradient is p_y^q (p - one_hot), which vanishes where p_y does; 0^(q - 1) would be infinite."""
    logits, labels = jnp.asarray(np.float32([[-200, 0, 1], [-2, 0, 1]])), np.int32([0, 0])
    loss = losses.generalized_cross_entropy
    gradient_of = jax.jit(jax.grad(lambda logits, q: loss(logits, labels, q=q).sum()))
    log_p = np.float64(logits) - np.log(np.exp(np.float64(logits)).sum(1, keepdims=True))
    for q in (1e-3, Q, 1.0):
        expected = np.exp(q * log_p[:, :1]) * (np.exp(log_p) - np.eye(3)[labels])
        np.testing.assert_allclose(gradient_of(logits, q), expected, rtol=1e-4, atol=1e-30)


def test_an_unknown_loss_is_named():
    with pytest.raises(UserError, match="train.loss='mse'.*squared"):
        losses.loss_from_config(config_of("mse"))


def test_a_loss_is_described_with_its_number_and_the_default_not_at_all():
    described = {name: losses.describe_loss(config_of(name)) for name in losses.LOSSES}
    assert list(described.values()) == ["", "squared", "label smoothing 0.1", "generalized cross-entropy, q = 0.7"]
