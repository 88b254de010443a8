"""The max pool that the architectures share, with a gradient of its own.

With XLA's gradient (select and scatter) a pool takes six times as long on a CPU. This one has reverse mode only.
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
    # For each place in a window: the gradient of the windows whose greatest value it is, the first of equal ones.
    taken, rows = jnp.zeros(y.shape, bool), []
    for row in range(WINDOW):
        columns = []
        for column in range(WINDOW):
            values = padded[:, row : row + lengths[0] : STRIDE, column : column + lengths[1] : STRIDE]
            is_greatest = (values == y) & ~taken
            taken = taken | is_greatest
            columns.append(jnp.where(is_greatest, gradient, 0))
        rows.append(_join(columns, 2))
    # Cut the padding off again.
    back = [(-low, size + low - (span + 1), 0) for low, span, size in zip(lows, spans, sizes, strict=True)]
    return (lax.pad(_join(rows, 1), jnp.zeros((), x.dtype), [(0, 0, 0), *back, (0, 0, 0)]),)


def _join(parts: list[jax.Array], axis: int) -> jax.Array:
    """Returns the sums for each place along an axis, 2 (n + 1) long, of what n windows have for their three places."""
    first, second, third = parts
    even = _pad(first, axis, 0, 1) + _pad(third, axis, 1, 0)  # the third place of a window is the first of the next
    both = jnp.stack([even, _pad(second, axis, 0, 1)], axis + 1)
    return both.reshape(*even.shape[:axis], -1, *even.shape[axis + 1 :])


def _pad(x: jax.Array, axis: int, low: int, high: int) -> jax.Array:
    """Returns x with `low` zeros before and `high` zeros after it along an axis."""
    sides = [(0, 0, 0)] * x.ndim
    sides[axis] = (low, high, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


max_pool.defvjp(_forward, _backward)
