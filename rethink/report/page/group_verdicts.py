"""The verdicts on all groups of runs: each table and figure of the paper beside its runs.

Judges nothing: verdicts are those of comparison.py and figure_claims.py, whose rules are put into words here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rethink.paper import protocol
from rethink.paper.claims import FITTED
from rethink.paper.numbers import TABLES
from rethink.report import comparison, figure_claims, inference
from rethink.report.page import run_index
from rethink.report.page.run_index import RunGroup
from rethink.report.verdicts import CLAIM_VERDICTS
from rethink.results import screen, tables
from rethink.schema.errors import UserError

RULE = (
    f"A number matches where the whole {inference.LEVEL:.0%} interval of the ratio of its odds to the paper's is "
    f"within a factor of {comparison.MATCH_ODDS:g}, off where none of it is, inconclusive between. A train "
    f"accuracy that counts as fitted in the paper ({FITTED:g}% or more) matches where ours does. A subset, a test "
    "on a part of the test set, a run that is not what the paper says of its cell, and the mean of runs of which "
    "some diverged, are not comparable, however near they come. An ordering, or what the paper says of a figure, "
    f"holds where all of its {inference.LEVEL:.0%} interval does, doesn't where none of it does, and is undecided "
    "else. The interval is over seeds and test images where a claim is about methods (one run of each decides "
    "nothing), over test images where it is about the test accuracy of the networks that were trained, over the "
    "noise of the test curve for a gain of early stopping (by second differences, or about a line in its last "
    "half), and over the rows between which a step was seen. A claim is undecided too where a run has not "
    "converged, and where the paper's own numbers don't resolve it. A number of a single run is taken for what it "
    "is, without a spread over seeds, as the paper's is. Claims are put to subsets and other data, but not to "
    "runs with another corruption, regularizer or batch norm than the cell's, nor between cells that differ in "
    "data, sizes, lengths, batches, precision or, of one network, its optimizer or initialization."
)


class GroupVerdict(NamedTuple):
    """A table or figure of the paper beside the runs of one group; without a group where no run is of it.

    Attributes:
      name: of the table or figure.
      rows, claims: of comparison.compare_table and comparison.check_orderings; of a figure only claims, of
        figure_claims.check_figure_claims.
      problem: why they could not be compared; "" where they were.
      anchor: the id of its heading.
    """

    name: str
    group: RunGroup | None
    rows: Sequence[Mapping[str, Any]] = ()
    claims: Sequence[Mapping[str, Any]] = ()
    problem: str = ""
    anchor: str = ""

    @property
    def is_table(self) -> bool:
        """Whether it is about a table of the paper."""
        return self.name in TABLES

    @property
    def display_name(self) -> str:
        """The name of the table or figure, with the runs' folder where that has another one."""
        return self.group.display_name if self.group else self.name

    @property
    def title(self) -> str:
        """What the paper calls the table, but for its data where no run is of them; of a figure its name."""
        if not self.is_table:
            return self.display_name
        title = TABLES[self.name].title
        names = (
            protocol.name_data(run.config for runs in self.group.readable().values() for run in runs)
            if self.group
            else []
        )
        return (
            f"{title.partition(':')[0]} on {', '.join(names)}"
            if names and not set(names) & set(protocol.EXAMPLES)
            else title
        )

    @property
    def heading(self) -> str:
        """The title, with the folder of the runs."""
        return f"{self.title} ({self.group.folder.name})" if self.is_table and self.group else self.title

    @property
    def stem(self) -> str:
        """How the files of its numbers are called."""
        names = [self.name] if self.is_table else []
        return "-".join(names + [self.group.folder.name] if self.group else names)


def judge_groups(groups: Sequence[RunGroup]) -> list[GroupVerdict]:
    """Returns the verdict on each table of the paper, one for each group with runs of it; then on the figures.

    Of figures there are verdicts only where there are runs, and where the paper says anything of them.
    """
    verdicts: list[GroupVerdict] = []
    for table in TABLES:
        own = [group for group in groups if group.name == table]
        verdicts += [_judge(table, group) for group in own] or [_judge(table, None)]
    figures = [_judge(group.name, group) for group in groups if group.name not in TABLES and group.readable()]
    verdicts += [figure for figure in figures if figure.claims or figure.problem]
    return [verdict._replace(anchor=f"table-{number}") for number, verdict in enumerate(verdicts, start=1)]


def describe_findings(folder: Path) -> str:
    """Returns how the claims about each table and figure stand by the runs in a folder, and all of them; "" of none.

    Raises:
      UserError: as `run_index.read_run_groups`.
    """
    judged = [verdict for verdict in judge_groups(run_index.read_run_groups([folder])) if verdict.group]
    if not judged:
        return ""
    counts = {verdict.display_name: Counter(row["verdict"] for row in verdict.claims) for verdict in judged}
    counts["all"] = sum(counts.values(), Counter[str]())
    rows = [
        {"claims of the paper": name, **{verdict: counted[verdict] or "" for verdict in CLAIM_VERDICTS}}
        for name, counted in counts.items()
    ]
    problems = [f"{verdict.display_name} is not judged: {verdict.problem}" for verdict in judged if verdict.problem]
    return "\n".join([tables.to_text(rows, list(rows[0])), *map(screen.wrap, problems)])


def _judge(name: str, group: RunGroup | None) -> GroupVerdict:
    runs = group.readable() if group else {}
    try:
        if name not in TABLES:
            return GroupVerdict(name, group, [], figure_claims.check_figure_claims(name, runs))
        return GroupVerdict(name, group, comparison.compare_table(name, runs), comparison.check_orderings(name, runs))
    except UserError as error:
        return GroupVerdict(name, group, problem=str(error))
