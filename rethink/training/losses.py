"""The losses that a network can be trained on, one row each: of each example, from its logits and its given label.

A new loss is a new row of `LOSSES`. What a regularizer adds to the loss is none of these.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from rethink.schema.errors import pick

# (logits float32 [batch, classes], labels int32 [batch]) -> float32 [batch]
Loss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns -log p_y, float32 [batch], where p is the softmax of the logits and y the label."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def squared(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns 1/2 the sum over classes of (logit - one-hot label)^2, float32 [batch].

    Its gradient is logits - one-hot, where cross-entropy's is p - one-hot: the same scale of learning rates. It is the
    loss of theory/linear/. Hui & Belkin (2021, "Evaluation of neural architectures trained with square loss vs
    cross-entropy") take the mean over classes, which is 2 / classes times this, and for many classes further weights.
    """
    return jnp.sum(optax.l2_loss(logits, _one_hot(logits, labels)), axis=-1)


def label_smoothing(logits: jax.Array, labels: jax.Array, *, smoothing: float) -> jax.Array:
    """Returns the cross-entropy against (1 - smoothing) one-hot + smoothing / classes, float32 [batch].

    Its least value is the entropy of these targets, not 0. Source: Szegedy et al. (2016), section 7.
    """
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(_one_hot(logits, labels), smoothing))


def generalized_cross_entropy(logits: jax.Array, labels: jax.Array, *, q: float) -> jax.Array:
    """Returns (1 - p_y^q) / q, float32 [batch], of 0 < q <= 1: cross-entropy as q -> 0, and 1 - p_y at q = 1.

    It is computed from log p_y, so that value and gradient are finite and exact however small p_y or q is. An example
    weighs p_y^q of what it does in cross-entropy. Source: Zhang & Sabuncu (2018), equation 6; not truncated.
    """
    return -jnp.expm1(-q * cross_entropy(logits, labels)) / q


def _one_hot(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)


LOSSES: dict[str, Callable[[ConfigDict], Loss]] = {  # config section `train` -> loss
    "cross_entropy": lambda config: cross_entropy,
    "squared": lambda config: squared,
    "label_smoothing": lambda config: functools.partial(label_smoothing, smoothing=config.label_smoothing),
    "generalized_cross_entropy": lambda config: functools.partial(generalized_cross_entropy, q=config.gce_q),
}


def loss_from_config(config: ConfigDict) -> Loss:
    """Returns the loss that the config section `train` names.

    Raises:
      UserError: unknown loss.
    """
    return pick(LOSSES, config.loss, "train.loss")(config)


def describe_loss(config: ConfigDict) -> str:
    """Returns the loss that the config section `train` names, with its number; "" for cross-entropy, the default."""
    words = {
        "cross_entropy": "",
        "label_smoothing": f"label smoothing {config.label_smoothing:g}",
        "generalized_cross_entropy": f"generalized cross-entropy, q = {config.gce_q:g}",
    }
    return words.get(config.loss, config.loss)
