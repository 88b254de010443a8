"""A step's matrix products in XLA, run alone.

They are timed by benchmarks/products.py; which products a network makes stands in benchmarks/architectures.py.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import architectures
from benchmarks.products import Products


@contextlib.contextmanager
def make(*, model: str) -> Iterator[Products]:
    """Yields the products of a model's step."""
    yield Products(model, _prepare)


def _prepare(group: Sequence[architectures.Layer]) -> Callable[[], object]:
    """Returns the function that makes a slice's products."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.random(shape, np.float32))

    inputs = [
        (draw(rows, of.inputs), draw(of.inputs, of.outputs), draw(rows, of.outputs))
        for of in group
        for rows in [of.slice_images * of.rows]
    ]

    @jax.jit
    def products(inputs):
        found = []
        for of, (x, kernel, gradient) in zip(group, inputs, strict=True):
            found += [x @ kernel, x.T @ gradient]
            if not of.reads_images:
                found.append(gradient @ kernel.T)
        return found

    return lambda: jax.block_until_ready(products(inputs))
