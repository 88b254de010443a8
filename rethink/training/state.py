"""The state of training: step, parameters, batch statistics, optimizer state; and how it starts.

The same pytree is on the host, copied to all devices, or in a checkpoint: where it is makes no difference here.
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
    """step: int32 scalar, updates made; params, batch_stats: Linen collections, float32; opt_state: of optax."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any


def init_state(
    model: nn.Module, tx: optax.GradientTransformation, seed: int, input_shape: tuple[int, ...]
) -> TrainState:
    """Returns the state before the first step, as host arrays; its randomness is the stream "init" of the seed.

    Args:
      input_shape: (height, width, channels) of the model's input.
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
