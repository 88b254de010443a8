"""What runs show of a table of the paper: their measures, and why they may not be comparable.

Compares nothing, and reads no number of the paper.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rethink.paper import protocol
from rethink.paper.claims import FITTED
from rethink.paper.numbers import BEST, TABLES
from rethink.report import inference
from rethink.report.inference import Estimate
from rethink.results.runs import LoadedRun, Predictions, RunsByCell
from rethink.schema.errors import UserError

NOT_RUN = "not run"  # status and verdict of what has no run

_TRAINING = ("optimizer.", "model.init")
_TOP1 = ("test_accuracy", "test_error")  # measures of what is predicted for each test example


class Outcome(NamedTuple):
    """What one run shows.

    Attributes:
      fractions: measure -> value in 0..1; empty where the run has not come to a result.
      predictions: of its test set; None where they are not recorded.
      caveats: why it is another experiment than the paper's.
      changes_claims: whether not even an ordering can be put to it.
    """

    run: LoadedRun
    fractions: Mapping[str, float]
    predictions: Predictions | None
    caveats: Sequence[str]
    changes_claims: bool


def read_outcomes(runs: RunsByCell, table: str) -> dict[str, list[Outcome]]:
    """Returns what the runs of each cell show of a table of the paper.

    Raises:
      UserError: the metrics of a run are damaged, or two of a cell have the same seed.
    """
    check_seeds(runs)
    return {cell: [_read_outcome(run, table, cell) for run in loaded] for cell, loaded in runs.items()}


def check_seeds(runs: RunsByCell) -> None:
    """Checks that no two runs of a cell have one seed: they are not independent, and make the spread too small.

    Raises:
      UserError: two have.
    """
    for cell, loaded in runs.items():
        folders: dict[int, Any] = {}
        for seed, folder in ((run.seed, run.folder) for run in loaded):
            if seed in folders:
                raise UserError(f"{cell}: {folders[seed]} and {folder} have the same seed ({seed}): leave one out.")
            folders[seed] = folder


def _read_outcome(run: LoadedRun, table: str, cell: str) -> Outcome:
    # Metrics are read of every run, so that damaged ones are not passed over.
    rows = [row for row in run.rows("evaluation") if row["step"]]
    fractions: dict[str, float] = {}
    for measure in TABLES[table].measures if run.has_result else ():
        field = measure.removeprefix(BEST)
        values = [row.get(field) for row in (rows if measure.startswith(BEST) else [run.evaluation])]
        recorded = [value for value in values if value is not None]
        if recorded:
            fractions[measure] = max(recorded)
    predictions = run.predictions() if fractions else None
    caveats = [*protocol.mismatches(table, cell, run.config), *protocol.caveats(run.config, run.data)]
    return Outcome(run, fractions, predictions, caveats, protocol.changes_claims(table, cell, run.config))


def has_converged(run: LoadedRun) -> bool:
    """Returns whether a run shows where its training leads: it has fitted, or is as long as those of figure 1a."""
    accuracy, steps = run.evaluation.get("train_accuracy") or 0.0, run.summary.get("steps") or 0
    is_long = steps >= protocol.STEPS and (run.summary.get("epochs") or 0) >= protocol.EPOCHS
    return run.kind != "train" or 100 * accuracy >= FITTED or is_long


def find_unconverged(ours: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Returns the cells of which a run came to an end before it showed where its training leads."""
    return [
        cell
        for cell, some in ours.items()
        if any(outcome.fractions and not has_converged(outcome.run) for outcome in some)
    ]


def estimate_cells(ours: Mapping[str, Sequence[Outcome]], measure: str) -> dict[str, Estimate]:
    """Returns cell -> a measure, percent, over the runs that came to a result; cells without one are left out.

    Which test examples are right is told only where all the runs recorded it on the same test set.
    """
    measured = {cell: [one for one in some if measure in one.fractions] for cell, some in ours.items()}
    are_paired = measure in _TOP1 and _share_tests([one for some in measured.values() for one in some])
    return {cell: _estimate_cell(some, measure, are_paired) for cell, some in measured.items() if some}


def _estimate_cell(some: Sequence[Outcome], measure: str, are_paired: bool) -> Estimate:
    # The train set is known whole. A test set whose size is not recorded tells no more than one example.
    sizes = [outcome.run.data.get("test_examples") or 1 for outcome in some]
    test_examples = 0 if measure.startswith("train") else min(sizes)
    rights = [one.predictions.predicted == one.predictions.given_labels for one in some if one.predictions]
    percents = [100 * outcome.fractions[measure] for outcome in some]
    return inference.exact(percents, test_examples, np.stack(rights) if are_paired else None)


def _share_tests(outcomes: Sequence[Outcome]) -> bool:
    """Returns whether all runs recorded their predictions, of the same two or more examples with the same labels.

    Predictions of which the accuracy is not the recorded one are of another end of the run.
    """
    recorded = [one.predictions for one in outcomes if one.predictions]
    tests = [(one.ids, one.given_labels) for one in recorded]
    accuracies = [np.mean(one.predicted == one.given_labels) if len(one.ids) > 1 else -1.0 for one in recorded]
    return (
        len(tests) == len(outcomes)
        and all(map(np.array_equal, tests, tests[:1] * len(tests)))
        and np.allclose(accuracies, [one.run.evaluation.get("test_accuracy", -1.0) for one in outcomes], atol=1e-6)
    )


def collect_caveats(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns what makes any of the runs another experiment than the paper's, or their mean one of those left over."""
    caveats = list(dict.fromkeys(caveat for outcome in outcomes for caveat in outcome.caveats))
    diverged = count_diverged(outcomes)
    return caveats + ([f"{diverged} of {len(outcomes)} diverged"] if diverged else [])


def count_diverged(outcomes: Sequence[Outcome]) -> int:
    """Returns how many of the runs diverged, where others of the same cell came to a result; else 0."""
    count = sum(outcome.run.status == "diverged" for outcome in outcomes)
    return count if any(outcome.fractions for outcome in outcomes) else 0


def describe_statuses(outcomes: Sequence[Outcome]) -> str:
    """Returns 'not run', 'done', or with several statuses how many runs had each: '2 done, 1 failed'."""
    counts = Counter(outcome.run.status for outcome in outcomes)
    if len(counts) < 2:
        return next(iter(counts), NOT_RUN)
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def least_sizes(runs: Iterable[LoadedRun]) -> list[int | None]:
    """Returns the least numbers of classes, train and test examples of runs, as of paper.claims.resize_chance."""
    some = list(runs)
    counts = (
        [run.summary.get("num_classes") for run in some],
        [run.data.get("train_examples") for run in some],
        [run.data.get("test_examples") for run in some],
    )
    return [min(filter(None, values), default=None) for values in counts]


def find_differences(networks: Iterable[Sequence[LoadedRun]]) -> list[str]:
    """Returns how runs were trained otherwise than each other, so that no claim can be put to them together.

    Args:
      networks: the runs of each network; optimizer and initialization are compared among those of one.
    """
    groups = list(networks)
    runs = [run for group in groups for run in group]
    differ = {
        "the data set": _find_changes(runs, ("data.test_split", "data.classes", "data.image_size", "preprocess.")),
        "train examples": len({str(run.data.get("train_examples")) for run in runs}) > 1,
        "test examples": len({str(run.data.get("test_examples")) for run in runs}) > 1,
        "epochs": _find_changes(runs, ("train.total_epochs",)),  # as planned
        "the batch size": _find_changes(runs, ("train.batch_size",)),
        "what ends them": _find_changes(runs, ("stop.", "early_stopping.")),
        "precision": _find_changes(runs, ("train.precision", "train.matmul_precision")),
        "the seed of labels and pixels": _find_changes(runs, ("corruption.seed",)),
        "one network": any(_find_changes(group, ("model.name", "model.kwargs.")) for group in groups),
        "the optimizer or initialization of one network": any(_find_changes(group, _TRAINING) for group in groups),
    }
    differ["the data set"] = differ["the data set"] or len({str(run.data.get("name")) for run in runs}) > 1
    return [f"runs differ in {what}" for what, differs in differ.items() if differs]


def name_changes(ours: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Returns what else changes between cells of one network with and without batch norm; [] between other cells."""
    runs = [outcome.run for some in ours.values() for outcome in some]
    if not _find_changes(runs, ("batch_norm.kind",)) or _find_changes(runs, ("model.name",)):
        return []
    changes = _find_changes(runs, _TRAINING)
    return [f"{1 + len(changes)} changes at once: batch norm; {'; '.join(changes)}"] if changes else []


def _find_changes(runs: Sequence[LoadedRun], prefixes: tuple[str, ...]) -> list[str]:
    """Returns `field: values` of the fields that begin so, where runs differ in one."""
    fields = sorted({field for run in runs for field in run.config if field.startswith(prefixes)})
    values = {field: list(dict.fromkeys(str(run.config.get(field)) for run in runs)) for field in fields}
    return [f"{field}: {', '.join(some)}" for field, some in values.items() if len(some) > 1]
