"""What runs show of a table of the paper: their measures, and why they may not be comparable.

Compares nothing, and reads no number of the paper.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rethink.paper import protocol
from rethink.paper.numbers import BEST, TABLES
from rethink.results.runs import LoadedRun, RunsByCell
from rethink.schema.errors import UserError


class Outcome(NamedTuple):
    """What one run shows.

    Attributes:
      fractions: measure -> value in 0..1; empty where the run has not come to a result.
      caveats: why it is another experiment than the paper's.
      changes_claims: whether not even an ordering can be put to it.
    """

    run: LoadedRun
    fractions: Mapping[str, float]
    caveats: Sequence[str]
    changes_claims: bool


def read_outcomes(runs: RunsByCell, table: str) -> dict[str, list[Outcome]]:
    """Returns what the runs of each cell show of a table of the paper.

    Raises:
      UserError: the metrics of a run are damaged, or two of a cell have the same seed.
    """
    # Two runs with one seed are not independent, and would make the spread too small.
    for cell, loaded in runs.items():
        folders: dict[int, Any] = {}
        for seed, folder in ((run.seed, run.folder) for run in loaded):
            if seed in folders:
                raise UserError(f"{cell}: {folders[seed]} and {folder} have the same seed ({seed}): leave one out.")
            folders[seed] = folder
    return {cell: [_read_outcome(run, table, cell) for run in loaded] for cell, loaded in runs.items()}


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
    caveats = [*protocol.mismatches(table, cell, run.config), *protocol.caveats(run.config, run.data)]
    return Outcome(run, fractions, caveats, protocol.changes_claims(table, cell, run.config))


def measure_values(outcomes: Iterable[Outcome], measure: str) -> list[float]:
    """Returns a measure of the runs that came to a result, as fractions."""
    return [outcome.fractions[measure] for outcome in outcomes if measure in outcome.fractions]


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
        return next(iter(counts), "not run")
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
      networks: the runs of each network; optimizers are compared among those of one.
    """
    groups = list(networks)
    runs = [run for group in groups for run in group]
    differ = {
        "train examples": len({run.data.get("train_examples") for run in runs}) > 1,
        "epochs": len({run.config.get("train.total_epochs") for run in runs}) > 1,  # as planned
        "the optimizer of one network": any(len(set(map(_describe_optimizer, group))) > 1 for group in groups),
    }
    return [f"runs differ in {what}" for what, differs in differ.items() if differs]


def _describe_optimizer(run: LoadedRun) -> str:
    config = run.config
    return ", ".join(f"{field}={config[field]}" for field in sorted(config) if field.startswith("optimizer."))
