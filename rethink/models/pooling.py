"""Owns the max pool that the architectures share, and its gradient.

Refuses XLA's own gradient (select and scatter), with which a pool takes six times as long on CPU. This one has reverse
mode alone.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

WINDOW, STRIDE = 3, 2


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, padding: str = "SAME") -> jax.Array:
    """Returns the 3x3 max pool with stride 2 of x [batch, height, width, channels]; sizes as of a `convolution`.

    The gradient goes to the greatest of a window, of several to the first, row by row.
    """
    return nn.max_pool(x, (WINDOW, WINDOW), strides=(STRIDE, STRIDE), padding=padding)


def _forward(x: jax.Array, padding: str) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = max_pool(x, padding)
    return y, (x, y)


def _backward(padding: str, kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array]:
    x, y = kept
    # `padded` goes from the first row (column) of the first window to the last of the last one.
    sizes, spans = x.shape[1:3], [STRIDE * (size - 1) + WINDOW for size in y.shape[1:3]]
    lows = [low for low, _ in lax.padtype_to_pads(sizes, (WINDOW, WINDOW), (STRIDE, STRIDE), padding)]
    sides = [(low, span - size - low, 0) for low, span, size in zip(lows, spans, sizes, strict=True)]
    padded = lax.pad(x, jnp.array(-jnp.inf, x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])
    lengths = [span - WINDOW + 1 for span in spans]  # from a place in the first window to the same one in the last
    taken, rows = jnp.zeros(y.shape, bool), []
    for row in range(WINDOW):
        columns = []
        for column in range(WINDOW):
            found = (padded[:, row : row + lengths[0] : STRIDE, column : column + lengths[1] : STRIDE] == y) & ~taken
            taken = taken | found
            columns.append(jnp.where(found, gradient, 0))
        rows.append(_join(columns, 2))
    back = [(-low, size + low - (span + 1), 0) for low, span, size in zip(lows, spans, sizes, strict=True)]
    return (lax.pad(_join(rows, 1), jnp.zeros((), x.dtype), [(0, 0, 0), *back, (0, 0, 0)]),)


def _join(parts: list[jax.Array], axis: int) -> jax.Array:
    """Returns along an axis, 2 (n + 1) long, what each of n windows has for its first, second and third place."""
    first, second, third = parts
    even = _pad(first, axis, 0, 1) + _pad(third, axis, 1, 0)  # the third place of a window is the first of the next
    both = jnp.stack([even, _pad(second, axis, 0, 1)], axis + 1)
    return both.reshape(*even.shape[:axis], -1, *even.shape[axis + 1 :])


def _pad(x: jax.Array, axis: int, low: int, high: int) -> jax.Array:
    sides = [(0, 0, 0)] * x.ndim
    sides[axis] = (low, high, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


max_pool.defvjp(_forward, _backward)
