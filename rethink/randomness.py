"""Owns all randomness: keys by name, keys by example. Nothing else in the project seeds anything.

Refuses draws on devices: it hands out keys, callers draw from them and name the dtype of what they draw, so that a
global x64 switch changes nothing. The generator is named too (Threefry, 2 x 32 bits), so that
`jax_default_prng_impl` changes nothing either. What is drawn depends on `jax_threefry_partitionable`, which a key does
not carry: this module switches it on when it is imported.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_threefry_partitionable", True)

SEED_LIMIT = 2**32  # seeds are 0 <= seed < this


def key_for(seed: int | jax.Array, *names: str) -> jax.Array:
    """Returns the key of a named stream, e.g. `key_for(config.seed, "labels")`.

    Args:
      seed: 0 <= seed < SEED_LIMIT; in a program also an uint32 scalar of it.
      names: the stream's path; each part is folded in by its CRC-32, so that streams of other names are independent.
    """
    key = jax.random.key(jnp.uint32(seed), impl="threefry2x32")
    for name in names:
        key = jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))
    return key


def example_keys(key: jax.Array, ids: jax.Array) -> jax.Array:
    """Returns one key an example, a function of (key, example id) alone: [n] keys for ids uint32 [n]."""
    return jax.vmap(lambda example: jax.random.fold_in(key, example))(ids)


def draw_permutation(key: jax.Array, count: int) -> np.ndarray:
    """Returns a permutation of 0..count-1 on the host, int32 [count], the same whatever draws it: the CPU if it may."""
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        device = None
    with jax.default_device(device):
        return np.asarray(jax.random.permutation(key, np.arange(count, dtype=np.int32)))
