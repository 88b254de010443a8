"""Runs that are trained together: their states are stacked, and one compiled function makes a step of all of them.

When a run evaluates, saves or ends is decided by its own loop. Each requests its next steps, as a run by itself does,
and they are made when all runs that are still in training have requested some.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rethink.training import devices, dispatch, feeds, step
from rethink.training.state import TrainState

Axes = int | None  # 0 for a leading axis of runs, None for what they share


class VmappedRuns:
    """Runs that share their compiled functions; between two `advance`s each requests steps once, or has ended."""

    def __init__(self, stop_requested: Callable[[], bool]):
        """Takes a function that says whether the process is to stop: all runs stop at the same step."""
        self._stop_requested, self._stops = stop_requested, False
        self._first: feeds.ResidentFeed | None = None
        self._waiting: list[VmappedRun] = []

    def join(
        self,
        feed: feeds.Feed,
        make_train_step: Callable[[Any], Callable],
        evaluation_step: Callable,
        seed: int,
        kept: Any = (),
    ) -> feeds.CompiledFns:
        """Returns the functions of one more run; arguments as of `feeds.compile_fns`, alike but for data and seed."""
        assert isinstance(feed, feeds.ResidentFeed)
        self._first = self._first or feed
        feed.splits = {name: _share_equal(batch, self._first.splits[name]) for name, batch in feed.splits.items()}
        run = VmappedRun(feed, seed, functools.partial(_Stack, make_train_step, evaluation_step))

        # These two only record what the run requests: `advance` makes the steps of all.
        def place(start: TrainState) -> VmappedRun:
            run.start, run.requested_steps = start, (int(start.step), 0)
            self._waiting.append(run)
            return run

        def train_call(run: VmappedRun, first_step: int, steps: int) -> tuple[VmappedRun, "_Sums"]:
            run.requested_steps, run.sums = (first_step, steps), _Sums()
            self._waiting.append(run)
            return run, run.sums

        return feeds.CompiledFns(place, train_call, _evaluate, _is_finite, lambda on_devices: on_devices.fetch())

    def should_stop(self, together: bool) -> bool:
        """Returns whether the process is to stop, as of the last `advance`: the same to all runs."""
        return self._stops

    def advance(self) -> None:
        """Makes the steps that the runs have requested since the last time; the others have ended."""
        # Runs that resumed at other steps are in a stack of their own.
        by_request: dict[tuple[int, int], list[VmappedRun]] = {}
        for run in self._waiting:
            by_request.setdefault(run.requested_steps, []).append(run)
        self._waiting.clear()
        for (first_step, steps), runs in by_request.items():
            stack = runs[0].stack
            if stack is None or stack.runs != runs:  # at the start, or one has ended
                states = [run.fetch() for run in runs]
                if stack:
                    stack.release()  # before the next one takes its place
                stack = runs[0].make_stack(runs, states)
            if steps:
                stack.advance(first_step, steps)
        self._stops = self._stop_requested()


class VmappedRun:
    """One of several runs, and what its loop holds in place of its state: that lies in a stack, or waits for one.

    Attributes:
      start: the state to start from, host arrays, until it is in a stack; index: its place there.
      requested_steps: (first step, steps) of the last call; sums: of it.
    """

    def __init__(
        self,
        feed: feeds.ResidentFeed,
        seed: int,
        make_stack: Callable[[list["VmappedRun"], list[TrainState]], "_Stack"],
    ):
        """Has no state yet."""
        self.feed, self.seed, self.make_stack = feed, seed, make_stack
        self.stack: _Stack | None = None
        self.index = 0
        self.start: TrainState | None = None
        self.requested_steps = (0, 0)
        self.sums = _Sums()

    def fetch(self) -> TrainState:
        """Returns the state as host arrays."""
        if self.stack is None:
            assert self.start is not None
            return self.start
        return _select_run(self.stack.fetch(), self.index)


class _Sums:
    """The sums of a run's call, once it is made."""

    def __init__(self):
        self.take: Callable[[], Any] | None = None

    def fetch(self) -> dict[str, np.ndarray]:
        """Returns the sums of each step, float32 [steps]."""
        assert self.take is not None
        return self.take()


class _Stack:
    """Runs at the same step: their states, and what differs between their data, each along an axis of runs.

    A function is compiled for each number of runs. Where one ends, the others are stacked anew: on a CPU, a run that
    ended would cost as much as one in training, and runs that were interrupted resume with the same functions.
    """

    def __init__(
        self,
        make_train_step: Callable[[Any], Callable],
        evaluation_step: Callable,
        runs: Sequence[VmappedRun],
        states: Sequence[TrainState],
    ):
        # States and seeds, along an axis of runs.
        self.runs = runs
        self._state = devices.replicate(_stack(states))
        for index, run in enumerate(runs):
            run.stack, run.index, run.start = self, index, None
        self._feed = feed = runs[0].feed
        self._seeds = devices.replicate(np.array([run.seed for run in runs], np.uint32))
        self._row_axis: Axes = None if len({run.seed for run in runs}) == 1 else 0  # a seed is an order

        # Data: only what differs has an axis of runs.
        self._data, axes = {}, {}
        for name in feed.splits:
            batch, axes[name] = _stack_batches([run.feed.splits[name] for run in runs])
            self._data[name] = devices.replicate(batch)

        def train_call(state: TrainState, seed: jax.Array, data: Any, items: Any) -> tuple[TrainState, Any]:
            return step.make_train_call(make_train_step(seed), feed.batch_of["train"])(state, data, items)

        # Compiled functions, over the axis of runs.
        self._compiled_train = devices.map_devices(
            train_call, donate_state=True, run_axes=(0, 0, axes["train"], self._row_axis)
        )
        self._compiled_evaluation = {
            name: devices.map_devices(
                step.make_evaluation_call(evaluation_step, feed.batch_of[name]),
                donate_state=False,
                run_axes=(0, axes[name], None, None),
            )
            for name in feed.splits
        }
        self._compiled_is_finite = devices.map_devices(step.is_finite, donate_state=False, run_axes=(0,))
        self._throttle = dispatch.make_throttle()
        # Results on the states as they are, of all runs: computed when the first run needs them.
        self._cached: dict[str, Any] = {}

    def release(self) -> None:
        """Releases the devices' memory."""
        del self._state, self._data
        self._cached.clear()

    def advance(self, first_step: int, steps: int) -> None:
        """Makes steps of all runs."""
        rows = [run.feed.train_rows(first_step, steps) for run in self.runs]
        items = devices.shard(rows[0], 1) if self._row_axis is None else devices.shard(np.stack(rows), 2)
        self._state, sums = self._compiled_train(self._state, self._seeds, self._data["train"], items)
        self._throttle(sums)
        self._cached.clear()
        # The sums are fetched once, when the first run needs its own.
        fetched = functools.cache(functools.partial(devices.fetch, sums))
        for index, run in enumerate(self.runs):
            run.sums.take = functools.partial(_take, fetched, index)

    def evaluate(self, split: str, should_stop: Callable[[bool], bool]) -> step.Evaluation | None:
        """Returns the evaluation of all runs on a split, each array [runs, ...]; None where `should_stop` broke it off.

        As of `feeds.add_batches`.
        """
        if split not in self._cached:
            compiled, data = self._compiled_evaluation[split], self._data[split]
            calls = (
                functools.partial(compiled, self._state, data, *batch) for batch in self._feed.evaluation_batches[split]
            )
            keep = split == "test"
            self._cached[split] = feeds.add_batches(calls, self._throttle, should_stop, keep=keep)
        return self._cached[split]

    def is_finite(self) -> np.ndarray:
        """Returns whether all of each run's state is finite, bool [runs]."""
        if "finite" not in self._cached:
            self._cached["finite"] = devices.fetch(self._compiled_is_finite(self._state))
        return self._cached["finite"]

    def fetch(self) -> TrainState:
        """Returns the states as host arrays, with a leading axis of runs."""
        if "state" not in self._cached:
            self._cached["state"] = devices.fetch(self._state)
        return self._cached["state"]


def _evaluate(
    run: VmappedRun, split: str, should_stop: Callable[[bool], bool] = lambda together: False
) -> step.Evaluation | None:
    assert run.stack is not None
    batches = run.stack.evaluate(split, should_stop)
    return None if batches is None else feeds.finish_evaluation(_select_run(batches, run.index))


def _is_finite(run: VmappedRun) -> bool:
    assert run.stack is not None
    return bool(run.stack.is_finite()[run.index])


def _take(fetched: Callable[[], Any], index: int) -> Any:
    return _select_run(fetched(), index)


def _select_run(stacked: Any, index: int) -> Any:
    """Returns one run's part of a tree with a leading axis of runs."""
    return jax.tree.map(lambda leaf: leaf[index], stacked)


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _share_equal(batch: step.Batch, first: step.Batch) -> step.Batch:
    """Returns a batch with the arrays of `first` in place of those that are equal, which are then kept once."""
    pairs = zip(first, batch, strict=True)
    return step.Batch(*(shared if np.array_equal(shared, own) else own for shared, own in pairs))


def _stack_batches(batches: Sequence[step.Batch]) -> tuple[step.Batch, step.Batch]:
    """Returns batches along an axis of runs, and the axis of each array: what all share is not stacked."""
    fields = list(zip(*batches, strict=True))
    is_shared = [all(array is arrays[0] for array in arrays) for arrays in fields]
    stacked = (arrays[0] if shared else np.stack(arrays) for arrays, shared in zip(fields, is_shared, strict=True))
    return step.Batch._make(stacked), step.Batch._make(None if shared else 0 for shared in is_shared)
