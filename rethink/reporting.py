"""Owns what is made of a run's events in the process that writes: records, screen, TensorBoard, profiler, checkpoints.

Refuses to train, and to decide when anything happens: the loop's events say so.
"""

import contextlib
import dataclasses
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rethink import assembly
from rethink.data.census import Census
from rethink.regularization import early_stopping
from rethink.results import progress, records, tensorboard
from rethink.statuses import EXIT_DIVERGED, EXIT_DONE
from rethink.training import checkpoints, loop, parallel, profiler


class Counted(NamedTuple):
    """What is kept of the examples: fingerprints by name; labels before and after, by split; some of train's images."""

    fingerprints: dict[str, str]
    labels: dict[str, dict[str, np.ndarray]]
    samples: dict[str, np.ndarray]


@dataclasses.dataclass
class Screen:
    """The screen of several runs that go on side by side, or of one run.

    Attributes:
      shared: whether there are several: each says in lines, with its directory's name, what it has to say.
      header: entries that are shown already; another run's header is shown where it differs.
    """

    shared: bool = False
    header: dict[str, str] = dataclasses.field(default_factory=dict)

    def news(self, header: dict[str, str]) -> dict[str, str]:
        """Returns the entries of a header that are not shown already, which from now on they are."""
        found = {name: text for name, text in header.items() if self.header.get(name) != text}
        self.header.update(found)
        return found


def take_census(setup: assembly.Setup) -> Counted | None:
    """Returns what is kept of the examples of all processes, None before every one of them was seen."""
    if not all(census.full for census in setup.census.values()):
        return None
    found = {split: census.fingerprints(parallel.gather) for split, census in setup.census.items()}
    return Counted(
        fingerprints={
            name if split == "train" else f"{split}_{name}": value
            for split, values in found.items()
            for name, value in values.items()
        },
        labels={name: census.labels(parallel.gather) for name, census in setup.census.items()},
        samples=_samples(setup.census["train"]),
    )


def _samples(counted: Census) -> dict[str, np.ndarray]:
    kept = counted.samples
    if kept is None:
        return {}
    return {"ids": kept.ids, "images": kept.images, "given_labels": kept.labels, "true_labels": kept.true_labels}


def summarize(setup: assembly.Setup, history: loop.History, record: records.Run) -> dict[str, Any]:
    """Returns what the closing table and the tables of runs say: of the last evaluation, or of the best one."""
    stopping, evaluation = setup.plan.early_stopping, history.evaluation
    watched = {}
    if history.best and evaluation:
        watched["early_stopping"] = {
            "monitor": stopping.monitor,
            "best_step": history.best["step"],
            "last_test_accuracy": evaluation["test_accuracy"],
            "gain": early_stopping.gain(history.best, evaluation),
            "restored": stopping.restore_best,
        }
        evaluation = history.best if stopping.restore_best else evaluation
    return {
        "steps": history.step,
        "epochs": history.step / setup.plan.steps_per_epoch,
        "evaluation": evaluation,
        **watched,
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
        profile_steps: tuple[int, int] | None,
        screen: Screen,
        stack: contextlib.ExitStack,
    ):
        """Begins (or goes on) writing; what must be closed at the end is put on the stack."""
        resumed, known = history.step > 0, record.manifest["fate"] != "new"
        fingerprints = {"order": setup.order_fingerprint, **(census.fingerprints if census else {})}
        record.begin(history.step if resumed else -1, setup.facts, fingerprints, evaluated=history.is_evaluated)
        self._record, self._saved, self._fetch = record, saved, setup.programs.fetch
        if census:
            self.count(census)
        self._tensorboard = None
        if config.log.tensorboard:
            writer = tensorboard.EventWriter(record.subfolder("tensorboard"), first_step=history.step)
            self._tensorboard = stack.enter_context(writer)
        self._screen = stack.enter_context(
            progress.Progress(
                header=screen.news({**setup.header, "Directory": str(record.folder)}),
                total_steps=setup.plan.total_steps,
                first_step=history.step,
                batch_size=config.train.batch_size,
                steps_per_epoch=setup.plan.steps_per_epoch,
                patience_seconds=3600 * config.log.patience_hours,
                label=record.folder.name if screen.shared else "",
            )
        )
        self._profiler = None
        if profile_steps:
            trace = profiler.Profiler(record.subfolder("profile"), *profile_steps, launched_at=history.step)
            self._profiler = stack.enter_context(trace)
        if resumed:
            self._screen.note(f"Resumed at step {history.step:,}.")
        elif known:
            self._screen.note("An earlier launch left no checkpoint: the run begins anew, at step 0.")

    def count(self, census: Counted) -> None:
        """Records the census of the data."""
        self._record.check_fingerprints(census.fingerprints)
        for split, labels in census.labels.items():
            self._record.save_arrays("corruption" if split == "train" else f"corruption_{split}", **labels)
        self._record.save_arrays("samples", **census.samples)

    def take(self, event: loop.Event, history: loop.History) -> None:
        """Acts on one event; `history` is the loop's, as of now."""
        if event.kind == "advance":
            self._screen.advance(event.step)
            if self._profiler:
                self._profiler.advance(event.step)
        elif event.kind == "checkpoint":
            self._saved.save(self._fetch(event.state), history)
        elif event.kind != "end":
            self._record.append(event.row)
            self._screen.show(event.row)
            if self._tensorboard:
                self._tensorboard.write(event.row)


def close(record: records.Run) -> int:
    """Shows the closing table of an ended run; returns its exit status."""
    manifest = record.manifest
    progress.show_closing_table(manifest["fate"], progress.closing_rows(manifest["summary"]))
    print(f"Records and figures: {record.folder}")
    if exit_status(record) == EXIT_DIVERGED:
        where = manifest["end"]
        print(
            f"The loss became infinite or NaN at step {where['step']}, learning rate {where['learning_rate']:g}: "
            "try a smaller --config.optimizer.learning_rate."
        )
    return exit_status(record)


def exit_status(record: records.Run) -> int:
    """Returns the exit status of an ended run."""
    return EXIT_DIVERGED if record.manifest["fate"] == "diverged" else EXIT_DONE
