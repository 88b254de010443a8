"""Gradients of the loss of single examples, by which self-influence (TracIn) is computed.

The loss is that of evaluation: without augmentation, dropout and penalties, and with the running statistics of batch
norm, of which an example is no part. `dynamics.GRADIENT_SCORES` makes scores of the norms.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MOST_BYTES = 2**28  # of the gradients of single examples that are held at once


class Gradients(NamedTuple):
    """The norms of the gradients of examples at checkpoints of a run.

    Attributes:
      ids: uint32 [examples].
      steps: int64 [checkpoints], ascending: how many updates the parameters had.
      learning_rates: float64 [checkpoints]: of the last update before each; at step 0 of the first.
      norms: Euclidean ones over all parameters, float32 [checkpoints, examples].
    """

    ids: np.ndarray
    steps: np.ndarray
    learning_rates: np.ndarray
    norms: np.ndarray


def chunk_size(params: Any, most_bytes: int = MOST_BYTES) -> int:
    """Returns how many examples' gradients are taken at once, so that these take no more than that memory; at least 1.

    Args:
      params: pytree of arrays, or of their shapes and dtypes.
    """
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)]
    return max(1, most_bytes // max(1, sum(sizes)))


def make_norms(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Returns (params, chunk, *further) -> the norm of each example's gradient by the parameters, float32 [chunk].

    The chunk is a pytree of arrays [chunk, ...], of at most `chunk_size` examples; for each size it is compiled anew.

    Args:
      loss: (params, example, *further) -> the loss of one example, scalar; `further` is what it depends on besides,
        such as batch statistics.
    """

    def norm(params: Any, example: Any, *further: Any) -> jax.Array:
        grads = jax.grad(loss)(params, example, *further)
        return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(grads)))

    def norms(params: Any, chunk: Any, *further: Any) -> jax.Array:
        return jax.vmap(lambda example: norm(params, example, *further))(chunk)

    return jax.jit(norms)
