"""Owns the story of a run: which pieces are wired to which, from config to closing table.

Refuses maths: what is computed stands in the rooms that this file connects. The only file that sees data, models and
training together.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import optax
from ml_collections import ConfigDict

from rethink import models, settings
from rethink.data import batches, corruption, fingerprints, preprocessing, sources
from rethink.regularization import batch_norm
from rethink.results import figures, progress, records
from rethink.training import checkpoints, feeds, loop, optimizer, parallel, state, step

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
        return KINDS[config.kind](config, record)


def train(config: ConfigDict, record: records.Run) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3)."""
    launch = time.monotonic()
    setup = set_up(config)
    plan = setup.plan
    with checkpoints.Checkpoints(record.subfolder("checkpoints"), config.checkpoint.keep) as saved:
        restored = saved.restore(setup.start)
        start, history = restored or (setup.start, loop.History())
        record.begin(history.step if restored else -1, setup.facts)
        record.save_arrays("corruption", **setup.corruption)
        screen = progress.Progress(
            header={**setup.header, "Directory": str(record.folder)},
            total_steps=plan.total_steps,
            first_step=history.step,
            batch_size=config.train.batch_size,
            steps_per_epoch=plan.steps_per_epoch,
        )
        with screen:
            if restored:
                screen.note(f"Resumed at step {history.step:,}.")
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


@dataclasses.dataclass(frozen=True)
class Setup:
    """A training run before its first step.

    Attributes:
      start: the state to start from, host arrays.
      train_call, evaluate: the programs, as `loop.train` takes them.
      corruption: what is kept of each training example.
      facts: entries of the manifest.
      header: what the screen says first.
    """

    plan: loop.Plan
    schedule: optax.Schedule
    start: state.TrainState
    train_call: Callable
    evaluate: Callable
    num_classes: int
    corruption: dict[str, Any]
    facts: dict[str, Any]
    header: dict[str, str]


def set_up(config: ConfigDict) -> Setup:
    """Returns everything that a training run needs: data corrupted and placed, network, programs, plan."""
    parallel.start(config.hardware)
    parallel.check_batch(config.train.batch_size)
    data = sources.open_set(config.data)
    num_examples = len(data.train.ids)
    crop = preprocessing.crop_size(data.train.image_shape, config.preprocess.crop)
    input_shape = (*crop, data.train.image_shape[-1])
    model = models.build_model(
        config.model.name,
        num_classes=data.num_classes,
        norm=batch_norm.from_config(config.batch_norm, parallel.AXIS),
        init=config.model.init,
        kwargs=config.model.kwargs,
    )
    models.check_input(model, input_shape, data.num_classes)

    train_split, test_split = _corrupt(config, data)
    plan = make_plan(config, num_examples)
    schedule = optimizer.make_schedule(
        config.optimizer, steps_per_epoch=plan.steps_per_epoch, total_steps=plan.total_steps
    )
    tx = optimizer.make_optimizer(config.optimizer, schedule)
    start = state.init_state(model, tx, config.seed, input_shape)
    train_rows = functools.partial(
        batches.train_rows,
        config.seed,
        num_examples=num_examples,
        batch_size=config.train.batch_size,
        remainder=config.data.remainder,
    )
    feed = feeds.ResidentFeed(
        {"train": train_split, "test": test_split},
        train_rows=train_rows,
        evaluation_batch=parallel.whole_batch(config.evaluate.batch_size),
        evaluation_rows=batches.evaluation_rows,
    )
    view = functools.partial(preprocessing.view, crop=config.preprocess.crop, whitening=config.preprocess.whiten)
    train_call, evaluate = feeds.programs(
        feed,
        step.make_train_step(model, tx, view, parallel.AXIS),
        step.make_evaluation_step(model, view, parallel.AXIS),
    )
    parameters = models.count_parameters(start.params)
    return Setup(
        plan=plan,
        schedule=schedule,
        start=start,
        train_call=train_call,
        evaluate=evaluate,
        num_classes=data.num_classes,
        corruption={
            "ids": train_split.ids,
            "true_labels": train_split.true_labels,
            "given_labels": train_split.labels,
            "redrawn": train_split.redrawn,
        },
        facts={
            "versions": records.versions(),
            "hardware": parallel.describe(),
            "data": {"name": data.name, "decoder": data.decoder, "feed": feed.name, "train_examples": num_examples},
            "parameters": parameters,
            "plan": dataclasses.asdict(plan),
            "fingerprints": {
                "images": fingerprints.fingerprint(train_split.ids, train_split.images),
                "labels": fingerprints.fingerprint(train_split.ids, train_split.labels),
                "order": fingerprints.order_fingerprint([train_rows(0, plan.steps_per_epoch)]),
                "test_images": fingerprints.fingerprint(test_split.ids, test_split.images),
                "test_labels": fingerprints.fingerprint(test_split.ids, test_split.labels),
            },
        },
        header=_header(config, data, plan, parameters, feed.name, train_split),
    )


def make_plan(config: ConfigDict, num_examples: int) -> loop.Plan:
    """Returns the durations of a config in steps.

    Raises:
      UserError: there is not a single batch in an epoch.
    """
    steps_per_epoch = batches.steps_per_epoch(num_examples, config.train.batch_size, config.data.remainder)
    if not steps_per_epoch:
        raise settings.UserError(
            f"train.batch_size={config.train.batch_size} is more than the {num_examples} training examples, and "
            f"data.remainder='drop' drops them: set --config.train.batch_size to at most {num_examples}."
        )
    return loop.Plan(
        total_steps=settings.to_steps(config.train.total_epochs, steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        steps_per_call=parallel.steps_per_call(config.train.steps_per_call),
        evaluate_every=settings.to_steps(config.evaluate.every_epochs, steps_per_epoch),
        checkpoint_every=settings.to_steps(config.checkpoint.every_epochs, steps_per_epoch),
        log_every=config.log.every_steps,
        stop_accuracy=config.stop.train_accuracy,
    )


def _corrupt(config: ConfigDict, data: sources.DataSet) -> tuple[corruption.Corrupted, corruption.Corrupted]:
    """Returns the train and the test split, corrupted as the config says."""
    train_split = data.train.load()
    gaussian = config.corruption.pixels == "gaussian"
    moments = corruption.measure_moments(train_split.images if gaussian else train_split.images[:1])
    recipe = functools.partial(corruption.make_recipe, config.corruption, config.seed, data.num_classes)
    return (
        corruption.corrupt_split(train_split, recipe(train=True), moments),
        corruption.corrupt_split(data.test.load(), recipe(train=False), moments),
    )


def _header(
    config: ConfigDict,
    data: sources.DataSet,
    plan: loop.Plan,
    parameters: int,
    feed: str,
    train_split: corruption.Corrupted,
) -> dict[str, str]:
    """Returns what runs on what, label -> text."""
    hardware = parallel.describe()
    height, width, channels = data.train.image_shape
    changed = (train_split.labels != train_split.true_labels).mean()
    asked = config.corruption
    labels = "true" if asked.labels == "none" else f"{asked.labels}, p = {asked.label_probability:g}"
    stop = f", or train accuracy {plan.stop_accuracy:.2%}" if plan.stop_accuracy else ""
    return {
        "Run": config.name,
        "Devices": f"{hardware['devices']} x {hardware['kind']}, {plan.steps_per_call} step(s) a dispatch",
        "Data": f"{data.name}: {len(data.train.ids):,} train, {len(data.test.ids):,} test, "
        f"{height}x{width}x{channels}, {data.num_classes} classes, {feed}",
        "Labels": f"{labels} ({changed:.2%} differ from the true ones)",
        "Pixels": asked.pixels if asked.pixels != "none" else "true",
        "Model": f"{config.model.name}, {parameters:,} parameters",
        "Optimizer": f"{config.optimizer.name}, learning rate {config.optimizer.learning_rate:g}, "
        f"{config.optimizer.schedule}, batch {config.train.batch_size}",
        "Ends": f"after {plan.total_steps:,} steps ({config.train.total_epochs:g} epochs){stop}",
        "Seed": str(config.seed),
    }


KINDS: dict[str, Callable[[ConfigDict, records.Run], int]] = {"train": train}

CHOICES = {
    "kind": tuple(KINDS),
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
