"""Owns the members of a group: runs of one program that go through their steps together, their states stacked.

Refuses to say when a member evaluates, saves or ends: each asks for its next steps, as a run by itself does, and they
are made when all that go on have asked.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rethink.training import devices, dispatch, feeds, step
from rethink.training.state import TrainState

Axes = int | None  # 0 for a leading axis of members, None for what they share


class VmappedRuns:
    """Runs that share a program, by `join`; between two `advance`s each member asks once, or has left."""

    def __init__(self, should_stop: Callable[[], bool]):
        """Takes whether the process was told to end, which all members are to learn at the same step."""
        self._told_to_end, self._told = should_stop, False
        self._first: feeds.ResidentFeed | None = None
        self._asking: list[VmappedRun] = []

    def join(
        self, feed: feeds.Feed, make_train_step: Callable[[Any], Callable], evaluation_step: Callable, seed: int
    ) -> feeds.CompiledFns:
        """Returns the programs of a new member; arguments as of `feeds.compiled`, and alike but for data and seed."""
        assert isinstance(feed, feeds.ResidentFeed)
        self._first = self._first or feed
        feed.splits = {name: _shared(batch, self._first.splits[name]) for name, batch in feed.splits.items()}
        member = VmappedRun(feed, seed, functools.partial(_Stack, make_train_step, evaluation_step))

        def place(start: TrainState) -> VmappedRun:
            member.start, member.asked = start, (int(start.step), 0)
            self._asking.append(member)
            return member

        def train_call(state: VmappedRun, first_step: int, steps: int) -> tuple[VmappedRun, "_Sums"]:
            state.asked, state.sums = (first_step, steps), _Sums()
            self._asking.append(state)
            return state, state.sums

        return feeds.CompiledFns(place, train_call, _evaluate, _is_finite, lambda held: held.fetch())

    def interrupted(self, together: bool) -> bool:
        """Returns whether the process was told to end, as of the last `advance`: the same to all members."""
        return self._told

    def advance(self) -> None:
        """Makes the steps that the members have asked for since the last time; the others have left."""
        asked: dict[tuple[int, int], list[VmappedRun]] = {}
        for member in self._asking:
            asked.setdefault(member.asked, []).append(member)
        self._asking.clear()
        for (first_step, steps), members in asked.items():
            stack = members[0].stack
            if stack is None or stack.members != members:
                states = [member.fetch() for member in members]
                if stack:
                    stack.release()  # before the next one takes its place
                stack = members[0].make_stack(members, states)
            if steps:
                stack.advance(first_step, steps)
        self._told = self._told_to_end()


class VmappedRun:
    """A run of a group, and what the loop holds in place of its state: that lies in a stack, or waits for one.

    Attributes:
      start: the state that it brings, until it is in a stack; index: where it is there.
      asked: (first step, steps) of the last call, `sums` of it.
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
        self.asked = (0, 0)
        self.sums = _Sums()

    def fetch(self) -> TrainState:
        """Returns the state as host arrays."""
        if self.stack is None:
            assert self.start is not None
            return self.start
        return _member_of(self.stack.fetch(), self.index)


class _Sums:
    """The sums of a member's call, once it is made."""

    def __init__(self):
        self.take: Callable[[], Any] | None = None

    def fetch(self) -> dict[str, np.ndarray]:
        """Returns the sums of each step."""
        assert self.take is not None
        return self.take()


class _Stack:
    """Members at the same step: their states, and what differs between their data, each along an axis of members.

    A program is compiled for each number of members. Where one leaves, the others are stacked anew: on a CPU, a member
    that ended would cost as much as one that goes on, and a group that was interrupted goes on with the same programs.
    """

    def __init__(
        self,
        make_train_step: Callable[[Any], Callable],
        evaluation_step: Callable,
        members: Sequence[VmappedRun],
        states: Sequence[TrainState],
    ):
        self.members = members
        self._state = devices.replicate(_stack(states))
        for index, member in enumerate(members):
            member.stack, member.index, member.start = self, index, None
        self._feed = feed = members[0].feed
        self._seeds = devices.replicate(np.array([member.seed for member in members], np.uint32))
        self._row_axis: Axes = None if len({member.seed for member in members}) == 1 else 0  # a seed is an order
        self._data, axes = {}, {}
        for name in feed.splits:
            batch, axes[name] = _stack_shared([member.feed.splits[name] for member in members])
            self._data[name] = devices.replicate(batch)

        def train_call(state: TrainState, seed: jax.Array, data: Any, items: Any) -> tuple[TrainState, Any]:
            return step.make_train_call(make_train_step(seed), feed.batch_of["train"])(state, data, items)

        self._train_program = devices.map_devices(
            train_call, donate_state=True, member_axes=(0, 0, axes["train"], self._row_axis)
        )
        self._evaluation_compiled = {
            name: devices.map_devices(
                step.make_evaluation_call(evaluation_step, feed.batch_of[name]),
                donate_state=False,
                member_axes=(0, axes[name], None, None),
            )
            for name in feed.splits
        }
        self._finite_program = devices.map_devices(step.is_finite, donate_state=False, member_axes=(0,))
        self._wait_for_older = dispatch.make_throttle()
        self._known: dict[str, Any] = {}  # of the states as they are, for all members: the first that asks has it made

    def release(self) -> None:
        """Lets go of the devices' memory."""
        del self._state, self._data
        self._known.clear()

    def advance(self, first_step: int, steps: int) -> None:
        """Makes steps of all members."""
        rows = [member.feed.train_rows(first_step, steps) for member in self.members]
        items = devices.shard(rows[0], 1) if self._row_axis is None else devices.shard(np.stack(rows), 2)
        self._state, sums = self._train_program(self._state, self._seeds, self._data["train"], items)
        self._wait_for_older(sums)
        self._known.clear()
        fetched = functools.cache(functools.partial(devices.fetch, sums))
        for index, member in enumerate(self.members):
            member.sums.take = functools.partial(_take, fetched, index)

    def evaluate(self, split: str, should_stop: Callable[[bool], bool]) -> dict[str, np.ndarray] | None:
        """Returns the sums of each member over a split, None where it was told to end."""
        if split not in self._known:
            program, data = self._evaluation_compiled[split], self._data[split]
            calls = (
                functools.partial(program, self._state, data, *batch) for batch in self._feed.evaluation_batches[split]
            )
            self._known[split] = feeds.add_batches(calls, self._wait_for_older, should_stop)
        return self._known[split]

    def is_finite(self) -> np.ndarray:
        """Returns whether all of each member's state is finite."""
        if "finite" not in self._known:
            self._known["finite"] = devices.fetch(self._finite_program(self._state))
        return self._known["finite"]

    def fetch(self) -> TrainState:
        """Returns the states as host arrays, with an axis of members."""
        if "state" not in self._known:
            self._known["state"] = devices.fetch(self._state)
        return self._known["state"]


def _evaluate(
    state: VmappedRun, split: str, should_stop: Callable[[bool], bool] = lambda together: False
) -> dict[str, float] | None:
    assert state.stack is not None
    sums = state.stack.evaluate(split, should_stop)
    return None if sums is None else {name: float(value[state.index]) for name, value in sums.items()}


def _is_finite(state: VmappedRun) -> bool:
    assert state.stack is not None
    return bool(state.stack.is_finite()[state.index])


def _take(fetched: Callable[[], Any], index: int) -> Any:
    return _member_of(fetched(), index)


def _member_of(stacked: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], stacked)


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _shared(batch: step.Batch, first: step.Batch) -> step.Batch:
    """Returns a batch with the arrays of `first` in place of those that are equal, which are then kept once."""
    both = zip(first, batch, strict=True)
    return step.Batch(*(known if np.array_equal(known, own) else own for known, own in both))


def _stack_shared(batches: Sequence[step.Batch]) -> tuple[step.Batch, step.Batch]:
    """Returns batches along an axis of members, and the axis of each array: what all share is not stacked."""
    fields = list(zip(*batches, strict=True))
    shared = [all(array is arrays[0] for array in arrays) for arrays in fields]
    stacked = (arrays[0] if same else np.stack(arrays) for arrays, same in zip(fields, shared, strict=True))
    return step.Batch._make(stacked), step.Batch._make(None if same else 0 for same in shared)
