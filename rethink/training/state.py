"""Owns what a checkpoint must hold to go on: step, parameters, batch statistics, optimizer state.

Refuses to know where it lives: the same pytree is on the host, replicated over devices, or in a file.
"""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rethink import randomness


class TrainState(flax.struct.PyTreeNode):
    """step: int32 scalar, updates made; params, batch_stats: Linen collections; opt_state: optax's."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any


def init_state(
    model: nn.Module, tx: optax.GradientTransformation, seed: int, input_shape: tuple[int, ...]
) -> TrainState:
    """Returns the state before the first step, as host arrays.

    Args:
      input_shape: (height, width, channels) of what the model sees.
    """

    @jax.jit
    def init(key):
        images = jnp.zeros((1, *input_shape), jnp.float32)
        variables = model.init(key, images, train=False)
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=tx.init(params),
        )

    return jax.tree.map(np.asarray, init(randomness.key_for(seed, "init")))
