"""Owns how batches reach the devices: a resident data set, or a stream of host batches.

Refuses to draw an order, to decode or to say what corruption does: all come from data/. A feed hands out the arguments
of a call: `data`, which stays on the devices, and the `items` of its steps.
"""

import collections
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from rethink.training import parallel, step
from rethink.training.state import TrainState
from rethink.training.step import Batch

BATCHES_TOGETHER = 8  # of an evaluation, after which several processes ask each other whether to go on

Weighted = tuple[np.ndarray, np.ndarray]  # rows int32 [batch], weights float32 [batch]


class Feed(Protocol):
    """What the programs need of a feed."""

    @property
    def batch_of(self) -> Mapping[str, Callable[[Any, Any], Batch]]:
        """Split name -> (data, item) -> Batch: makes one device's batch inside the program."""

    def train(self, first_step: int, steps: int) -> tuple[Any, Any]:
        """Returns (data, items) of consecutive training steps."""

    def evaluation(self, split: str) -> Iterator[tuple[Any, Any, np.ndarray]]:
        """Yields (data, item, weights) of batches that cover the split once."""

    def close(self) -> None:
        """Ends whatever reads ahead."""


class ResidentFeed:
    """Examples corrupted once, in the devices' memory as uint8; a step takes row numbers."""

    def __init__(
        self,
        splits: Mapping[str, Any],
        *,
        train_rows: Callable[[int, int], np.ndarray],
        evaluation_rows: Mapping[str, Iterable[Weighted]],
    ):
        """Places the splits.

        Args:
          splits: "train" and "test"; each has the fields of a Batch for its whole split, as host arrays.
          train_rows: (first step, steps) -> this process's rows, int32 [steps, batch].
          evaluation_rows: this process's batches of each split.
        """
        self._data = {
            name: parallel.replicate(Batch(*(getattr(split, field) for field in Batch._fields)))
            for name, split in splits.items()
        }
        self._train_rows = train_rows
        self._evaluation = {
            name: [parallel.spread(batch, 0) for batch in rows] for name, rows in evaluation_rows.items()
        }
        self.batch_of = dict.fromkeys(splits, _gather)

    def train(self, first_step: int, steps: int) -> tuple[Batch, np.ndarray]:
        """Returns (the train split, row numbers [devices, steps, batch])."""
        return self._data["train"], parallel.spread(self._train_rows(first_step, steps), 1)

    def evaluation(self, split: str) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
        """Yields (the split, row numbers [devices, batch], weights [devices, batch])."""
        for rows, weights in self._evaluation[split]:
            yield self._data[split], rows, weights

    def close(self) -> None:
        """Nothing reads ahead."""


class StreamedFeed:
    """Examples read as they are needed and corrupted in the step; nothing stays on the devices."""

    def __init__(
        self,
        *,
        train_stream: Callable[[int], Generator[Any, None, None]],
        evaluation_stream: Callable[[str], Iterator[tuple[Any, np.ndarray]]],
        batch_of: Mapping[str, Callable[[Any, Any], Batch]],
    ):
        """Reads nothing yet.

        Args:
          train_stream: first step -> this process's part of each batch from there on, host arrays [batch, ...].
          evaluation_stream: split -> (such a part, weights float32 [batch]) of batches that cover the split once.
          batch_of: as in `Feed`; the data are empty, the item is one device's part.
        """
        self.batch_of = batch_of
        self._train_stream = train_stream
        self._evaluation_stream = evaluation_stream
        self._open: Generator[Any, None, None] | None = None
        self._next_step = -1

    def train(self, first_step: int, steps: int) -> tuple[tuple[()], Any]:
        """Returns (no data, parts [devices, steps, batch, ...])."""
        if self._open is None or first_step != self._next_step:
            self.close()
            self._open = self._train_stream(first_step)
        self._next_step = first_step + steps
        parts = list(itertools.islice(self._open, steps))
        return (), parallel.spread(jax.tree.map(lambda *leaves: np.stack(leaves), *parts), 1)

    def evaluation(self, split: str) -> Iterator[tuple[tuple[()], Any, np.ndarray]]:
        """Yields (no data, parts [devices, batch, ...], weights [devices, batch])."""
        for part, weights in self._evaluation_stream(split):
            yield (), parallel.spread(part, 0), parallel.spread(weights, 0)

    def close(self) -> None:
        """Ends the worker processes of training."""
        if self._open:
            self._open.close()


def _gather(data: Batch, item: jax.Array) -> Batch:
    return jax.tree.map(lambda leaf: leaf[item], data)


def programs(feed: Feed, train_step: Callable, evaluation_step: Callable) -> tuple[Callable, Callable, Callable]:
    """Returns (train_call, evaluate, is_finite) as `loop.train` takes them, for the steps of one device."""
    train_program = parallel.map_devices(step.make_train_call(train_step, feed.batch_of["train"]), donate_state=True)
    evaluation_programs = {
        batch_of: parallel.map_devices(step.make_evaluation_call(evaluation_step, batch_of), donate_state=False)
        for batch_of in set(feed.batch_of.values())
    }
    in_flight: collections.deque[Any] = collections.deque()
    limit = parallel.in_flight_limit()

    def wait_for_older(sums: Any) -> None:
        in_flight.append(sums)
        if len(in_flight) > limit:
            jax.block_until_ready(in_flight.popleft())

    def train_call(state: TrainState, first_step: int, steps: int) -> tuple[TrainState, Any]:
        state, sums = train_program(state, *feed.train(first_step, steps))
        wait_for_older(sums)
        return state, sums

    def evaluate(
        state: TrainState, split: str, told_to_end: Callable[[bool], bool] = lambda together: False
    ) -> dict[str, float] | None:
        """Returns the sums over a split, added in float64; None where `told_to_end` broke it off."""
        program = evaluation_programs[feed.batch_of[split]]
        batches: list[Any] = []
        for inputs in feed.evaluation(split):
            if told_to_end(len(batches) % BATCHES_TOGETHER == BATCHES_TOGETHER - 1):
                return None
            batches.append(program(state, *inputs))
            wait_for_older(batches[-1])
        sums = parallel.fetch(batches)
        return {name: float(sum(float(batch[name]) for batch in sums)) for name in sums[0]}

    finite_program = parallel.map_devices(step.is_finite, donate_state=False)

    def is_finite(state: TrainState) -> bool:
        return bool(parallel.fetch(finite_program(state)))

    return train_call, evaluate, is_finite
