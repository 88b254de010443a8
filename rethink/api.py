"""The package as a library: configs, label noise, runs and sweeps of a Python program; what each is: docs/api.md.

A run computes what `python main.py` computes. It takes no signals and, without a directory, writes no files; options of
JAX that it needs are set while it runs.
"""

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from rethink.experiment import label_noise
from rethink.experiment.find_label_issues import find_in_data
from rethink.experiment.given import Arrays, Model, add_axes, check_swept, given_network, take_given, to_path
from rethink.experiment.gradient_scores import make_gradient_table
from rethink.experiment.guest import as_guest
from rethink.experiment.network import check_program
from rethink.experiment.reporter import Screen
from rethink.experiment.run import check_config
from rethink.experiment.setup import NOTHING_GIVEN, Given
from rethink.experiment.train import check_same_run, draw_curve
from rethink.experiment.train import train as train_run
from rethink.experiment.trained import Trained
from rethink.memorization import tables as score_tables
from rethink.results import files, progress, records
from rethink.results import runs as results_runs
from rethink.results.example_history import ExampleHistory
from rethink.results.memory import MemoryRun
from rethink.results.presentations import Presentations
from rethink.schema import grid, validation
from rethink.schema.config_file import make_config
from rethink.schema.errors import UserError
from rethink.training import checkpoints, preemption

if TYPE_CHECKING:
    import pandas

__all__ = ["Run", "Sweep", "UserError", "config", "corrupt_labels", "load", "sweep", "train"]


@contextlib.contextmanager
def _in_python_words() -> Iterator[None]:
    """Lets a mistake name arguments and fields as Python has them, where the command line would have flags."""
    try:
        yield
    except UserError as error:
        error.args = (re.sub(r"--(?:config\.|(?=config\b|workdir\b))", "", str(error)),)
        raise


@_in_python_words()
def config(name: str | ConfigDict, /, **fields: Any) -> ConfigDict:
    """Returns a config with some of its fields set.

    Args:
      name: of a config of this package, "cifar_random:mlp_1x512"; of a file, "my_configs/mine.py"; or a config, which
        stays as it is.
      fields: dotted field -> value, as **{"corruption.label_probability": 0.4}.

    Raises:
      UserError: there is no such config or field, or a value is off.
    """
    return make_config(name, fields)


corrupt_labels = _in_python_words()(label_noise.corrupt_labels)
audit_labels = _in_python_words()(find_in_data)  # of rethink.find_label_issues


class Run:
    """A run that was trained, in memory or in a directory; from `train`, `load` or `sweep`.

    Attributes:
      config: its config.
      status: "fitted", "done", "stopped early" or "diverged"; of a loaded run also "interrupted", "failed", "running".
      summary: its result: steps, evaluation, steps to train accuracies.
      folder: its directory, None in memory.
    """

    def __init__(
        self,
        record: MemoryRun | results_runs.LoadedRun,
        memory: checkpoints.InMemory | None = None,
        given: Given = NOTHING_GIVEN,
    ):
        """Takes a record that is complete.

        Args:
          memory: the checkpoints of a run that has no directory.
          given: as the run was trained with; the data are not read.
        """
        self._record, self._memory, self._given = record, memory, given
        self.config = validation.from_flat(json.loads(json.dumps(dict(record.manifest["config"]))))
        self.status: str = record.manifest["status"]
        self.summary: Mapping[str, Any] = record.manifest.get("summary") or {}
        self.folder = None if memory else record.folder
        self._trained: Trained | None = None

    def __repr__(self) -> str:
        where = self.folder or "in memory"
        return f"<rethink.Run {self.config.name}: {progress.describe_end(self._record.manifest)}, {where}>"

    def _repr_html_(self) -> str:
        import html

        return f"<code>{html.escape(repr(self)[1:-1])}</code>"

    @property
    def history(self) -> "pandas.DataFrame":
        """A row for each evaluation: step, epoch, and the losses and accuracies (fractions) that the run has."""
        import pandas

        rows = [row for row in self._record.rows() if row["kind"] == "evaluation"]
        table = pandas.DataFrame(rows).drop(columns="kind", errors="ignore").dropna(axis="columns", how="all")
        return table.astype({name: float for name in table if table[name].dtype == object})

    @property
    def examples(self) -> "pandas.DataFrame":
        """A row for each training example: id, true_label, given_label, resampled; the classes by name; its path."""
        return score_tables.make_example_table(self._record)

    @property
    @_in_python_words()
    def scores(self) -> "pandas.DataFrame":
        """`examples` with a column for each score at the last evaluation, see docs/memorization.md.

        Raises:
          UserError: no single examples are recorded (log.examples), or the records are damaged.
        """
        return score_tables.make_score_table(self._record)

    @_in_python_words()
    def gradient_scores(self) -> "pandas.DataFrame":
        """Computes self-influence and gradient norms of each training example, from all checkpoints that it has kept.

        Returns a row for each: id, given_label, `self_influence`, and `gradient_norm_STEP` of each checkpoint. The
        data are read again; see docs/memorization.md.

        Raises:
          UserError: the data are others than they were, or are streamed; or a checkpoint is damaged.
        """
        with as_guest(self.config.hardware), self._open_checkpoints() as saved:
            return make_gradient_table(self.config, self._record.manifest, saved, self._given)

    @_in_python_words()
    def example_history(self, split: str = "train") -> ExampleHistory:
        """Returns what each evaluation saw of each example of "train", or of the held-out ones, "validation".

        Raises:
          UserError: that is not recorded (log.examples), or its files are damaged.
        """
        if (history := self._record.example_history(split)) is None:
            raise UserError(f"{self!r} has no record of single examples of '{split}': train with log.examples='all'.")
        return history

    @_in_python_words()
    def presentations(self) -> Presentations:
        """Returns what training saw of each training example, over all times that it came in a batch.

        Raises:
          UserError: as `example_history`; or the run has not come to an end.
        """
        if (found := self._record.presentations()) is None:
            raise UserError(f"{self!r} has no record of presentations: train to an end with log.examples='auto'.")
        return found

    @property
    def params(self) -> Any:
        """The parameters of the result, a pytree of host arrays; of the best step where early stopping restores it."""
        return self._result().state.params

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes: the parameters and the model's other collections, such as batch statistics."""
        return {"params": self.params, **self._result().state.collections}

    @_in_python_words()
    def predict(self, images: Any) -> np.ndarray:
        """Returns the logits of images as the data set has them, float32 [n, classes]; see `Trained.predict`."""
        with as_guest(self.config.hardware):
            return self._result().predict(images)

    @_in_python_words()
    def save(self, path: str | os.PathLike) -> None:
        """Writes the run as a directory, which `load` and the command line read.

        Raises:
          UserError: the directory is not empty, or can't be written.
        """
        target = to_path(path, "path")
        if not self._memory:
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise UserError(f"save('{path}'): there is something already: choose a new directory.")
            shutil.copytree(self._record.folder, target, ignore=shutil.ignore_patterns(files.LOCK), dirs_exist_ok=True)
            return
        import matplotlib  # noqa: F401  # as in `_train`

        assert isinstance(self._record, MemoryRun)
        with as_guest(self.config.hardware), records.open_run(str(target), self.config) as record:
            if record.manifest["status"] != "new":
                raise UserError(f"save('{path}') holds a run already: choose a new directory.")
            self._record.save(record)
            with checkpoints.Checkpoints(record.subfolder("checkpoints"), self.config.checkpoint.keep) as saved:
                for checkpoint in self._memory.saved.values():
                    saved.save(*checkpoint)
            draw_curve(self.config, record, len(self._record.manifest["data"]["class_names"]))
            record.update(**self._record.manifest)

    @_in_python_words()
    def _result(self) -> Trained:
        if self._trained is None:
            with as_guest(self.config.hardware), self._open_checkpoints() as saved:
                self._trained = Trained(self.config, self._record.manifest, saved, self._given.network)
        return self._trained

    @contextlib.contextmanager
    def _open_checkpoints(self) -> Iterator[Any]:
        if self.config.kind != "train":
            raise UserError(f"{self!r} is an analysis: it has no network of its own.")
        if self.status not in records.WITH_RESULT:
            raise UserError(f"{self!r} has no result: its network is not one to use.")
        check_program(self._record.manifest, self._record.folder, is_loaded=True, given=self._given.network)
        if self._memory:
            yield self._memory
            return
        with checkpoints.Checkpoints(self._record.folder / "checkpoints", self.config.checkpoint.keep) as saved:
            yield saved


@_in_python_words()
def train(
    config: str | ConfigDict,
    model: Model | None = None,
    train: Arrays | None = None,
    test: Arrays | None = None,
    workdir: str | os.PathLike | None = None,
    quiet: bool = False,
) -> Run:
    """Trains a network on corrupted data, as the config says; returns the run when it has ended.

    Args:
      config: or its name, as of `config`.
      model: a class of flax.linen.Module with a field num_classes and `__call__(images, *, train)`, which is built as
        the command line would; or one of its objects, which is taken as it is; None for the config's.
      train, test: (images, labels); None for the config's data set. Without `test` a fixed part of `train` is it
        (data.test_fraction).
      workdir: directory of the run, with the records of the command line. The same call again resumes a run that was
        interrupted, and returns one that has ended. None writes no file.
      quiet: whether nothing is printed.

    Raises:
      UserError: what is given does not fit together; or `workdir` holds another run, or this one with other data or
        another network.
    """
    config, given = take_given(config, model, train, test)
    if validation.is_sweep(config) or config.experiments:
        raise UserError("This config is of several runs: rethink.sweep runs a sweep, and python main.py a suite.")
    if given.data and "test" not in given.data.splits and not quiet:
        print(f"No test data are given: a part of train is (data.test_fraction={config.data.test_fraction:g}).")
    screen = Screen(brief=True, stream=io.StringIO()) if quiet else Screen()
    return _train(config, given, config.name, workdir, screen)


@_in_python_words()
def load(path: str | os.PathLike, model: Model | None = None) -> Run:
    """Returns the run in a directory, also one of the command line; its data set is not read.

    Args:
      model: as it was given to `train`; None where the run's manifest says what to import.

    Raises:
      UserError: there is no run, or it is damaged.
    """
    record = results_runs.load_run(to_path(path, "path"))
    run = Run(record, given=Given(network=given_network(model)))
    if model is not None:
        with as_guest(run.config.hardware):
            check_program(record.manifest, record.folder, is_loaded=True, given=run._given.network)
    return run


class Sweep(Sequence[Run]):
    """The runs of a sweep, in order, and their table: a row for each run with its axes, seed, status and metrics."""

    def __init__(self, runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]):
        """Takes runs and what tells them apart, column -> value."""
        import pandas

        self.runs = list(runs)
        self.table = pandas.DataFrame(
            [
                {**row, "status": run.status, "steps": run.summary.get("steps"), **_metrics(run)}
                for row, run in zip(rows, runs, strict=True)
            ]
        )

    def __getitem__(self, index: Any) -> Any:
        return self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


@_in_python_words()
def sweep(
    config: str | ConfigDict,
    axes: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 1,
    model: Model | None = None,
    train: Arrays | None = None,
    test: Arrays | None = None,
    workdir: str | os.PathLike | None = None,
    quiet: bool = False,
) -> Sweep:
    """Trains a run for each point of the axes and each seed, one after another.

    Args:
      config: as of `train`; axes: field -> its values; seeds: how many, from config.seed on.
      model, train, test, quiet: as of `train`.
      workdir: directory of the sweep, with one for each run; the same call again goes on. None writes no file.

    Raises:
      UserError: as `train`.
    """
    config, given = take_given(config, model, train, test)
    config = make_config(add_axes(config, axes or {}), {"seeds": seeds})
    planned = grid.expand_grid(config)
    check_swept(config, planned, given)
    folder = to_path(workdir, "workdir") if workdir is not None else None
    if folder:
        results_runs.check_kind_of_folder(folder)
    runs, rows = [], []
    for number, one in enumerate(planned, start=1):
        screen = Screen(brief=True, stream=io.StringIO() if quiet else None)
        run = _train(one.config, given, one.folder, folder / one.folder if folder else None, screen)
        if not quiet:
            print(f"[{number}/{len(planned)}] {one.folder}  {progress.describe_end(run._record.manifest)}", flush=True)
        runs.append(run)
        fields = dict(validation.flatten(one.config))
        rows.append({"run": one.name, **{field: fields[field] for field in axes or {}}, "seed": one.config.seed})
    if folder:
        results_runs.check_same_data(run for of_cell in results_runs.load_runs(folder).values() for run in of_cell)
    return Sweep(runs, rows)


def _metrics(run: Run) -> dict[str, Any]:
    """Returns the evaluation that is the result of a run, without its place."""
    row = run.summary.get("evaluation") or {}
    return {name: value for name, value in row.items() if name not in ("kind", "step", "epoch")}


def _train(config: ConfigDict, given: Given, name: str, workdir: str | os.PathLike | None, screen: Screen) -> Run:
    """Trains one run in memory or in a directory."""
    if config.kind != "train":
        raise UserError(f"kind='{config.kind}' is an analysis, which python main.py makes; here networks are trained.")
    validation.validate(config)
    if given.network is None:
        check_config(config)
    signals = preemption.Signals()  # that are not handled: an interruption is Python's own
    with as_guest(config.hardware):
        if workdir is None:
            memory, record = checkpoints.InMemory(), MemoryRun(name, config)
            train_run(config, record, signals, profile_steps=None, screen=screen, given=given, memory=memory)
            return Run(record, memory, given)
        import matplotlib  # noqa: F401  # before a figure is drawn, with the backend that the program chose

        with records.open_run(str(to_path(workdir, "workdir")), config) as held:
            if held.finished:
                check_same_run(config, held, given)
            else:
                train_run(config, held, signals, profile_steps=None, screen=screen, given=given)
        return Run(results_runs.load_run(held.folder), given=given)
