"""Times the matrix products of a step alone, in either library.

Neither library is imported here. Which products a network makes stands in architectures.py.
"""

import time
from collections.abc import Callable, Sequence

from benchmarks import architectures

AT_LEAST_SECONDS = 0.2  # of each group of products

Prepare = Callable[[Sequence[architectures.Layer]], Callable[[], object]]


class Products:
    """A step's matrix products.

    Attributes:
      prepare: layers -> a function that makes the products of a slice of the batch once, and waits for them.
    """

    def __init__(self, model: str, prepare: Prepare):
        found = architectures.layers(model)
        # An MLP's are short: one dispatch for all. A convolution's come in slices.
        self._groups = [found] if model in architectures.MLPS else [[layer] for layer in found]
        self._prepare = prepare

    def step(self) -> dict[str, float]:
        """Returns the seconds of all products of a step."""
        slices = [architectures.BATCH // group[0].slice_images for group in self._groups]
        return {
            "seconds": sum(n * _seconds(self._prepare(group)) for n, group in zip(slices, self._groups, strict=True))
        }


def _seconds(run: Callable[[], object]) -> float:
    """Returns the seconds of a call, once it is warm."""
    for _ in range(2):
        run()
    began, times = time.perf_counter(), 0
    while not times or time.perf_counter() - began < AT_LEAST_SECONDS:
        run()
        times += 1
    return (time.perf_counter() - began) / times
