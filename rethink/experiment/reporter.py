"""What is made of a run's events in the process that writes: records, screen, TensorBoard, profiler, checkpoints.

It does not decide when anything happens: the loop's events do."""

import contextlib
import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from rethink.data.provenance import Provenance
from rethink.experiment import input_pipeline
from rethink.experiment.setup import Setup
from rethink.regularization import early_stopping
from rethink.results import progress, records, tensorboard
from rethink.schema.errors import EXIT_DIVERGED, EXIT_DONE
from rethink.training import checkpoints, distributed, loop, metrics, profiler

MIB = 2**20


def describe_run(config: ConfigDict, setup: Setup) -> dict[str, str]:
    """Returns what runs on what, label -> text."""
    data, plan, start, facts = setup.data, setup.plan, setup.start, setup.facts
    hardware, feed = facts["hardware"], facts["data"]["feed"]
    # Parameters, statistics and optimizer state, and a gradient for each parameter.
    state_size = sum(leaf.nbytes for leaf in jax.tree.leaves((start, start.params))) / MIB
    data_size = input_pipeline.stored_size(data) / MIB if feed == "resident" else 0
    counts = (f"{len(split.ids):,} {name}" for name, split in data.splits.items())
    shape = "x".join(map(str, data.train.image_shape))
    asked = config.corruption
    labels = "true" if asked.labels == "none" else f"{asked.labels}, resampled with p = {asked.label_probability:g}"
    if asked.labels != "none" and asked.test_labels:
        labels += ", TEST LABELS TOO"
    stop = f", or at train accuracy {plan.stop_accuracy:.2%}" if plan.stop_accuracy else ""
    return {
        "Run": f"{config.name}, seed {config.seed}",
        "Devices": f"{hardware['devices']} x {hardware['kind']}, {hardware['processes']} process(es), "
        f"{plan.steps_per_call} step(s) a dispatch",
        "Data": f"{data.name}: {', '.join(counts)}, {shape}, {data.num_classes} classes",
        "Feed": f"{feed} ({setup.feed_reason})",
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


class ProvenanceRecord(NamedTuple):
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


def collect_provenance(setup: Setup) -> ProvenanceRecord | None:
    """Returns what is kept of the examples of all processes, None before every one of them was seen."""
    if not all(provenance.complete for provenance in setup.provenance.values()):
        return None
    found = {split: provenance.fingerprints(distributed.all_gather) for split, provenance in setup.provenance.items()}
    return ProvenanceRecord(
        fingerprints={
            name if split == "train" else f"{split}_{name}": value
            for split, values in found.items()
            for name, value in values.items()
        },
        labels={name: provenance.labels(distributed.all_gather) for name, provenance in setup.provenance.items()},
        samples=_samples(setup.provenance["train"]),
    )


def _samples(counted: Provenance) -> dict[str, np.ndarray]:
    kept = counted.samples
    if kept is None:
        return {}
    return {"ids": kept.ids, "images": kept.images, "given_labels": kept.labels, "true_labels": kept.true_labels}


def summarize(setup: Setup, history: loop.History, record: records.Run) -> dict[str, Any]:
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
        setup: Setup,
        record: records.Run,
        saved: checkpoints.Checkpoints,
        history: loop.History,
        provenance: ProvenanceRecord | None,
        profile_steps: tuple[int, int] | None,
        screen: Screen,
        stack: contextlib.ExitStack,
    ):
        """Begins (or goes on) writing; what must be closed at the end is put on the stack."""
        resumed, known = history.step > 0, record.manifest["status"] != "new"
        fingerprints = {"order": setup.order_fingerprint, **(provenance.fingerprints if provenance else {})}
        record.begin(history.step if resumed else -1, setup.facts, fingerprints, evaluated=history.is_evaluated)
        self._record, self._saved, self._fetch = record, saved, setup.compiled.fetch
        if provenance:
            self.count(provenance)
        self._tensorboard = None
        if config.log.tensorboard:
            writer = tensorboard.EventWriter(record.subfolder("tensorboard"), first_step=history.step)
            self._tensorboard = stack.enter_context(writer)
        self._screen = stack.enter_context(
            progress.RunProgress(
                header=screen.news({**describe_run(config, setup), "Directory": str(record.folder)}),
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

    def count(self, provenance: ProvenanceRecord) -> None:
        """Records the provenance of the data."""
        self._record.check_fingerprints(provenance.fingerprints)
        for split, labels in provenance.labels.items():
            self._record.save_arrays("corruption" if split == "train" else f"corruption_{split}", **labels)
        self._record.save_arrays("samples", **provenance.samples)

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


def show_end(record: records.Run) -> int:
    """Shows the closing table of an ended run; returns its exit code."""
    manifest = record.manifest
    progress.Display().print_closing_table(manifest["status"], progress.make_closing_rows(manifest["summary"], metrics.closing_labels()))
    print(f"Records and figures: {record.folder}")
    if exit_code(record) == EXIT_DIVERGED:
        where = manifest["end"]
        print(
            f"The loss became infinite or NaN at step {where['step']}, learning rate {where['learning_rate']:g}: "
            "try a smaller --config.optimizer.learning_rate."
        )
    return exit_code(record)


def exit_code(record: records.Run) -> int:
    """Returns the exit code of an ended run."""
    return EXIT_DIVERGED if record.manifest["status"] == "diverged" else EXIT_DONE
