"""How often a few runs decide a claim: simulated networks with the paper's numbers, and without any difference.

    python -m rethink.report.power table1
    python -m rethink.report.power table1 --seeds 5 --spread 0.5 --markdown

A test example has an ease that all networks share. A network has it right where a mix of that ease and of chance
exceeds a threshold, which gives each network its accuracy: that of its cell and a normal deviation, as of a seed.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from rethink.paper.claims import ORDERINGS, Claim, Ordering, RangeClaim
from rethink.paper.numbers import TABLES, values_of
from rethink.report import inference, verdicts
from rethink.report.inference import Estimate
from rethink.report.verdicts import FAILS, HOLDS, UNDECIDED, ClaimCheck
from rethink.results import tables
from rethink.schema.errors import exit_on_mistake, pick

AGREEMENT = 0.7  # of two networks about an example: the correlation of what is compared with their thresholds
COLUMNS = ("statement", "paper", HOLDS, UNDECIDED, FAILS, "holds without a difference", "notes")


class Study(NamedTuple):
    """What is simulated: `draws` times a sweep with `seeds` runs of each cell.

    Attributes:
      spread: standard deviation of a network's accuracy over seeds, points.
    """

    seeds: int
    spread: float
    draws: int


def simulate_claim(
    claim: Claim, truths: Mapping[str, float], test_examples: int, study: Study, rng: np.random.Generator
) -> Counter[str]:
    """Returns verdict -> how many of the simulated sweeps have it.

    Args:
      truths: cell -> the mean accuracy or error of its networks, percent.
      test_examples: on which it is measured; 0: known whole.
    """
    counts = Counter[str]()
    for _ in range(study.draws):
        ease = rng.standard_normal(test_examples, np.float32)
        estimates = {cell: _draw_cell(claim.measure, truths[cell], ease, study, rng) for cell in claim.cells}
        counts[verdicts.judge_claim(ClaimCheck(claim, estimates, started=claim.cells))["verdict"]] += 1
    return counts


def _draw_cell(measure: str, truth: float, ease: np.ndarray, study: Study, rng: np.random.Generator) -> Estimate:
    """Returns the estimate of simulated networks with a mean of `truth`, percent."""
    deviations = study.spread * rng.standard_normal(study.seeds)
    percents = np.clip(truth + deviations, 0, 100)
    if not ease.size:
        return inference.exact(percents.tolist())
    chance = rng.standard_normal((study.seeds, ease.size), np.float32)
    mixed = np.float32(np.sqrt(AGREEMENT)) * ease + np.float32(np.sqrt(1 - AGREEMENT)) * chance
    right = mixed < scipy.stats.norm.ppf(percents / 100)[:, None]
    values = (100 * right.mean(axis=1, dtype=np.float64)).tolist()
    return inference.exact(values, ease.size, right if measure == "test_accuracy" else None)


def without_difference(claim: Claim, truths: Mapping[str, float]) -> tuple[Claim, dict[str, float]]:
    """Returns a claim and truths by which it is just false: all cells alike, or a value at the end of the range."""
    if isinstance(claim, RangeClaim):
        middle = truths[claim.cell]
        end = min((claim.low, claim.high), key=lambda end: abs(end - middle))
        return claim, {claim.cell: float(np.nextafter(end, -np.inf if end == claim.low else np.inf))}
    alike = float(np.mean([truths[cell] for cell in claim.cells]))
    return claim._replace(unresolved=""), dict.fromkeys(claim.cells, alike)


def power_rows(table: str, study: Study) -> list[dict[str, Any]]:
    """Returns a row for each claim about a table of the paper that has numbers; the columns are `COLUMNS`.

    Shares are in percent of the draws. A claim about networks has its null without spread over seeds: it is not of
    their mean. Where such a claim is of what is known whole, there is nothing to simulate.
    """
    rows = []
    pick(TABLES, table, "TABLE")
    for claim in ORDERINGS[table]:
        truths = values_of(table, claim.measure)
        if not all(cell in truths for cell in claim.cells):
            continue
        examples = 0 if claim.measure.startswith("train") else TABLES[table].test_examples
        if isinstance(claim, RangeClaim) and not examples:
            continue
        counts = simulate_claim(claim, truths, examples, study, np.random.default_rng(0))
        null_study = study._replace(spread=0.0) if isinstance(claim, RangeClaim) else study
        null = simulate_claim(*without_difference(claim, truths), examples, null_study, np.random.default_rng(1))
        shares = {verdict: f"{100 * counts[verdict] / study.draws:.1f}" for verdict in (HOLDS, UNDECIDED, FAILS)}
        last = {"holds without a difference": f"{100 * null[HOLDS] / study.draws:.1f}"}
        notes = claim.unresolved if isinstance(claim, Ordering) else ""
        rows.append({"statement": claim.statement, "paper": claim.paper, **shares, **last, "notes": notes})
    return rows


def main() -> None:
    """Prints the power of each claim about the table that the command line names."""
    parser = argparse.ArgumentParser(description="How often a few runs would decide the paper's claims about a table.")
    parser.add_argument("table", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--seeds", type=int, default=3, help="runs of each cell")
    parser.add_argument("--spread", type=float, default=0.4, help="of the accuracy over seeds, points")
    parser.add_argument("--draws", type=int, default=2000, help="simulated sweeps a claim")
    parser.add_argument("--markdown", action="store_true", help="Markdown instead of text")
    arguments = parser.parse_args()
    with exit_on_mistake():
        rows = power_rows(arguments.table, Study(arguments.seeds, arguments.spread, arguments.draws))
    print((tables.to_markdown if arguments.markdown else tables.to_text)(rows, COLUMNS))


if __name__ == "__main__":
    main()
