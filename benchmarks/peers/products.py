"""Owns what a step's matrix products take in PyTorch, run alone.

Refuses to say which products a network makes: architectures.py does.
"""

import contextlib
import time
from collections.abc import Iterator

import torch

from benchmarks import architectures

AT_LEAST_SECONDS = 0.2  # of each group of products


@contextlib.contextmanager
def make(*, model: str, threads: int) -> Iterator["Products"]:
    """Yields the products of a model's step."""
    torch.set_num_threads(threads)
    yield Products(model)


class Products:
    """A step's matrix products."""

    def __init__(self, model: str):
        found = architectures.layers(model)
        self._groups = [found] if model in architectures.MLPS else [[layer] for layer in found]

    def step(self) -> dict[str, float]:
        """Returns the seconds of all products of a step."""
        slices = [architectures.BATCH // group[0].slice_images for group in self._groups]
        return {"seconds": sum(n * _seconds(group) for n, group in zip(slices, self._groups, strict=True))}


def _seconds(group: list[architectures.Layer]) -> float:
    """Returns the seconds of a slice's products."""
    products = []
    for of in group:
        rows = of.slice_images * of.rows
        x, kernel = torch.rand(rows, of.inputs), torch.rand(of.inputs, of.outputs)
        gradient = torch.rand(rows, of.outputs)
        products += [(x, kernel), (x.T, gradient)]
        if not of.reads_images:
            products.append((gradient, kernel.T))
    into = [torch.empty(left.shape[0], right.shape[1]) for left, right in products]

    def run() -> None:
        for (left, right), out in zip(products, into, strict=True):
            torch.mm(left, right, out=out)

    for _ in range(2):
        run()
    began, times = time.perf_counter(), 0
    while not times or time.perf_counter() - began < AT_LEAST_SECONDS:
        run()
        times += 1
    return (time.perf_counter() - began) / times
