"""The state of training: step, parameters, the model's other collections, optimizer state; and how it starts.

The same pytree is on the host, copied to all devices, or in a checkpoint: where it is makes no difference here.
"""

import functools
from collections.abc import Collection
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rethink import randomness


class TrainState(flax.struct.PyTreeNode):
    """What training changes.

    Attributes:
      step: int32 scalar, updates made.
      params: Linen's collection of parameters, float32.
      collections: name -> any other collection that the model makes when it is initialized; "batch_stats", float32,
        are those of batch norm, a module of the user's may have more.
      opt_state: of optax.
      presentations: `presentations.Accumulators`, None where a run keeps none.
    """

    step: jax.Array
    params: Any
    collections: Any
    opt_state: Any
    presentations: Any = None


def init_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    seed: int,
    input_shape: tuple[int, ...],
    outputs: Collection[str] = (),
) -> TrainState:
    """Returns the state before the first step, as host arrays; its randomness is the stream "init" of the seed.

    Args:
      input_shape: of the model's input: (height, width, channels), or (features,).
      outputs: names of the collections that the model only sows, besides "auxiliary_logits".
    """

    start = jax.jit(functools.partial(start_state, model, tx, input_shape, outputs=outputs))
    return jax.tree.map(np.asarray, start(start_key(seed)))


def start_key(seed: int) -> jax.Array:
    """Returns the key of the initialization."""
    return randomness.key_for(seed, "init")


def start_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    input_shape: tuple[int, ...],
    key: jax.Array,
    outputs: Collection[str] = (),
) -> TrainState:
    """Returns the state before the first step, from the key of the initialization."""
    collections = dict(model.init(key, jnp.zeros((1, *input_shape), jnp.float32), train=False))
    params = collections.pop("params")
    for name in ("auxiliary_logits", *outputs):  # sown anew in each step
        collections.pop(name, None)
    return TrainState(jnp.zeros((), jnp.int32), params, collections, tx.init(params))
