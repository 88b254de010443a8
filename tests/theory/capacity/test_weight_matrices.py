"""A network's weights out of its parameters: the same function, biases folded in or not, and nothing but an MLP."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.models import registry
from rethink.models.mlp import MLP
from rethink.models.user_module import count_parameters
from rethink.regularization.batch_norm import NONE, BatchNorm
from rethink.regularization.explicit import NO_DROPOUT
from rethink.schema.errors import UserError
from rethink.theory.capacity import weight_matrices

IMAGES = np.random.default_rng(0).standard_normal((5, 4, 4, 3)).astype(np.float32)


def build(name, norm=NONE):
    model = registry.build_model(name, num_classes=10, norm=norm, dropout=NO_DROPOUT, init="lecun_normal", kwargs={})
    return model, fill(model, bias=0.0)


def fill(model, bias):
    """Returns parameters of the model's shapes, kernels random, biases random times `bias`."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(IMAGES), train=False))["params"]
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: random.standard_normal(leaf.shape) * (leaf.shape[0] ** -0.5 if leaf.ndim > 1 else bias), shapes
    )


def compute(weights, x):
    for matrix in weights[:-1]:
        x = np.maximum(x @ matrix, 0)
    return x @ weights[-1]


@pytest.fixture(scope="module")
def mlp():
    """A network of twelve layers, more than sort by name, with biases."""
    model = MLP(10, NONE, NO_DROPOUT, registry.INITIALIZERS["he_normal"], hidden_sizes=tuple(range(20, 9, -1)))
    return model, fill(model, bias=0.5)


def test_the_weights_compute_what_the_model_does(mlp):
    model, params = mlp
    network = weight_matrices.read_params(params)
    logits = jax.jit(functools.partial(model.apply, train=False))({"params": params}, jnp.asarray(IMAGES))
    x = IMAGES.reshape(5, -1).astype(np.float64)
    folded = weight_matrices.fold_biases(network, always=False)
    assert (
        np.allclose(compute(folded, np.hstack([x, np.ones((5, 1))])), logits, rtol=1e-4, atol=1e-4)
        and np.std(logits) > 0.01
    )
    assert network.sizes == (48, *range(20, 9, -1), 10) and network.has_biases
    assert sum(array.size for array in (*network.weights, *network.biases)) == count_parameters(params)
    assert all(matrix.dtype == np.float64 for matrix in folded)


def test_biases_of_zero_need_no_folding():
    _, params = build("mlp_tiny")
    network = weight_matrices.read_params(params)
    assert not network.has_biases and weight_matrices.fold_biases(network, always=False) is network.weights
    x = IMAGES.reshape(5, -1)
    always = weight_matrices.fold_biases(network, always=True)
    assert np.allclose(compute(always, np.hstack([x, np.ones((5, 1))])), compute(network.weights, x))


@pytest.mark.parametrize("name", ["conv_tiny", "wide_resnet"])
def test_other_architectures_are_refused(name):
    with pytest.raises(UserError, match="only the parameters can be counted"):
        weight_matrices.read_params(build(name)[1])


def test_batch_norm_is_refused():
    norm = BatchNorm("per_device", False, True, 0.9, 1e-3, "running", None)
    with pytest.raises(UserError, match="BatchNorm"):
        weight_matrices.read_params(build("mlp_tiny", norm)[1])


@pytest.mark.parametrize(
    "weights, biases, message",
    [
        ((), (), "no network"),
        ((np.ones((2, 3)), np.ones((2, 1))), (np.zeros(3), np.zeros(1)), "no network"),
        ((np.ones((2, 3)),), (np.zeros(2),), "no network"),
        ((np.ones((2, 3)),), (), "no network"),
        ((np.ones(3),), (np.zeros(()),), "no network"),
        ((np.full((2, 3), np.nan),), (np.zeros(3),), "diverged"),
    ],
)
def test_what_is_no_network_is_said(weights, biases, message):
    with pytest.raises(UserError, match=message) as error:
        weight_matrices.make_weight_matrices(weights, biases)
    assert "\n" not in str(error.value)


def test_no_parameters_are_no_network():
    with pytest.raises(UserError, match="no layers"):
        weight_matrices.read_params({})


def test_matrices_of_another_network_are_seen(mlp):
    network = weight_matrices.read_params(mlp[1])
    x = np.random.default_rng(1).standard_normal((400, 48))
    logits = network.compute_logits(x)
    labels = logits.argmax(axis=1)
    weight_matrices.require_train_error(logits, labels, 0.0)
    weight_matrices.require_train_error(logits, np.append(labels[:-3], (labels[-3:] + 1) % 10), 0.0)  # of 400
    others = weight_matrices.make_weight_matrices(network.weights, tuple(-2 * bias for bias in network.biases))
    with pytest.raises(UserError, match="The weights err on .* of the train set and the run's evaluation on 0.0000"):
        weight_matrices.require_train_error(others.compute_logits(x), labels, 0.0)
