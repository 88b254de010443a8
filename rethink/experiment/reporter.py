"""Acts on the events of a training run: writes records, TensorBoard, profile and checkpoints, and shows the run.

Only the process that writes has a reporter. When something happens is decided by the loop.
"""

import contextlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np
from ml_collections import ConfigDict

from rethink.data.corruption.spec import shifts_images
from rethink.data.dataset import BadFile, Dataset, format_shape
from rethink.data.equal_images import describe_equal_images
from rethink.data.preprocessing import crop_size
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.setup import Setup
from rethink.regularization import early_stopping
from rethink.results import progress, records, tensorboard
from rethink.results.corruption_rows import make_corruption_rows
from rethink.results.runs import LoadedRun
from rethink.schema.errors import EXIT_DIVERGED, exit_code_of_status
from rethink.training import checkpoints, devices, loop, losses, metrics, presentations, profiler

MIB = 2**20
_SCALED = {"none": "values in 0..1", "symmetric": "values in -1..1", "per_image": "whitened per image"}
BAD_FILES = "bad_files.csv"


def describe_run(config: ConfigDict, setup: Setup) -> dict[str, str]:
    """Returns the console header of a run, label -> text: what is trained on what."""
    pipeline, plan, hardware = setup.pipeline, setup.plan, devices.describe_hardware()
    dataset, optimizer = pipeline.dataset, config.optimizer
    # Parameters, statistics and optimizer state, and a gradient for each parameter.
    state_size = sum(leaf.nbytes for leaf in jax.tree.leaves((setup.start, setup.start.params))) / MIB
    data_size = pipeline.stored_size / MIB if pipeline.feed_kind == "resident" else 0
    stop = f", or at train accuracy {plan.stop_accuracy:.2%}" if plan.stop_accuracy else ""
    matmul = setup.metadata["matmul_precision"]
    precision = {} if matmul == "highest" else {"Precision": f"{config.train.precision}, matrix products '{matmul}'"}
    loss = losses.describe_loss(config.train)
    return {
        "Run": f"{config.name}, seed {config.seed}{_describe_corruption_seed(config)}",
        "Devices": f"{hardware['devices']} x {hardware['kind']}, {hardware['processes']} process(es), "
        f"{plan.steps_per_call} step(s) a dispatch",
        "Data": describe_data(dataset),
        "Input": describe_input(pipeline),
        "Feed": f"{pipeline.feed_kind} ({pipeline.feed_reason})",
        "Labels": _describe_labels(config.corruption),
        "Pixels": _describe_pixels(config.corruption),
        "Model": f"{_describe_model(config.model)}, {setup.metadata['parameters']:,} parameters, "
        f"batch norm {setup.metadata['batch_norm']}",
        "Memory": f"{state_size:,.0f} MiB of state and {data_size:,.0f} MiB of data on each device, and activations",
        **precision,
        **({"Loss": loss} if loss else {}),
        "Regularizers": _describe_regularizers(config, setup.metadata["streams"]) or "none explicit",
        "Optimizer": f"{optimizer.name}, learning rate {optimizer.learning_rate:g}, {optimizer.schedule}, "
        f"batch {config.train.batch_size}",
        "Ends": f"after {plan.total_steps:,} steps ({config.train.total_epochs:g} epochs){stop}",
    }


def describe_data(dataset: Dataset) -> str:
    """Returns what a data set holds, for the screen."""
    train = dataset.train
    kind = f"{train.image_shape[-1]} features" if dataset.has_vectors else format_shape(train.image_shape)
    dtype = "" if train.image_dtype == np.uint8 else f" {train.image_dtype}"
    counts = ", ".join(f"{len(split.ids):,} {name}" for name, split in dataset.splits.items())
    bad = f"; bad files left out: {len(dataset.bad_files):,} ({BAD_FILES})" if dataset.bad_files else ""
    return f"{dataset.name}: {counts}, {kind}{dtype}, {dataset.num_classes} classes{bad}"


def describe_input(pipeline: InputPipeline) -> str:
    """Returns what the network sees of an example, for the screen: its shape, what is cut, and how it is scaled."""
    shape = pipeline.dataset.train.image_shape
    if pipeline.dataset.has_vectors:
        return f"{shape[-1]} features, as they are"
    size = crop_size(shape, pipeline.config.preprocess.crop)
    cut = "" if size == shape[:2] else f", the centre of {shape[0]}x{shape[1]}"
    return f"{format_shape((*size, shape[-1]))}{cut}, {_SCALED[pipeline.whitening]}"


def save_file_lists(record: records.Run, dataset: Dataset) -> None:
    """Writes which files a run's examples are, and which were left out; nothing where there are none."""
    rows = [
        (name, number, path)
        for name, split in dataset.splits.items()
        for number, path in zip(split.ids.tolist(), split.paths, strict=bool(split.paths))
    ]
    for file, header, lines in (
        (records.PATHS, ("split", "id", "path"), rows),
        (BAD_FILES, BadFile._fields, dataset.bad_files),
    ):
        if lines:
            record.save_table(file, header, lines)


def _describe_corruption_seed(config: ConfigDict) -> str:
    """Returns the seed of labels and pixels, where they have one of their own."""
    return "" if config.corruption.seed < 0 else f", of labels and pixels {config.corruption.seed}"


def _describe_labels(config: ConfigDict) -> str:
    """Returns what the config section `corruption` does to labels."""
    if config.labels == "none":
        return "the true ones"
    column = f", column {config.label_column}" if config.labels.startswith("file:") else ""
    test = ", TEST LABELS TOO" if config.test_labels else ""
    is_part = config.label_probability < 1 and config.labels.startswith(("file:", "matrix:"))
    others = ", the others keep the true label" if is_part else ""
    return f"{config.labels}{column}, resampled with p = {config.label_probability:g}{others}{test}"


def _describe_pixels(config: ConfigDict) -> str:
    """Returns what the config section `corruption` does to images."""
    if config.pixels == "none":
        return "as stored"
    return f"{config.pixels}, {'of train alone' if shifts_images(config) else 'of train and test'}"


def _describe_model(config: ConfigDict) -> str:
    """Returns the name of a model, with the fields of its class that the config section `model` sets."""
    fields = ", ".join(f"{field}={value!r}" for field, value in config.kwargs.items())
    return f"{config.name}({fields})" if fields else str(config.name)


def _describe_regularizers(config: ConfigDict, streams: Collection[str] = ()) -> str:
    """Returns the explicit regularizers that are on, and early stopping; `streams`: that the model draws by itself."""
    parts = []
    if config.weight_decay.kind != "none":
        parts.append(f"weight decay {config.weight_decay.coefficient:g} ({config.weight_decay.kind})")
    if config.dropout.rate:
        parts.append(f"dropout {config.dropout.rate:g} ({config.dropout.place})")
    if "dropout" in streams:
        parts.append("the model's own dropout")
    settings = {field: value for field, value in config.augmentation.items() if value not in (0, False, "none")}
    if settings:
        named = (field if value is True else f"{field} {value}" for field, value in settings.items())
        parts.append(f"augmentation: {', '.join(named)}")
    monitor = config.early_stopping.monitor
    if monitor != "none":
        parts.append(f"early stopping by {'the ORACLE (test set)' if monitor == 'oracle' else 'validation'}")
    return "; ".join(parts)


class ProvenanceRecord(NamedTuple):
    """What is kept of the examples.

    Attributes:
      corruption: declared and realized rates, by split, and the seed.
      equal_images: how many examples have the image of another one; of `equal_images.count_equal_images`.
      fingerprints: by name; labels: before and after, by split; samples: some of train's images.
    """

    corruption: dict[str, Any]
    equal_images: dict[str, int]
    fingerprints: dict[str, str]
    labels: dict[str, dict[str, np.ndarray]]
    samples: dict[str, np.ndarray]


class Screen(NamedTuple):
    """How a run shows itself.

    Attributes:
      brief: whether it is one of several: it shows a line while it runs, and who runs them shows its end.
      stream: what it is printed on; None is standard output.
    """

    brief: bool = False
    stream: TextIO | None = None


def collect_provenance(setup: Setup) -> ProvenanceRecord | None:
    """Returns what is kept of the examples of all processes, None before every example was read once."""
    pipeline = setup.pipeline
    if not all(provenance.complete for provenance in pipeline.provenance.values()):
        return None
    samples, labels = pipeline.provenance["train"].samples, pipeline.gather_labels()
    return ProvenanceRecord(
        corruption=pipeline.compare_rates(labels),
        equal_images=pipeline.count_equal_images(),
        fingerprints=pipeline.fingerprint_splits(),
        labels=labels,
        samples={}
        if samples is None
        else {
            "ids": samples.ids,
            **pipeline.show_samples(samples),
            "given_labels": samples.labels,
            "true_labels": samples.true_labels,
        },
    )


def summarize_run(setup: Setup, history: loop.History, record: records.Run) -> dict[str, Any]:
    """Returns the summary of the manifest: what closing table and tables show, of the last or the best evaluation."""
    stopping, last = setup.plan.early_stopping, history.evaluation
    early = {}
    if history.best and last:
        early["early_stopping"] = {
            "monitor": stopping.monitor,
            "best_step": history.best["step"],
            "last_test_accuracy": last["test_accuracy"],
            "gain": early_stopping.compute_gain(history.best, last),
            "restored": stopping.restore_best,
        }
    return {
        "steps": history.step,
        "epochs": history.step / setup.plan.steps_per_epoch,
        "evaluation": loop.select_result(setup.plan, history),
        **early,
        "steps_to_train_accuracy": history.steps_to_train_accuracy,
        "num_classes": setup.pipeline.dataset.num_classes,
        "seconds": record.seconds(),
    }


class Reporter:
    """Acts on the events of a run, in the process that writes: records, screen, TensorBoard, profiler, checkpoints."""

    def __init__(
        self,
        config: ConfigDict,
        setup: Setup,
        record: records.Run,
        saved: checkpoints.Saver,
        history: loop.History,
        provenance: ProvenanceRecord | None,
        profile_steps: tuple[int, int] | None,
        screen: Screen,
        stack: contextlib.ExitStack,
    ):
        """Begins the record of a launch; what must be closed at the end is put on the stack.

        Args:
          history: at the checkpoint that the run resumes from, or empty.
          provenance: None where it is not complete yet; see `record_provenance`.
          profile_steps: (first, last) step of a profiler's trace.
        """
        is_resumed, is_relaunched = history.step > 0, record.manifest["status"] != "new"
        # Records.
        fingerprints = {"order": setup.pipeline.fingerprint_order(setup.plan.steps_per_epoch)}
        fingerprints |= setup.pipeline.fingerprint_label_file()
        fingerprints |= provenance.fingerprints if provenance else {}
        first_step = history.step if is_resumed else -1
        hardware = devices.describe_hardware()
        record.begin(first_step, hardware, setup.metadata, fingerprints, evaluated=history.is_evaluated)
        self._record, self._saved, self._fetch = record, saved, setup.compiled.fetch
        save_file_lists(record, setup.pipeline.dataset)
        self._num_classes = setup.pipeline.dataset.num_classes
        # TensorBoard.
        self._tensorboard = None
        if config.log.tensorboard and not record.in_memory:
            writer = tensorboard.EventWriter(record.subfolder("tensorboard"), first_step=history.step)
            self._tensorboard = stack.enter_context(writer)
        # Screen.
        header = {} if screen.brief else describe_run(config, setup)
        if header and not record.in_memory:
            header["Directory"] = str(record.folder)
        self._screen = stack.enter_context(
            progress.RunProgress(
                header=header,
                total_steps=setup.plan.total_steps,
                first_step=history.step,
                batch_size=config.train.batch_size,
                steps_per_epoch=setup.plan.steps_per_epoch,
                patience_seconds=3600 * config.log.patience_hours,
                label=record.folder.name if screen.brief else "",
                stream=screen.stream,
            )
        )
        self._is_brief = screen.brief
        if provenance:
            self.record_provenance(provenance)
        # Profiler.
        self._profiler = None
        if profile_steps:
            trace = profiler.Profiler(record.subfolder("profile"), *profile_steps, launched_at=history.step)
            self._profiler = stack.enter_context(trace)
        if is_resumed:
            self._screen.note(f"Resumed at step {history.step:,}.")
        elif is_relaunched:
            self._screen.note("An earlier launch left no checkpoint: the run begins anew, at step 0.")

    def record_provenance(self, provenance: ProvenanceRecord) -> None:
        """Records the provenance of the data."""
        self._record.check_fingerprints(provenance.fingerprints)
        self._record.update(corruption=provenance.corruption, equal_images=provenance.equal_images)
        for split, labels in provenance.labels.items():
            self._record.save_arrays("corruption" if split == "train" else f"corruption_{split}", **labels)
        self._record.save_arrays("samples", **provenance.samples)
        counts = {split: len(labels["ids"]) for split, labels in provenance.labels.items()}
        if line := describe_equal_images(provenance.equal_images, counts):
            if not self._is_brief:
                self._screen.note(line)

    def handle_event(self, event: loop.Event, history: loop.History) -> None:
        """Acts on one event; `history` is the loop's, as of now."""
        if event.kind == "advance":
            self._screen.advance(event.step)
            if self._profiler:
                self._profiler.advance(event.step)
        elif event.kind == "checkpoint":
            self._record.path("checkpoints")  # raises where another directory has taken the run's place
            self._saved.save(self._fetch(event.state), history)
            self._record.reach(event.step)
        elif event.kind == "end":
            self._record.reach(event.step)
            if event.state is not None and event.state.presentations is not None:
                presented = presentations.to_record(self._fetch(event.state.presentations))
                self._record.save_arrays("presentations", **presented._asdict())
        else:
            for split, examples in event.examples.items():
                if split != "test":
                    self._record.append_examples(split, event.step, self._num_classes, examples)
            self._record.append(event.row)
            self._screen.show(event.row)
            if self._tensorboard:
                self._tensorboard.write(event.row)


def show_end(record: records.Run | LoadedRun) -> int:
    """Shows the closing table of an ended run; returns its exit code."""
    manifest = record.manifest
    rows = make_corruption_rows(manifest["corruption"], manifest["data"]["class_names"])
    rows += progress.make_closing_rows(manifest["summary"], metrics.closing_labels())
    progress.Display().print_closing_table(manifest["status"], rows)
    if not (isinstance(record, records.Run) and record.in_memory):
        print(f"Records and figures: {record.folder}")
    exit_code = exit_code_of_status(manifest["status"])
    if exit_code == EXIT_DIVERGED:
        print(describe_divergence(manifest["end"]))
    return exit_code


def describe_divergence(end: Mapping[str, Any]) -> str:
    """Returns one line on why a run diverged; `end`: the row of that event."""
    if not end["step"]:
        return (
            "The loss is infinite or NaN before the first update: the network or its initialization makes it so, not "
            "the learning rate. Look at model.name, model.init and model.kwargs."
        )
    became = f"The loss became infinite or NaN at step {end['step']}, learning rate {end['learning_rate']:g}: "
    if end["step"] == 1:
        return (
            f"{became}either the rate is too large: try a smaller --config.optimizer.learning_rate; or the gradient at "
            "the initial parameters is infinite or NaN, such as that of a square root at 0: look at model.name, "
            "model.init and model.kwargs."
        )
    return f"{became}try a smaller --config.optimizer.learning_rate."
