"""Owns the wiring of a training run: data, corruption, network and programs, from the config to the first step.

Refuses to run anything but the reading and corrupting of the data.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import optax
from ml_collections import ConfigDict

from rethink import feeding, models, randomness, settings
from rethink.data import batches, fingerprints, preprocessing, sources
from rethink.regularization import augmentation, batch_norm, early_stopping, explicit
from rethink.results import records
from rethink.training import dispatch, feeds, loop, optimizer, parallel, state, step

MIB = 2**20
MOST_STEPS = 2**31 - 1  # the programs count them in int32


@dataclasses.dataclass(frozen=True)
class Setup:
    """A training run before its first step.

    Attributes:
      start: the state to start from, host arrays.
      feed: to be closed at the end.
      programs: what runs on the devices.
      census: of each split; full once it was evaluated.
      order_fingerprint: of the first epoch's rows.
      facts: entries of the manifest; header: what the screen says first.
    """

    plan: loop.Plan
    schedule: optax.Schedule
    start: state.TrainState
    feed: feeds.Feed
    programs: feeds.Programs
    num_classes: int
    census: feeding.Censuses
    order_fingerprint: str
    facts: dict[str, Any]
    header: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Design:
    """A training run on paper: its parts are known to fit together, and nothing is computed yet.

    Attributes:
      input_shape: (height, width, channels) of what the model sees.
      tx: the update rule, decoupled weight decay included.
      make_train_step: seed -> the step of one device, as in training/step.py; evaluation_step: of one device.
      feed_name: "resident" or "streamed"; feed_reason: why.
    """

    data: sources.DataSet
    plan: loop.Plan
    input_shape: tuple[int, int, int]
    model: nn.Module
    schedule: optax.Schedule
    tx: optax.GradientTransformation
    make_train_step: Callable[[Any], Callable]
    evaluation_step: Callable
    feed_name: str
    feed_reason: str


def design(config: ConfigDict) -> Design:
    """Returns the design of a run: its data set opened, its network evaluated abstractly.

    Raises:
      UserError: fields that are valid alone, but not together or not with these data.
    """
    parallel.check_batch(config.train.batch_size)
    models.find_builder(config.model.name)  # a wrong name says so before anything is downloaded
    data = open_data(config)
    image_shape = data.train.image_shape
    size = preprocessing.crop_size(image_shape, config.preprocess.crop)
    input_shape = (*size, image_shape[-1])
    preprocessing.check_whitening(input_shape, config.preprocess.whiten)
    augment = augmentation.from_config(config.augmentation)
    augment.check(image_shape, size)
    model = models.build_model(
        config.model.name,
        num_classes=data.num_classes,
        norm=batch_norm.from_config(config.batch_norm, parallel.AXIS),
        dropout=explicit.dropout_from_config(config.dropout, parallel.AXIS),
        init=config.model.init,
        kwargs=config.model.kwargs,
    )
    params, convolves = models.check_input(model, input_shape, data.num_classes)
    plan = make_plan(config, data, convolves)
    schedule = optimizer.make_schedule(
        config.optimizer, steps_per_epoch=plan.steps_per_epoch, total_steps=plan.total_steps
    )
    decay = explicit.weight_decay_from_config(config.weight_decay)
    decay.check(params)
    tx = optax.chain(optimizer.make_optimizer(config.optimizer, schedule), decay.transformation(schedule))
    feed_name, reason = feeding.choose_feed(config.data, data)

    def make_train_step(seed: Any) -> Callable:
        return step.make_train_step(
            model,
            tx,
            _training_view(config, seed, augment, size),
            decay.penalty,
            key=randomness.key_for(seed, "dropout"),
            auxiliary_weight=config.train.auxiliary_weight,
            precision=config.train.precision,
            axis_name=parallel.AXIS,
        )

    return Design(
        data=data,
        plan=plan,
        input_shape=input_shape,
        model=model,
        schedule=schedule,
        tx=tx,
        make_train_step=make_train_step,
        evaluation_step=step.make_evaluation_step(
            model, _view(config), precision=config.train.precision, axis_name=parallel.AXIS
        ),
        feed_name=feed_name,
        feed_reason=reason,
    )


def set_up(config: ConfigDict, make_programs: Callable[..., feeds.Programs] = feeds.programs) -> Setup:
    """Returns everything that a training run needs: data opened (resident: corrupted), network, programs.

    Args:
      make_programs: (feed, make_train_step, evaluation_step, seed) -> programs, of a run by itself or in a group.
    """
    run = design(config)
    data, plan = run.data, run.plan
    start = state.init_state(run.model, run.tx, config.seed, run.input_shape)
    feed, census = feeding.make_feed(run.feed_name, config, data, plan.total_steps)
    facts = {
        **base_facts(data, run.feed_name),
        "parameters": models.count_parameters(start.params),
        "plan": dataclasses.asdict(plan),
    }
    return Setup(
        plan=plan,
        schedule=run.schedule,
        start=start,
        feed=feed,
        programs=make_programs(feed, run.make_train_step, run.evaluation_step, config.seed),
        num_classes=data.num_classes,
        census=census,
        facts=facts,
        order_fingerprint=fingerprints.order_fingerprint([feeding.train_rows(config, data)(0, plan.steps_per_epoch)]),
        header=_header(config, data, plan, start, facts, run.feed_reason),
    )


def base_facts(data: sources.DataSet, feed: str) -> dict[str, Any]:
    """Returns the entries of the manifest that every kind of run has: versions, devices, data."""
    return {
        "versions": records.versions(),
        "hardware": parallel.describe(),
        "data": {
            "name": data.name,
            "decoder": data.decoder,
            "feed": feed,
            "train_examples": len(data.train.ids),
            "full_train_examples": data.full_train_examples,
            "test_examples": len(data.test.ids),
        },
    }


def open_data(config: ConfigDict) -> sources.DataSet:
    """Returns the data set, opened by the first process before the others: only one prepares what is not there yet."""
    with parallel.all_or_none():
        data = sources.open_set(config.data) if parallel.is_first() else None
    return data or sources.open_set(config.data)


def _view(config: ConfigDict) -> Callable[[jax.Array], jax.Array]:
    """Returns images -> what the model sees in evaluation."""
    return functools.partial(preprocessing.view, crop=config.preprocess.crop, whitening=config.preprocess.whiten)


def _training_view(
    config: ConfigDict, seed: Any, augment: augmentation.Augmentation, size: tuple[int, int]
) -> Callable[[jax.Array, step.Batch], jax.Array]:
    """Returns (step, batch) -> what the model sees in training: another augmentation for each step and example."""
    view = _view(config)
    if augment.is_off:
        return lambda _, batch: view(batch.images)
    key = randomness.key_for(seed, "augmentation")

    def training_view(at: jax.Array, batch: step.Batch) -> jax.Array:
        images = augment(jax.random.fold_in(key, at), batch.ids, batch.images, size=size)
        return preprocessing.whiten(images, config.preprocess.whiten)

    return training_view


def make_plan(config: ConfigDict, data: sources.DataSet, convolves: bool) -> loop.Plan:
    """Returns the durations of a config in steps; `convolves` says whether the network does.

    Raises:
      UserError: the batch has more examples than there are, the steps can't be counted, or early stopping could not
        act.
    """
    num_examples = len(data.train.ids)
    if config.train.batch_size > num_examples:
        raise settings.UserError(
            f"train.batch_size={config.train.batch_size} is more than the {num_examples} training examples that "
            f"data.train_examples={config.data.train_examples} and data.validation_fraction="
            f"{config.data.validation_fraction} leave of data.name='{config.data.name}', split "
            f"'{config.data.train_split}': set --config.train.batch_size to at most {num_examples}."
        )
    steps_per_epoch = batches.steps_per_epoch(num_examples, config.train.batch_size, config.data.remainder)
    total_steps = settings.to_steps(config.train.total_epochs, steps_per_epoch)
    if total_steps > MOST_STEPS:
        raise settings.UserError(
            f"train.total_epochs={config.train.total_epochs} makes {total_steps:,} steps of {steps_per_epoch:,} an "
            f"epoch: set --config.train.total_epochs to at most {MOST_STEPS // steps_per_epoch}."
        )
    evaluate_every = settings.to_steps(config.evaluate.every_epochs, steps_per_epoch)
    stopping = early_stopping.from_config(config.early_stopping)
    stopping.check(data.splits, math.ceil(total_steps / evaluate_every))
    return loop.Plan(
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        steps_per_call=dispatch.steps_per_call(config, feeding.step_bytes(config, data), convolves),
        evaluate_every=evaluate_every,
        checkpoint_every=settings.to_steps(config.checkpoint.every_epochs, steps_per_epoch),
        log_every=config.log.every_steps,
        splits=tuple(data.splits),
        stop_accuracy=config.stop.train_accuracy,
        early_stopping=stopping,
    )


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
    data_size = feeding.stored_size(data) / MIB if feed == "resident" else 0
    counts = (f"{len(split.ids):,} {name}" for name, split in data.splits.items())
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
        "Data": f"{data.name}: {', '.join(counts)}, {shape}, {data.num_classes} classes",
        "Feed": f"{feed} ({reason})",
        "Labels": labels,
        "Pixels": "true" if asked.pixels == "none" else asked.pixels,
        "Model": f"{config.model.name}, {facts['parameters']:,} parameters, batch norm {config.batch_norm.kind}",
        "Memory": f"{state_size:,.0f} MiB of state and {data_size:,.0f} MiB of data on each device, and activations",
        "Regularizers": _describe_regularizers(config) or "none explicit",
        "Optimizer": f"{config.optimizer.name}, learning rate {config.optimizer.learning_rate:g}, "
        f"{config.optimizer.schedule}, batch {config.train.batch_size}",
        "Ends": f"after {plan.total_steps:,} steps ({config.train.total_epochs:g} epochs){stop}",
    }


def _describe_regularizers(config: ConfigDict) -> str:
    """Returns the explicit regularizers that are on, and early stopping."""
    parts = []
    if config.weight_decay.kind != "none":
        parts.append(f"weight decay {config.weight_decay.coefficient:g} ({config.weight_decay.kind})")
    if config.dropout.rate:
        parts.append(f"dropout {config.dropout.rate:g} ({config.dropout.place})")
    asked = {field: value for field, value in config.augmentation.items() if value not in (0, False, "none")}
    if asked:
        named = (field if value is True else f"{field} {value}" for field, value in asked.items())
        parts.append(f"augmentation: {', '.join(named)}")
    monitor = config.early_stopping.monitor
    if monitor != "none":
        parts.append(f"early stopping by {'the ORACLE (test set)' if monitor == 'oracle' else 'validation'}")
    return "; ".join(parts)
