"""A step's matrix products in PyTorch, run alone.

They are timed by benchmarks/products.py; which products a network makes stands in benchmarks/architectures.py.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch

from benchmarks import architectures
from benchmarks.products import Products


@contextlib.contextmanager
def make(*, model: str, threads: int) -> Iterator[Products]:
    """Yields the products of a model's step."""
    torch.set_num_threads(threads)
    yield Products(model, _prepare)


def _prepare(group: Sequence[architectures.Layer]) -> Callable[[], None]:
    """Returns the function that makes a slice's products."""
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

    return run
