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

AT_LEAST_SECONDS = 0.3


@contextlib.contextmanager
def make(*, model: str) -> Iterator["Products"]:
    """Yields the products of a model's step."""
    yield Products(model)


class Products:
    """A step's matrix products."""

    def __init__(self, model: str):
        found = architectures.layers(model)
        # An MLP's are short: one dispatch for all. A convolutional network's would not fit in memory together.
        self._groups = [found] if model in architectures.MLPS else [[layer] for layer in found]

    def step(self) -> dict[str, float]:
        """Returns the seconds of all products of a step."""
        return {"seconds": sum(map(_seconds, self._groups))}


def _seconds(group: list[architectures.Layer]) -> float:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.random(shape, np.float32))

    images = architectures.BATCH
    inputs = [
        (draw(images * of.rows, of.inputs), draw(of.inputs, of.outputs), draw(images * of.rows, of.outputs))
        for of in group
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
