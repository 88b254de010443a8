"""How batches reach the devices, from a resident data set or a stream of host batches, and what is compiled for them.

Order, decoding and corruption come from data/. A feed yields the arguments of a call: `data`, which stays on the
devices, and the `items` of its steps.
"""

import itertools
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from rethink.training import devices, dispatch, distributed, step
from rethink.training.state import TrainState
from rethink.training.step import Batch, Evaluation, PerExample

BATCHES_TOGETHER = 8  # of an evaluation, after which several processes agree whether to stop

Weighted = tuple[np.ndarray, np.ndarray]  # rows int32 [batch], weights float32 [batch]


class Feed(Protocol):
    """What the compiled functions need of a feed."""

    @property
    def batch_of(self) -> Mapping[str, Callable[[Any, Any], Batch]]:
        """Split -> (data, item) -> Batch: makes one device's batch inside the compiled function."""

    def train(self, first_step: int, steps: int) -> tuple[Any, Any]:
        """Returns (data, items) of consecutive training steps."""

    def evaluation(self, split: str) -> Iterator[tuple[Any, Any, np.ndarray]]:
        """Yields (data, item, weights) of batches that cover the split once."""

    def close(self) -> None:
        """Stops what reads ahead."""


class ResidentFeed:
    """Examples corrupted once, in the devices' memory as stored; a step takes row numbers.

    Attributes:
      splits: name -> the whole split, on the devices.
    """

    def __init__(
        self,
        splits: Mapping[str, Any],
        *,
        train_rows: Callable[[int, int], np.ndarray],
        evaluation_rows: Mapping[str, Iterable[Weighted]],
    ):
        """Copies the splits to the devices.

        Args:
          splits: each has the fields of a Batch for its whole split, as host arrays.
          train_rows: (first step, steps) -> this process's rows, int32 [steps, batch].
          evaluation_rows: split -> this process's batches, which cover it once.
        """
        self.splits: dict[str, Batch] = {
            name: devices.replicate(Batch(*(getattr(split, field) for field in Batch._fields)))
            for name, split in splits.items()
        }
        self._train_rows = train_rows
        self._evaluation_batches = {
            name: [devices.shard(batch, 0) for batch in rows] for name, rows in evaluation_rows.items()
        }
        self.batch_of = dict.fromkeys(splits, select_rows)

    def train(self, first_step: int, steps: int) -> tuple[Batch, np.ndarray]:
        """Returns (the train split, row numbers [devices, steps, batch])."""
        return self.splits["train"], devices.shard(self._train_rows(first_step, steps), 1)

    def evaluation(self, split: str) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
        """Yields (the split, row numbers [devices, batch], weights [devices, batch])."""
        for rows, weights in self._evaluation_batches[split]:
            yield self.splits[split], rows, weights

    def read_rows(self, split: str, rows: np.ndarray) -> Batch:
        """Returns the batch of some rows, int [n], of a split, as host arrays."""
        return select_rows(Batch(*(np.asarray(leaf.addressable_data(0))[0] for leaf in self.splits[split])), rows)

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
        return (), devices.shard(jax.tree.map(lambda *leaves: np.stack(leaves), *parts), 1)

    def evaluation(self, split: str) -> Iterator[tuple[tuple[()], Any, np.ndarray]]:
        """Yields (no data, parts [devices, batch, ...], weights [devices, batch])."""
        for part, weights in self._evaluation_stream(split):
            yield (), devices.shard(part, 0), devices.shard(weights, 0)

    def close(self) -> None:
        """Stops the worker processes of training."""
        if self._open:
            self._open.close()


def select_rows(data: Batch, item: Any) -> Batch:
    """Returns the batch of some rows, int32 [batch], of a split."""
    images, labels, true_labels, ids, encoding = data
    return Batch(images[item], labels[item], true_labels[item], ids[item], encoding)


class CompiledFns(NamedTuple):
    """What a run computes on the devices. Only these functions know what its state and its sums are there.

    place: host state -> state; fetch: state or sums -> host arrays, waited for; train_call, evaluate, is_finite: as
    `loop.train` takes them.
    """

    place: Callable[[TrainState], Any]
    train_call: Callable[[Any, int, int], tuple[Any, Any]]
    evaluate: Callable[..., Any]
    is_finite: Callable[[Any], bool]
    fetch: Callable[[Any], Any]


def compile_fns(feed: Feed, train_step: Callable, evaluation_step: Callable, kept: Collection[str]) -> CompiledFns:
    """Returns the compiled functions of a run.

    Args:
      train_step, evaluation_step: of one device, as in training/step.py.
      kept: splits of which the host keeps what an evaluation computes of each example.
    """
    # One compilation each: training, evaluation of each way to make a batch, and the check that a state is finite.
    compiled_train = devices.map_devices(step.make_train_call(train_step, feed.batch_of["train"]), donate_state=True)
    compiled_evaluation = {
        batch_of: devices.map_devices(step.make_evaluation_call(evaluation_step, batch_of), donate_state=False)
        for batch_of in set(feed.batch_of.values())
    }
    compiled_is_finite = devices.map_devices(step.is_finite, donate_state=False)
    # Dispatches run ahead of the devices; the throttle bounds by how much.
    throttle = dispatch.make_throttle()

    def train_call(state: TrainState, first_step: int, steps: int) -> tuple[TrainState, Any]:
        state, sums = compiled_train(state, *feed.train(first_step, steps))
        throttle(sums)
        return state, sums

    def evaluate(
        state: TrainState, split: str, should_stop: Callable[[bool], bool] = lambda together: False
    ) -> Evaluation | None:
        compiled = compiled_evaluation[feed.batch_of[split]]
        batch_sums: list[step.Sums] = []
        batch_examples: list[PerExample] = []
        for inputs in feed.evaluation(split):
            if should_stop(len(batch_sums) % BATCHES_TOGETHER == BATCHES_TOGETHER - 1):
                return None
            sums, examples = compiled(state, *inputs)
            batch_sums.append(sums)
            if split in kept:
                batch_examples.append(examples)
            throttle(sums)
        return Evaluation(_add_sums(batch_sums), _gather_examples(batch_examples) if split in kept else None)

    return CompiledFns(
        place=devices.replicate,
        train_call=train_call,
        evaluate=evaluate,
        is_finite=lambda state: bool(devices.fetch(compiled_is_finite(state))),
        fetch=devices.fetch,
    )


def _add_sums(batches: Sequence[step.Sums]) -> dict[str, float]:
    """Returns the sums over a split, added in float64, of those of its batches on the devices."""
    fetched = devices.fetch(batches)
    return {name: float(sum(batch[name].astype(np.float64) for batch in fetched)) for name in fetched[0]}


def _gather_examples(batches: Sequence[PerExample]) -> PerExample:
    """Returns the examples of a split, of those of its batches on the devices; all processes call this.

    They are those of all processes, by ascending id and without padding: host arrays [examples].
    """
    own = jax.tree.map(lambda *leaves: np.concatenate(leaves), *devices.fetch_batch(batches))
    examples = jax.tree.map(lambda values: distributed.all_gather(values).reshape(-1), own)
    order = np.argsort(examples.ids, kind="stable")
    order = order[examples.weights[order] > 0]
    return jax.tree.map(lambda values: values[order], examples)
