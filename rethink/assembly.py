"""Owns the wiring of a training run: data, corruption, network and programs, from the config to the first step.

Refuses to run anything but the reading and corrupting of the data. With experiment.py the only file that sees data,
models and training together.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from rethink import models, randomness, settings
from rethink.data import batches, corruption, fingerprints, preprocessing, sources, streaming
from rethink.data.census import Census
from rethink.regularization import batch_norm
from rethink.results import records
from rethink.training import feeds, loop, optimizer, parallel, state, step

FEEDS = ("auto", "resident", "streamed")
MIB, GIB = 2**20, 2**30

BATCHES_PER_WORKER = 16  # an evaluation that is shorter is not worth the start of a process

Censuses = dict[str, Census]


@dataclasses.dataclass(frozen=True)
class Setup:
    """A training run before its first step.

    Attributes:
      start: the state to start from, host arrays.
      feed: to be closed at the end.
      train_call, evaluate: the programs, as `loop.train` takes them.
      census: of "train" and "test"; full once each split was evaluated.
      order_fingerprint: of the first epoch's rows.
      facts: entries of the manifest; header: what the screen says first.
    """

    plan: loop.Plan
    schedule: optax.Schedule
    start: state.TrainState
    feed: feeds.Feed
    train_call: Callable
    evaluate: Callable
    num_classes: int
    census: Censuses
    order_fingerprint: str
    facts: dict[str, Any]
    header: dict[str, str]


def set_up(config: ConfigDict) -> Setup:
    """Returns everything that a training run needs: data opened (resident: corrupted and placed), network, programs."""
    parallel.check_batch(config.train.batch_size)
    models.find_builder(config.model.name)  # a wrong name says so before anything is downloaded
    data = _open_data(config)
    plan = make_plan(config, len(data.train.ids))
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

    schedule = optimizer.make_schedule(
        config.optimizer, steps_per_epoch=plan.steps_per_epoch, total_steps=plan.total_steps
    )
    tx = optimizer.make_optimizer(config.optimizer, schedule)
    start = state.init_state(model, tx, config.seed, input_shape)

    feed_name, reason = choose_feed(config.data, data)
    census = {"train": Census(), "test": Census()}
    feed: feeds.Feed
    if feed_name == "resident":
        feed = _resident_feed(config, data, census)
    else:
        feed = _streamed_feed(config, data, plan.total_steps, census)
    view = functools.partial(preprocessing.view, crop=config.preprocess.crop, whitening=config.preprocess.whiten)
    train_call, evaluate = feeds.programs(
        feed,
        step.make_train_step(model, tx, view, key=randomness.key_for(config.seed, "dropout"), axis_name=parallel.AXIS),
        step.make_evaluation_step(model, view, axis_name=parallel.AXIS),
    )
    facts = {
        "versions": records.versions(),
        "hardware": parallel.describe(),
        "data": {"name": data.name, "decoder": data.decoder, "feed": feed_name, "train_examples": len(data.train.ids)},
        "parameters": models.count_parameters(start.params),
        "plan": dataclasses.asdict(plan),
    }
    return Setup(
        plan=plan,
        schedule=schedule,
        start=start,
        feed=feed,
        train_call=train_call,
        evaluate=evaluate,
        num_classes=data.num_classes,
        census=census,
        facts=facts,
        order_fingerprint=fingerprints.order_fingerprint([_train_rows(config, data)(0, plan.steps_per_epoch)]),
        header=_header(config, data, plan, start, facts, reason),
    )


def _open_data(config: ConfigDict) -> sources.DataSet:
    """Returns the data set, opened by the first process before the others: only one prepares what is not there yet."""
    with parallel.all_or_none():
        data = sources.open_set(config.data) if parallel.is_first() else None
    return data or sources.open_set(config.data)


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


def choose_feed(config: ConfigDict, data: sources.DataSet) -> tuple[str, str]:
    """Returns ("resident" or "streamed", why): as the config says, or by the size of both splits as uint8."""
    size = _stored_size(data) / GIB
    if config.feed != "auto":
        return config.feed, f"{size:.2f} GiB"
    fits = size <= config.resident_limit_gib
    return "resident" if fits else "streamed", f"{size:.2f} GiB, limit {config.resident_limit_gib:g}"


def _stored_size(data: sources.DataSet) -> int:
    """Returns the bytes of both splits' images as uint8."""
    return (len(data.train.ids) + len(data.test.ids)) * math.prod(data.train.image_shape)


def _resident_feed(config: ConfigDict, data: sources.DataSet, census: Censuses) -> feeds.ResidentFeed:
    """Returns a feed of splits that are read and corrupted now."""
    raw = {"train": data.train.load(), "test": data.test.load()}
    moments = _moments(config, data, lambda: corruption.count_values(raw["train"].images))
    splits = {}
    for name in ("train", "test"):
        splits[name] = corruption.corrupt_split(raw.pop(name), _recipe(config, data, name), moments)
        census[name].add(corruption.Corrupted(*(part[parallel.own_stride()] for part in splits[name])))
        census[name].full = True
    train_rows = _train_rows(config, data)
    part = parallel.own_part(config.train.batch_size)
    return feeds.ResidentFeed(
        splits,
        train_rows=lambda first_step, steps: train_rows(first_step, steps)[:, part],
        evaluation_rows={name: _evaluation_rows(config, len(split.ids)) for name, split in splits.items()},
    )


def _streamed_feed(config: ConfigDict, data: sources.DataSet, total_steps: int, census: Censuses) -> feeds.StreamedFeed:
    """Returns a feed that reads as it goes; the census fills up in the first pass over each split."""
    splits = {"train": data.train, "test": data.test}
    rows = {name: _evaluation_rows(config, len(split.ids)) for name, split in splits.items()}

    def read(name: str) -> Iterator[tuple[sources.Split, np.ndarray]]:
        """Yields (batch, weights) over a split."""
        numbers = [batch for batch, _ in rows[name]]
        parts = streaming.stream(
            splits[name],
            numbers.__getitem__,
            first=0,
            last=len(numbers),
            workers=min(config.data.workers, len(numbers) // BATCHES_PER_WORKER),
        )
        yield from zip(parts, (weights for _, weights in rows[name]), strict=True)

    def count_values() -> np.ndarray:
        with parallel.all_or_none():
            counts = np.zeros((data.train.image_shape[-1], 256), np.int64)
            for part, weights in read("train"):
                counts += corruption.count_values(part.images[weights > 0])
        return parallel.gather(counts).sum(axis=0)

    moments = _moments(config, data, count_values)
    recipes = {name: _recipe(config, data, name) for name in splits}

    def evaluation_stream(name: str) -> Iterator[tuple[sources.Split, np.ndarray]]:
        for part, weights in read(name):
            if weights.any() and not census[name].full:  # a process's share of the last batch may be all padding
                there = sources.Split(*(values[weights > 0] for values in part))
                census[name].add(corruption.corrupt_split(there, recipes[name], moments))
            yield part, weights
        census[name].full = True

    return feeds.StreamedFeed(
        train_stream=lambda first_step: streaming.stream(
            data.train,
            functools.partial(
                batches.train_batch, _train_rows(config, data), parallel.own_part(config.train.batch_size)
            ),
            first=first_step,
            last=total_steps,
            workers=config.data.workers,
        ),
        evaluation_stream=evaluation_stream,
        batch_of={name: functools.partial(_corrupted_batch, recipes[name], moments) for name in splits},
    )


def _corrupted_batch(recipe: corruption.Recipe, moments: corruption.Moments, data: Any, item: Any) -> step.Batch:
    """Makes one device's batch of `item`, a Split, inside the program; a streamed feed has no `data`."""
    images, given, _ = recipe.apply(item.ids, item.images, item.labels, moments)
    return step.Batch(images, given, item.labels, item.ids)


def _recipe(config: ConfigDict, data: sources.DataSet, split: str) -> corruption.Recipe:
    return corruption.make_recipe(config.corruption, config.seed, data.num_classes, train=split == "train")


def _moments(config: ConfigDict, data: sources.DataSet, count_values: Callable[[], np.ndarray]) -> corruption.Moments:
    """Returns the moments of the clean training images, where the corruption asks for them."""
    if config.corruption.pixels == "gaussian":
        return corruption.measure_moments(count_values())
    return corruption.make_moments(*np.zeros((2, data.train.image_shape[-1])))


def _train_rows(config: ConfigDict, data: sources.DataSet) -> Callable[[int, int], np.ndarray]:
    """Returns (first step, steps) -> rows of global batches."""
    return functools.partial(
        batches.train_rows,
        config.seed,
        num_examples=len(data.train.ids),
        batch_size=config.train.batch_size,
        remainder=config.data.remainder,
    )


def _evaluation_rows(config: ConfigDict, num_examples: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns this process's part of the batches (rows, weights) that cover a split once."""
    batch_size = parallel.whole_batch(config.evaluate.batch_size)
    part = parallel.own_part(batch_size)
    return [(rows[part], weights[part]) for rows, weights in batches.evaluation_rows(num_examples, batch_size)]


def _header(
    config: ConfigDict,
    data: sources.DataSet,
    plan: loop.Plan,
    start: state.TrainState,
    facts: dict[str, Any],
    reason: str,
) -> dict[str, str]:
    """Returns what runs on what, label -> text; `reason` says why the feed was chosen."""
    hardware, feed = facts["hardware"], facts["data"]["feed"]
    # Parameters, statistics and optimizer state, and a gradient for each parameter.
    state_size = sum(leaf.nbytes for leaf in jax.tree.leaves((start, start.params))) / MIB
    data_size = _stored_size(data) / MIB if feed == "resident" else 0
    shape = "x".join(map(str, data.train.image_shape))
    asked = config.corruption
    labels = "true" if asked.labels == "none" else f"{asked.labels}, redrawn with p = {asked.label_probability:g}"
    if asked.labels != "none" and asked.test_labels:
        labels += ", TEST LABELS TOO"
    stop = f", or at train accuracy {plan.stop_accuracy:.2%}" if plan.stop_accuracy else ""
    return {
        "Run": f"{config.name}, seed {config.seed}",
        "Devices": f"{hardware['devices']} x {hardware['kind']}, {hardware['processes']} process(es), "
        f"{plan.steps_per_call} step(s) a dispatch",
        "Data": f"{data.name}: {len(data.train.ids):,} train, {len(data.test.ids):,} test, {shape}, "
        f"{data.num_classes} classes",
        "Feed": f"{feed} ({reason})",
        "Labels": labels,
        "Pixels": "true" if asked.pixels == "none" else asked.pixels,
        "Model": f"{config.model.name}, {facts['parameters']:,} parameters, batch norm {config.batch_norm.kind}",
        "Memory": f"{state_size:,.0f} MiB of state and {data_size:,.0f} MiB of data on each device, and activations",
        "Optimizer": f"{config.optimizer.name}, learning rate {config.optimizer.learning_rate:g}, "
        f"{config.optimizer.schedule}, batch {config.train.batch_size}",
        "Ends": f"after {plan.total_steps:,} steps ({config.train.total_epochs:g} epochs){stop}",
    }
