"""Times this package's own training: epochs as users run them, their steps alone, evaluation, a fit.

It runs in a worker process and returns seconds; comparisons are made in benchmarks/parts.
"""

import collections
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks import architectures, workers
from rethink.configs import base, cifar_random
from rethink.experiment.reporter import Reporter, Screen, collect_provenance
from rethink.experiment.run import check_config
from rethink.experiment.setup import set_up_run
from rethink.results import records
from rethink.training import allocator, checkpoints, distributed, loop
from rethink.training.step import Evaluation, PerExample

NEVER_EPOCHS = 10_000.0
WARM_STEPS = 3
# An evaluation that is left out: an epoch is timed without it, and it by itself.
NO_EVALUATION = Evaluation(collections.defaultdict(float, count=1.0), PerExample(*np.empty((3, 0))))


@contextlib.contextmanager
def make(
    *, model: str, data_dir: str, examples: int, feed: str = "resident", devices: int = 1, accuracy: float = 1.0
) -> Iterator["Training"]:
    """Yields training on random labels, set up and compiled.

    Args:
      devices: virtual CPU devices that share a batch.
      accuracy: that a fit ends at.
    """
    name, brings = base.CELL_MODELS[model]
    config = cifar_random.get_config(name)
    config.batch_norm.kind = "none"
    config.update_from_flattened_dict(brings)
    config.data.dir, config.data.train_examples, config.data.feed = data_dir, examples, feed
    config.train.total_epochs = config.checkpoint.every_epochs = config.log.patience_hours = NEVER_EPOCHS
    config.stop.train_accuracy = accuracy
    config.hardware.cpu_devices = devices
    check_config(config)
    distributed.initialize(config.hardware, None)
    with contextlib.ExitStack() as stack:
        stack.enter_context(allocator.keeping_freed_memory())
        yield Training(config, stack)


class Training:
    """A training run whose parts are timed one after the other."""

    def __init__(self, config: Any, stack: contextlib.ExitStack):
        """Sets up and compiles; what must be closed is put on the stack."""
        self._config, self._stack = config, stack
        self._setup = set_up_run(config)
        stack.callback(self._setup.feed.close)
        count, expected = self._setup.metadata["parameters"], architectures.PARAMETERS[config_name(config)]
        assert count == expected == architectures.parameters(config_name(config)), f"{count:,} parameters"
        self._state = self._setup.compiled.place(self._setup.start)
        self._step, self._evaluated = 0, False
        self._epochs = self._events(stop_accuracy=0.0, evaluate=lambda state, split: NO_EVALUATION)
        stack.callback(self._epochs.close)
        next(self._epochs)  # the evaluation of the start: the run's files are open
        self._images = self._setup.plan.steps_per_epoch * config.train.batch_size
        if config.data.feed == "streamed" or self._setup.plan.steps_per_call > 1:
            self.epoch()  # the workers start, and read ahead; calls of each length are compiled
        else:
            self._run(WARM_STEPS)

    def epoch(self) -> dict[str, float]:
        """Returns the seconds of an epoch as users run it: feed, corruption, steps, metrics, records and screen."""
        began = time.perf_counter()
        for event in self._epochs:
            if event.kind == "train" and event.step % self._setup.plan.steps_per_epoch == 0:
                break
        else:
            raise RuntimeError("The run diverged.")
        seconds = time.perf_counter() - began
        next(self._epochs)  # the evaluation that is none
        return {"seconds": seconds, "images": self._images, "peak_mib": workers.peak_mib()}

    def steps(self) -> dict[str, float]:
        """Returns the seconds of an epoch's steps with their feed, and nothing else."""
        began = time.perf_counter()
        self._run(self._setup.plan.steps_per_epoch)
        return {"seconds": time.perf_counter() - began, "images": self._images}

    def _run(self, steps: int) -> None:
        """Makes steps, and waits for them."""
        end = self._step + steps
        while self._step < end:
            made = min(self._setup.plan.steps_per_call, end - self._step)
            self._state, _ = self._setup.compiled.train_call(self._state, self._step, made)
            self._step += made
        jax.block_until_ready(self._state)

    def evaluation(self) -> dict[str, float]:
        """Returns the seconds of an evaluation of the training split."""
        if not self._evaluated:
            self._setup.compiled.evaluate(self._state, "train")  # compiled before the clock starts
            self._evaluated = True
        began = time.perf_counter()
        sums, _ = self._setup.compiled.evaluate(self._state, "train")
        return {"seconds": time.perf_counter() - began, "images": sums["count"]}

    def fit(self, most_epochs: int) -> dict[str, Any]:
        """Returns the seconds until the train accuracy is reached, train and test evaluated at the start and each
        epoch."""
        wanted = self._config.stop.train_accuracy
        for split in ("train", "test"):
            self._setup.compiled.evaluate(self._state, split)  # compiled before the clock starts
        began = time.perf_counter()
        with contextlib.closing(self._events(stop_accuracy=wanted, evaluate=self._setup.compiled.evaluate)) as events:
            for event in events:
                if event.kind == "evaluation":
                    row, seconds = event.row, time.perf_counter() - began
                    if row["epoch"] >= most_epochs or row["train_accuracy"] >= wanted:
                        break
        return {
            "seconds": seconds,
            "epochs": row["epoch"],
            "accuracy": row["train_accuracy"],
            "reached": row["train_accuracy"] >= wanted,
        }

    def _events(self, *, stop_accuracy: float, evaluate: Callable) -> Generator[loop.Event, None, None]:
        """Yields the events of a new run, each acted on as in `experiment.train`."""
        config, setup, history = self._config, self._setup, loop.History()
        with contextlib.ExitStack() as stack:
            record = stack.enter_context(records.open_run(stack.enter_context(tempfile.TemporaryDirectory()), config))
            saved = stack.enter_context(checkpoints.Checkpoints(record.subfolder("checkpoints"), 1))
            provenance = collect_provenance(setup)
            reporter = Reporter(config, setup, record, saved, history, provenance, None, Screen(), stack)
            for event in loop.train(
                dataclasses.replace(setup.plan, stop_accuracy=stop_accuracy),
                setup.compiled.place(setup.start),
                history,
                train_call=setup.compiled.train_call,
                evaluate=evaluate,
                fetch=setup.compiled.fetch,
                learning_rate=setup.schedule,
                is_finite=setup.compiled.is_finite,
                should_stop=lambda together: False,
            ):
                reporter.handle_event(event, history)
                yield event


def config_name(config: Any) -> str:
    """Returns the name in `architectures.MODELS` of what a config trains."""
    bare = config.model.name == "inception" and config.batch_norm.kind == "none"
    return "inception_no_bn" if bare else config.model.name
