"""Random keys by name and by example id. Nothing else in the package makes a key from a seed.

No global switch of JAX changes a number that is drawn: the generator is fixed here (Threefry, 2 x 32 bits), whatever
`jax_default_prng_impl` is; `jax_threefry_partitionable`, which keys don't carry, is one of jax_options.py; and callers
give the dtype of what they draw, so that x64 has no effect.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

SEED_LIMIT = 2**32  # seeds are 0 <= seed < this


def key_for(seed: int, *names: str) -> jax.Array:
    """Returns the key of a named stream, e.g. `key_for(config.seed, "labels")`.

    Args:
      seed: 0 <= seed < SEED_LIMIT.
      names: the stream's path; each is folded in by its CRC-32, so that streams of different names are independent.

    Raises:
      OverflowError: the seed is outside this interval.
    """
    # As `jax.random.key` makes it of a seed of 32 bits, but for `jax_random_seed_offset`, which it would add.
    key = jax.random.wrap_key_data(jnp.stack([jnp.uint32(0), jnp.uint32(seed)]), impl="threefry2x32")
    for name in names:
        key = fold_in_name(key, name)
    return key


def fold_in_name(key: jax.Array, name: str) -> jax.Array:
    """Returns the key of a stream within that of `key`, by its name's CRC-32."""
    return jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))


def example_keys(key: jax.Array, ids: jax.Array) -> jax.Array:
    """Returns a key for each example, a function of (key, example id) alone: [n] keys for ids uint32 [n]."""
    return jax.vmap(lambda example: jax.random.fold_in(key, example))(ids)


def draw_permutation(key: jax.Array, count: int) -> np.ndarray:
    """Returns a permutation of 0..count - 1 as a host array, int32 [count], the same on every device.

    It is drawn on the CPU where JAX has one.
    """
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        device = None
    with jax.default_device(device):
        return np.asarray(jax.random.permutation(key, np.arange(count, dtype=np.int32)))
