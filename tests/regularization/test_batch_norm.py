"""Batch norm: whose statistics, which statistics at evaluation, and what each setting adds to a network."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from rethink.regularization.batch_norm import NONE, BatchNorm, from_config
from rethink.schema.errors import UserError

EPSILON = 1e-3
PER_DEVICE = BatchNorm("per_device", True, True, 0.9, EPSILON, "running", None)
ACROSS = dataclasses.replace(PER_DEVICE, kind="across_devices", axis_name="parts")


class Layer(nn.Module):
    norm: BatchNorm

    @nn.compact
    def __call__(self, x, *, train):
        return self.norm(x, train=train)


def images(seed=0, batch=8):
    scale = jnp.arange(1, batch + 1, dtype=jnp.float32)[:, None, None, None]  # the parts of a batch differ
    return 2.0 + scale * jax.random.normal(jax.random.key(seed), (batch, 3, 3, 4))


def initialize(norm, x):
    return Layer(norm).init(jax.random.key(0), x, train=False)


def train_once(norm, variables, x):
    return Layer(norm).apply(variables, x, train=True, mutable=["batch_stats"])


def by_hand(x, axes=(0, 1, 2)):
    x = np.asarray(x, np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPSILON)


def test_none_is_the_identity_without_variables():
    x = images()
    assert initialize(NONE, x) == {}
    np.testing.assert_array_equal(Layer(NONE).apply({}, x, train=True), x)
    assert not NONE.replaces_bias and PER_DEVICE.replaces_bias


@pytest.mark.parametrize("scale, shift", [(False, False), (False, True), (True, False), (True, True)])
def test_scale_and_shift_are_the_parameters(scale, shift):
    params = initialize(dataclasses.replace(PER_DEVICE, scale=scale, shift=shift), images()).get("params", {})
    names = set(params["BatchNorm_0"]) if params else set()
    assert names == {name for name, used in (("scale", scale), ("bias", shift)) if used}


def test_training_normalizes_by_the_batch_and_moves_the_running_statistics_by_the_momentum():
    x = images()
    variables = initialize(PER_DEVICE, x)
    np.testing.assert_array_equal(variables["batch_stats"]["BatchNorm_0"]["mean"], np.zeros(4))
    normalized, updates = train_once(PER_DEVICE, variables, x)
    np.testing.assert_allclose(normalized, by_hand(x), atol=1e-4)
    running = updates["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(running["mean"], 0.1 * np.mean(x, (0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * np.var(x, (0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("evaluation", ["running", "batch"])
def test_evaluation_takes_the_statistics_it_names_and_changes_none(evaluation):
    norm = dataclasses.replace(PER_DEVICE, evaluation=evaluation)
    x = images()
    variables = initialize(norm, x)
    variables = {**variables, "batch_stats": jax.tree.map(lambda leaf: leaf + 3.0, variables["batch_stats"])}
    expected = (x - 3.0) / np.sqrt(4.0 + EPSILON) if evaluation == "running" else by_hand(x)
    # Immutable statistics, as evaluation hands them in; and mutable ones, which must come back as they were.
    np.testing.assert_allclose(Layer(norm).apply(variables, x, train=False), expected, atol=1e-4)
    _, updates = Layer(norm).apply(variables, x, train=False, mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"])


def test_evaluation_on_the_batch_uses_scale_and_shift_and_has_a_gradient():
    norm = dataclasses.replace(PER_DEVICE, evaluation="batch")
    x = images()
    stats = initialize(norm, x)["batch_stats"]
    params = {"BatchNorm_0": {"scale": jnp.full(4, 2.0), "bias": jnp.full(4, 5.0)}}

    def total(params):
        return Layer(norm).apply({"params": params, "batch_stats": stats}, x, train=False).sum()

    evaluated = Layer(norm).apply({"params": params, "batch_stats": stats}, x, train=False)
    np.testing.assert_allclose(evaluated, 2.0 * by_hand(x) + 5.0, atol=1e-4)
    np.testing.assert_allclose(jax.grad(total)(params)["BatchNorm_0"]["bias"], np.full(4, 8 * 9), rtol=1e-5)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("parts", [2, 4])
def test_across_devices_equals_one_device_with_the_whole_batch_and_per_device_does_not(train, parts):
    x = images()
    shards = x.reshape(parts, -1, *x.shape[1:])

    def normalize(norm, shards):
        norm = dataclasses.replace(norm, evaluation="batch")
        variables = initialize(norm, x)
        apply = jax.vmap(
            lambda shard: Layer(norm).apply(variables, shard, train=train, mutable=["batch_stats"]), axis_name="parts"
        )
        normalized, updates = apply(shards)
        return normalized.reshape(x.shape), updates["batch_stats"]["BatchNorm_0"]

    whole, whole_stats = normalize(PER_DEVICE, x[None])
    across, across_stats = normalize(ACROSS, shards)
    alone, _ = normalize(PER_DEVICE, shards)
    np.testing.assert_allclose(across, whole, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(across_stats[name], np.tile(whole_stats[name], (parts, 1)), rtol=1e-5)
    assert np.abs(alone - whole).max() > 0.1
    np.testing.assert_allclose(alone[: len(x) // parts], by_hand(shards[0]), atol=1e-4)


def test_settings_come_from_the_config_and_the_axis_only_where_it_is_reduced():
    section = {name: getattr(PER_DEVICE, name) for name in vars(PER_DEVICE) if name != "axis_name"}
    config = ml_collections.ConfigDict(section)
    assert from_config(config, "devices") == BatchNorm(**section, axis_name=None)
    config.kind = "across_devices"
    assert from_config(config, "devices").axis_name == "devices"
    assert hash(from_config(config, "devices")) == hash(from_config(config, "devices"))


@pytest.mark.parametrize("change", [{"kind": "across_devices"}, {"axis_name": "parts"}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError):
        dataclasses.replace(PER_DEVICE, **change)


@pytest.mark.parametrize("field, value", [("kind", "sync"), ("evaluation", "test")])
def test_an_unknown_setting_is_named(field, value):
    with pytest.raises(UserError, match=f"batch_norm.{field}='{value}' is unknown.*Choices: "):
        dataclasses.replace(PER_DEVICE, **{field: value})
