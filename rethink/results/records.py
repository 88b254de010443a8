"""The directory of a run: its lock, manifest, metrics and timings; what else lies in it is written by other modules.

One process writes. Files are replaced whole or grow by whole lines, so that none is ever half written.

    manifest.json    config, launches (steps, date, devices, versions, environment of each), fingerprints, program,
                     plan, status, summary
    metrics.jsonl    rows of training and evaluation; no clock in it
    timings.jsonl    seconds of running at each row
    corruption.npz   per training example: id, true label, given label, resampled; corruption_test.npz: per test example
    predictions.npz  of a training run or a kernel model, per test example: id, true label, given label, and the class
                     that the run's result predicts
    examples_train.bin  what each evaluation saw of each training example, see example_history.py; and of the held-out
                     ones, examples_validation.bin
    presentations.npz  what training saw of each training example, see presentations.py
    samples.npz      a few corrupted training examples, before crop and whitening: id, image uint8 or vector, labels
    extremes.npz     of a training run with records of single examples: those learned last and first, likewise
    paths.csv        of data that are files: split, id and path of each example
    bad_files.csv    split, id, path and reason of each file that was left out
    figures/         learning_curve.png and .pdf
    tensorboard/     event files of the same rows
    profile/         a profiler's trace, with --profile_steps
    checkpoints/     for resuming
    parts.json       of an analysis that is under way: what it has computed, for resuming
"""

import contextlib
import csv
import errno
import io
import json
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.results import example_history, files, launches
from rethink.results.presentations import PRESENTATIONS, Presentations, read_presentations
from rethink.schema import validation
from rethink.schema.errors import SurroundingsError, UserError, unreadable

WITH_RESULT = ("fitted", "stopped early", "done")  # statuses
FINISHED = (*WITH_RESULT, "diverged")
PATHS, PREDICTIONS = "paths.csv", "predictions.npz"
PARTS = "parts.json"
_DECIDES_END = ("train.total_epochs", "stop.train_accuracy", "influence.networks", "influence.pair_threshold")


class Run:
    """A run directory that this process holds; from `open_run`.

    Attributes:
      folder: absolute; manifest: as it is written with the next `update`.
      finished: whether an earlier launch reached the end that this config sets.
      saved_end: whether an earlier launch reached an end, the one that this config sets or another, with steps to save.
      started: whether this launch writes.
      in_memory: whether it is no directory, see results/memory.py.
    """

    in_memory = False

    def __init__(
        self, folder: pathlib.Path, manifest: dict[str, Any], config: dict[str, Any], is_held: Callable[[], bool]
    ):
        """Takes the manifest of an earlier launch, or a new one, and the flat config of this launch.

        Args:
          is_held: of `files.lock`.
        """
        self.folder, self.is_held = folder, is_held
        self.finished = is_finished(manifest, config)
        self.saved_end = manifest["status"] in WITH_RESULT and any(
            launch["last_step"] for launch in manifest.get("launches", ())
        )
        self.manifest = {**manifest, "config": config}
        self.started = False
        self._launch = time.monotonic()
        self._before = 0.0

    def begin(
        self,
        step: int,
        hardware: Mapping[str, Any],
        metadata: Mapping[str, Any],
        fingerprints: Mapping[str, str],
        *,
        evaluated: bool = True,
    ) -> None:
        """Starts writing, from `step` on: later rows of an earlier launch are dropped, as they come again.

        Args:
          step: of the restored checkpoint, or -1 for a new run.
          hardware: what this launch computes on; it is kept beside that of the earlier launches.
          metadata: other fields of the manifest.
          fingerprints: those that there are already; the others follow by `check_fingerprints`.
          evaluated: whether the evaluation at `step` was made before that checkpoint; if not, it comes again too.

        Raises:
          UserError: as `check_fingerprints`; the directory is left as it was.
        """
        if step < 0:
            self.manifest["fingerprints"] = {}
        self.manifest["fingerprints"] = self.compare_fingerprints(fingerprints)
        self.started = True
        for stale in ("error", "summary", "end"):  # of an earlier launch
            self.manifest.pop(stale, None)
        launch = launches.describe_launch(max(step, 0), hardware)
        self.update(status="running", launches=[*self.manifest.get("launches", []), launch], **metadata)
        self._drop_rows(step, evaluated)

    def _drop_rows(self, step: int, evaluated: bool) -> None:
        """Drops what an earlier launch wrote after a step; the arguments are as of `begin`."""
        # Rows after the step come again; an evaluation at the step itself, only where the checkpoint came before it.
        kept: list[dict[str, Any]] = []
        for file in ("metrics.jsonl", "timings.jsonl"):
            last = {"train": step, "evaluation": step if evaluated else step - 1}
            kept = [row for row in read_rows(self.path(file)) if row["step"] <= last.get(row["kind"], step)]
            files.replace(self.path(file), "".join(json.dumps(row) + "\n" for row in kept).encode())
        for path in self.folder.glob(example_history.FILE.format(split="*")):
            example_history.drop_rows(path, step if evaluated else step - 1)
        for name in (PREDICTIONS, PRESENTATIONS):  # of an end that this launch goes beyond
            self.path(name).unlink(missing_ok=True)
        self._before = kept[-1]["seconds"] if kept else 0.0

    def check_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        """Records fingerprints; those that an earlier launch recorded must be the same.

        Raises:
          UserError: images, labels or order are not those of the earlier launch.
        """
        self.update(fingerprints=self.compare_fingerprints(fingerprints))

    def compare_fingerprints(self, fingerprints: Mapping[str, str]) -> dict[str, str]:
        """Returns the recorded fingerprints and these, which must agree where both have one."""
        recorded = self.manifest.get("fingerprints", {})
        for name, value in fingerprints.items():
            if recorded.get(name, value) != value:
                raise UserError(
                    f"--workdir={self.folder}: the fingerprint of its {name} has changed, so the data are not those it "
                    "was trained on: bring them back, or choose another --workdir."
                )
        return {**recorded, **fingerprints}

    def update(self, **values: Any) -> None:
        """Sets fields of the manifest and writes it."""
        self.manifest.update(values)
        files.write_json(self.path("manifest.json"), self.manifest)

    def reach(self, step: int) -> None:
        """Sets the last step of this launch: one that was saved, or that ends the run."""
        self.manifest["launches"][-1]["last_step"] = step
        self.update()

    def fail(self, error: str) -> None:
        """Writes that the run failed, if this launch has started to write; all other files stay as they are."""
        if self.started:
            self.update(status="failed", error=error)

    def append(self, row: Mapping[str, Any]) -> None:
        """Appends a row to the metrics, and its time to the timings."""
        files.append_line(self.path("metrics.jsonl"), row)
        timing = {"kind": row["kind"], "step": row["step"], "seconds": self.seconds()}
        files.append_line(self.path("timings.jsonl"), timing)

    def append_examples(self, split: str, step: int, num_classes: int, examples: Any) -> None:
        """Appends what an evaluation saw of each example of a split; `examples` as of `example_history.make_row`."""
        row = example_history.make_row(step, num_classes, examples)
        example_history.append_row(self.path(example_history.FILE.format(split=split)), num_classes, row)

    def example_rows(self, split: str) -> np.ndarray | None:
        """Returns what `append_examples` wrote of a split, structured [evaluations]; None where nothing was."""
        return example_history.read_split(self.folder, split)

    def example_history(self, split: str = "train") -> example_history.ExampleHistory | None:
        """Returns what each evaluation saw of each example of "train" or "validation"; None where that is not recorded.

        Raises:
          UserError: its files are damaged.
        """
        return example_history.join_labels(split, self.example_rows(split), self.read_arrays)

    def presentations(self) -> Presentations | None:
        """Returns what training saw of each training example; None where that is not recorded.

        Raises:
          UserError: the file is damaged.
        """
        return read_presentations(self.folder)

    def seconds(self) -> float:
        """Returns the time since launch, after that of the earlier launches up to where this one resumed."""
        return round(self._before + time.monotonic() - self._launch, 3)

    def rows(self) -> list[dict[str, Any]]:
        """Returns the rows of the metrics."""
        return read_rows(self.folder / "metrics.jsonl")

    def save_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Writes NAME.npz."""
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        files.replace(self.path(f"{name}.npz"), content.getvalue())

    def save_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Writes a CSV file; a path whose bytes are no text in UTF-8 keeps them."""
        content = io.StringIO(newline="")
        csv.writer(content, lineterminator="\n").writerows([header, *rows])
        files.replace(self.path(name), content.getvalue().encode(errors="surrogateescape"))

    def read_arrays(self, name: str, dtypes: Mapping[str, type]) -> list[np.ndarray]:
        """Returns arrays of NAME.npz, as the function `read_arrays`."""
        return example_history.read_arrays(self.folder / f"{name}.npz", dtypes)

    def save_predictions(self, predicted: np.ndarray) -> None:
        """Writes what the run's result predicts on the test set, beside the labels of corruption_test.npz.

        Args:
          predicted: the class of each test example, by ascending id, int32 [examples].

        Raises:
          UserError: corruption_test.npz is damaged.
        """
        ids, given, true = self.read_arrays("corruption_test", example_history.LABEL_DTYPES)
        self.save_arrays("predictions", ids=ids, true_labels=true, given_labels=given, predicted=predicted)

    def keep_part(self, name: str, compute: Callable[[], Any]) -> Any:
        """Returns a part of an analysis, as JSON has it: that of an earlier launch, or computed now and kept.

        A file of parts that can't be read, or of other data, hardware or software than this launch's, counts as none.
        """
        launch, path = self.manifest["launches"][-1], self.path(PARTS)
        origin = {field: launch[field] for field in ("hardware", "versions", "environment", "commit")}
        origin["fingerprints"] = self.manifest["fingerprints"]
        parts = {}
        with contextlib.suppress(OSError, TypeError, ValueError, KeyError):
            kept = json.loads(path.read_text())
            parts = dict(kept["parts"]) if kept["origin"] == origin else {}
        if name not in parts:
            parts[name] = compute()
            files.write_json(self.path(PARTS), {"origin": origin, "parts": parts})
        return parts[name]

    def forget_parts(self) -> None:
        """Removes the parts of an analysis that has ended: its summary holds them."""
        self.path(PARTS).unlink(missing_ok=True)

    def subfolder(self, name: str) -> pathlib.Path:
        """Returns a folder of the run, made if need be."""
        folder = self.path(name)
        folder.mkdir(exist_ok=True)
        return folder

    def path(self, name: str) -> pathlib.Path:
        """Returns the path of a file of the run, which is about to be written.

        Raises:
          FileNotFoundError: the directory is gone, or another one is in its place.
        """
        if not self.is_held():
            raise FileNotFoundError(errno.ENOENT, "It was removed or moved", str(self.folder))
        return self.folder / name


@contextlib.contextmanager
def open_run(workdir: str, config: ConfigDict) -> Iterator[Run]:
    """Locks a run directory for the `with` block; an exception in it ends the run as `failed`, Ctrl-C as `interrupted`.

    Raises:
      UserError: the directory can't be written, is in use, damaged, or belongs to a run with another config.
      SurroundingsError: its disk failed in the block, or the directory was removed or moved.
    """
    folder = validation.expand_path(workdir, "--workdir").absolute()
    with contextlib.ExitStack() as stack:
        try:
            str(folder).encode()
            made = [path for path in (folder / files.LOCK, folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / files.LOCK).exists():
                _manifest(folder, config)  # a directory that is refused here gets no lock file
            is_held = stack.enter_context(files.lock(folder))
            run = Run(folder, _manifest(folder, config), json.loads(validation.to_json(config)), is_held)
        except (OSError, UnicodeEncodeError) as error:
            reasons = {FileExistsError: "it is no directory", UnicodeEncodeError: "its name is no text in UTF-8"}
            reason = reasons.get(type(error), getattr(error, "strerror", ""))
            raise UserError(
                f"--workdir={workdir} can't be written ({reason}): choose another with --workdir=DIR."
            ) from error
        try:
            yield run
        except KeyboardInterrupt:
            if run.started:  # else this launch leaves everything as it was
                with contextlib.suppress(OSError):
                    run.update(status="interrupted")
            raise
        except Exception as error:
            with contextlib.suppress(OSError):
                run.fail(f"{type(error).__name__}: {error}")
            if not is_held():
                raise SurroundingsError(
                    f"--workdir={workdir} was removed, moved or replaced during the run: bring it back, and the same "
                    "command resumes the run, or choose another --workdir to begin anew."
                ) from error
            if reason := files.no_room(error, folder):
                raise SurroundingsError(
                    f"--workdir={workdir} can't be written any more ({reason}): make room or allow writing, and start "
                    "the same command again, which resumes from the last checkpoint."
                ) from error
            raise
        finally:
            if not run.started and is_held():
                files.remove_empty(made)


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the whole lines of a .jsonl file; a last line without its end, from a kill, is left out.

    Raises:
      UserError: a whole line is no row.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text().splitlines(keepends=True)
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        if all(map(_is_row, rows)):
            return rows
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise UserError(f"{path} is damaged: bring it back from a copy, or leave {path.parent} out.")


def _is_row(row: Any) -> bool:
    """Returns whether a row holds its kind, its step, and numbers or null."""
    if not isinstance(row, dict):
        return False
    numbers = (value for name, value in row.items() if name != "kind")
    return isinstance(row["kind"], str) and row["step"] >= 0 and all(isinstance(v, int | float | None) for v in numbers)


def read_run(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the manifest of the run in a folder.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise UserError(f"{folder} holds no run (no manifest.json): name run directories.")
    return read_manifest(path)


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
    """Returns the manifest of a run.

    Raises:
      UserError: what the file holds is none, or it may not be read.
    """
    try:
        manifest = json.loads(path.read_text())
        if isinstance(manifest["config"], dict) and isinstance(manifest["status"], str):
            return manifest
    except PermissionError as error:
        raise unreadable(str(path), error) from error
    except (ValueError, TypeError, KeyError):
        pass
    raise UserError(f"{path} is damaged: bring it back from a copy, or move {path.parent} away and run again.")


def is_finished(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Returns whether the earlier launch of `manifest` reached its end, and `config` sets the same one."""
    same = all(manifest["config"].get(field) == config.get(field) for field in _DECIDES_END)
    return manifest["status"] in FINISHED and same


def _manifest(folder: pathlib.Path, config: ConfigDict) -> dict[str, Any]:
    """Returns the manifest of an earlier launch, checked against `config`, or a new one."""
    path = folder / "manifest.json"
    if not path.exists():
        if any(map(_is_foreign, folder.iterdir())):
            raise UserError(
                f"--workdir={folder} holds files but no run (no manifest.json): choose an empty or a new directory."
            )
        return {"config": {}, "status": "new"}
    manifest = read_manifest(path)
    changed = validation.changed_fields(config, manifest["config"])
    if changed:
        raise UserError(
            f"--workdir={folder} belongs to another run ({'; '.join(changed)}): "
            "choose another --workdir, or go back to its values."
        )
    return manifest


def _is_foreign(path: pathlib.Path) -> bool:
    """Returns whether it is no lock, draft or empty folder: these are left by a launch that is killed at its start."""
    if path.name == files.LOCK or path.name.startswith("."):
        return False
    return not path.is_dir() or any(path.iterdir())
