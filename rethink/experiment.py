"""Owns the story of a run: config to closing table, by its kind. Wires what runs to what shows and records it.

Refuses maths: what is computed stands in the rooms that this file and assembly.py connect.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
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


class Counted(NamedTuple):
    """What is kept of the examples: fingerprints by name; labels before and after, by split."""

    fingerprints: dict[str, str]
    labels: dict[str, dict[str, np.ndarray]]


def run(config: ConfigDict, workdir: str, launch: Launch) -> int:
    """Runs the experiment of a config in a directory, or goes on with it; returns the exit status.

    Raises:
      UserError: the config or the directory is off.
    """
    settings.validate(config, CHOICES)
    parallel.start(config.hardware, launch.processes)
    with contextlib.ExitStack() as stack:
        record = None
        with parallel.all_or_none():
            _check_same_config(config)
            if parallel.is_first():
                record = stack.enter_context(records.open_run(workdir, config))
            status = ""
            if record and record.finished:
                print(f"Nothing to do: {record.folder} holds this run, and it has ended. For another: --workdir=DIR.")
                status = str(_close(record))
        status = parallel.gather_text(status)[0]  # the first process's is everybody's
        return int(status) if status else KINDS[config.kind](config, record, launch)


def _check_same_config(config: ConfigDict) -> None:
    """Checks that all processes of a run were given the same config, places on each host apart."""
    if len(set(parallel.gather_text(settings.same_everywhere(config)))) > 1:
        raise settings.UserError("The processes of this run have different configs: start them with the same flags.")


def train(config: ConfigDict, record: records.Run | None, launch: Launch) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3).

    Args:
      record: None in the processes that don't write.
    """
    with contextlib.ExitStack() as stack:
        with parallel.all_or_none():
            setup = assembly.set_up(config)
        stack.callback(setup.feed.close)
        start, history, saved = _resume(config, setup, record, launch, stack)
        census = _take_census(setup)
        if history.step and not census:  # a stream is compared with the earlier launch's before it is trained on
            for split in setup.census:
                setup.evaluate(start, split)
            census = _take_census(setup)
        reporter = None
        with parallel.all_or_none():
            if record and saved:
                reporter = Reporter(config, setup, record, saved, history, census, launch, stack)
        event = None
        for event in loop.train(
            setup.plan,
            start,
            history,
            train_call=setup.train_call,
            evaluate=setup.evaluate,
            fetch=parallel.fetch,
            learning_rate=setup.schedule,
        ):
            if census is None:
                census = _take_census(setup)
                if census and reporter:
                    reporter.count(census)
            if reporter:
                reporter.take(event, history)
    assert event is not None
    if not record:
        return EXIT_DIVERGED if event.fate == "diverged" else EXIT_DONE
    record.end(event.fate, summary=_summarize(setup, history, record), end=event.row)
    stem = record.subfolder("figures") / "learning_curve"
    figures.learning_curve(record.rows(), stem, title=config.name, num_classes=setup.num_classes)
    return _close(record)


def _resume(
    config: ConfigDict,
    setup: assembly.Setup,
    record: records.Run | None,
    launch: Launch,
    stack: contextlib.ExitStack,
) -> tuple[TrainState, loop.History, checkpoints.Checkpoints | None]:
    """Returns the newest checkpoint, or the start, on all devices of all processes; only the first process reads."""
    start, history, saved = setup.start, loop.History(), None
    with parallel.all_or_none():
        if record:
            folder = record.subfolder("checkpoints")
            saved = stack.enter_context(checkpoints.Checkpoints(folder, config.checkpoint.keep))
            start, history = saved.restore(start) or (start, history)
            _check_length(history.step, setup.plan.total_steps, launch.profile_steps)
    text = parallel.gather_text(json.dumps(dataclasses.asdict(history)))[0]
    return parallel.replicate(parallel.from_first(start)), loop.History(**json.loads(text)), saved


def _summarize(setup: assembly.Setup, history: loop.History, record: records.Run) -> dict[str, Any]:
    """Returns what the closing table and the tables of runs say."""
    return {
        "steps": history.step,
        "epochs": history.step / setup.plan.steps_per_epoch,
        "evaluation": history.evaluation,
        "steps_to_train_accuracy": history.steps_to_train_accuracy,
        "num_classes": setup.num_classes,
        "seconds": record.seconds(),
    }


class Reporter:
    """Acts on the events of a run, in the process that writes: records, screen, TensorBoard, profiler, checkpoints."""

    def __init__(
        self,
        config: ConfigDict,
        setup: assembly.Setup,
        record: records.Run,
        saved: checkpoints.Checkpoints,
        history: loop.History,
        census: Counted | None,
        launch: Launch,
        stack: contextlib.ExitStack,
    ):
        """Begins (or goes on) writing; what must be closed at the end is put on the stack."""
        resumed = history.step > 0
        fingerprints = {"order": setup.order_fingerprint, **(census.fingerprints if census else {})}
        record.begin(history.step if resumed else -1, setup.facts, fingerprints)
        self._record, self._saved = record, saved
        if census:
            self.count(census)
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
        self._profiler = None
        if launch.profile_steps:
            profiler = parallel.Profiler(record.subfolder("profile"), *launch.profile_steps)
            self._profiler = stack.enter_context(profiler)
        if resumed:
            self._screen.note(f"Resumed at step {history.step:,}.")

    def count(self, census: Counted) -> None:
        """Records the census of the data."""
        self._record.check_fingerprints(census.fingerprints)
        self._record.save_arrays("corruption", **census.labels["train"])
        self._record.save_arrays("corruption_test", **census.labels["test"])

    def take(self, event: loop.Event, history: loop.History) -> None:
        """Acts on one event; `history` is the loop's, as of now."""
        if event.kind == "advance":
            self._screen.advance(event.step)
            if self._profiler:
                self._profiler.advance(event.step)
        elif event.kind == "checkpoint":
            self._saved.save(parallel.fetch(event.state), history)
        elif event.kind != "end":
            self._record.append(event.row)
            self._screen.show(event.row)
            if self._tensorboard:
                self._tensorboard.write(event.row)


def _check_length(step: int, total_steps: int, profile_steps: tuple[int, int] | None) -> None:
    """Checks that a run is not asked to end before where it is, and that the steps to profile lie ahead."""
    if step > total_steps:
        raise settings.UserError(
            f"train.total_epochs makes {total_steps:,} steps, and the run in this directory has made {step:,}: "
            "ask for at least as many, or choose another --workdir."
        )
    if profile_steps and not step <= profile_steps[0] < profile_steps[1] <= total_steps:
        raise settings.UserError(
            f"--profile_steps={profile_steps[0]},{profile_steps[1]}: the steps to come are {step} to {total_steps}."
        )


def _take_census(setup: assembly.Setup) -> Counted | None:
    """Returns what is kept of the examples of all processes, None before every one of them was seen."""
    if not all(census.full for census in setup.census.values()):
        return None
    found = {name: census.fingerprints(parallel.gather) for name, census in setup.census.items()}
    return Counted(
        fingerprints={**found["train"], **{f"test_{name}": value for name, value in found["test"].items()}},
        labels={name: census.labels(parallel.gather) for name, census in setup.census.items()},
    )


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
