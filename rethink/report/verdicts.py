"""Judges claims: a claim of the paper, put to what runs have measured, becomes a printed row with its verdict.

Decides nothing that a lower bound leaves open: the verdict is "no result" then.
"""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from rethink.paper.claims import Claim, Difference, Ordering, RangeClaim

Row = dict[str, Any]

CLAIM_COLUMNS = ("statement", "measure", "paper", "certainty", "ours", "n", "standard error", "verdict", "notes")
CLAIM_VERDICTS = ("holds", "doesn't hold", "not comparable", "not run", "no result")


class Estimate(NamedTuple):
    """What `n` runs show of a cell; `error` is the standard error, None where it is not known.

    Attributes:
      is_bound: whether the value is only a lower bound.
    """

    value: float
    n: int
    error: float | None = None
    is_bound: bool = False

    def text(self, form: str) -> str:
        """Returns '3140', or 'at least 3140'."""
        return f"{'at least ' if self.is_bound else ''}{self.value:{form}}"


Estimates = Mapping[str, Estimate]


def estimate_mean(values: Sequence[float], scale: float = 1.0) -> Estimate | None:
    """Returns `scale` times the mean of the values of several runs, with its standard error; None of no values."""
    error = scale * math.sqrt(statistics.variance(values) / len(values)) if len(values) > 1 else None
    return Estimate(scale * statistics.fmean(values), len(values), error) if values else None


class ClaimCheck(NamedTuple):
    """A claim, and what there is to judge it by.

    Attributes:
      estimates: cell -> what its runs show; a cell without a result is left out.
      started: cells that have runs; unfinished: ones whose runs may still change what they show.
      is_comparable: whether the claim can be put to these runs at all.
      is_alike: whether the estimates can be held against each other, now that there are all of them.
      has_diverged: whether all runs diverged.
    """

    claim: Claim
    estimates: Estimates
    notes: Sequence[str] = ()
    started: Collection[str] = ()
    unfinished: Collection[str] = ()
    is_comparable: bool = True
    is_alike: bool = True
    has_diverged: bool = False


def judge_claim(check: ClaimCheck) -> Row:
    """Returns the printed row of a claim; the columns are `CLAIM_COLUMNS`."""
    claim, notes = check.claim, list(check.notes)
    ours, counts, error = "", "", None
    if _is_complete(check):
        ours = describe_values(claim, check.estimates)
        counts = span_text(check.estimates[cell].n for cell in claim.cells)
        margin, error = claim_margin(claim, check.estimates)
        if error is not None and abs(margin) < 2 * error:
            notes.append("within two standard errors")
    return {
        "statement": claim.statement,
        "measure": claim.measure,
        "paper": claim.paper,
        "certainty": claim.certainty,
        "ours": ours,
        "n": counts,
        "standard error": "" if error is None else f"{error:.2f}",
        "verdict": _choose_verdict(check),
        "notes": "; ".join(dict.fromkeys(notes)),
    }


def _is_complete(check: ClaimCheck) -> bool:
    return all(cell in check.estimates for cell in check.claim.cells)


def _choose_verdict(check: ClaimCheck) -> str:
    """Returns one of `CLAIM_VERDICTS`; what makes runs another experiment goes before what they show."""
    claim = check.claim
    if not check.is_comparable:
        return "not comparable"
    if not _is_complete(check):
        if not all(cell in check.started for cell in claim.cells):
            return "not run"
        return "holds" if check.has_diverged and is_met_by_diverging(claim) else "no result"
    if not check.is_alike:
        return "not comparable"
    truth = claim_holds(claim, check.estimates)
    if truth is False and isinstance(claim, RangeClaim) and claim.cell in check.unfinished:
        truth = None  # a run that goes on may still get there
    return {True: "holds", False: "doesn't hold", None: "no result"}[truth]


def is_met_by_diverging(claim: Claim) -> bool:
    """Returns whether a claim is met by runs that all diverged, and so have no value."""
    return isinstance(claim, RangeClaim) and claim.or_diverged


def claim_holds(claim: Claim, estimates: Estimates) -> bool | None:
    """Returns whether a claim is true of the estimates of its cells; None where bounds leave it open."""
    if isinstance(claim, RangeClaim):
        return claim.low <= estimates[claim.cell].value <= claim.high
    links = [_link_holds(claim, *link) for link in pairwise(_side_estimates(claim, estimates))]
    return False if False in links else None if None in links else True


def _link_holds(claim: Ordering, first: Estimate, second: Estimate) -> bool | None:
    """Returns whether a side and the next are in the order that is claimed; None where bounds leave it open."""
    less, more = (first, second) if claim.sign == "<" else (second, first)
    if less.value < more.value:
        return None if less.is_bound else True
    return None if more.is_bound else False


def _side_estimates(claim: Ordering, estimates: Estimates) -> list[Estimate]:
    """Returns the estimate of each side; without its error, which depends on what it is compared with."""
    values = {cell: estimate.value for cell, estimate in estimates.items()}
    return [Estimate(side.of(values), 0, None, estimates[side.cell].is_bound) for side in claim.sides]


def margin_weights(larger: Difference, smaller: Difference) -> dict[str, int]:
    """Returns cell -> its factor in the difference of two sides; 0 where it cancels."""
    weights: dict[str, int] = {}
    for sign, side in ((1, larger), (-1, smaller)):
        for factor, cell in ((sign, side.cell), (-sign, side.over)):
            if cell:
                weights[cell] = weights.get(cell, 0) + factor
    return weights


def claim_margin(claim: Claim, estimates: Estimates) -> tuple[float, float | None]:
    """Returns by how much a claim is true of the estimates, or misses, and the standard error; None where unknown.

    Of a range that is the distance to the nearer end, of an ordering the margin of the closest two neighbours, whose
    error takes runs for independent; a cell that cancels has none.
    """
    if isinstance(claim, RangeClaim):
        estimate = estimates[claim.cell]
        return min(estimate.value - claim.low, claim.high - estimate.value), estimate.error
    links = [link if claim.sign == ">" else link[::-1] for link in pairwise(claim.sides)]
    values = {cell: estimate.value for cell, estimate in estimates.items()}
    larger, smaller = min(links, key=lambda link: link[0].of(values) - link[1].of(values))
    parts = [(weight, estimates[cell].error) for cell, weight in margin_weights(larger, smaller).items() if weight]
    error = math.hypot(*(weight * (part or 0.0) for weight, part in parts))
    return larger.of(values) - smaller.of(values), None if None in (part for _, part in parts) else error


def describe_values(claim: Claim, estimates: Estimates) -> str:
    """Returns the values: '3.56 > 0.28', '1.00 < at least 2.00'; a '?' stands where bounds leave it open."""
    if isinstance(claim, RangeClaim):
        return f"{estimates[claim.cell].value:.2f}"
    first, *others = sides = _side_estimates(claim, estimates)
    opposite = {"<": ">=", ">": "<="}[claim.sign]
    signs = [{True: claim.sign, False: opposite, None: "?"}[_link_holds(claim, *link)] for link in pairwise(sides)]
    rest = (f" {sign} {side.text(claim.form)}" for sign, side in zip(signs, others, strict=True))
    return first.text(claim.form) + "".join(rest)


def span_text(values: Iterable[float | None]) -> str:
    """'64', or '52 to 76' where they differ; '' where there are none."""
    numbers = sorted({value for value in values if value is not None})
    return " to ".join(f"{value:.10g}" for value in dict.fromkeys((numbers[0], numbers[-1]))) if numbers else ""
