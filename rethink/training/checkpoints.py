"""Owns saving and restoring: a checkpoint is the state and the loop's history, nothing else.

Refuses pickle: arrays by Orbax, the history as JSON.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import orbax.checkpoint as ocp

from rethink.training.loop import History
from rethink.training.state import TrainState


class _BestStep(ocp.checkpoint_managers.PreservationPolicy):
    """Keeps the checkpoint of the best evaluation, as early stopping finds it."""

    step: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Returns which of the checkpoints are kept."""
        return [checkpoint.step == self.step for checkpoint in checkpoints]


class Checkpoints:
    """The checkpoints of one run; a context manager, left only when the last save has ended."""

    def __init__(self, folder: pathlib.Path, keep: int):
        """Opens the folder; the newest `keep` checkpoints are kept, and the one of the best evaluation."""
        alone = ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0}, barrier_sync_key_prefix="rethink"
        )
        self._best = _BestStep()
        policies = ocp.checkpoint_managers.AnyPreservationPolicy([ocp.checkpoint_managers.LatestN(keep), self._best])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies, create=False, multiprocessing_options=alone
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._manager.close()

    def save(self, state: TrainState, history: History) -> None:
        """Saves in the background.

        Args:
          state: unreplicated host arrays.
        """
        content = ocp.args.Composite(
            state=ocp.args.StandardSave(state), history=ocp.args.JsonSave(dataclasses.asdict(history))
        )
        self._best.step = history.best["step"] if history.best else None
        self._manager.save(history.step, args=content, force=True)

    def restore(self, like: TrainState) -> tuple[TrainState, History] | None:
        """Returns the newest checkpoint, None where there is none.

        Args:
          like: host arrays of the shapes and types to restore.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        content = ocp.args.Composite(state=ocp.args.StandardRestore(like), history=ocp.args.JsonRestore())
        restored = self._manager.restore(step, args=content)
        return restored["state"], History(**restored["history"])
