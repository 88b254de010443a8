"""How batches reach the devices, from a resident data set or a stream of host batches, and what is compiled for them.

Order, decoding and corruption come from data/. A feed yields the arguments of a call: `data`, which stays on the
devices, and the `items` of its steps.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
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
      splits: those that are not on the devices yet, as host arrays.
      train_rows: (first step, steps) -> this process's rows, int32 [steps, batch].
      evaluation_batches: split -> batches (row numbers, weights), each [devices, batch], that cover it once.
    """

    def __init__(
        self,
        splits: Mapping[str, Any],
        *,
        train_rows: Callable[[int, int], np.ndarray],
        evaluation_rows: Mapping[str, Iterable[Weighted]],
    ):
        """Places nothing yet: runs that are trained together place once what they share.

        Args:
          splits: each has the fields of a Batch for its whole split, as host arrays.
          train_rows: as the attribute.
          evaluation_rows: this process's batches of each split.
        """
        self.splits = {
            name: Batch(*(getattr(split, field) for field in Batch._fields)) for name, split in splits.items()
        }
        self._on_devices: dict[str, Batch] = {}
        self.train_rows = train_rows
        self.evaluation_batches = {
            name: [devices.shard(batch, 0) for batch in rows] for name, rows in evaluation_rows.items()
        }
        self.batch_of = dict.fromkeys(splits, _select_rows)

    def train(self, first_step: int, steps: int) -> tuple[Batch, np.ndarray]:
        """Returns (the train split, row numbers [devices, steps, batch])."""
        return self._place("train"), devices.shard(self.train_rows(first_step, steps), 1)

    def evaluation(self, split: str) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
        """Yields (the split, row numbers [devices, batch], weights [devices, batch])."""
        for rows, weights in self.evaluation_batches[split]:
            yield self._place(split), rows, weights

    def close(self) -> None:
        """Nothing reads ahead."""

    def _place(self, split: str) -> Batch:
        if split not in self._on_devices:
            self._on_devices[split] = devices.replicate(self.splits.pop(split))
        return self._on_devices[split]


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


def _select_rows(data: Batch, item: jax.Array) -> Batch:
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


def compile_fns(
    feed: Feed,
    make_train_step: Callable[[Any], Callable],
    evaluation_step: Callable,
    seed: int,
    kept: Collection[str] = ("test",),
) -> CompiledFns:
    """Returns the compiled functions of a run by itself.

    Args:
      make_train_step: seed -> the step of one device; evaluation_step: of one device; both as in training/step.py.
      kept: splits of which the host keeps what an evaluation computes of each example.
    """
    # One compilation each: training, evaluation of each way to make a batch, and the check that a state is finite.
    compiled_train = devices.map_devices(
        step.make_train_call(make_train_step(seed), feed.batch_of["train"]), donate_state=True
    )
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
        calls = (functools.partial(compiled, state, *inputs) for inputs in feed.evaluation(split))
        batches = add_batches(calls, throttle, should_stop, keep=split in kept)
        return None if batches is None else finish_evaluation(batches)

    return CompiledFns(
        place=devices.replicate,
        train_call=train_call,
        evaluate=evaluate,
        is_finite=lambda state: bool(devices.fetch(compiled_is_finite(state))),
        fetch=devices.fetch,
    )


def add_batches(
    calls: Iterable[Callable[[], Evaluation]],
    throttle: Callable[[Any], None],
    should_stop: Callable[[bool], bool],
    *,
    keep: bool,
) -> Evaluation | None:
    """Returns the sums of an evaluation's calls, added in float64; None where `should_stop` broke it off.

    Args:
      calls: each evaluates a batch; throttle: as of `dispatch.make_throttle`.
      should_stop: whether all processes are at this point -> whether to stop.
      keep: whether this process's examples are kept too, as they come and with padding: [..., examples].
    """
    batch_sums: list[Any] = []
    batch_examples: list[Any] = []
    for call in calls:
        if should_stop(len(batch_sums) % BATCHES_TOGETHER == BATCHES_TOGETHER - 1):
            return None
        sums, examples = call()
        batch_sums.append(sums)
        if keep:
            batch_examples.append(examples)
        throttle(sums)
    fetched = devices.fetch(batch_sums)
    added = {name: sum(batch[name].astype(np.float64) for batch in fetched) for name in fetched[0]}
    if not keep:
        return Evaluation(added, None)
    kept = jax.tree.map(lambda *leaves: np.concatenate(leaves, -1), *devices.fetch_batch(batch_examples))
    return Evaluation(added, kept)


def finish_evaluation(batches: Evaluation) -> Evaluation:
    """Returns a run's evaluation of a split: sums as floats, the examples of all processes in order, without padding.

    Args:
      batches: of `add_batches`, of one run; several processes call this together.
    """
    examples: PerExample | None = batches.examples
    if examples:
        examples = jax.tree.map(lambda own: distributed.all_gather(own).reshape(-1), examples)
        order = np.argsort(examples.ids, kind="stable")
        order = order[examples.weights[order] > 0]
        examples = jax.tree.map(lambda values: values[order], examples)
    return Evaluation({name: float(value) for name, value in batches.sums.items()}, examples)
