"""Saves and restores checkpoints: the state and the loop's history, with the SHA-256 of both.

Nothing is pickled: arrays are written by Orbax, the history as JSON. A checkpoint that is not what was saved, bit for
bit, is set aside and not restored.
"""

import copy
import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np

from rethink.schema import output
from rethink.schema.errors import UserError
from rethink.training.loop import History
from rethink.training.state import TrainState

_log = logging.getLogger(__name__)

with output.no_new_handler():
    import orbax.checkpoint as ocp


class _BestStep(ocp.checkpoint_managers.PreservationPolicy):
    """Keeps the checkpoint of the best evaluation, as early stopping chooses it."""

    step: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Returns which of the checkpoints are kept."""
        return [checkpoint.step == self.step for checkpoint in checkpoints]


class Saver(Protocol):
    """What takes the checkpoints of a run."""

    def save(self, state: TrainState, history: History) -> None:
        """Saves; `state` is of host arrays, without an axis of devices."""


class InMemory:
    """Takes the checkpoints of a run in memory: the newest, and the one of the best evaluation."""

    def __init__(self):
        self.saved: dict[int, tuple[TrainState, History]] = {}

    def save(self, state: TrainState, history: History) -> None:
        """Keeps a state of host arrays, and drops what is neither the newest nor the best any more."""
        self.saved[history.step] = (state, copy.deepcopy(history))
        kept = {history.step, history.best["step"] if history.best else history.step}
        self.saved = {step: checkpoint for step, checkpoint in self.saved.items() if step in kept}

    def steps(self) -> list[int]:
        """Returns after how many updates there is one, ascending."""
        return sorted(self.saved)

    def read(self, step: int, like: TrainState) -> TrainState:
        """Returns the state after `step` updates; `like`: as of `Checkpoints.read`."""
        return self.saved[step][0]


class Checkpoints:
    """The checkpoints of one run; a context manager, left only when the last save has ended."""

    def __init__(self, folder: pathlib.Path, keep: int):
        """Opens the folder; the newest `keep` checkpoints are kept, and the one of the best evaluation."""
        # The first process saves alone, without a barrier with the others.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0}, barrier_sync_key_prefix="rethink"
        )
        self._folder, self._best = folder.absolute(), _BestStep()
        policies = ocp.checkpoint_managers.AnyPreservationPolicy([ocp.checkpoint_managers.LatestN(keep), self._best])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies, create=False, multiprocessing_options=alone
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)
        silence_echoes()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._manager.close()

    def save(self, state: TrainState, history: History) -> None:
        """Saves in the background.

        Args:
          state: host arrays, without an axis of devices.
        """
        values = dataclasses.asdict(history)
        digests = {"history": _digest_of_history(values), **_digest_of_parts(state)}
        items = {name: ocp.args.StandardSave(part) for name, part in _divide(state).items()}
        items["history"] = ocp.args.JsonSave({"history": values, "sha256": digests})
        self._best.step = history.best["step"] if history.best else None
        self._manager.save(history.step, args=ocp.args.Composite(**items), force=True)

    def exist(self) -> bool:
        """Returns whether there are any, whole or damaged."""
        return bool(self._manager.all_steps())

    def steps(self) -> list[int]:
        """Returns after how many updates there is one, whole or damaged, ascending."""
        return sorted(self._manager.all_steps())

    def restore(self, like: TrainState, there_must_be_one: bool = False) -> tuple[TrainState, History] | None:
        """Returns the newest checkpoint that is whole, None where there is none at all.

        One that is damaged is named in a warning and set aside as STEP.damaged, so that its step can be saved again.

        Args:
          like: host arrays of the shapes and types to restore; presentations may be left out.
          there_must_be_one: whether the run has saved one before.

        Raises:
          UserError: there are checkpoints, and all of them are damaged; or there is none, and there must be.
        """
        # Newest first, until one can be read.
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                checkpoint = self._read_checkpoint(step, like)
            except MemoryError:
                raise
            except Exception as error:  # a damaged file may raise anything
                reason = " ".join(str(error).split())[:200]
                _log.warning(
                    "The checkpoint %s is damaged (%s): %s.", self._folder / str(step), type(error).__name__, reason
                )
                continue
            # Newer ones are damaged. They are kept: what can't be read now may be readable again later.
            for damaged in steps[: steps.index(step)]:
                os.replace(self._folder / str(damaged), self._set_aside(damaged))
            self._manager.reload()
            return checkpoint
        if steps or there_must_be_one:
            what = "None of the checkpoints can be read" if steps else "There is no checkpoint any more"
            raise UserError(
                f"{what} in {self._folder}: bring one back from a copy, or move {self._folder.parent} away to start "
                "the run anew."
            )
        return None

    def read(self, step: int, like: TrainState) -> TrainState:
        """Returns the state after `step` updates; `like`: as of `restore`.

        Raises:
          UserError: there is no checkpoint of that step, or it is damaged.
        """
        try:
            return self._read_checkpoint(step, like)[0]
        except MemoryError:
            raise
        except Exception as error:  # a damaged file may raise anything
            what = "is damaged" if step in self._manager.all_steps() else "is not there"
            raise UserError(f"The checkpoint {self._folder / str(step)} {what}: bring it back from a copy.") from error

    def _set_aside(self, step: int) -> pathlib.Path:
        """Returns a free name for a damaged checkpoint; its step may have been saved again and damaged again."""
        names = (f"{step}.damaged" + (f"-{number}" if number > 1 else "") for number in itertools.count(1))
        return next(self._folder / name for name in names if not (self._folder / name).exists())

    def _read_checkpoint(self, step: int, like: TrainState) -> tuple[TrainState, History]:
        """Returns a checkpoint; raises whatever a damaged one leads to, ValueError where it is not what was saved."""
        items = {name: ocp.args.StandardRestore(part) for name, part in _divide(like).items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(history=ocp.args.JsonRestore(), **items))
        values, digests = restored["history"]["history"], restored["history"]["sha256"]
        state = TrainState(**restored["state"], presentations=restored.get("presentations"))
        for name, digest in {"history": _digest_of_history(values), **_digest_of_parts(state)}.items():
            if digest != digests[name]:
                raise ValueError(f"the SHA-256 of its {name} is not that of what was saved")
        return state, History(**values)


def _divide(state: TrainState) -> dict[str, Any]:
    """Returns item -> part of a state: presentations are an item of their own, as only training reads them."""
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    presentations = values.pop("presentations")
    return {"state": values} if presentations is None else {"state": values, "presentations": presentations}


@functools.cache  # once in a process: callbacks come when the checkpoints are closed already
def silence_echoes() -> None:
    """Hides what Orbax prints besides raising an error, and that it goes on in the folder of a save that was killed."""
    hook = sys.unraisablehook

    def is_no_echo(record: logging.LogRecord) -> bool:
        is_echo = record.levelno >= logging.ERROR or record.msg.startswith("Attempted to create temporary directory")
        return not is_echo or "orbax" not in pathlib.Path(record.pathname).parts

    def report_unraisable(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":  # of the other parts of a read or save that has failed
            hook(unraisable)

    logging.getLogger("absl").addFilter(is_no_echo)
    sys.unraisablehook = report_unraisable


def _digest_of_history(values: dict[str, Any]) -> str:
    """Returns the SHA-256 of a history as JSON, in hex."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _digest_of_parts(state: TrainState) -> dict[str, str]:
    """Returns item -> SHA-256 of that part of a state."""
    presentations = {} if state.presentations is None else {"presentations": _digest_of_state(state.presentations)}
    return {"state": _digest_of_state(state.replace(presentations=None)), **presentations}


def _digest_of_state(state: Any) -> str:
    """Returns one SHA-256 of the names, types, shapes and bits of all leaves, in hex."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        leaf = np.asarray(leaf, order="C")
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()
