"""Owns the comparison of a whole reproduction with the paper: tables and figures, their verdicts, the counts of all.

Refuses to judge: verdicts are those of comparison.py and figure_claims.py, and so are the rules, put into words here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rethink.paper.numbers import TABLES
from rethink.report import comparison, figure_claims
from rethink.report.page.run_index import RunGroup
from rethink.schema.errors import UserError

RULE = (
    f"A number matches where it differs from the paper's by no more than {comparison.MATCH_POINTS:g} point, or "
    f"{comparison.MATCH_ERRORS:g} standard errors of ours, whichever is more; else it is off. Where these are over "
    f"{comparison.MOST_POINTS:g} points, ours are inconclusive to tell a match; numbers below a point match easily. A "
    "subset, a test on a part of the test set, a run that is not what the paper says of its cell, and the mean of runs "
    "of which some diverged, are not comparable, however near they come. An ordering, or what the paper says of a "
    "figure, holds where our means show it, whatever their noise; it is put to subsets and other data too, but not to "
    "runs with another corruption, regularizer or batch norm than the cell's, nor between cells of other sizes, "
    "lengths or, of one network, optimizers."
)
ORDERING_VERDICTS = ("holds", "doesn't hold", "not comparable", "not run", "no result")


class Verdict(NamedTuple):
    """A table or figure of the paper beside the runs of one shelf; without a shelf where no run is of it.

    Attributes:
      table: its name; rows, claims: of comparison.compare and comparison.check_orderings, of a figure only
        claims, of figure_claims.check.
      problem: why they could not be compared; "" where they were.
    """

    table: str
    shelf: RunGroup | None
    rows: Sequence[Mapping[str, Any]]
    claims: Sequence[Mapping[str, Any]]
    problem: str = ""

    def counts(self) -> Counter[str]:
        """Returns how many numbers have each verdict."""
        return Counter(row["verdict"] for row in self.rows)

    def orderings(self) -> Counter[str]:
        """Returns how many orderings have each verdict."""
        return Counter(claim["verdict"] for claim in self.claims)


def of_shelves(shelves: Sequence[RunGroup]) -> list[Verdict]:
    """Returns the verdict on each table of the paper, in its order: one for each shelf with runs of it."""
    found = []
    for table in TABLES:
        own = [shelf for shelf in shelves if shelf.name == table]
        found += [_verdict(table, shelf) for shelf in own] or [_verdict(table, None)]
    return found


def _verdict(table: str, shelf: RunGroup | None) -> Verdict:
    runs = shelf.sound() if shelf else {}
    try:
        return Verdict(table, shelf, comparison.compare(table, runs), comparison.check_orderings(table, runs))
    except UserError as error:
        return Verdict(table, shelf, [], [], str(error))


def of_figures(shelves: Sequence[RunGroup]) -> list[Verdict]:
    """Returns the verdict on what the paper says of each figure that there are runs of."""
    found = []
    for shelf in shelves:
        runs = shelf.sound()
        if not runs:
            continue
        try:
            verdict = Verdict(shelf.name, shelf, [], figure_claims.check(shelf.name, runs))
        except UserError as error:
            verdict = Verdict(shelf.name, shelf, [], [], str(error))
        if verdict.claims or verdict.problem:
            found.append(verdict)
    return found


def total(counts: Sequence[Counter[str]]) -> Counter[str]:
    """Returns the sum of counts."""
    return sum(counts, Counter())
