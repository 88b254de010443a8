"""Owns the wiring of a training run: data, corruption, network and programs, from the config to the first step.

Refuses to run anything but the reading and corrupting of the data.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import optax
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data import batches, fingerprints, preprocessing
from rethink.data.dataset import Dataset
from rethink.data.registry import open_dataset
from rethink.experiment import input_pipeline
from rethink.models import registry
from rethink.models.user_module import check_network, count_parameters
from rethink.regularization import augmentation, batch_norm, early_stopping, explicit
from rethink.results import records
from rethink.schema.errors import UserError
from rethink.training import devices, dispatch, distributed, feeds, loop, optimizer, state, step

MOST_STEPS = 2**31 - 1  # the programs count them in int32


@dataclasses.dataclass(frozen=True)
class Setup:
    """A training run before its first step.

    Attributes:
      start: the state to start from, host arrays.
      feed: to be closed at the end.
      compiled: what runs on the devices.
      provenance: of each split; full once it was evaluated.
      order_fingerprint: of the first epoch's rows.
      data: the open data set; feed_reason: why the feed was chosen.
      facts: entries of the manifest.
    """

    plan: loop.Plan
    schedule: optax.Schedule
    start: state.TrainState
    feed: feeds.Feed
    compiled: feeds.CompiledFns
    num_classes: int
    provenance: input_pipeline.Provenances
    order_fingerprint: str
    facts: dict[str, Any]
    data: Dataset
    feed_reason: str


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """A training run on paper: its parts are known to fit together, and nothing is computed yet.

    Attributes:
      input_shape: (height, width, channels) of what the model sees.
      tx: the update rule, decoupled weight decay included.
      make_train_step: seed -> the step of one device, as in training/step.py; evaluation_step: of one device.
      feed_name: "resident" or "streamed"; feed_reason: why.
    """

    data: Dataset
    plan: loop.Plan
    input_shape: tuple[int, int, int]
    model: nn.Module
    schedule: optax.Schedule
    tx: optax.GradientTransformation
    make_train_step: Callable[[Any], Callable]
    evaluation_step: Callable
    feed_name: str
    feed_reason: str


def make_run_spec(config: ConfigDict) -> RunSpec:
    """Returns the design of a run: its data set opened, its network evaluated abstractly.

    Raises:
      UserError: fields that are valid alone, but not together or not with these data.
    """
    devices.check_batch(config.train.batch_size)
    registry.find_builder(config.model.name)  # a wrong name says so before anything is downloaded
    data = open_dataset_once(config)
    image_shape = data.train.image_shape
    size = preprocessing.crop_size(image_shape, config.preprocess.crop)
    input_shape = (*size, image_shape[-1])
    preprocessing.check_whitening(input_shape, config.preprocess.whiten)
    augment = augmentation.from_config(config.augmentation)
    augment.check(image_shape, size)
    model = registry.build_model(
        config.model.name,
        num_classes=data.num_classes,
        norm=batch_norm.from_config(config.batch_norm, devices.AXIS),
        dropout=explicit.dropout_from_config(config.dropout, devices.AXIS),
        init=config.model.init,
        kwargs=config.model.kwargs,
    )
    params, convolves = check_network(model, input_shape, data.num_classes)
    plan = make_plan(config, data, convolves)
    schedule = optimizer.make_schedule(
        config.optimizer, steps_per_epoch=plan.steps_per_epoch, total_steps=plan.total_steps
    )
    decay = explicit.weight_decay_from_config(config.weight_decay)
    decay.check(params)
    tx = optax.chain(optimizer.make_optimizer(config.optimizer, schedule), decay.transformation(schedule))
    feed_name, reason = input_pipeline.choose_feed(config.data, data)

    def make_train_step(seed: Any) -> Callable:
        return step.make_train_step(
            model,
            tx,
            input_pipeline._training_view(config, seed, augment, size),
            decay.penalty,
            key=randomness.key_for(seed, "dropout"),
            auxiliary_weight=config.train.auxiliary_weight,
            precision=config.train.precision,
            axis_name=devices.AXIS,
        )

    return RunSpec(
        data=data,
        plan=plan,
        input_shape=input_shape,
        model=model,
        schedule=schedule,
        tx=tx,
        make_train_step=make_train_step,
        evaluation_step=step.make_evaluation_step(
            model, input_pipeline._view(config), precision=config.train.precision, axis_name=devices.AXIS
        ),
        feed_name=feed_name,
        feed_reason=reason,
    )


def set_up_run(config: ConfigDict, compile_fns: Callable[..., feeds.CompiledFns] = feeds.compile_fns) -> Setup:
    """Returns everything that a training run needs: data opened (resident: corrupted), network, programs.

    Args:
      compile_fns: (feed, make_train_step, evaluation_step, seed) -> programs, of a run by itself or in a group.
    """
    run = make_run_spec(config)
    data, plan = run.data, run.plan
    start = state.init_state(run.model, run.tx, config.seed, run.input_shape)
    feed, provenance = input_pipeline.make_feed(run.feed_name, config, data, plan.total_steps)
    facts = {
        **manifest_metadata(data, run.feed_name),
        "parameters": count_parameters(start.params),
        "plan": dataclasses.asdict(plan),
    }
    return Setup(
        plan=plan,
        schedule=run.schedule,
        start=start,
        feed=feed,
        compiled=compile_fns(feed, run.make_train_step, run.evaluation_step, config.seed),
        num_classes=data.num_classes,
        provenance=provenance,
        facts=facts,
        order_fingerprint=fingerprints.fingerprint_order(
            [input_pipeline.train_rows(config, data)(0, plan.steps_per_epoch)]
        ),
        data=data,
        feed_reason=run.feed_reason,
    )


def manifest_metadata(data: Dataset, feed: str) -> dict[str, Any]:
    """Returns the entries of the manifest that every kind of run has: versions, devices, data."""
    return {
        "versions": records.versions(),
        "hardware": devices.describe_hardware(),
        "data": {
            "name": data.name,
            "decoder": data.decoder,
            "feed": feed,
            "train_examples": len(data.train.ids),
            "full_train_examples": data.full_train_examples,
            "test_examples": len(data.test.ids),
        },
    }


def open_dataset_once(config: ConfigDict) -> Dataset:
    """Returns the data set, opened by the first process before the others: only one prepares what is not there yet."""
    with distributed.sync_errors():
        data = open_dataset(config.data) if distributed.is_first() else None
    return data or open_dataset(config.data)


def make_plan(config: ConfigDict, data: Dataset, convolves: bool) -> loop.Plan:
    """Returns the durations of a config in steps; `convolves` says whether the network does.

    Raises:
      UserError: the batch has more examples than there are, the steps can't be counted, or early stopping could not
        act.
    """
    num_examples = len(data.train.ids)
    if config.train.batch_size > num_examples:
        raise UserError(
            f"train.batch_size={config.train.batch_size} is more than the {num_examples} training examples that "
            f"data.train_examples={config.data.train_examples} and data.validation_fraction="
            f"{config.data.validation_fraction} leave of data.name='{config.data.name}', split "
            f"'{config.data.train_split}': set --config.train.batch_size to at most {num_examples}."
        )
    steps_per_epoch = batches.count_steps_per_epoch(num_examples, config.train.batch_size, config.data.remainder)
    total_steps = loop.to_steps(config.train.total_epochs, steps_per_epoch)
    if total_steps > MOST_STEPS:
        raise UserError(
            f"train.total_epochs={config.train.total_epochs} makes {total_steps:,} steps of {steps_per_epoch:,} an "
            f"epoch: set --config.train.total_epochs to at most {MOST_STEPS // steps_per_epoch}."
        )
    evaluate_every = loop.to_steps(config.evaluate.every_epochs, steps_per_epoch)
    stopping = early_stopping.from_config(config.early_stopping)
    stopping.check(data.splits, math.ceil(total_steps / evaluate_every))
    return loop.Plan(
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        steps_per_call=dispatch.steps_per_call(config, input_pipeline.bytes_per_step(config, data), convolves),
        evaluate_every=evaluate_every,
        checkpoint_every=loop.to_steps(config.checkpoint.every_epochs, steps_per_epoch),
        log_every=config.log.every_steps,
        splits=tuple(data.splits),
        stop_accuracy=config.stop.train_accuracy,
        early_stopping=stopping,
    )
