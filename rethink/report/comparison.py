"""Our runs beside a table of the paper: number beside number, and which orderings hold.

What is another experiment is never called comparable: a subset, another network, a run stopped by the test set and
corrupted test labels are named. The rule was fixed before the runs: ours and the paper's match where they differ by no
more than one point, or three standard errors, whichever is more (`judge_number`).

    python -m rethink.report.comparison table1 runs/table1-HASH
    python -m rethink.report.comparison --markdown table1 runs/table1-HASH
"""

import argparse
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rethink.paper.claims import ORDERINGS, Claim, resize_chance
from rethink.paper.numbers import BEST, TABLES, Number
from rethink.report import outcomes, verdicts
from rethink.report.outcomes import Outcome
from rethink.report.verdicts import ClaimCheck
from rethink.results import tables
from rethink.results.runs import RunsByCell, load_runs
from rethink.schema.errors import exit_on_mistake, pick

MATCH_POINTS = 1.0  # ours and the paper's that differ by no more match,
MATCH_ERRORS = 3.0  # or by no more than so many standard errors,
MOST_POINTS = 2.5  # unless these are more: then nothing can be concluded
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


def compare_table(table: str, runs: RunsByCell) -> list[dict[str, Any]]:
    """Returns a row for each cell and measure of the paper's table, in its order; further cells of `runs` follow.

    Accuracies are means over the runs that came to a result, `deviation` is their sample standard deviation, blank
    where n = 1; differences are in points. The standard error is that of the mean: of the runs where there are several,
    and of a test set of that size. Verdicts are those of `VERDICTS`.

    Args:
      table: a name of `paper.numbers.TABLES`.
      runs: cell -> its runs, several for several seeds.

    Raises:
      UserError: the table is unknown, the metrics of a run are damaged, or two of a cell have the same seed.
    """
    paper = pick(TABLES, table, "TABLE")
    by_cell = outcomes.read_outcomes(runs, table)
    cells = [*paper.cells, *(cell for cell in by_cell if cell not in paper.cells)]
    return [
        _compare_cell(cell, measure, paper.cells.get(cell, {}).get(measure), by_cell.get(cell, []))
        for cell in cells
        for measure in paper.measures
    ]


def check_orderings(table: str, runs: RunsByCell) -> list[dict[str, Any]]:
    """Returns a row for each ordering that the paper reports: its figures, ours, and whether ours hold it.

    The standard error is that of the margin between both sides, in points; it takes the runs for independent, and is
    blank where a cell that counts has a single one. Arguments and errors are those of `compare_table`.
    """
    pick(TABLES, table, "TABLE")
    by_cell = outcomes.read_outcomes(runs, table)
    return [verdicts.judge_claim(_check_ordering(claim, by_cell)) for claim in ORDERINGS.get(table, ())]


def _compare_cell(cell: str, measure: str, number: Number | None, ours: Sequence[Outcome]) -> dict[str, Any]:
    values, caveats = outcomes.measure_values(ours, measure), outcomes.collect_caveats(ours)
    runs = [outcome.run for outcome in ours]
    mean = statistics.fmean(values) if values else None
    difference = 100 * mean - number.value if mean is not None and number and number.value is not None else None
    # A measure on the train set, which is known whole, has no sampling error.
    test_examples = None if measure.startswith("train") else outcomes.least_sizes(runs)[2]
    error = None if mean is None else _error_of_mean(values, test_examples)
    return {
        "cell": cell,
        "measure": measure.replace(BEST, "oracle's best "),
        "ours %": tables.percent(mean),
        "deviation": f"{100 * statistics.stdev(values):.2f}" if len(values) > 1 else "",
        "n": len(values) or "",
        "paper %": number.text() if number else "",
        "certainty": number.certainty if number else "",
        "ours - paper": "" if difference is None else f"{difference:+.2f}",
        "standard error": "" if error is None else f"{error:.2f}",
        "verdict": judge_number(number, difference, error, ran=bool(ours), comparable=not caveats),
        "status": outcomes.describe_statuses(ours),
        "train examples": verdicts.span_text(run.data.get("train_examples") for run in runs),
        "epochs": verdicts.span_text(run.summary.get("epochs") for run in runs if run.has_result),
        "notes": "; ".join(caveats),
    }


def judge_number(
    number: Number | None, difference: float | None, error: float | None, *, ran: bool, comparable: bool
) -> str:
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


def _check_ordering(claim: Claim, by_cell: Mapping[str, Sequence[Outcome]]) -> ClaimCheck:
    """Returns an ordering with what the runs of its cells show, means in percent."""
    ours = {cell: by_cell.get(cell, []) for cell in claim.cells}
    values = {cell: outcomes.measure_values(ours[cell], claim.measure) for cell in ours}
    estimates = {cell: verdicts.estimate_mean(sample, 100) for cell, sample in values.items()}
    every = [outcome for cell in ours.values() for outcome in cell]
    differences = _find_differences(ours)
    has_diverged = any(map(outcomes.count_diverged, ours.values())) and not verdicts.is_met_by_diverging(claim)
    return ClaimCheck(
        resize_chance(claim, outcomes.least_sizes(outcome.run for outcome in every)),
        {cell: estimate for cell, estimate in estimates.items() if estimate},
        [f"{cell}: {note}" for cell in ours for note in _describe_cell(ours[cell], values[cell])] + differences,
        started=[cell for cell in ours if ours[cell]],
        is_comparable=not any(outcome.changes_claims for outcome in every),
        is_alike=not differences and not has_diverged,
        has_diverged=all(outcome.run.status == "diverged" for outcome in every),
    )


def _describe_cell(ours: Sequence[Outcome], values: Sequence[float]) -> list[str]:
    """Returns the caveats of a cell, and the statuses where some of its runs have come to no result."""
    caveats = outcomes.collect_caveats(ours)
    return caveats + ([outcomes.describe_statuses(ours)] if len(values) < len(ours) else [])


def _find_differences(ours: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Returns how the runs of a claim's cells were trained otherwise than each other."""
    networks: dict[str, list] = {}
    for cell, cell_outcomes in ours.items():
        networks.setdefault(cell.partition("-")[0], []).extend(outcome.run for outcome in cell_outcomes)
    return outcomes.find_differences(networks.values())


def for_terminal(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of `compare_table` in fewer columns: spread and n beside the mean, certainty beside the number."""
    spread = f" +- {row['deviation']}" if row["deviation"] else ""
    ours = f"{row['ours %']}{spread} (n={row['n']})" if row["n"] else ""
    merged = {"ours %": ours, "paper %": f"{row['paper %']} {row['certainty']}".strip()}
    return {column: {**row, **merged}[column] for column in TERMINAL_COLUMNS}


def print_comparison(table: str, runs: RunsByCell, *, markdown: bool = False) -> None:
    """Prints a table of the paper beside runs, and which of its orderings hold.

    Raises:
      UserError: as `compare_table`.
    """
    title = pick(TABLES, table, "TABLE").title
    rows, claims = compare_table(table, runs), check_orderings(table, runs)
    if markdown:
        parts = [tables.to_markdown(rows, COLUMNS), tables.to_markdown(claims, verdicts.CLAIM_COLUMNS)]
    else:
        brief = [for_terminal(row) for row in rows]
        parts = [tables.to_text(brief, TERMINAL_COLUMNS), tables.to_text(claims, verdicts.CLAIM_COLUMNS)]
    print(title, parts[0], "Orderings that the paper reports", parts[1], sep="\n\n")


def main() -> None:
    """Prints the comparison of the table and the folder that the command line names."""
    parser = argparse.ArgumentParser(description="A table of the paper beside our runs, and which orderings hold.")
    parser.add_argument("table", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER", help="holds run directories CELL-seedS")
    parser.add_argument("--markdown", action="store_true", help="Markdown with all columns instead of text")
    arguments = parser.parse_args()
    with exit_on_mistake():
        print_comparison(arguments.table, load_runs(arguments.folder), markdown=arguments.markdown)


if __name__ == "__main__":
    main()
