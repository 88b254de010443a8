"""Label noise: redraws labels as a function of (seed, example id)."""

import functools

import jax
import jax.numpy as jnp

from rethink import randomness

LABEL_NOISE = ("none", "uniform", "symmetric")


@functools.partial(jax.jit, static_argnames=("kind", "num_classes"))
def corrupt_labels(
    key: jax.Array, ids: jax.Array, labels: jax.Array, probability: jax.Array, *, kind: str, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Redraws each label with the given probability.

    `uniform` draws over all classes, so the true one may come again (the paper's "random" and "partially corrupted
    labels"); `symmetric` draws over the other classes only (the convention of the noisy-label literature).
    The same uniform number is compared with every probability, so the sets of resampled examples are nested.

    Args:
      key: a stream of `randomness.key_for`.
      ids: uint32 [n], labels: int32 [n], probability: float32 scalar in 0..1.

    Returns:
      (given labels int32 [n], resampled bool [n]). A resampled label may equal the true one under `uniform`.
    """
    if kind == "none":
        return labels, jnp.zeros(labels.shape, bool)

    def corrupt_one(example_key, label):
        coin, draw = jax.random.split(example_key)
        resampled = jax.random.uniform(coin, (), jnp.float32) < probability
        if kind == "uniform":
            other = jax.random.randint(draw, (), 0, num_classes, jnp.int32)
        else:
            other = (label + 1 + jax.random.randint(draw, (), 0, num_classes - 1, jnp.int32)) % num_classes
        return jnp.where(resampled, other, label).astype(jnp.int32), resampled

    return jax.vmap(corrupt_one)(randomness.example_keys(key, ids), labels)
