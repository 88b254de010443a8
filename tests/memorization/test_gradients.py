"""Gradients of single examples, against a loop of jax.grad."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rethink
from rethink.experiment.gradient_scores import measure_gradients
from rethink.memorization.gradients import chunk_size, make_norms
from rethink.schema.errors import UserError
from rethink.training import losses


def test_norms_are_those_of_a_loop():
    numbers = np.random.default_rng(0)
    params = {"kernel": numbers.normal(size=(3, 4)).astype(np.float32), "bias": np.zeros(4, np.float32)}
    images, labels = numbers.normal(size=(5, 3)).astype(np.float32), np.arange(5) % 4

    def loss(params, example, scale):
        image, label = example
        return scale * losses.cross_entropy(image @ params["kernel"] + params["bias"], label)

    found = make_norms(loss)(params, (images, labels), jnp.float32(2))
    grad = jax.jit(jax.grad(loss))
    for norm, image, label in zip(found, images, labels, strict=True):
        grads = grad(params, (image, label), jnp.float32(2))
        assert norm == pytest.approx(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(grads))), rel=1e-5)
    # Of the last layer the gradient is (p - e_y) times (image, 1).
    p = jax.nn.softmax(images @ params["kernel"] + params["bias"])
    error = np.linalg.norm(p - np.eye(4)[labels], axis=1)
    np.testing.assert_allclose(found, 2 * error * np.sqrt(np.sum(images**2, axis=1) + 1), rtol=1e-5)


def test_a_chunk_takes_no_more_than_its_memory():
    params = {"a": np.zeros((10, 10), np.float32), "b": np.zeros(25, np.float32)}  # 500 bytes
    assert chunk_size(params, most_bytes=1499) == 2
    assert chunk_size(params, most_bytes=1) == 1


class Net(nn.Module):
    """A convolution with batch norm, whose running statistics an example is no part of."""

    num_classes: int

    @nn.compact
    def __call__(self, images, *, train):
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Conv(2, (3, 3))(images))
        return nn.Dense(self.num_classes)(nn.relu(hidden).reshape(len(images), -1))


@pytest.mark.slow
def test_the_gradients_of_a_run_are_those_of_its_checkpoints(tmp_path):
    numbers = np.random.default_rng(0)
    train = numbers.integers(0, 256, (12, 4, 4), np.uint8), np.arange(12) % 3
    test = numbers.integers(0, 256, (6, 4, 4), np.uint8), np.arange(6) % 3
    fields = {"train.batch_size": 4, "train.total_epochs": 2, "checkpoint.every_epochs": 1, "checkpoint.keep": 9}
    fields |= {"corruption.label_probability": 0.5, "log.tensorboard": False, "optimizer.schedule": "cosine"}
    config = rethink.config("digits_random", **fields)
    run = rethink.train(config, model=Net(3), train=train, test=test, workdir=tmp_path / "run", quiet=True)
    table = run.gradient_scores()
    norms = ["gradient_norm_3", "gradient_norm_6"]
    assert list(table) == ["id", "given_label", "self_influence", *norms]  # a norm is named by its step alone
    assert np.array_equal(table["given_label"], run.examples["given_label"])

    # The norms at the last step, as the parameters and statistics of the result give them.
    @jax.jit
    def norm(image, label):
        def loss(params):
            view = (image / 255 - jnp.mean(image / 255)) / jnp.maximum(jnp.std(image / 255), 1 / 4)
            logits = Net(3).apply(run.variables | {"params": params}, view[None, :, :, None], train=False)
            return losses.cross_entropy(logits[0], label)

        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(jax.grad(loss)(run.params))))

    for image, label, found in zip(train[0], table["given_label"], table["gradient_norm_6"], strict=True):
        assert found == pytest.approx(float(norm(jnp.float32(image), label)), rel=1e-4)

    # The rate is that of the last update before each checkpoint.
    rates = [run.config.optimizer.learning_rate * (1 + np.cos(np.pi * step / 6)) / 2 for step in (2, 5)]
    np.testing.assert_allclose(
        table["self_influence"],
        sum(rate * table[name] ** 2 for rate, name in zip(rates, norms, strict=True)),
        rtol=1e-5,
    )

    # Other data than it was trained on, and streamed ones, are refused before any gradient is taken.
    manifest = run._record.manifest
    with pytest.raises(UserError, match=r"The fingerprint of images has changed"):
        measure_gradients(run.config, {**manifest, "fingerprints": {"images": "of others"}}, None, run._given)
    streamed = rethink.config(run.config, **{"data.feed": "streamed"})
    with pytest.raises(UserError, match=r"train with --config.data.feed=resident"):
        measure_gradients(streamed, manifest, None, run._given)
