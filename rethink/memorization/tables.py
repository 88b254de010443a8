"""Tables with a row for each training example of a run: its labels, its path, its scores. Imports no JAX."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rethink.memorization.dynamics import PRESENTATION_SCORES, compute_scores, take_evaluations
from rethink.results import records
from rethink.results.example_history import ExampleHistory
from rethink.results.presentations import Presentations
from rethink.schema.errors import UserError

if TYPE_CHECKING:
    import pandas


class Recorded(Protocol):
    """A run, of a directory or in memory, whose records are read."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Its manifest."""

    def rows(self) -> list[dict[str, Any]]:
        """Returns the rows of its metrics."""

    def read_arrays(self, name: str, dtypes: Mapping[str, type]) -> list[np.ndarray]:
        """Returns arrays of NAME.npz."""

    def read_table(self, name: str) -> list[dict[str, str]]:
        """Returns the rows of a CSV file, [] where there is none."""

    def example_history(self, split: str = "train") -> ExampleHistory | None:
        """Returns what each evaluation saw of each example."""

    def presentations(self) -> Presentations | None:
        """Returns what training saw of each example."""


def make_example_table(run: Recorded) -> "pandas.DataFrame":
    """Returns a row for each training example: id, true_label, given_label, resampled; the classes by name; its path.

    Raises:
      UserError: the records are damaged.
    """
    import pandas

    dtypes = {"ids": np.uint32, "true_labels": np.int32, "given_labels": np.int32, "resampled": np.bool_}
    ids, true, given, resampled = run.read_arrays("corruption", dtypes)
    table = pandas.DataFrame({"id": ids, "true_label": true, "given_label": given, "resampled": resampled})
    names = np.array(run.manifest["data"]["class_names"])
    if names.tolist() != list(map(str, range(len(names)))):
        table["true_class"], table["given_class"] = names[true], names[given]
    paths = {int(row["id"]): row["path"] for row in run.read_table(records.PATHS) if row["split"] == "train"}
    if paths:
        table["path"] = table["id"].map(paths)
    return table


def make_score_table(run: Recorded, step: int | None = None) -> "pandas.DataFrame":
    """Returns `make_example_table` with a column for each score: of evaluations, and of presentations where kept.

    Args:
      step: as of `read_history`. Presentations, which are of all of training, are left out where it is given.

    Raises:
      UserError: as `read_history`.
    """
    scores = compute_scores(read_history(run, step))
    if step is None and (seen := run.presentations()):
        scores |= {name: score.compute(seen) for name, score in PRESENTATION_SCORES.items()}
    return make_example_table(run).assign(**scores)


def read_history(run: Recorded, step: int | None = None) -> ExampleHistory:
    """Returns what the evaluations of a run saw of each training example.

    Args:
      step: of evaluations up to it; None: of all.

    Raises:
      UserError: the run has no record of single examples, or no evaluation up to the step; or a record is damaged.
    """
    history = run.example_history()
    if history is None or not len(history.steps):
        name = run.manifest["config"]["name"]
        raise UserError(f"The run {name} has no record of single examples: train it with --config.log.examples=all.")
    evaluated = [row["step"] for row in run.rows() if row["kind"] == "evaluation"]
    if history.steps.tolist() != evaluated:
        raise UserError(
            f"The run {run.manifest['config']['name']} has records of single examples of {len(history.steps)} of its "
            f"{len(evaluated)} evaluations, as its data.feed was changed on the way: train it with one feed."
        )
    if step is None:
        return history
    if step < history.steps[0]:
        raise UserError(
            f"--step={step} is before the first evaluation, at {history.steps[0]}: name that or a later one."
        )
    return take_evaluations(history, int(np.searchsorted(history.steps, step, side="right")) - 1)
