"""The verdicts on all groups of runs: each table and figure of the paper beside its runs, and the counts of all.

Judges nothing: verdicts are those of comparison.py and figure_claims.py, whose rules are put into words here.
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


class GroupVerdict(NamedTuple):
    """A table or figure of the paper beside the runs of one group; without a group where no run is of it.

    Attributes:
      table: its name; rows, claims: of comparison.compare_table and comparison.check_orderings; of a figure
        only claims, of figure_claims.check_figure_claims.
      problem: why they could not be compared; "" where they were.
    """

    table: str
    group: RunGroup | None
    rows: Sequence[Mapping[str, Any]]
    claims: Sequence[Mapping[str, Any]]
    problem: str = ""

    def counts(self) -> Counter[str]:
        """Returns how many numbers have each verdict."""
        return Counter(row["verdict"] for row in self.rows)

    def orderings(self) -> Counter[str]:
        """Returns how many orderings have each verdict."""
        return Counter(claim["verdict"] for claim in self.claims)


def judge_tables(groups: Sequence[RunGroup]) -> list[GroupVerdict]:
    """Returns the verdict on each table of the paper, in its order: one for each group with runs of it."""
    verdicts = []
    for table in TABLES:
        own = [group for group in groups if group.name == table]
        verdicts += [_judge_table(table, group) for group in own] or [_judge_table(table, None)]
    return verdicts


def _judge_table(table: str, group: RunGroup | None) -> GroupVerdict:
    runs = group.readable() if group else {}
    try:
        rows, claims = comparison.compare_table(table, runs), comparison.check_orderings(table, runs)
        return GroupVerdict(table, group, rows, claims)
    except UserError as error:
        return GroupVerdict(table, group, [], [], str(error))


def judge_figures(groups: Sequence[RunGroup]) -> list[GroupVerdict]:
    """Returns the verdict on what the paper says of each figure that there are runs of."""
    verdicts = []
    for group in groups:
        runs = group.readable()
        if not runs:
            continue
        try:
            verdict = GroupVerdict(group.name, group, [], figure_claims.check_figure_claims(group.name, runs))
        except UserError as error:
            verdict = GroupVerdict(group.name, group, [], [], str(error))
        if verdict.claims or verdict.problem:
            verdicts.append(verdict)
    return verdicts
