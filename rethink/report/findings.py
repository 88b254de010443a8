"""Owns how a claim is put to what runs have measured: a claim that grows along cells, bounds, and the row of a verdict.

Refuses to decide where a lower bound leaves it open: there is "no result" then.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from rethink.paper.claims import RangeClaim
from rethink.paper.numbers import Number

Row = dict[str, Any]


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


class MonotoneClaim(NamedTuple):
    """The claim that a measure grows from each cell to the next."""

    statement: str
    measure: str
    cells: Sequence[str]
    form: str = ".2f"

    def figures(self, found: Mapping[str, Estimate]) -> str:
        """Returns the values as they are: '1.00 < 2.00'; a '?' stands where bounds leave it open."""
        links = list(pairwise(found[cell] for cell in self.cells))
        signs = [{True: "<", False: ">=", None: "?"}[_less(*link)] for link in links]
        rest = (f" {sign} {second.text(self.form)}" for sign, (_, second) in zip(signs, links, strict=True))
        return found[self.cells[0]].text(self.form) + "".join(rest)

    def truth(self, found: Mapping[str, Estimate]) -> bool | None:
        """Returns whether the claim is true of the values; None where bounds leave it open."""
        links = [_less(found[a], found[b]) for a, b in pairwise(self.cells)]
        return False if False in links else None if None in links else True

    def margin(self, found: Mapping[str, Estimate]) -> tuple[float, float | None]:
        """Returns the smallest growth from a cell to the next, and its standard error, None where it is not known."""
        first, second = min(
            pairwise(found[cell] for cell in self.cells), key=lambda link: link[1].value - link[0].value
        )
        known = first.error is not None and second.error is not None
        return second.value - first.value, math.hypot(first.error or 0, second.error or 0) if known else None


def _less(first: Estimate, second: Estimate) -> bool | None:
    """Returns whether the first value is less than the second; None where bounds leave it open."""
    if first.value < second.value:
        return None if first.is_bound else True
    return None if second.is_bound else False


class ClaimCheck(NamedTuple):
    """A claim, what the paper says of it, and what there is to judge it by.

    Attributes:
      said: the paper's numbers or words; certain: their certainties.
      begun: cells that have runs; open: ones whose runs may still change what they show.
    """

    claim: MonotoneClaim | RangeClaim
    said: str
    certain: Collection[Number]
    found: Mapping[str, Estimate]
    begun: Collection[str]
    comparable: bool
    notes: Sequence[str]
    open: Collection[str] = ()


def row(case: ClaimCheck) -> Row:
    """Returns the row of a claim; the columns are comparison.ORDERING_COLUMNS."""
    claim, notes = case.claim, list(case.notes)
    cells = claim.cells if isinstance(claim, MonotoneClaim) else [claim.cell]
    complete = all(cell in case.found for cell in cells)
    counts = sorted({case.found[cell].n for cell in cells if cell in case.found})
    ours, error = _ours(claim, case.found) if complete else ("", None)
    if complete and error is not None and abs(_margin(claim, case.found)) < 2 * error:
        notes.append("within two standard errors")
    return {
        "statement": claim.statement,
        "measure": claim.measure,
        "paper": case.said,
        "certainty": "".join(sorted({number.certainty for number in case.certain})),
        "ours": ours,
        "n": " to ".join(f"{count}" for count in dict.fromkeys((counts[0], counts[-1]))) if complete else "",
        "standard error": "" if error is None else f"{error:.2f}",
        "verdict": _verdict(case, cells, complete),
        "notes": "; ".join(dict.fromkeys(notes)),
    }


def _ours(claim: MonotoneClaim | RangeClaim, found: Mapping[str, Estimate]) -> tuple[str, float | None]:
    """Returns our figures of a claim, and the standard error of its margin."""
    if isinstance(claim, MonotoneClaim):
        return claim.figures(found), claim.margin(found)[1]
    return claim.figures({claim.cell: found[claim.cell].value}), found[claim.cell].error


def _margin(claim: MonotoneClaim | RangeClaim, found: Mapping[str, Estimate]) -> float:
    return (
        claim.margin(found)[0]
        if isinstance(claim, MonotoneClaim)
        else claim.margin({claim.cell: found[claim.cell].value})
    )


def _verdict(case: ClaimCheck, cells: Sequence[str], complete: bool) -> str:
    if not case.comparable:
        return "not comparable"
    if not complete:
        return "no result" if all(cell in case.begun for cell in cells) else "not run"
    if isinstance(case.claim, MonotoneClaim):
        truth = case.claim.truth(case.found)
    else:
        held = case.claim.holds({case.claim.cell: case.found[case.claim.cell].value})
        truth = held or (None if case.claim.cell in case.open else False)
    return {True: "holds", False: "doesn't hold", None: "no result"}[truth]
