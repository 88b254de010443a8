"""Trains many networks, each on a subset of the same examples, and keeps which examples each predicts correctly.

Each network is an ordinary training run, by its step, schedule, order and evaluation, without the records of one.
Which subsets there are, and what follows from the results, is influence.py's.
"""

import json
import os
import pathlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rethink.results import files
from rethink.schema.errors import UserError
from rethink.training import devices, dispatch, feeds, step
from rethink.training.state import TrainState
from rethink.training.step import Batch

STACKED = 32  # networks that an accelerator trains at a time, where that is left open and none has convolutions


class NetworkParts(NamedTuple):
    """What training a network takes: the parts of an ordinary run on as many examples as a subset has.

    Attributes:
      make_start: seed -> the state before the first step, inside a compiled function.
      make_train_step: seed -> the step of one device, as of training/step.py; evaluation_step: of one device.
      draw_order: seed -> positions in the subset that each step takes, int32 [steps, batch].
      evaluation_rows: split -> [(rows int32 [batch], weights float32 [batch])] that cover it once.
      steps_per_call: steps in one dispatch.
      stack: networks that a device trains at a time.
    """

    make_start: Callable[[Any], TrainState]
    make_train_step: Callable[[Any], Callable]
    evaluation_step: Callable
    draw_order: Callable[[int], np.ndarray]
    evaluation_rows: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]
    steps_per_call: int
    stack: int


def choose_stack(stack: int, has_convolutions: bool) -> int:
    """Returns how many networks a device trains at a time: `stack`, or where that is 0, what suits the platform.

    On a CPU small products in a batch are no faster than one after the other; and convolutions whose kernels differ in
    a batch are slow everywhere.
    """
    return stack or (1 if has_convolutions or jax.default_backend() == "cpu" else STACKED)


class SubsetNetworks:
    """The compiled program, and the examples in the devices' memory, which all networks share."""

    def __init__(self, parts: NetworkParts, splits: Mapping[str, Any]):
        """Places the examples; `splits`: of "train" and "test", each with the fields of a Batch as host arrays."""
        self._parts = parts
        self._counts = {name: len(split.ids) for name, split in splits.items()}
        self._data = {
            name: devices.replicate(Batch(*(getattr(split, field) for field in Batch._fields)))
            for name, split in splits.items()
        }
        self._evaluation = {name: list(map(devices.replicate, rows)) for name, rows in parts.evaluation_rows.items()}
        stacked = parts.stack > 1
        self._axes = (jax.local_device_count(), parts.stack) if stacked else (jax.local_device_count(),)

        def train_call(
            state: TrainState, seed: jax.Array, data: Batch, rows: jax.Array
        ) -> tuple[TrainState, jax.Array]:
            state, _ = step.make_train_call(parts.make_train_step(seed), feeds.select_rows)(state, data, rows)
            return state, state.step  # the second to wait for, as the next call takes the memory of the first

        def find_correct(state: TrainState, data: Batch, rows: jax.Array, weights: jax.Array) -> jax.Array:
            batch = feeds.select_rows(data, rows)
            return parts.evaluation_step(state, batch, weights).examples.predicted == batch.labels

        self._start = devices.map_networks(parts.make_start, donate_state=False, shared=(False,), stacked=stacked)
        self._train_call = devices.map_networks(
            train_call, donate_state=True, shared=(False, False, True, False), stacked=stacked
        )
        self._find_correct = devices.map_networks(
            find_correct, donate_state=False, shared=(False, True, True, True), stacked=stacked
        )
        self._is_finite = devices.map_networks(step.is_finite, donate_state=False, shared=(False,), stacked=stacked)
        self._throttle = dispatch.make_throttle()

    def train(
        self, networks: Sequence[int], draw: Callable[[int], tuple[int, np.ndarray]]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields of some networks after others, in order: split -> whether they predict the given label, bool [k, n].

        Args:
          networks: their numbers.
          draw: number -> (seed, rows of its subset int32 [members], ascending).

        Raises:
          UserError: one diverged.
        """
        together = int(np.prod(self._axes))
        rounds = [networks[start : start + together] for start in range(0, len(networks), together)]
        drawn = [self._draw_round(numbers, draw) for numbers in rounds[:1]]
        for numbers, following in zip(rounds, [*rounds[1:], None], strict=True):
            state, correct = self._train_round(*drawn.pop())
            if following:  # drawn while the devices compute
                drawn.append(self._draw_round(following, draw))
            self._check_finite(state, numbers)
            yield {
                name: np.concatenate([self._flatten(batch) for batch in batches], axis=1)[: len(numbers), :count]
                for (name, batches), count in zip(correct.items(), self._counts.values(), strict=True)
            }

    def _draw_round(
        self, numbers: Sequence[int], draw: Callable[[int], tuple[int, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (seeds, rows of each step) along the axes of devices and networks; the last one fills up a round."""
        seeds, subsets = zip(*map(draw, numbers), strict=True)
        rows = [subset[self._parts.draw_order(seed)] for seed, subset in zip(seeds, subsets, strict=True)]
        missing = int(np.prod(self._axes)) - len(rows)
        filled = np.array([*seeds, *seeds[-1:] * missing], np.uint32), np.stack(rows + rows[-1:] * missing)
        return tuple(array.reshape(*self._axes, *array.shape[1:]) for array in filled)  # type: ignore[return-value]

    def _train_round(self, seeds: np.ndarray, rows: np.ndarray) -> tuple[TrainState, dict[str, list[jax.Array]]]:
        """Returns the trained states, and split -> whether examples are predicted, batch by batch; all on devices."""
        state = self._start(seeds)
        steps, axis = self._parts.steps_per_call, len(self._axes)
        for items in np.split(rows, range(steps, rows.shape[axis], steps), axis):
            state, made = self._train_call(state, seeds, self._data["train"], items)
            self._throttle(made)
        correct: dict[str, list[jax.Array]] = {}
        for name, batches in self._evaluation.items():
            for batch in batches:
                correct.setdefault(name, []).append(self._find_correct(state, self._data[name], *batch))
                self._throttle(correct[name][-1])
        return state, correct

    def _check_finite(self, state: TrainState, numbers: Sequence[int]) -> None:
        bad = np.flatnonzero(~self._flatten(self._is_finite(state))[: len(numbers)])
        if len(bad):
            raise UserError(
                f"Network {numbers[bad[0]]} diverged: try a smaller --config.optimizer.learning_rate, with another "
                "--workdir."
            )

    def _flatten(self, array: jax.Array) -> np.ndarray:
        """Returns the results of a round as a host array [networks, ...]."""
        return np.asarray(array).reshape(-1, *array.shape[len(self._axes) :])


class CorrectnessFile:
    """Which examples each network predicts correctly: a file that grows by a whole record a network, in their order.

    A line of JSON says what the networks were trained on; a record is its CRC-32 (uint32, little-endian) and a bit for
    each example. What is behind the first record that is not whole is dropped when networks are added.
    """

    def __init__(self, path: pathlib.Path, origin: Mapping[str, str], examples: int):
        """Opens or begins it.

        Args:
          origin: name -> fingerprint, of the data.
          examples: of all splits.

        Raises:
          UserError: it holds networks that were trained on other data.
        """
        self._path, self._examples = path, examples
        header = (json.dumps({**origin, "examples": examples}, sort_keys=True) + "\n").encode()
        if not path.exists():
            files.replace(path, header)
        content = path.read_bytes()
        if not content.startswith(header):
            raise UserError(
                f"{path} holds networks that were trained on other data than there are now: bring those back, or "
                "choose another --workdir."
            )
        record = 4 + -(-examples // 8)
        whole = (len(content) - len(header)) // record
        table = np.frombuffer(content, np.uint8, whole * record, len(header)).reshape(whole, record)
        sound = [zlib.crc32(row[4:].tobytes()) == int.from_bytes(row[:4].tobytes(), "little") for row in table]
        self.count = sound.index(False) if False in sound else whole
        self._packed = [table[: self.count, 4:]]
        if len(content) > (end := len(header) + self.count * record):
            os.truncate(path, end)

    def append(self, correct: np.ndarray) -> None:
        """Adds networks, bool [networks, examples]."""
        packed = np.packbits(correct, axis=1)
        rows = (row.tobytes() for row in packed)
        files.append(self._path, b"".join(zlib.crc32(row).to_bytes(4, "little") + row for row in rows))
        self._packed.append(packed)
        self.count += len(correct)

    def read(self, networks: int) -> np.ndarray:
        """Returns the first networks, bool [networks, examples]."""
        packed = np.concatenate(self._packed)[:networks]
        return np.unpackbits(packed, axis=1, count=self._examples).astype(bool)
