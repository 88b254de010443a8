"""Owns how batches reach the devices: a resident data set, or a stream of host batches.

Refuses to draw an order or to corrupt: both come from data/. A feed hands out the arguments of a call: `data`, which
stays on the devices, and the `items` of its steps.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from rethink.training import parallel, step
from rethink.training.state import TrainState
from rethink.training.step import Batch


class Feed(Protocol):
    """What the loop's programs need of a feed."""

    def batch_of(self, data: Any, item: Any) -> Batch:
        """Makes one device's batch; runs inside the program."""

    def train(self, first_step: int, steps: int) -> tuple[Any, Any]:
        """Returns (data, items) of consecutive training steps."""

    def evaluation(self, split: str) -> Iterator[tuple[Any, Any, np.ndarray]]:
        """Yields (data, item, weights) of batches that cover the split once."""


class ResidentFeed:
    """Examples corrupted once, in the devices' memory as uint8; a step takes row numbers."""

    name = "resident"

    def __init__(
        self,
        splits: Mapping[str, Any],
        *,
        train_rows: Callable[[int, int], np.ndarray],
        evaluation_rows: Callable[[int, int], Iterator[tuple[np.ndarray, np.ndarray]]],
        evaluation_batch: int,
    ):
        """Places the splits.

        Args:
          splits: "train" and "test"; each has the fields of a Batch for its whole split, as host arrays.
          train_rows: (first step, steps) -> int32 [steps, batch].
          evaluation_rows: (examples, batch size) -> batches of (int32 [batch], weights float32 [batch]).
          evaluation_batch: global batch size, a multiple of the devices.
        """
        self._data = {
            name: parallel.replicate(Batch(*(getattr(split, field) for field in Batch._fields)))
            for name, split in splits.items()
        }
        self._train_rows = train_rows
        self._evaluation_rows = {
            name: [
                (parallel.split(rows, axis=0), parallel.split(weights, axis=0))
                for rows, weights in evaluation_rows(len(split.labels), evaluation_batch)
            ]
            for name, split in splits.items()
        }

    @staticmethod
    def batch_of(data: Batch, item: jax.Array) -> Batch:
        """Gathers one device's rows."""
        return jax.tree.map(lambda leaf: leaf[item], data)

    def train(self, first_step: int, steps: int) -> tuple[Batch, np.ndarray]:
        """Returns (the train split, row numbers [devices, steps, batch])."""
        return self._data["train"], parallel.split(self._train_rows(first_step, steps), axis=1)

    def evaluation(self, split: str) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
        """Yields (the split, row numbers [devices, batch], weights [devices, batch])."""
        for rows, weights in self._evaluation_rows[split]:
            yield self._data[split], rows, weights


def programs(feed: Feed, train_step: Callable, evaluation_step: Callable) -> tuple[Callable, Callable]:
    """Returns (train_call, evaluate) as `loop.train` takes them, for the steps of one device."""
    train_program = parallel.map_devices(step.make_train_call(train_step, feed.batch_of), donate_state=True)
    evaluation_program = parallel.map_devices(
        step.make_evaluation_call(evaluation_step, feed.batch_of), donate_state=False
    )

    def train_call(state: TrainState, first_step: int, steps: int) -> tuple[TrainState, Any]:
        return train_program(state, *feed.train(first_step, steps))

    def evaluate(state: TrainState, split: str) -> dict[str, float]:
        """Returns the sums over a split, in float64; batches are dispatched before the first result is waited for."""
        sums = parallel.fetch([evaluation_program(state, *inputs) for inputs in feed.evaluation(split)])
        return {name: float(sum(float(batch[name]) for batch in sums)) for name in sums[0]}

    return train_call, evaluate
