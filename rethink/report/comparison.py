"""Our runs beside a table of the paper: number beside number, and which orderings hold.

What is another experiment is never called comparable: a subset, another network, a run stopped by the test set and
corrupted test labels are named. Numbers are compared by their odds, as a point means much near 0 and 100% and little
between (`judge_number`).

    python -m rethink.report.comparison table1 runs/table1-HASH
    python -m rethink.report.comparison --markdown table1 runs/table1-HASH
"""

import argparse
import pathlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rethink.paper.claims import (
    FITTED,
    ORDERINGS,
    Claim,
    Ordering,
    is_met_by_memorizing,
    move_to_data,
    resize_chance,
)
from rethink.paper.numbers import BEST, TABLES, Number
from rethink.report import inference, outcomes, terminal, verdicts
from rethink.report.inference import Estimate, Interval
from rethink.report.outcomes import Outcome
from rethink.report.verdicts import ClaimCheck
from rethink.results import tables
from rethink.results.runs import RunsByCell, load_runs
from rethink.schema.errors import exit_on_mistake, pick

MATCH_ODDS = 1.2  # ours and the paper's match where the ratio of their odds is surely within 1 / this and this
VERDICTS = ("match", "off", "inconclusive", "not comparable", outcomes.NOT_RUN, "no result", "in words", "not reported")
COLUMNS = (
    "cell",
    "measure",
    "ours %",
    "deviation",
    "n",
    "paper %",
    "certainty",
    "ours - paper",
    "odds ratio",
    "verdict",
    "met by memorizing",
    "status",
    "train examples",
    "epochs",
    "notes",
)


def compare_table(table: str, runs: RunsByCell) -> list[dict[str, Any]]:
    """Returns a row for each cell and measure of the paper's table, in its order; further cells of `runs` follow.

    Accuracies are means over the runs that came to a result, `deviation` is their sample standard deviation, blank
    where n = 1; differences are in points. The odds ratio is the interval of the ratio of our odds to the paper's, by
    the sizes of both test sets and the spread of our runs. Verdicts are those of `VERDICTS`; "met by memorizing" marks
    numbers that any network has that memorizes its train set.

    Args:
      table: a name of `paper.numbers.TABLES`.
      runs: cell -> its runs, several for several seeds.

    Raises:
      UserError: the table is unknown, the metrics of a run are damaged, or two of a cell have the same seed.
    """
    paper = pick(TABLES, table, "TABLE")
    by_cell = outcomes.read_outcomes(runs, table)
    cells = [*paper.cells, *(cell for cell in by_cell if cell not in paper.cells)]
    return [_compare_cell(table, cell, measure, by_cell.get(cell, [])) for cell in cells for measure in paper.measures]


def check_orderings(table: str, runs: RunsByCell) -> list[dict[str, Any]]:
    """Returns a row for each ordering that the paper reports: its figures, ours, and whether ours hold it.

    The interval is that of the margin between the closest two sides, in points, blank where a cell that counts has a
    single run; of a range it is that of the value.
    Arguments and errors are those of `compare_table`.
    """
    pick(TABLES, table, "TABLE")
    by_cell = outcomes.read_outcomes(runs, table)
    return [verdicts.judge_claim(_check_ordering(claim, by_cell)) for claim in _list_claims(table, by_cell)]


def _list_claims(table: str, by_cell: Mapping[str, Sequence[Outcome]]) -> Iterator[Claim]:
    """Yields the claims about a table, and those of table 3 about each other data set that there are runs of."""
    yield from ORDERINGS[table]
    papers = {cell.partition("-")[0] for cell in TABLES[table].cells}
    others = {cell.partition("-")[0] for cell in by_cell} - papers if table == "table3" else set()
    for data in sorted(others):
        yield from (move_to_data(claim, data) for claim in ORDERINGS[table] if isinstance(claim, Ordering))


def _compare_cell(table: str, cell: str, measure: str, ours: Sequence[Outcome]) -> dict[str, Any]:
    number, caveats = TABLES[table].cells.get(cell, {}).get(measure), outcomes.collect_caveats(ours)
    estimate = outcomes.estimate_cells({cell: ours}, measure).get(cell)
    ratio = _compare_odds(table, measure, number, estimate)
    value = number.value if number else None
    difference = estimate.mean - value if estimate and value is not None else None
    runs = [outcome.run for outcome in ours]
    papers = None if value is None else inference.exact([value], TABLES[table].test_examples)
    best = _compare_odds(table, measure, number, papers)
    few = ["the paper's test set is too small to show a match"] if best and best.high > MATCH_ODDS else []
    return {
        "cell": cell,
        "measure": measure.replace(BEST, "oracle's best "),
        "ours %": tables.percent(estimate.mean / 100) if estimate else "",
        "deviation": f"{statistics.stdev(estimate.values):.2f}" if estimate and estimate.n > 1 else "",
        "n": estimate.n if estimate else "",
        "paper %": number.text() if number else "",
        "certainty": number.certainty if number else "",
        "ours - paper": "" if difference is None else f"{difference:+.2f}",
        "odds ratio": ratio.text() if ratio else "",
        "verdict": judge_number(measure, number, estimate, ratio, ran=bool(ours), comparable=not caveats),
        "met by memorizing": "yes" if is_met_by_memorizing(table, cell, measure) else "",
        "status": outcomes.describe_statuses(ours),
        "train examples": verdicts.span_text(run.data.get("train_examples") for run in runs),
        "epochs": verdicts.span_text(run.summary.get("epochs") for run in runs if run.has_result),
        "notes": "; ".join([*caveats, *few]) if ours else "",
    }


def _compare_odds(table: str, measure: str, number: Number | None, estimate: Estimate | None) -> Interval | None:
    """Returns the interval of the ratio of our odds to the paper's; None without one, and of a train set it fitted."""
    if number is None or number.value is None or estimate is None or _is_fitted(measure, number.value):
        return None
    return inference.odds_interval(estimate, number.value, TABLES[table].test_examples, 10**-number.decimals / 2)


def _is_fitted(measure: str, percent: float) -> bool:
    return measure.startswith("train") and percent >= FITTED


def judge_number(
    measure: str,
    number: Number | None,
    estimate: Estimate | None,
    ratio: Interval | None,
    *,
    ran: bool,
    comparable: bool,
) -> str:
    """Returns the verdict on a measure of a cell, one of `VERDICTS`.

    A train accuracy that counts as fitted in the paper matches where ours does. Any other number matches where the
    whole interval of the ratio of the odds is within a factor of `MATCH_ODDS`, is off where none of it is, and is
    inconclusive between. What the paper says in words is judged among the orderings, not here.

    Args:
      ratio: of `inference.odds_interval`; None where the paper's train accuracy counts as fitted.
      ran: whether there is a run; comparable: whether all of them are the paper's experiment, and none diverged.
    """
    if number is None:
        return "not reported"
    if number.value is None:
        return "in words" if ran else outcomes.NOT_RUN
    if estimate is None:
        return "no result" if ran else outcomes.NOT_RUN
    if not comparable:
        return "not comparable"
    if ratio is None:
        return "match" if _is_fitted(measure, min(estimate.values)) else "off"
    if ratio.low >= 1 / MATCH_ODDS and ratio.high <= MATCH_ODDS:
        return "match"
    return "off" if ratio.low > MATCH_ODDS or ratio.high < 1 / MATCH_ODDS else "inconclusive"


def _check_ordering(claim: Claim, by_cell: Mapping[str, Sequence[Outcome]]) -> ClaimCheck:
    """Returns an ordering with what the runs of its cells show, in percent."""
    ours = {cell: by_cell.get(cell, []) for cell in claim.cells}
    estimates = outcomes.estimate_cells(ours, claim.measure)
    every = [outcome for cell in ours.values() for outcome in cell]
    differences, changes = _find_differences(ours), outcomes.name_changes(ours)
    are_survivors = any(map(outcomes.count_diverged, ours.values())) and not verdicts.is_met_by_diverging(claim)
    return ClaimCheck(
        resize_chance(claim, outcomes.least_sizes(outcome.run for outcome in every)),
        estimates,
        [f"{cell}: {note}" for cell, some in ours.items() for note in _describe_cell(some)] + differences + changes,
        started=[cell for cell in ours if ours[cell]],
        unconverged=outcomes.find_unconverged(ours),
        is_comparable=not any(outcome.changes_claims for outcome in every),
        is_alike=not differences and not are_survivors,
        has_diverged=all(outcome.run.status == "diverged" for outcome in every),
    )


def _describe_cell(ours: Sequence[Outcome]) -> list[str]:
    """Returns the caveats of a cell, and the statuses where some of its runs have come to no result."""
    is_whole = all(outcome.fractions for outcome in ours)
    return outcomes.collect_caveats(ours) + ([] if is_whole else [outcomes.describe_statuses(ours)])


def _find_differences(ours: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Returns how the runs of a claim's cells were trained otherwise than each other."""
    networks: dict[str, list] = {}
    for cell, cell_outcomes in ours.items():
        networks.setdefault(cell.partition("-")[0], []).extend(outcome.run for outcome in cell_outcomes)
    return outcomes.find_differences(networks.values())


def describe_comparison(table: str, runs: RunsByCell) -> tuple[str, str]:
    """Returns a table of the paper beside runs and which of its claims hold, for the terminal; and the finding.

    Raises:
      UserError: as `compare_table`.
    """
    rows, claims = compare_table(table, runs), check_orderings(table, runs)
    return terminal.describe_comparison(TABLES[table].title, rows, claims), terminal.describe_finding(rows, claims)


def main() -> None:
    """Prints the comparison of the table and the folder that the command line names."""
    parser = argparse.ArgumentParser(description="A table of the paper beside our runs, and which orderings hold.")
    parser.add_argument("table", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER", help="holds run directories CELL-seedS")
    parser.add_argument("--markdown", action="store_true", help="Markdown with all columns instead of text")
    with exit_on_mistake():
        arguments = parser.parse_args()
        runs = load_runs(arguments.folder)
        if arguments.markdown:
            rows, claims = compare_table(arguments.table, runs), check_orderings(arguments.table, runs)
            parts = [tables.to_markdown(rows, COLUMNS), tables.to_markdown(claims, verdicts.CLAIM_COLUMNS)]
            parts = [TABLES[arguments.table].title, parts[0], "Orderings that the paper reports", parts[1]]
        else:
            parts = list(describe_comparison(arguments.table, runs))
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
