"""Owns the story of a run: config to closing table, by its kind. Wires what runs to what shows and records it.

Refuses maths: what is computed stands in the rooms that this file and assembly.py connect.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from rethink import assembly, models, settings
from rethink.data import batches, corruption, preprocessing
from rethink.regularization import batch_norm
from rethink.results import figures, progress, records, tensorboard
from rethink.training import checkpoints, loop, optimizer, parallel
from rethink.training.state import TrainState

EXIT_DONE, EXIT_DIVERGED = 0, 3


@dataclasses.dataclass(frozen=True)
class Launch:
    """What belongs to a launch, not to the run: the other processes, and (first, last) step of a profiler's trace."""

    processes: parallel.Processes | None = None
    profile_steps: tuple[int, int] | None = None


def run(config: ConfigDict, workdir: str, launch: Launch) -> int:
    """Runs the experiment of a config in a directory, or goes on with it; returns the exit status.

    Raises:
      UserError: the config or the directory is off.
    """
    settings.validate(config, CHOICES)
    parallel.start(config.hardware, launch.processes)
    kind = KINDS[config.kind]
    if not parallel.is_first():
        verdict = parallel.text_from_first("")
        if verdict:
            raise settings.UserError(f"The first process does not start: {verdict}")
        return kind(config, None, launch)
    with contextlib.ExitStack() as stack:
        try:
            record = stack.enter_context(records.open_run(workdir, config))
        except settings.UserError as error:
            parallel.text_from_first(str(error))
            raise
        parallel.text_from_first("the run has ended." if record.finished else "")
        if record.finished:
            print(f"Nothing to do: {record.folder} holds this run, and it has ended. For another choose --workdir=DIR.")
            return _close(record)
        return kind(config, record, launch)


def train(config: ConfigDict, record: records.Run | None, launch: Launch) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3).

    Args:
      record: None in the processes that don't write.
    """
    setup = assembly.set_up(config)
    with contextlib.ExitStack() as stack:
        stack.callback(setup.feed.close)
        saved = None
        if record:
            folder = record.subfolder("checkpoints")
            saved = stack.enter_context(checkpoints.Checkpoints(folder, config.checkpoint.keep))
        start, history = _restore(saved, setup.start)
        reporter = Reporter(config, setup, record, saved, history, stack) if record and saved else None
        if record and launch.profile_steps:
            profiler = stack.enter_context(parallel.Profiler(record.subfolder("profile"), *launch.profile_steps))
        else:
            profiler = None
        counted = False
        event = None
        for event in loop.train(
            setup.plan,
            parallel.replicate(start),
            history,
            train_call=setup.train_call,
            evaluate=setup.evaluate,
            fetch=parallel.fetch,
            learning_rate=setup.schedule,
        ):
            if not counted and all(census.full for census in setup.census.values()):
                counted = True
                fingerprints, labels = _take_census(setup)
                if reporter:
                    reporter.count(fingerprints, labels)
            if profiler and event.kind == "advance":
                profiler.advance(event.step)
            if reporter:
                reporter.take(event)
    assert event is not None
    if not record:
        return EXIT_DIVERGED if event.fate == "diverged" else EXIT_DONE
    summary = {
        "steps": history.step,
        "epochs": history.step / setup.plan.steps_per_epoch,
        "evaluation": history.evaluation,
        "steps_to_train_accuracy": history.steps_to_train_accuracy,
        "num_classes": setup.num_classes,
        "seconds": record.seconds(),
    }
    stem = record.subfolder("figures") / "learning_curve"
    figures.learning_curve(record.rows(), stem, title=config.name, num_classes=setup.num_classes)
    record.end(event.fate, summary=summary, end=event.row)
    return _close(record)


class Reporter:
    """Acts on the events of a run, in the process that writes: records, screen, TensorBoard, checkpoints."""

    def __init__(
        self,
        config: ConfigDict,
        setup: assembly.Setup,
        record: records.Run,
        saved: checkpoints.Checkpoints,
        history: loop.History,
        stack: contextlib.ExitStack,
    ):
        """Begins (or goes on) writing; what must be closed at the end is put on the stack."""
        resumed = history.step > 0
        record.begin(history.step if resumed else -1, setup.facts, {"order": setup.order_fingerprint})
        self._record, self._saved, self._history = record, saved, history
        self._tensorboard = None
        if config.log.tensorboard:
            writer = tensorboard.EventWriter(record.subfolder("tensorboard"), first_step=history.step)
            self._tensorboard = stack.enter_context(writer)
        self._screen = stack.enter_context(
            progress.Progress(
                header={**setup.header, "Directory": str(record.folder)},
                total_steps=setup.plan.total_steps,
                first_step=history.step,
                batch_size=config.train.batch_size,
                steps_per_epoch=setup.plan.steps_per_epoch,
                patience_seconds=3600 * config.log.patience_hours,
            )
        )
        if resumed:
            self._screen.note(f"Resumed at step {history.step:,}.")

    def count(self, fingerprints: dict[str, str], labels: dict[str, Any]) -> None:
        """Records the census of the data."""
        self._record.check_fingerprints(fingerprints)
        self._record.save_arrays("corruption", **labels)

    def take(self, event: loop.Event) -> None:
        """Acts on one event."""
        if event.kind == "advance":
            self._screen.advance(event.step)
        elif event.kind == "checkpoint":
            self._saved.save(parallel.fetch(event.state), self._history)
        elif event.kind != "end":
            self._record.append(event.row)
            self._screen.show(event.row)
            if self._tensorboard:
                self._tensorboard.write(event.row)


def _restore(saved: checkpoints.Checkpoints | None, start: TrainState) -> tuple[TrainState, loop.History]:
    """Returns the newest checkpoint, or the start; read by the first process for all."""
    restored = saved.restore(start) if saved else None
    state, history = restored or (start, loop.History())
    text = parallel.text_from_first(json.dumps(dataclasses.asdict(history)))
    return parallel.from_first(state), loop.History(**json.loads(text))


def _take_census(setup: assembly.Setup) -> tuple[dict[str, str], dict[str, Any]]:
    """Returns the fingerprints, and the labels of the training examples, over all processes."""
    found = {name: census.fingerprints(parallel.gather) for name, census in setup.census.items()}
    fingerprints = {**found["train"], **{f"test_{name}": value for name, value in found["test"].items()}}
    return fingerprints, setup.census["train"].labels(parallel.gather)


def _close(record: records.Run) -> int:
    """Shows the closing table of an ended run; returns its exit status."""
    manifest = record.manifest
    progress.show_closing_table(manifest["fate"], progress.closing_rows(manifest["summary"]))
    print(f"Records and figures: {record.folder}")
    if manifest["fate"] != "diverged":
        return EXIT_DONE
    where = manifest["end"]
    print(
        f"The loss became infinite or NaN at step {where['step']}, learning rate {where['learning_rate']:g}: "
        "try a smaller --config.optimizer.learning_rate."
    )
    return EXIT_DIVERGED


KINDS: dict[str, Callable[[ConfigDict, records.Run | None, Launch], int]] = {"train": train}

CHOICES = {
    "kind": tuple(KINDS),
    "data.feed": assembly.FEEDS,
    "data.remainder": batches.REMAINDERS,
    "corruption.labels": corruption.LABELS,
    "corruption.pixels": corruption.PIXELS,
    "preprocess.whiten": preprocessing.WHITEN,
    "model.init": tuple(models.INITIALIZERS),
    "batch_norm.kind": batch_norm.KINDS,
    "batch_norm.evaluation": batch_norm.EVALUATIONS,
    "optimizer.name": tuple(optimizer.OPTIMIZERS),
    "optimizer.schedule": optimizer.SCHEDULES,
    "optimizer.decay_unit": optimizer.DECAY_UNITS,
}
