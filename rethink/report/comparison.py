"""Owns the comparison of runs with a table of the paper: our number beside the paper's, and which orderings hold.

Refuses to call comparable what is not: a subset, another network, a run stopped by the test set and corrupted test
labels are named. The verdict's rule was fixed before the runs: ours and the paper's match where they differ by no more
than one point, or three standard errors, whichever is more (`judge`).

    python -m rethink.report.comparison table1 runs/table1-HASH
    python -m rethink.report.comparison --markdown table1 runs/table1-HASH
"""

import argparse
import math
import pathlib
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rethink.paper.claims import ORDERINGS, Claim, RangeClaim, resized
from rethink.paper.numbers import BEST, TABLES, Number, Table
from rethink.report import outcomes
from rethink.report.outcomes import Outcome
from rethink.results import runs as results_runs
from rethink.results import tables
from rethink.schema.errors import UserError, pick

MATCH_POINTS = 1.0  # ours and the paper's that differ by no more match,
MATCH_ERRORS = 3.0  # or by no more than so many standard errors,
MOST_POINTS = 2.5  # unless these are more: then nothing can be told
VERDICTS = ("match", "off", "inconclusive", "not comparable", "not run", "no result", "in words", "not reported")
COLUMNS = (
    "cell",
    "measure",
    "ours %",
    "deviation",
    "n",
    "paper %",
    "certainty",
    "ours - paper",
    "standard error",
    "verdict",
    "status",
    "train examples",
    "epochs",
    "notes",
)
TERMINAL_COLUMNS = ("cell", "measure", "ours %", "paper %", "ours - paper", "verdict", "epochs", "status", "notes")
ORDERING_COLUMNS = ("statement", "measure", "paper", "certainty", "ours", "n", "standard error", "verdict", "notes")


def compare(table: str, runs: results_runs.Runs) -> list[dict[str, Any]]:
    """Returns a row for each cell and measure of the paper's table, in its order; further cells of `runs` follow.

    Accuracies are means over the runs that came to a result, `deviation` is their sample standard deviation, blank
    where n = 1; differences are in points. The standard error is that of the mean: of the runs where there are several,
    and of a test set of that size. Verdicts are those of `VERDICTS`.

    Args:
      table: a name of `paper.TABLES`.
      runs: name of a cell -> its run directories, several for several seeds.

    Raises:
      UserError: the table is unknown, a directory holds no run or a damaged one, or two of a cell have the same seed.
    """
    known = pick(TABLES, table, "TABLE")
    found = outcomes.read(runs, table)
    cells = [*known.cells, *(cell for cell in found if cell not in known.cells)]
    return [
        _row(cell, measure, known.cells.get(cell, {}).get(measure), found.get(cell, []))
        for cell in cells
        for measure in known.measures
    ]


def check_orderings(table: str, runs: results_runs.Runs) -> list[dict[str, Any]]:
    """Returns a row for each ordering that the paper reports: its figures, ours, and whether ours hold it.

    The standard error is that of the margin between both sides, in points; it takes the runs for independent, and is
    blank where a cell that counts has a single one. Arguments and errors are those of `compare`.
    """
    known = pick(TABLES, table, "TABLE")
    found = outcomes.read(runs, table)
    return [_ordering_row(known, claim, found) for claim in ORDERINGS.get(table, ())]


def _row(cell: str, measure: str, number: Number | None, found: Sequence[Outcome]) -> dict[str, Any]:
    sample, caveats = outcomes.values(found, measure), outcomes.caveats_of(found)
    mean = statistics.fmean(sample) if sample else None
    difference = 100 * mean - number.value if mean is not None and number and number.value is not None else None
    test_examples = None if measure.startswith("train") else _least(outcome.test_examples for outcome in found)
    error = None if mean is None else _error_of_mean(sample, test_examples)
    return {
        "cell": cell,
        "measure": measure.replace(BEST, "oracle's best "),
        "ours %": tables.percent(mean),
        "deviation": f"{100 * statistics.stdev(sample):.2f}" if len(sample) > 1 else "",
        "n": len(sample) or "",
        "paper %": number.text() if number else "",
        "certainty": number.certainty if number else "",
        "ours - paper": "" if difference is None else f"{difference:+.2f}",
        "standard error": "" if error is None else f"{error:.2f}",
        "verdict": judge(number, difference, error, ran=bool(found), comparable=not caveats),
        "status": outcomes.statuses(found),
        "train examples": _span(outcome.train_examples for outcome in found),
        "epochs": _span(outcome.epochs for outcome in found),
        "notes": "; ".join(caveats),
    }


def judge(number: Number | None, difference: float | None, error: float | None, *, ran: bool, comparable: bool) -> str:
    """Returns the verdict on a measure of a cell, one of `VERDICTS`.

    What the paper says in words is judged among the orderings, not here.

    Args:
      difference: ours minus the paper's, points, where both are numbers; error: its standard error, points.
      ran: whether there is a run; comparable: whether all of them are the paper's experiment, and none diverged.
    """
    if number is None:
        return "not reported"
    if number.value is None:
        return "in words" if ran else "not run"
    if difference is None:
        return "no result" if ran else "not run"
    if not comparable:
        return "not comparable"
    allowed = max(MATCH_POINTS, MATCH_ERRORS * (error or 0.0))
    if round(abs(difference) - allowed, 6) > 0:
        return "off"
    return "match" if allowed <= MOST_POINTS else "inconclusive"


def _least(counts: Iterable[int | None]) -> int | None:
    """Returns the least number of examples of all runs, None where none is known."""
    return min((count for count in counts if count), default=None)


def _sizes(runs: Sequence[Outcome]) -> tuple[int | None, int | None, int | None]:
    """Returns the least numbers of classes, train and test examples of some runs."""
    return (
        _least(run.classes for run in runs),
        _least(run.train_examples for run in runs),
        _least(run.test_examples for run in runs),
    )


def _error_of_mean(sample: Sequence[float], test_examples: int | None) -> float | None:
    """Returns the standard error of a mean over runs, points: theirs, and of a measure on a test set that of its size.

    Args:
      test_examples: None of a measure on the train set, which is known whole, and of a test set of unknown size.

    Returns:
      None where nothing is known of it: one run, and no test set.
    """
    mean = statistics.fmean(sample)
    variances = []
    if len(sample) > 1:
        variances.append(statistics.variance(sample) / len(sample))
    if test_examples:
        variances.append(mean * (1 - mean) / test_examples)
    return 100 * math.sqrt(sum(variances)) if variances else None


def _ordering_row(table: Table, claim: Claim, found: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    weights = claim.weights()
    runs = {cell: found.get(cell, []) for cell in weights}
    if isinstance(claim, RangeClaim):
        claim = resized(claim, *_sizes(runs[claim.cell]))
    numbers = [table.cells[cell][claim.measure] for cell in weights]
    theirs = {cell: number.value for cell, number in zip(weights, numbers, strict=True) if number.value is not None}
    samples = {cell: outcomes.values(runs[cell], claim.measure) for cell in weights}
    ours = {cell: 100 * statistics.fmean(sample) for cell, sample in samples.items() if sample}
    complete = len(ours) == len(weights)
    error = _error_of_margin(weights, samples) if complete else None
    notes = [f"{cell}: {note}" for cell in weights for note in _notes(runs[cell], samples[cell])]
    differences = _differences(runs)
    notes += differences
    if error is not None and abs(claim.margin(ours)) < 2 * error:
        notes.append("within two standard errors")
    return {
        "statement": claim.statement,
        "measure": claim.measure,
        "paper": claim.figures(theirs) if len(theirs) == len(weights) else ", ".join(n.text() for n in numbers),
        "certainty": "".join(sorted({number.certainty for number in numbers})),
        "ours": claim.figures(ours) if complete else "",
        "n": _span(map(len, samples.values())) if complete else "",
        "standard error": "" if error is None else f"{error:.2f}",
        "verdict": _verdict(claim, runs, ours if complete else None, alike=not differences),
        "notes": "; ".join(notes),
    }


def _notes(runs: Sequence[Outcome], sample: Sequence[float]) -> list[str]:
    """Returns the caveats of a cell, and the statuses where some of its runs have come to no result."""
    return outcomes.caveats_of(runs) + ([outcomes.statuses(runs)] if len(sample) < len(runs) else [])


def _verdict(
    claim: Claim, runs: Mapping[str, Sequence[Outcome]], ours: Mapping[str, float] | None, *, alike: bool
) -> str:
    """Returns the verdict on a claim.

    Args:
      ours: the values of its cells, None where one has none; alike: whether its runs were trained alike.
    """
    if any(run.changes_claims for found in runs.values() for run in found):
        return "not comparable"
    if ours is None:
        return _without_result(claim, runs)
    survivors = any(map(outcomes.diverged, runs.values())) and not _meets_by_diverging(claim)
    if survivors or not alike:
        return "not comparable"
    return "holds" if claim.holds(ours) else "doesn't hold"


def _without_result(claim: Claim, runs: Mapping[str, Sequence[Outcome]]) -> str:
    """Returns the verdict where a cell has no value."""
    if not all(runs.values()):
        return "not run"
    diverged = all(run.status == "diverged" for found in runs.values() for run in found)
    return "holds" if diverged and _meets_by_diverging(claim) else "no result"


def _meets_by_diverging(claim: Claim) -> bool:
    return isinstance(claim, RangeClaim) and claim.or_diverged


def _differences(runs: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Returns how the runs of a claim's cells were trained otherwise than each other."""
    networks: dict[str, list[outcomes.Training]] = {}
    for cell, found in runs.items():
        networks.setdefault(cell.partition("-")[0], []).extend(run.training for run in found)
    return outcomes.differences(networks.values())


def _error_of_margin(weights: Mapping[str, int], samples: Mapping[str, Sequence[float]]) -> float | None:
    """Returns the standard error of the weighted sum of means, points; None where a cell that counts has one run."""
    counting = {cell: weight for cell, weight in weights.items() if weight}
    if any(len(samples[cell]) < 2 for cell in counting):
        return None
    parts = (weight**2 * statistics.variance(samples[cell]) / len(samples[cell]) for cell, weight in counting.items())
    return 100 * math.sqrt(sum(parts))


def _span(values: Iterable[float | None]) -> str:
    """'64', or '52 to 76' where they differ; '' where there are none."""
    known = sorted({value for value in values if value is not None})
    return " to ".join(f"{value:.10g}" for value in dict.fromkeys((known[0], known[-1]))) if known else ""


def for_terminal(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of `compare` with fewer columns: spread and n beside the mean, the certainty beside the number."""
    spread = f" +- {row['deviation']}" if row["deviation"] else ""
    ours = f"{row['ours %']}{spread} (n={row['n']})" if row["n"] else ""
    merged = {"ours %": ours, "paper %": f"{row['paper %']} {row['certainty']}".strip()}
    return {column: {**row, **merged}[column] for column in TERMINAL_COLUMNS}


def report(table: str, folder: pathlib.Path, *, markdown: bool = False) -> None:
    """Prints a table of the paper beside the runs of a folder, and which of its orderings hold.

    Raises:
      UserError: as `compare` and `results_runs.run_folders`.
    """
    title = pick(TABLES, table, "TABLE").title
    runs = results_runs.run_folders(folder)
    rows, claims = compare(table, runs), check_orderings(table, runs)
    if markdown:
        parts = [tables.to_markdown(rows, COLUMNS), tables.to_markdown(claims, ORDERING_COLUMNS)]
    else:
        brief = [for_terminal(row) for row in rows]
        parts = [tables.to_text(brief, TERMINAL_COLUMNS), tables.to_text(claims, ORDERING_COLUMNS)]
    print(title, parts[0], "Orderings that the paper reports", parts[1], sep="\n\n")


def main() -> None:
    """Prints the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(description="A table of the paper beside our runs, and which orderings hold.")
    parser.add_argument("table", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER", help="holds run directories CELL-seedS")
    parser.add_argument("--markdown", action="store_true", help="Markdown with all columns instead of text")
    arguments = parser.parse_args()
    try:
        report(arguments.table, arguments.folder, markdown=arguments.markdown)
    except UserError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
