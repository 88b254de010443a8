"""Owns the story of a run: which pieces are wired to which, from config to closing table.

Refuses maths: what is computed stands in the rooms that this file connects. The only file that sees data, models and
training together.
"""

import contextlib
import time
from collections.abc import Callable

from ml_collections import ConfigDict

from rethink import assembly, models, settings
from rethink.data import batches, corruption, preprocessing
from rethink.regularization import batch_norm
from rethink.results import figures, progress, records
from rethink.training import checkpoints, loop, optimizer, parallel

EXIT_DONE, EXIT_DIVERGED = 0, 3


def run(config: ConfigDict, workdir: str) -> int:
    """Runs the experiment of a config in a directory, or goes on with it; returns the exit status.

    Raises:
      UserError: the config or the directory is off.
    """
    settings.validate(config, CHOICES)
    with records.open_run(workdir, config) as record:
        if record.finished:
            print(f"Nothing to do: the run in {record.folder} has ended. For another choose another --workdir.")
            return _close(record)
        parallel.start(config.hardware)
        return KINDS[config.kind](config, record)


def train(config: ConfigDict, record: records.Run) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3)."""
    launch = time.monotonic()
    setup = assembly.set_up(config)
    plan = setup.plan
    folder = record.subfolder("checkpoints")
    with contextlib.closing(setup.feed), checkpoints.Checkpoints(folder, config.checkpoint.keep) as saved:
        restored = saved.restore(setup.start)
        start, history = restored or (setup.start, loop.History())
        record.begin(history.step if restored else -1, setup.facts, {"order": setup.order_fingerprint})
        with progress.Progress(
            header={**setup.header, "Directory": str(record.folder)},
            total_steps=plan.total_steps,
            first_step=history.step,
            batch_size=config.train.batch_size,
            steps_per_epoch=plan.steps_per_epoch,
        ) as screen:
            if restored:
                screen.note(f"Resumed at step {history.step:,}.")
            counted = _record_census(setup, record)
            events = loop.train(
                plan,
                parallel.replicate(start),
                history,
                train_call=setup.train_call,
                evaluate=setup.evaluate,
                fetch=parallel.fetch,
                learning_rate=setup.schedule,
            )
            for event in events:
                counted = counted or _record_census(setup, record)
                if event.kind == "advance":
                    screen.advance(event.step)
                elif event.kind == "checkpoint":
                    saved.save(parallel.fetch(event.state), history)
                elif event.kind != "end":
                    record.append(event.row)
                    screen.show(event.row)
    summary = {
        "steps": history.step,
        "epochs": history.step / plan.steps_per_epoch,
        "evaluation": history.evaluation,
        "steps_to_train_accuracy": history.steps_to_train_accuracy,
        "num_classes": setup.num_classes,
        "seconds": round(time.monotonic() - launch, 1),
    }
    stem = record.subfolder("figures") / "learning_curve"
    figures.learning_curve(record.rows(), stem, title=config.name, num_classes=setup.num_classes)
    record.end(event.fate, summary=summary, end=event.row)
    return _close(record)


def _record_census(setup: assembly.Setup, record: records.Run) -> bool:
    """Records labels and fingerprints as soon as every example has been seen; returns whether that is so."""
    if not all(census.full for census in setup.census.values()):
        return False
    found = {name: census.fingerprints(parallel.gather) for name, census in setup.census.items()}
    record.check_fingerprints(
        {**found["train"], "test_images": found["test"]["images"], "test_labels": found["test"]["labels"]}
    )
    record.save_arrays("corruption", **setup.census["train"].labels(parallel.gather))
    return True


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


KINDS: dict[str, Callable[[ConfigDict, records.Run], int]] = {"train": train}

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
