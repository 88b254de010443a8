"""Owns what a step's matrix products take in XLA, run alone.

Refuses to say which products a network makes: architectures.py does.
"""

import contextlib
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import architectures

AT_LEAST_SECONDS = 0.2  # of each group of products


@contextlib.contextmanager
def make(*, model: str) -> Iterator["Products"]:
    """Yields the products of a model's step."""
    yield Products(model)


class Products:
    """A step's matrix products."""

    def __init__(self, model: str):
        found = architectures.layers(model)
        # An MLP's are short: one dispatch for all. A convolution's come in slices.
        self._groups = [found] if model in architectures.MLPS else [[layer] for layer in found]

    def step(self) -> dict[str, float]:
        """Returns the seconds of all products of a step."""
        slices = [architectures.BATCH // group[0].slice_images for group in self._groups]
        return {"seconds": sum(n * _seconds(group) for n, group in zip(slices, self._groups, strict=True))}


def _seconds(group: list[architectures.Layer]) -> float:
    """Returns the seconds of a slice's products."""
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

    for _ in range(2):
        jax.block_until_ready(products(inputs))
    began, times = time.perf_counter(), 0
    while not times or time.perf_counter() - began < AT_LEAST_SECONDS:
        jax.block_until_ready(products(inputs))
        times += 1
    return (time.perf_counter() - began) / times
