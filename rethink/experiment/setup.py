"""Sets up a training run: from the config to what its first step needs.

No step is made here. `make_run_spec` computes nothing on the data; `set_up_run` reads and corrupts a resident set.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optax
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data import batches
from rethink.data.corruption.spec import shifts_images
from rethink.data.dataset import Dataset, Subset
from rethink.data.registry import open_dataset
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.network import GivenNetwork, Network, make_network
from rethink.memorization.subset_networks import NetworkParts, choose_stack
from rethink.models import registry
from rethink.models.user_module import OwnState, count_parameters
from rethink.regularization import early_stopping, explicit
from rethink.regularization.mixup import Mixup
from rethink.schema.errors import UserError
from rethink.schema.validation import device_ties
from rethink.training import devices, dispatch, distributed, feeds, loop, losses, optimizer, presentations, state, step

MOST_STEPS = 2**31 - 1  # compiled functions count them in int32


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """The parts of a training run, which fit together; nothing is computed yet.

    Attributes:
      input_shape: of the model's input: (height, width, channels), or (features,).
      schedule: step -> learning rate.
      tx: the update rule, decoupled weight decay included.
      matmul_precision: of the matrix products and convolutions of both steps.
      make_train_step: seed -> the step of one device, as in training/step.py; evaluation_step: of one device.
    """

    pipeline: InputPipeline
    plan: loop.Plan
    input_shape: tuple[int, ...]
    network: Network
    schedule: optax.Schedule
    tx: optax.GradientTransformation
    matmul_precision: str
    make_train_step: Callable[[Any], Callable]
    evaluation_step: Callable


@dataclasses.dataclass(frozen=True)
class Setup:
    """A training run before its first step.

    Attributes:
      schedule: step -> learning rate.
      start: the state to start from, host arrays.
      feed: to be closed at the end.
      compiled: what runs on the devices.
      metadata: fields of the manifest.
    """

    pipeline: InputPipeline
    plan: loop.Plan
    schedule: optax.Schedule
    start: state.TrainState
    feed: feeds.Feed
    compiled: feeds.CompiledFns
    metadata: dict[str, Any]


class Given(NamedTuple):
    """What a Python program gives to a run in place of what its config names; None leaves it at that.

    Attributes:
      data: the data set, before subsets are taken.
      network: a class of Linen modules, or one of them.
    """

    data: Dataset | None = None
    network: GivenNetwork | None = None


NOTHING_GIVEN = Given()


def make_run_spec(config: ConfigDict, given: Given = NOTHING_GIVEN, pipeline: InputPipeline | None = None) -> RunSpec:
    """Returns the parts of a run: its data set is opened, unless its input is given; its network evaluated abstractly.

    Raises:
      UserError: fields that are valid alone, but not together or not with these data.
    """
    devices.check_batch(config.train.batch_size)
    if given.network is None:
        registry.find_builder(config.model.name)  # a wrong name is an error before anything is downloaded

    # Data, and what the model sees of them.
    pipeline = pipeline or InputPipeline(config, open_dataset_once(config, given.data))
    input_shape = pipeline.check_input_shape()

    # Model.
    shares = devices.share_batch(config.train.batch_size), devices.share_batch(pipeline.evaluation_batch_size)
    network = make_network(config, input_shape, pipeline.dataset.num_classes, shares, given.network)
    model = network.model

    # Durations and the update rule.
    plan = make_plan(config, pipeline, network.trace.has_convolutions)
    schedule, tx = make_update_rule(config, plan.steps_per_epoch, plan.total_steps)
    decay = explicit.weight_decay_from_config(config.weight_decay)
    decay.check_params(network.trace.variables["params"])

    # The steps of one device.
    matmul_precision = step.resolve_matmul_precision(config.train.matmul_precision, config.train.precision)
    precisions = {"precision": config.train.precision, "matmul_precision": matmul_precision}
    loss, mixup = losses.loss_from_config(config.train), make_mixup(config)

    def make_train_step(seed: Any) -> Callable:
        return step.make_train_step(
            model,
            tx,
            pipeline.train_view(seed),
            decay.penalty,
            loss,
            key=randomness.key_for(seed, "dropout"),
            mixing=(mixup, randomness.key_for(seed, "mixup")) if mixup else None,
            auxiliary_weight=config.train.auxiliary_weight,
            axis_name=devices.AXIS,
            streams=network.own_state.streams,
            **precisions,
        )

    evaluation_step = step.make_evaluation_step(
        model, pipeline.evaluation_view, loss, axis_name=devices.AXIS, **precisions
    )

    return RunSpec(
        pipeline=pipeline,
        plan=plan,
        input_shape=input_shape,
        network=network,
        schedule=schedule,
        tx=tx,
        matmul_precision=matmul_precision,
        make_train_step=make_train_step,
        evaluation_step=evaluation_step,
    )


def make_network_parts(config: ConfigDict, pipeline: InputPipeline, members: int) -> tuple[Network, NetworkParts]:
    """Returns a network, and the parts of an ordinary run of it on any `members` of the training examples.

    Args:
      pipeline: of all examples.

    Raises:
      UserError: as `make_run_spec`.
    """
    train = Subset(pipeline.dataset.train, pipeline.dataset.train.ids[:members])  # of which only the number counts
    dataset = pipeline.dataset._replace(splits={**pipeline.dataset.splits, "train": train})
    spec = make_run_spec(config, pipeline=InputPipeline(config, dataset))
    network, plan = spec.network, spec.plan
    has_convolutions = network.trace.has_convolutions

    def make_start(seed: Any) -> state.TrainState:
        outputs = network.own_state.outputs
        return state.start_state(network.model, spec.tx, spec.input_shape, state.start_key(seed), outputs)

    def draw_order(seed: int) -> np.ndarray:
        settings = {"batch_size": config.train.batch_size, "remainder": config.data.remainder}
        return batches.select_train_rows(seed, 0, plan.total_steps, num_examples=members, **settings)

    return network, NetworkParts(
        make_start=make_start,
        make_train_step=spec.make_train_step,
        evaluation_step=spec.evaluation_step,
        draw_order=draw_order,
        evaluation_rows={name: pipeline.evaluation_rows(name) for name in ("train", "test")},
        # Without convolutions an epoch is one dispatch, unless the config says otherwise.
        steps_per_call=plan.steps_per_call if has_convolutions or config.train.steps_per_call else plan.steps_per_epoch,
        stack=choose_stack(config.influence.stack, has_convolutions),
    )


def make_update_rule(
    config: ConfigDict, steps_per_epoch: int, total_steps: int
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Returns (step -> learning rate, the update rule, decoupled weight decay included)."""
    schedule = optimizer.make_schedule(config.optimizer, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    decay = explicit.weight_decay_from_config(config.weight_decay).transformation(schedule)
    return schedule, optax.chain(optimizer.make_optimizer(config.optimizer, schedule), decay)


def make_mixup(config: ConfigDict) -> Mixup | None:
    """Returns the settings of mixup, None where it is off.

    Raises:
      UserError: a batch has no second example to mix with.
    """
    alpha = config.augmentation.mixup
    if alpha and config.train.batch_size == 1:
        raise UserError(
            f"augmentation.mixup={alpha:g} mixes the examples of a batch, and train.batch_size=1 has one: set "
            "--config.train.batch_size to 2 or more, or --config.augmentation.mixup=0.0."
        )
    return Mixup(alpha, devices.AXIS) if alpha else None


def set_up_run(config: ConfigDict, given: Given = NOTHING_GIVEN) -> Setup:
    """Returns everything that a training run needs: data opened (resident: corrupted), network, compiled functions.

    Raises:
      UserError: as `make_run_spec`.
    """
    spec = make_run_spec(config, given)
    pipeline, plan, network = spec.pipeline, spec.plan, spec.network
    start = state.init_state(network.model, spec.tx, config.seed, spec.input_shape, network.own_state.outputs)
    if config.log.examples != "none":
        start = start.replace(presentations=presentations.start(pipeline.dataset.train.ids))
    feed = pipeline.make_feed(plan.total_steps)
    kept = plan.splits if keeps_examples(config, pipeline) else ("test",)
    return Setup(
        pipeline=pipeline,
        plan=plan,
        schedule=spec.schedule,
        start=start,
        feed=feed,
        compiled=feeds.compile_fns(feed, spec.make_train_step(config.seed), spec.evaluation_step, kept),
        metadata={
            **manifest_metadata(pipeline.dataset, pipeline.feed_kind),
            "parameters": count_parameters(start.params),
            "matmul_precision": spec.matmul_precision,
            **describe_state(config.batch_norm, network.own_state),
            "program": network.program,
            "plan": dataclasses.asdict(plan),
        },
    )


def keeps_examples(config: ConfigDict, pipeline: InputPipeline) -> bool:
    """Returns whether a run records what each evaluation sees of each training example."""
    return config.log.examples == "all" or (config.log.examples == "auto" and pipeline.feed_kind == "resident")


def describe_state(norm: ConfigDict, own: OwnState) -> dict[str, Any]:
    """Returns the manifest's fields on what a network keeps, and what of it depends on the number of devices.

    Args:
      norm: config section `batch_norm`.
    """
    kinds = [norm.kind] if norm.kind != "none" or not own.batch_norm else []
    ties = device_ties(norm)
    ties += ["the model's own batch norm"] if own.batch_norm else []
    ties += [f"the model's collection '{name}'" for name in own.collections]
    ties += [f"the model's random stream '{name}'" for name in own.streams]
    return {
        "batch_norm": " and ".join([*kinds, *(["the model's own"] if own.batch_norm else [])]),
        "collections": list(own.collections),
        "streams": list(own.streams),
        "depends_on_devices": ties,
    }


def check_devices(metadata: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Checks that a run which depends on the number of devices resumes on as many as it was started on.

    Args:
      metadata: of this launch; manifest: of the earlier ones, which passed `check_program`.

    Raises:
      UserError: it doesn't.
    """
    before, now = manifest["launches"][-1]["hardware"].get("devices"), devices.describe_hardware()["devices"]
    if metadata["depends_on_devices"] and before != now:
        raise UserError(
            f"The run in this directory was made on {before} device(s), not on {now}, and "
            f"{', '.join(metadata['depends_on_devices'])} would make it another run: go back to {before} (virtual ones "
            f"of a CPU: --config.hardware.cpu_devices={before}), or choose another --workdir."
        )


def check_classes(names: Sequence[str], manifest: Mapping[str, Any]) -> None:
    """Checks that the classes of the data have the names that they had in the earlier launches of a run.

    Raises:
      UserError: they haven't.
    """
    for before, now in zip(manifest["data"]["class_names"], names, strict=False):
        if before != now:
            raise UserError(
                f"The class '{now}' of the data was '{before}' when the run in this directory was started: bring back "
                "what it was, or choose another --workdir."
            )


def manifest_metadata(dataset: Dataset, feed_kind: str) -> dict[str, Any]:
    """Returns the fields of the manifest that every kind of run has, besides those of `records.Run.begin`: the data."""
    return {
        "data": {
            "name": dataset.name,
            "decoder": dataset.decoder,
            "feed": feed_kind,
            "train_examples": len(dataset.train.ids),
            "full_train_examples": dataset.full_train_examples,
            "test_examples": len(dataset.test.ids),
            "image_shape": list(dataset.train.image_shape),
            "image_dtype": dataset.train.image_dtype.name,
            "has_vectors": dataset.has_vectors,
            "class_names": list(dataset.class_names),
        },
    }


def open_dataset_once(config: ConfigDict, given: Dataset | None = None) -> Dataset:
    """Returns the data set, opened by the first process before the others: only one prepares what is not there yet.

    Args:
      given: takes the place of what `data.name` names.

    Raises:
      UserError: as `open_dataset`, or the processes have different examples, such as a file that a host lacks.
    """
    with distributed.sync_errors():
        dataset = open_dataset(config.data, given) if distributed.is_first() else None
    with distributed.sync_errors():
        dataset = dataset or open_dataset(config.data, given)
    if len(set(distributed.all_gather_text(_describe_examples(dataset)))) > 1:
        raise UserError(
            f"The processes of this run have different examples in {dataset.name}: give all hosts the same files."
        )
    return dataset


def _describe_examples(dataset: Dataset) -> str:
    """Returns what tells the data sets of two processes apart before an example is read: ids, paths, classes."""
    digest = hashlib.sha256(repr((dataset.class_names, dataset.bad_files)).encode())
    for name, split in dataset.splits.items():
        digest.update(repr((name, split.image_shape, split.image_dtype.str, *split.paths)).encode())
        digest.update(split.ids.tobytes())
    return digest.hexdigest()


def make_plan(config: ConfigDict, pipeline: InputPipeline, has_convolutions: bool) -> loop.Plan:
    """Returns the durations of a config in steps.

    Args:
      has_convolutions: whether the network has: it decides how many steps a call makes.

    Raises:
      UserError: the batch has more examples than there are, the steps can't be counted, or early stopping could not
        act.
    """
    # Steps of an epoch and of the run.
    splits = pipeline.dataset.splits
    num_examples = len(pipeline.dataset.train.ids)
    if config.train.batch_size > num_examples:
        raise UserError(
            f"train.batch_size={config.train.batch_size} is more than the {num_examples} training examples that "
            f"data.train_examples={config.data.train_examples}, data.validation_fraction="
            f"{config.data.validation_fraction} and data.folds={config.data.folds} leave of data.name="
            f"'{config.data.name}', split '{config.data.train_split}': set --config.train.batch_size to at most "
            f"{num_examples}."
        )
    steps_per_epoch = batches.count_steps_per_epoch(num_examples, config.train.batch_size, config.data.remainder)
    total_steps = loop.to_steps(config.train.total_epochs, steps_per_epoch)
    if total_steps > MOST_STEPS:
        raise UserError(
            f"train.total_epochs={config.train.total_epochs} makes {total_steps:,} steps of {steps_per_epoch:,} an "
            f"epoch: set --config.train.total_epochs to at most {MOST_STEPS // steps_per_epoch}."
        )
    # Early stopping needs a split to watch, and evaluations enough to act on.
    evaluate_every = loop.to_steps(config.evaluate.every_epochs, steps_per_epoch)
    stopping = early_stopping.from_config(config.early_stopping)
    stopping.check_plan(splits, math.ceil(total_steps / evaluate_every))
    return loop.Plan(
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        steps_per_call=dispatch.steps_per_call(config, pipeline.bytes_per_step, has_convolutions),
        evaluate_every=evaluate_every,
        checkpoint_every=loop.to_steps(config.checkpoint.every_epochs, steps_per_epoch),
        log_every=config.log.every_steps,
        splits=tuple(splits),
        stop_accuracy=config.stop.train_accuracy,
        has_gap=not shifts_images(config.corruption),
        early_stopping=stopping,
    )
