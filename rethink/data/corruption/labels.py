"""Label noise: redraws labels as a function of (seed, example id).

A new kind of noise is one row of `LABEL_NOISE`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rethink import randomness
from rethink.schema.errors import pick


def keep_label(key: jax.Array, label: jax.Array, num_classes: int) -> jax.Array:
    """Returns the label as it is."""
    return label


def draw_any_class(key: jax.Array, label: jax.Array, num_classes: int) -> jax.Array:
    """Returns a class drawn uniformly from all, int32 scalar in 0..num_classes - 1; the true one may come again."""
    return jax.random.randint(key, (), 0, num_classes, jnp.int32)


def draw_other_class(key: jax.Array, label: jax.Array, num_classes: int) -> jax.Array:
    """Returns a class drawn uniformly from the others, int32 scalar in 0..num_classes - 1; never the true one."""
    return (label + 1 + jax.random.randint(key, (), 0, num_classes - 1, jnp.int32)) % num_classes


class LabelNoise(NamedTuple):
    """A kind of label noise.

    Attributes:
      draw: (key of one example, true label int32 scalar, classes) -> the label that it gets if it is resampled.
      changed: classes -> the part of the resampled labels that differ from the true ones, in expectation.
    """

    draw: Callable[[jax.Array, jax.Array, int], jax.Array]
    changed: Callable[[int], float]


LABEL_NOISE: dict[str, LabelNoise] = {
    "none": LabelNoise(keep_label, lambda classes: 0.0),
    # The paper's "random labels" and "partially corrupted labels".
    "uniform": LabelNoise(draw_any_class, lambda classes: 1 - 1 / classes),
    # The convention of the noisy-label literature.
    "symmetric": LabelNoise(draw_other_class, lambda classes: float(classes > 1)),
}


@functools.partial(jax.jit, static_argnames=("kind", "num_classes"))
def corrupt_labels(
    key: jax.Array, ids: jax.Array, labels: jax.Array, probability: jax.Array, *, kind: str, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Returns (given labels int32 [examples], resampled bool [examples]), each label resampled with the probability.

    Each example has one uniform number, which is compared with every probability: the examples that are resampled at
    a smaller probability are resampled at a larger one as well, to the same labels.

    Args:
      key: a stream of `randomness.key_for`.
      ids: uint32 [examples].
      labels: true labels, int32 [examples].
      probability: float32 scalar in 0..1.
      kind: a name of `LABEL_NOISE`. With "none" nothing is resampled at any probability.

    Raises:
      UserError: the kind is unknown.

    Source: Zhang et al. (2017), section 2.
    """
    draw_label = pick(LABEL_NOISE, kind, "corruption.labels").draw
    if draw_label is keep_label:
        return labels, jnp.zeros(labels.shape, bool)

    def corrupt_one(example_key, label):
        coin, draw = jax.random.split(example_key)
        resampled = jax.random.uniform(coin, (), jnp.float32) < probability
        return jnp.where(resampled, draw_label(draw, label, num_classes), label).astype(jnp.int32), resampled

    return jax.vmap(corrupt_one)(randomness.example_keys(key, ids), labels)
