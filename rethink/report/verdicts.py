"""Judges claims: a claim of the paper, put to what runs have measured, becomes a printed row with its verdict.

A claim holds where all of its interval does, and does not hold where none of it does; anything else is undecided.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from rethink.paper.claims import Claim, Ordering, RangeClaim, margin_weights
from rethink.report import inference
from rethink.report.inference import Estimates, Interval
from rethink.report.outcomes import NOT_RUN

Row = dict[str, Any]
Link = tuple[str, Interval | None]  # whether something holds, and by which interval

CLAIM_COLUMNS = (
    "statement",
    "measure",
    "source",
    "paper",
    "certainty",
    "ours",
    "n",
    "interval",
    "verdict",
    "notes",
)
HOLDS, FAILS, UNDECIDED = "holds", "doesn't hold", "undecided"
CLAIM_VERDICTS = (HOLDS, FAILS, UNDECIDED, "not comparable", NOT_RUN, "no result")


class ClaimCheck(NamedTuple):
    """A claim, and what there is to judge it by.

    Attributes:
      estimates: cell -> what its runs show; a cell without a result is left out.
      started: cells that have runs; unconverged: ones whose runs do not show where their training leads.
      is_comparable: whether the claim can be put to these runs at all.
      is_alike: whether the estimates can be held against each other, now that there are all of them.
      has_diverged: whether all runs diverged.
    """

    claim: Claim
    estimates: Estimates
    notes: Sequence[str] = ()
    started: Collection[str] = ()
    unconverged: Collection[str] = ()
    is_comparable: bool = True
    is_alike: bool = True
    has_diverged: bool = False


def judge_claim(check: ClaimCheck) -> Row:
    """Returns the printed row of a claim; the columns are `CLAIM_COLUMNS`."""
    claim, notes = check.claim, check.notes
    ours, counts, interval, verdict = "", "", None, _find_obstacle(check)
    if _is_complete(check):
        links = _decide_links(claim, check.estimates)
        truth, interval = _decide(claim, check.estimates, links)
        ours = _describe_values(claim, check.estimates, links)
        counts = span_text(check.estimates[cell].n for cell in claim.cells)
        doubts = _find_doubts(check)
        notes = [*doubts, *_compare_networks(claim, check.estimates), *notes]  # the cause of a verdict comes first
        verdict = verdict or (UNDECIDED if doubts else truth)
    return {
        "statement": claim.statement,
        "measure": claim.measure.replace("_", " "),
        "source": claim.source,
        "paper": claim.paper,
        "certainty": claim.certainty,
        "ours": ours,
        "n": counts,
        "interval": interval.text() if interval else "",
        "verdict": verdict,
        "notes": "; ".join(dict.fromkeys(notes)),
    }


def _is_complete(check: ClaimCheck) -> bool:
    return all(cell in check.estimates for cell in check.claim.cells)


def _find_obstacle(check: ClaimCheck) -> str:
    """Returns the verdict where runs can't be judged: they are another experiment, or have no values; else ""."""
    if not check.is_comparable:
        return "not comparable"
    if not _is_complete(check):
        if not all(cell in check.started for cell in check.claim.cells):
            return NOT_RUN
        return HOLDS if check.has_diverged and is_met_by_diverging(check.claim) else "no result"
    return "" if check.is_alike else "not comparable"


def is_met_by_diverging(claim: Claim) -> bool:
    """Returns whether a claim is met by runs that all diverged, and so have no value."""
    return isinstance(claim, RangeClaim) and claim.or_diverged


def _find_doubts(check: ClaimCheck) -> list[str]:
    """Returns why a claim is undecided whatever the runs show."""
    claim, doubts = check.claim, []
    if unconverged := [cell for cell in claim.cells if cell in check.unconverged]:
        doubts.append(f"not converged: {', '.join(unconverged)}")
    if isinstance(claim, Ordering):
        doubts += [claim.unresolved] if claim.unresolved else []
        single = [cell for cell in _counted_cells(claim) if check.estimates[cell].n < 2]
        doubts += ["a single run shows no spread over seeds"] if single else []
    return doubts


def _counted_cells(claim: Ordering) -> list[str]:
    """Returns the cells that count in the difference of any two neighbouring sides."""
    weights = [margin_weights(*sides) for sides in pairwise(claim.sides)]
    return [cell for cell in claim.cells if any(link.get(cell) for link in weights)]


def _decide(claim: Claim, estimates: Estimates, links: Sequence[Link]) -> Link:
    """Returns whether a claim holds by its interval, and that: of a value, or of the margin of the closest two sides.

    Of methods with a single run there is no interval, and nothing is decided.
    """
    if isinstance(claim, RangeClaim):
        interval = inference.network_interval(estimates[claim.cell])
        is_within = claim.low <= interval.low and interval.high <= claim.high
        is_beyond = interval.high < claim.low or interval.low > claim.high
        return HOLDS if is_within else FAILS if is_beyond else UNDECIDED, interval
    verdicts = [verdict for verdict, _ in links]
    intervals = [interval for _, interval in links if interval]
    verdict = FAILS if FAILS in verdicts else UNDECIDED if UNDECIDED in verdicts else HOLDS
    return verdict, min(intervals, default=None) if len(intervals) == len(links) else None


def _decide_links(claim: Claim, estimates: Estimates) -> list[Link]:
    """Returns the verdict on each two neighbouring sides of an ordering, with its interval; [] of a range."""
    if isinstance(claim, RangeClaim):
        return []
    return [_decide_link(claim, estimates, number) for number in range(len(claim.sides) - 1)]


def _decide_link(claim: Ordering, estimates: Estimates, number: int) -> Link:
    """Returns whether a side and the next are in the order that is claimed, and the interval of their margin."""
    interval = inference.margin_interval(_link_weights(claim, number), estimates)
    if interval is None:
        return UNDECIDED, None
    return HOLDS if interval.low > 0 else FAILS if interval.high < 0 else UNDECIDED, interval


def _link_weights(claim: Ordering, number: int) -> dict[str, int]:
    """Returns the weights of the margin of a side and the next one, of the one that is claimed to be larger first."""
    first, second = claim.sides[number : number + 2]
    return margin_weights(first, second) if claim.sign == ">" else margin_weights(second, first)


def _describe_values(claim: Claim, estimates: Estimates, links: Sequence[Link]) -> str:
    """Returns the values: '3.56 > 0.28', '1.00 < at least 2.00'; a '?' stands where their order is not decided."""
    if isinstance(claim, RangeClaim):
        return estimates[claim.cell].text(".2f")
    opposite = {"<": ">", ">": "<"}[claim.sign]
    signs = {HOLDS: claim.sign, FAILS: opposite, UNDECIDED: "?"}
    values = {cell: estimate.mean for cell, estimate in estimates.items()}
    texts = [
        f"{'at least ' if estimates[side.cell].is_bound else ''}{side.of(values):{claim.form}}" for side in claim.sides
    ]
    return texts[0] + "".join(f" {signs[truth]} {text}" for (truth, _), text in zip(links, texts[1:], strict=True))


def _compare_networks(claim: Claim, estimates: Estimates) -> list[str]:
    """Returns McNemar's test of neighbouring networks of a claim about methods, where each method has a single one."""
    if not isinstance(claim, Ordering) or any(side.over for side in claim.sides):
        return []
    notes = []
    for cells in pairwise(claim.cells):
        first, second = (estimates[cell].correct for cell in cells)
        if first is None or second is None or len(first) > 1 or len(second) > 1:
            return []
        test = inference.test_networks(first[0], second[0])
        names = " and ".join(cells)
        notes.append(f"only {names} have {test.first} and {test.second} test examples right (McNemar's p {test.p:.2g})")
    return notes


def span_text(values: Iterable[float | None]) -> str:
    """'64', or '52 to 76' where they differ; '' where there are none."""
    numbers = sorted({value for value in values if value is not None})
    return " to ".join(f"{value:.10g}" for value in dict.fromkeys((numbers[0], numbers[-1]))) if numbers else ""
